//! Real hosts on loopback, with the real verifier.

#![allow(clippy::unwrap_used, clippy::panic)]

mod line;
mod single;
mod support;
