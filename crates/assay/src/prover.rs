//! `assay prover`: the honest prover's duty as a process of its own, beside any beacon node.

use crate::{
    config::{
        ConfigError, NodeConfig, ProverIs, SignerArgs, check_engines, check_proof_types, check_signer,
        setting_of, spec_overrides,
    },
    logging,
    logging::LogFormat,
    node::engine,
    signer,
};
use anyhow::Context;
use assay_chain::{Chain, ChainView, SystemClock, follower::Follower};
use assay_native_verifiers::VerifierSetting;
use assay_proof_engine::{RequestBook, proof_types::ProofTypeDefinition};
use assay_prover::{
    BeaconEndpoint, DutyConfig, KeySigner, Prover, ProverMetrics, ProverParts, ValidatorSigner,
};
use assay_types::{ProofType, Revision, Spec};
use clap::Args;
use figment::{Figment, providers::Serialized};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
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
    /// The state of the EIP-8025 texts, alpha or beta, for every fork [default: beta from Gloas on, alpha before]
    #[arg(long, value_name = "REVISION", help_heading = "Beacon node")]
    pub revision: Option<Revision>,
    /// One protocol value by its upper-case name; comes last, may be repeated
    #[arg(long = "spec", value_name = "KEY=VALUE", help_heading = "Beacon node")]
    pub spec: Vec<String>,

    /// Keys, and the duty's bounds.
    #[command(flatten)]
    pub signer: SignerArgs,

    /// Proof engines, preferred first, as for `assay node`: dev, native, http://…, engine+http://…; each type needs `dev` or
    /// a proof node to make its proofs, the others verify (what an engine+http endpoint makes it posts to a node, not here)
    #[arg(
        long,
        value_name = "[TYPES@]ENDPOINT",
        value_delimiter = ',',
        required = true,
        help_heading = "Proof engine"
    )]
    pub proof_engine_endpoint: Vec<String>,
    /// Proof types to prove, one proof of each for every payload, comma-separated [default: as for `assay node`: those that
    /// --proof-type and --native-verifier define, and where each endpoint names its types those; else 1,2,3 where beta holds
    /// now or later, 1 where it never does]
    #[arg(
        long,
        value_name = "TYPES",
        value_parser = crate::config::proof_type,
        value_delimiter = ',',
        help_heading = "Proof engine"
    )]
    pub proof_types: Vec<ProofType>,
    /// What stands behind the number of a proof type, as for `assay node`; may be repeated
    #[arg(
        long,
        value_name = "TYPE:SYSTEM:name=NAME:vk=FILE:sha256=HEX:guest=FAMILY:version=TEXT",
        value_delimiter = ',',
        help_heading = "Proof engine"
    )]
    pub proof_type: Vec<ProofTypeDefinition>,
    /// Names that proof nodes have for proof types, laid over those of zkboost 0.9 for alpha's payloads and of 0.10 for beta's:
    /// 5=reth-sp1 for both, beta:1=ethrex-openvm for one
    #[arg(
        long,
        value_name = "[REVISION:]TYPE=NAME",
        value_delimiter = ',',
        help_heading = "Proof engine"
    )]
    pub proof_engine_types: Vec<String>,
    /// File with the JWT secret of engine+http endpoints
    #[arg(long, value_name = "FILE", help_heading = "Proof engine")]
    pub proof_engine_jwt: Option<PathBuf>,
    /// Verifier in this program for a proof type, as for `assay node`; may be repeated
    #[arg(
        long,
        value_name = "TYPE:SYSTEM:vk=FILE:sha256=HEX:guest=FAMILY",
        value_delimiter = ',',
        help_heading = "Proof engine"
    )]
    pub native_verifier: Vec<VerifierSetting>,
    /// Allow guest=unsafe-statements, a table that stands for a guest program in tests: such proofs prove nothing
    #[arg(long, help_heading = "Proof engine")]
    pub unsafe_native_statements: bool,
    /// Development engine: the seed its proofs are made with
    #[arg(long, value_name = "TEXT", default_value = crate::config::DEFAULT_DEV_SEED, help_heading = "Proof engine")]
    pub dev_seed: String,
    /// Let the development engine run on chain id 1, where its proofs prove nothing
    #[arg(long, help_heading = "Proof engine")]
    pub unsafe_dev_proofs_on_mainnet: bool,

    /// Address the metrics server listens on
    #[arg(
        long,
        value_name = "IP",
        default_value = "127.0.0.1",
        help_heading = "Metrics"
    )]
    pub metrics_address: IpAddr,
    /// Port of the metrics server, 0 lets the system choose; without it there is none
    #[arg(long, value_name = "PORT", help_heading = "Metrics")]
    pub metrics_port: Option<u16>,

    /// error, warn, info, debug, trace, or a filter
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = "Log")]
    pub log_level: String,
    /// Log lines for people or as JSON
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Log")]
    pub log_format: LogFormat,
}

