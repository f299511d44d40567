//! A beacon node that is not there: real blocks of an invented chain over real HTTP, with the faults that real nodes have.
#![allow(dead_code, reason = "every test target uses its own part")]

pub(crate) mod blocks;
pub(crate) mod node;
