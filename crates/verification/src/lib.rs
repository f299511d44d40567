//! The verifier: the only way a proof becomes a `VerifiedProof`.
//!
//! In: `Candidate`s through the `Intake`, from gossip, req/resp, HTTP or a prover. Out: a `Verdict`, and for what was
//! accepted the `ProofSink`s in their order (store first, awaited). Asks the `Chain`, the `KnownProofs` of the store and
//! the `ProofEngine`.
//!
//! | file | what it holds |
//! |---|---|
//! | `verdict` | `Verdict` and every reason it can have |
//! | `intake` | `Candidate`, `Source`, `Intake`, `ProofSink` |
//! | `verified` | `VerifiedProof`, which only the verifier makes |
//! | `testing` | for tests of other crates (feature `testing`) |

pub mod intake;
#[cfg(feature = "testing")]
mod testing;
pub mod verdict;
mod verified;

pub use intake::{
    Candidate, ContainmentRecord, KnownProofs, PeerRef, ProofSigner, ProofSink, SignError, SinkError, Source,
    Submission,
};
pub use verdict::{IgnoreReason, ParkReason, RejectReason, Verdict};
pub use verified::VerifiedProof;
