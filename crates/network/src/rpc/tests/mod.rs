//! Two and more hosts over loopback that speak the real protocols: what is served, what is asked, what is refused, and
//! what peers that are slow or many cost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod base;
mod blocks;
mod bounds;
mod lies;
mod pressure;
mod proofs;
mod rig;
mod wires;
