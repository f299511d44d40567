//! The import decision, and the Engine API endpoint in front of the execution client.
//!
//! In: the beacon node's Engine API calls, the execution client's answers, proofs that passed the verifier, finality.
//! Out: what each call is answered, records that make it last, verdict changes and alarms.
//!
//! | file | what it holds |
//! |---|---|
//! | `machine` | the decision as a state machine without I/O (design.md, Gate, rules 1 to 7) |
//! | `handle` | `GateHandle`: the machine behind a lock, its records written behind it, events, queries; a `ProofSink` |
//! | `endpoint` | the Engine API endpoint in front of the execution client |
//! | `persistence` | where the records are kept |
//! | `origins` | who signed and who brought the newest proofs |
//! | `metrics` | times from slot start as histograms |
//! | `alarm_log` | alarms in the log |

mod alarm_log;
pub mod endpoint;
pub mod handle;
pub mod machine;
mod metrics;
mod origins;
pub mod persistence;

pub use endpoint::{
    EndpointConfig, EndpointContext, EndpointError, EngineObserver, Network, OtherNetwork, OtherNodeConfig,
    ProofService, RunningEndpoint, UpstreamConfig,
};
pub use handle::{GateEvent, GateHandle, OpenError, ProofRecall, SeenAlarm};
pub use machine::{
    Alarm, Asked, AskedPayload, ConflictResolution, Decision, ElAnswer, Forgotten, ForkchoiceState, Gate,
    GateConfig, GateStats, HeldBy, HoldingAncestor, ImportPolicy, Milestone, OnMissingProofs, PastChange,
    PayloadFacts, PayloadVerdict, PayloadView, ProofTypeSet, RememberedPayload, RequestCheck, StatusWord,
    Step, UnixMillis, VerdictChange, forget_proof_types,
};
pub use metrics::GateMetrics;
pub use origins::ProofOrigin;
pub use persistence::{GatePersistence, InMemory, PersistenceError};
