//! Proofs verified in this process: the backend `native` of the proof engine.
//!
//! In: a proof as it travels, with the request root it names. Out: a verdict. Three things make it, and all of them are
//! checked: the bytes decode to one proof of the configured system (SP1, ZisK), it verifies under the program key of
//! the configuration, and its public values are those which the guest program commits to for this request root and for
//! a payload that is valid. `specs/native-verifiers.md` has the formats byte by byte.
//!
//! The verifiers themselves are published crates, and large ones: they come with the features `sp1` and `zisk`, which
//! are off by default. Without them this crate is the engine around them, and a configuration that names a system says
//! which feature is missing.
//!
//! | file | what it holds |
//! |---|---|
//! | `setting` | one verifier as the operator writes it, and as it is read from a proof type's entry |
//! | `key` | the program key's file, held against its SHA-256 |
//! | `guest` | what a guest program commits to for a request root: one adapter per family |
//! | `statements` | the table that stands for a guest in tests, and proves nothing |
//! | `system` | what a proof system does with bytes; which systems are built in |
//! | `sp1`, `zisk` | the systems (features) |
//! | `judgement` | the three checks in their order, panics contained |
//! | `pool` | threads of their own, as many at once as are allowed, given up after a time |
//! | `engine` | the `ProofEngine` |
//! | `metrics` | what was refused and why |

mod engine;
mod guest;
mod judgement;
mod key;
mod metrics;
mod pool;
mod setting;
#[cfg(feature = "sp1")]
mod sp1;
mod statements;
mod system;
#[cfg(feature = "zisk")]
mod zisk;

pub use engine::{NativeConfigError, NativeEngine, NativeLimits, NativeVerifier};
pub use guest::Guest;
pub use judgement::Refusal;
pub use key::{KeyError, ProgramKey};
pub use metrics::NativeMetrics;
pub use setting::{SettingError, VerifierSetting};
pub use statements::{MAX_STATEMENTS_FILE, StatementTable};
pub use system::{OpenedProof, ProofSystem, SystemName, UnusableKey};
