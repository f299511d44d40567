//! What gate, proof engines, simulator and doctor share of the Engine API (JSON-RPC 2.0 over HTTP with a JWT).
//!
//! In: JSON as beacon nodes, execution clients and provers write it. Out: `assay_types` values, and JSON from them.
//! No sockets but the client's; the endpoint that others call lives in crates/gate.
//!
//! | file | what it holds |
//! |---|---|
//! | `jsonrpc` | requests, responses, batches, ids of any JSON kind |
//! | `error_code` | JSON-RPC's and the Engine API's error codes as one enum |
//! | `methods` | method names by fork, and how long each call may take |
//! | `capabilities` | adding to the list in an answer of `engine_exchangeCapabilities` |
//! | `fields` | QUANTITY and DATA: strict reading and writing |
//! | `payload_json` | `engine_newPayload*` parameters to `NewPayloadRequest` |
//! | `payload_writer` | `NewPayloadRequest` and `ExecutionPayload` to the Engine API's JSON |
//! | `proof_json` | parameters and results of the EIP-8025 methods, written |
//! | `proof_params` | parameters of the EIP-8025 methods, read |
//! | `block_hash` | a payload's block hash and versioned hashes held against its fields |
//! | `chain_id` | the network that a payload's transactions are signed for |
//! | `status` | payload status, fork choice state and answers |
//! | `status_edit` | changing a status inside an answer, every other byte kept |
//! | `jwt` | the shared secret, tokens made and checked |
//! | `client` | the HTTP client of those that originate calls |

pub mod block_hash;
pub mod capabilities;
pub mod chain_id;
pub mod client;
pub mod error_code;
pub mod fields;
pub mod jsonrpc;
pub mod jwt;
pub mod methods;
pub mod payload_json;
pub mod payload_writer;
pub mod proof_json;
pub mod proof_params;
pub mod status;
pub mod status_edit;

pub use client::{ClientError, EngineClient, install_crypto_provider, shown_url};
pub use error_code::ErrorCode;
pub use jsonrpc::{ErrorObject, Id, Incoming, Request, Response};
pub use jwt::{JwtError, JwtSecret, SecretError};
pub use payload_json::{NewPayloadParams, PayloadJsonError};
pub use payload_writer::{ExecutionPayloadJson, NewPayloadParamsJson};
pub use status::{
    ForkchoiceStateV1, ForkchoiceUpdatedResponse, PayloadAttributes, PayloadId, PayloadStatusV1,
    PayloadValidity,
};
