//! The shape of every named container.
