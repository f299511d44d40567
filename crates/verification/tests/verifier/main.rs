//! The verifier whole: real keys, real roots, real tasks; the chain, the engine and the sinks are in memory, the clock
//! is simulated where time matters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod beta;
mod house;
mod many;
mod unsigned;
mod upstream;
mod waiting;
mod way;
