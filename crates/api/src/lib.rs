//! The HTTP API: the Beacon API routes of EIP-8025, Assay's own, metrics, and everything else from the beacon node behind.
//!
//! In: HTTP requests, accepted proofs (`EventSink`). Out: answers, server-sent events, Prometheus text. Asks the
//! `Intake`, the store, the chain view, the gate and the network; decides nothing.
//!
//! | file | what it holds |
//! |---|---|
//! | `server` | the router (the API's table of contents), limits, binding, shutdown |
//! | `state` | what the routes share |
//! | `error` | `ApiError`: JSON `{code, message, failures}` |
//! | `openapi` | the OpenAPI document, from the table of routes |
//! | `posted` | reading a body as it comes |
//! | `proof_body` | bodies of one or several proofs, JSON or SSZ |
//! | `ssz_split` | a list of proofs taken apart while it comes |
//! | `verdicts` | what became of several proofs, as one answer |
//! | `events` | accepted proofs as server-sent events |
//! | `gate_events` | the gate's verdicts and alarms as server-sent events |
//! | `passthrough` | the way to the beacon node behind |
//! | `collector` | what gate, endpoint, chain view and store count, for Prometheus |
//! | `dashboard` | the page for operators, and what it shows |
//! | `block_id` | block ids as the Beacon API writes them |
//! | `routes` | one file a route |

mod block_id;
mod collector;
mod dashboard;
mod error;
mod events;
mod gate_events;
mod openapi;
mod passthrough;
mod posted;
mod proof_body;
mod routes;
mod server;
mod ssz_split;
mod state;
mod verdicts;

pub use collector::{EndpointCounters, NodeCollector, NodeNumbers};
pub use dashboard::provers::SeenProver;
pub use error::{ApiError, IndexedFailure};
pub use events::{EventSink, ProofEvent};
pub use passthrough::Upstream;
pub use proof_body::MAX_PROOFS_PER_POST;
pub use server::{Server, ServerError, paths, serve, serve_metrics};
pub use state::{ApiState, NodeInfo};
