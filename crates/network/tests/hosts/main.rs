//! Real hosts on loopback, with the real verifier.

#![allow(clippy::unwrap_used, clippy::panic)]

mod discovery;
mod given_up;
mod line;
mod mplex;
mod single;
mod support;
mod transports;
