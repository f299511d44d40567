//! Tests of the decisions: tables for rules, properties for what an outsider must not achieve.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod beta;
mod interleavings;
mod memory;
mod room;
mod rules;
mod turns;
mod world;