impl ProverArgs {
    /// Its settings, as a node has them.
    fn settings(&self) -> Result<NodeConfig, ConfigError> {
        let config = NodeConfig {
            prover: true,
            proof_engine_endpoint: self.proof_engine_endpoint.clone(),
            proof_engine_jwt: self.proof_engine_jwt.clone(),
            proof_engine_types: self.proof_engine_types.clone(),
            proof_types: self.proof_types.clone(),
            proof_type: self
                .proof_type
                .iter()
                .map(|d| {
                    d.clone()
                        .checked()
                        .map_err(|error| ConfigError::Read(error.to_string()))
                })
                .collect::<Result<_, _>>()?,
            revision: self.revision,
            native_verifier: self.native_verifier.clone(),
            unsafe_native_statements: self.unsafe_native_statements,
            dev_seed: self.dev_seed.clone(),
            unsafe_dev_proofs_on_mainnet: self.unsafe_dev_proofs_on_mainnet,
            ..NodeConfig::default()
        };
        let config: NodeConfig = Figment::from(Serialized::defaults(config))
            .merge(Serialized::defaults(&self.signer))
            .extract()
            .map_err(|error| ConfigError::Read(error.to_string()))?;
        config.some_candidate(check_prover)?;
        Ok(config)
    }
}

/// Whether they hold together, with the proof types that they name or those of a revision.
fn check_prover(config: &NodeConfig) -> Result<(), ConfigError> {
    check_proof_types(config)?;
    check_engines(config)?;
    check_signer(config, ProverIs::Alone)
}

/// The duty by the settings.
pub(crate) fn duty(config: &NodeConfig, spec: &Spec) -> DutyConfig {
    DutyConfig {
        proof_types: config.types_to_prove().to_vec(),
        budget: Duration::from_millis(spec.slot_duration_ms).saturating_mul(config.budget_slots),
        max_payloads: config.max_payloads,
        retry: RETRY,
    }
}

