//! `assay node`'s settings. One precedence: flags over environment over the TOML file over defaults; what is said of
//! proof types' numbers is put together instead (`entries`).
//!
//! `--http-port` is `ASSAY_HTTP_PORT` in the environment and `http-port` in the file. An unknown key is an error in the
//! file, and a warning in the environment, where other programs' variables may stand.

mod args;
mod checks;
mod engine_endpoint;
mod engines;
mod entries;
mod example;
mod forms;
mod judges;
mod node_config;
mod overrides;
mod policy;
mod ports;
mod proof_types;
mod resolve;
mod signer;
mod signer_args;

pub use args::NodeArgs;
pub(crate) use engine_endpoint::shown_endpoint;
pub use engine_endpoint::{EngineEndpoint, EngineKind};
pub(crate) use engines::check_engines;
pub use example::example;
pub(crate) use forms::{parse_size, proof_type};
pub use node_config::NodeConfig;
pub(crate) use node_config::default_datadir;
pub(crate) use overrides::setting_of;
pub use overrides::spec_overrides;
pub use policy::{ImportPolicyName, OnMissingProofsName, TrustedCheckpoint};
pub(crate) use proof_types::check_proof_types;
pub(crate) use resolve::resolve_in_slot;
pub use resolve::{ConfigError, keys, resolve, warn_of_unknown_variables};
pub(crate) use signer::{ProverIs, check_signer};
pub use signer_args::SignerArgs;

/// Seed of development proofs where none is given: one that everybody knows.
pub const DEFAULT_DEV_SEED: &str = "assay-dev";
