//! `assay prover`: the honest prover's duty as a process of its own, beside any beacon node.

use crate::{
    config::{ConfigError, NodeConfig, check_engines, spec_overrides},
    logging,
    logging::LogFormat,
    node::engine,
};
use anyhow::Context;
use assay_chain::{Chain, ChainView, SystemClock, follower::Follower};
use assay_prover::{
    BeaconEndpoint, DutyConfig, KeystorePlaces, LocalKeys, Locks, Prover, ProverMetrics, ProverParts,
    ValidatorSigner,
};
use assay_types::ProofType;
use clap::Args;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Pause before a step is tried again: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// How often the log says how far the work is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(60);

/// Flags of `assay prover`.
#[derive(Debug, Args)]
pub struct ProverArgs {
    /// Beacon node's HTTP API: blocks and validators are asked of it
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:5052",
        help_heading = "Beacon node"
    )]
    pub beacon_node: String,
    /// Where signed proofs are posted [default: --beacon-node]
    #[arg(long, value_name = "URL", help_heading = "Beacon node")]
    pub post_to: Option<String>,
    /// The network's config.yaml, laid over what the beacon node says
    #[arg(long, value_name = "FILE", help_heading = "Beacon node")]
    pub network_config: Option<PathBuf>,
    /// One protocol value by its upper-case name; comes last, may be repeated
    #[arg(long = "spec", value_name = "KEY=VALUE", help_heading = "Beacon node")]
    pub spec: Vec<String>,

    /// Directory of EIP-2335 keystores, as a validator client or the deposit tool lays it out
    #[arg(long, value_name = "DIR", help_heading = "Keys")]
    pub keystores: PathBuf,
    /// Directory of their passwords [default: `secrets` or `passwords` beside --keystores]
    #[arg(long, value_name = "DIR", help_heading = "Keys")]
    pub secrets: Option<PathBuf>,
    /// File with the password of all keystores that have none of their own
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    pub password_file: Option<PathBuf>,
    /// Use keystores that another process has locked: proofs cannot be slashed for
    #[arg(long, help_heading = "Keys")]
    pub ignore_keystore_locks: bool,

    /// Proof engines, preferred first, as for `assay node`: dev, http://…, engine+http://…
    #[arg(
        long,
        value_name = "[TYPES@]ENDPOINT",
        value_delimiter = ',',
        required = true,
        help_heading = "Proof engine"
    )]
    pub proof_engine_endpoint: Vec<String>,
    /// Proof types to prove, one proof of each for every payload, comma-separated
    #[arg(
        long,
        value_name = "TYPES",
        value_delimiter = ',',
        default_value = "1",
        help_heading = "Proof engine"
    )]
    pub proof_types: Vec<ProofType>,
    /// Names that proof nodes have for proof types, laid over those of zkboost 0.9
    #[arg(
        long,
        value_name = "TYPE=NAME",
        value_delimiter = ',',
        help_heading = "Proof engine"
    )]
    pub proof_engine_types: Vec<String>,
    /// File with the JWT secret of engine+http endpoints
    #[arg(long, value_name = "FILE", help_heading = "Proof engine")]
    pub proof_engine_jwt: Option<PathBuf>,
    /// Development engine: the seed its proofs are made with
    #[arg(long, value_name = "TEXT", default_value = crate::config::DEFAULT_DEV_SEED, help_heading = "Proof engine")]
    pub dev_seed: String,
    /// Let the development engine run on chain id 1, where its proofs prove nothing
    #[arg(long, help_heading = "Proof engine")]
    pub unsafe_dev_proofs_on_mainnet: bool,

    /// A payload is given up so many slots after its own began
    #[arg(long, value_name = "SLOTS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Duty")]
    pub budget_slots: u32,
    /// Payloads at work at once, the newest first
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Duty")]
    pub max_payloads: u16,

    /// error, warn, info, debug, trace, or a filter
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = "Log")]
    pub log_level: String,
    /// Log lines for people or as JSON
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Log")]
    pub log_format: LogFormat,
}