/// Runs until SIGINT or SIGTERM.
pub fn run(args: &ProverArgs) -> anyhow::Result<()> {
    let config = args.settings()?;
    logging::init(&args.log_level, args.log_format, None)?;
    // Only to see that they can be had, before anything is waited for.
    engine::native_verifiers(&config.provisional(), &config.provisional_entries()?, 0)?;
    let endpoint =
        BeaconEndpoint::new(args.post_to.as_ref().unwrap_or(&args.beacon_node)).context("--post-to")?;
    let key_signers = signer::key_signers(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("tokio runtime")?;
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let outcome = tokio::select! {
            outcome = prove(args, &config, key_signers, endpoint, &stop) => outcome,
            () = crate::signals::ended() => Ok(()),
        };
        stop.cancel();
        outcome
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn prove(
    args: &ProverArgs,
    config: &NodeConfig,
    key_signers: Vec<Arc<dyn KeySigner>>,
    endpoint: BeaconEndpoint,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    // First: a port that is taken is said at once, and what waits for the beacon node can be seen.
    let registry = Arc::new(Mutex::new(Registry::default()));
    if let Some(port) = args.metrics_port {
        let address = SocketAddr::new(args.metrics_address, port);
        assay_api::serve_metrics(address, registry.clone(), stop.clone())
            .await
            .context("--metrics-port")?;
    }
    let overrides = spec_overrides(args.network_config.as_deref(), args.revision, &args.spec)?;
    let told = assay_chain::connect(&args.beacon_node, &overrides)
        .await
        .map_err(|error| {
            let setting = setting_of(&error, &overrides, &args.spec);
            anyhow::Error::new(error).context(setting)
        })?;
    if let Err(why) = endpoint.check().await {
        let whose = if args.post_to.is_some() {
            "--post-to"
        } else {
            "--beacon-node"
        };
        anyhow::bail!("{whose}: {why}");
    }
    let config = &config.on_network(&told.spec);
    check_prover(config)?;
    let (spec, overrides) = config.with_own_types(&told.spec, &overrides);
    let entries = config.entries_on(&spec)?;
    let (engine, engine_metrics) = engine::from_config(config, &entries, &spec, &RequestBook::default())?;
    let clock = Arc::new(SystemClock);
    let view = Arc::new(ChainView::new(
        spec.clone(),
        told.genesis,
        clock.clone(),
        told.api.clone(),
    ));
    let chain: Arc<dyn Chain> = view.clone();
    let signer = Arc::new(ValidatorSigner::new(chain.clone(), key_signers));
    let prover = Prover::new(
        duty(config, &spec),
        ProverParts {
            chain,
            clock,
            api: told.api.clone(),
            engine,
            signer: signer.clone(),
            door: Arc::new(endpoint),
            recent: Arc::default(),
            own_proofs: Arc::default(),
        },
    );
    let metrics = prover.metrics().clone();
    {
        let mut registry = registry.lock();
        metrics.register(registry.sub_registry_with_prefix("assay_prover"));
        signer
            .metrics()
            .register(registry.sub_registry_with_prefix("assay_signer"));
        engine_metrics.register(registry.sub_registry_with_prefix("assay_proof_engine"));
    }
    tracing::info!(beacon_node = told.api.shown_url(), proof_types = ?config.types_to_prove(), "prover runs");
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
pub(crate) async fn tell_progress(metrics: &ProverMetrics) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_types::{Epoch, ForkName};
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: ProverArgs,
    }

    #[test]
    fn types_and_their_entries_are_said_as_for_a_node() {
        let settings = |words: &[&str]| {
            let fixed = ["prover", "--keystores", "k", "--proof-engine-endpoint"];
            let program = Program::try_parse_from(fixed.iter().chain(words)).unwrap();
            program.args.settings()
        };
        let network = |gloas| {
            let mut spec = Spec::minimal();
            for entry in &mut spec.fork_schedule {
                entry.2 = if entry.0 == ForkName::Gloas {
                    gloas
                } else {
                    Epoch(0)
                };
            }
            spec
        };
        for (words, alpha, beta) in [
            (&["dev"][..], &[1][..], &[1, 2, 3][..]),
            (&["2@dev"], &[2], &[2]),
            (&["dev", "--proof-types", "5"], &[5], &[5]),
            (&["http://a", "--proof-type", "6:name=mine:version=1"], &[6], &[6]),
        ] {
            let config = settings(words).unwrap();
            for (gloas, types) in [(Epoch::FAR_FUTURE, alpha), (Epoch(9), beta)] {
                let config = config.on_network(&network(gloas));
                check_prover(&config).unwrap();
                assert_eq!(config.types_to_prove(), types, "{words:?}");
            }
        }
        let refused = |words: &[&str]| settings(words).unwrap_err().to_string();
        assert!(
            refused(&["dev", "--proof-types", "5", "--proof-type", "6:name=a"]).starts_with("--proof-type:")
        );
        assert!(refused(&["dev", "--proof-type", "6"]).contains("nothing is said"));
    }
}
