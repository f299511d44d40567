#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! Tests over a real file; `support` is what they share.

mod basics;
mod beta;
mod canonical;
mod damage;
mod faults;
mod following;
mod known;
mod model;
mod offline;
mod opening;
mod pruning;
mod support;