impl ProverArgs {
    /// The settings of its proof engines, as a node has them.
    fn engines(&self) -> Result<NodeConfig, ConfigError> {
        let config = NodeConfig {
            proof_engine_endpoint: self.proof_engine_endpoint.clone(),
            proof_engine_jwt: self.proof_engine_jwt.clone(),
            proof_engine_types: self.proof_engine_types.clone(),
            proof_types: self.proof_types.clone(),
            dev_seed: self.dev_seed.clone(),
            unsafe_dev_proofs_on_mainnet: self.unsafe_dev_proofs_on_mainnet,
            ..NodeConfig::default()
        };
        check_engines(&config)?;
        Ok(config)
    }

    fn keys(&self) -> anyhow::Result<LocalKeys> {
        let places = KeystorePlaces {
            keystores: self.keystores.clone(),
            secrets: self.secrets.clone(),
            password_file: self.password_file.clone(),
            locks: if self.ignore_keystore_locks {
                Locks::Ignore
            } else {
                Locks::Respect
            },
        };
        LocalKeys::load(&places).context("--keystores")
    }
}

/// Runs until SIGINT or SIGTERM.
pub fn run(args: &ProverArgs) -> anyhow::Result<()> {
    let engines = args.engines()?;
    logging::init(&args.log_level, args.log_format)?;
    let endpoint =
        BeaconEndpoint::new(args.post_to.as_ref().unwrap_or(&args.beacon_node)).context("--post-to")?;
    let keys = args.keys()?;
    tracing::info!(keys = keys.public_keys().len(), "keystores decrypted");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("tokio runtime")?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = prove(args, &engines, keys, endpoint) => outcome,
            () = crate::signals::ended() => Ok(()),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn prove(
    args: &ProverArgs,
    engines: &NodeConfig,
    keys: LocalKeys,
    endpoint: BeaconEndpoint,
) -> anyhow::Result<()> {
    let overrides = spec_overrides(args.network_config.as_deref(), &args.spec)?;
    let told = assay_chain::connect(&args.beacon_node, &overrides)
        .await
        .context("--beacon-node")?;
    let (engine, _) = engine::from_config(engines, &told.spec)?;
    let clock = Arc::new(SystemClock);
    let view = Arc::new(ChainView::new(
        told.spec.clone(),
        told.genesis,
        clock.clone(),
        told.api.clone(),
    ));
    let duty = DutyConfig {
        proof_types: args.proof_types.clone(),
        budget: Duration::from_millis(told.spec.slot_duration_ms).saturating_mul(args.budget_slots),
        max_payloads: args.max_payloads.into(),
        retry: RETRY,
    };
    let chain: Arc<dyn Chain> = view.clone();
    let signer = Arc::new(ValidatorSigner::new(chain.clone(), vec![Arc::new(keys)]));
    let prover = Prover::new(
        duty,
        ProverParts {
            chain,
            clock,
            api: told.api.clone(),
            engine,
            signer: signer.clone(),
            door: Arc::new(endpoint),
        },
    );
    tracing::info!(beacon_node = told.api.shown_url(), proof_types = ?args.proof_types, "prover runs");
    let metrics = prover.metrics().clone();
    // The end of this future ends all of them.
    tokio::select! {
        () = signer.keep_up(&told.api) => {}
        () = Follower::new(told.api.clone(), view, overrides).run(CancellationToken::new()) => {}
        () = prover.run() => {}
        () = tell_progress(&metrics) => {}
    }
    Err(anyhow::anyhow!(
        "a part of the prover ended by itself; see the log"
    ))
}

/// Says how far the work is, for as long as it goes on.
async fn tell_progress(metrics: &ProverMetrics) {
    loop {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        let counts = metrics.counts();
        tracing::info!(
            requested = counts.requested,
            proving = counts.proving,
            proved = counts.proved,
            too_late = counts.too_late,
            failed = counts.failed,
            "proofs"
        );
    }
}
