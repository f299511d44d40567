//! The Engine API endpoint over loopback, bytes written and read by hand on both sides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, missing_docs, reason = "helpers of one test binary")]

mod batches;
mod callers;
mod faults;
mod http;
mod order;
mod passing;
mod proof_methods;
mod proofs_only;
mod refusing;
mod restart;
mod rig;
mod several;
mod told;
mod verdicts;
mod waiting;
