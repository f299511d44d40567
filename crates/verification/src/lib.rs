//! The verifier: the only way a proof becomes a `VerifiedProof`.
//!
//! In: `Candidate`s through the `Intake`, from gossip, req/resp, HTTP or a prover. Out: a `Verdict`, and for what was
//! accepted the `ProofSink`s in their order (store first, awaited). Asks the `Chain`, the `KnownProofs` of the store and
//! the `ProofEngine`.
//!
//! | file | what it holds |
//! |---|---|
//! | `verdict` | `Verdict` and every reason it can have |
//! | `intake` | `Candidate`, `Source`, `Submission`, and the traits others implement |
//! | `verified` | `VerifiedProof`, which only the verifier makes |
//! | `unsigned` | proofs without a signature: judged, and signed where somebody signs |
//! | `signer` | `CheckedProof`, unsigned and called valid by an engine; `ProofSigner`, which signs nothing else |
//! | `config` | `VerifierConfig`: every bound |
//! | `candidate` | the first look: size, container, rule 7 |
//! | `machine` | the decisions, a state machine without I/O: rules, turns, waiting room, observed caches |
//! | `verifier` | `Verifier` and `Intake`: clock, tasks, verdicts back to who waits |
//! | `perform` | the work of each stage: hash, validator, signature, engine, sinks |
//! | `trace` | a proof's way as spans |
//! | `trail` | what has become of proofs that are not among the accepted |
//! | `containment` | containment in memory |
//! | `metrics` | what is counted |
//! | `testing` | a world in memory, for tests (feature `testing`) |

mod candidate;
pub mod config;
pub mod containment;
pub mod intake;
mod machine;
pub mod metrics;
mod perform;
pub mod signer;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;
mod trail;
pub mod unsigned;
pub mod verdict;
mod verified;
pub mod verifier;

pub use config::{Backoff, RoomLimits, VerifierConfig};
pub use containment::{MemoryContainment, NoKnownProofs};
pub use intake::{
    Candidate, ContainmentRecord, KnownProofs, PeerRef, ProofSink, SinkError, Source, Submission,
};
pub use metrics::{MetricsSnapshot, VerificationMetrics};
pub use signer::{CheckError, CheckedProof, ProofSigner, SignError, message_of};
pub use trace::TRACE_TARGET;
pub use trail::{Awaited, InvalidProof, ProofTrail, UnderWay};
pub use unsigned::{Brought, UnsignedError, UnsignedProofs, UnsignedVerdict};
pub use verdict::{IgnoreReason, ParkReason, RejectReason, Verdict};
pub use verified::VerifiedProof;
pub use verifier::{Intake, Verifier, VerifierParts, Waited};
