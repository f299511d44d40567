//! The wiring of a node: every floor of the house, started in the order in which each needs the others.

mod assembly;
mod checkpoint;
mod disk;
pub(crate) mod engine;
mod engine_side;
mod entries;
pub(crate) mod guests;
mod network_file;
mod observer;
mod proving;
mod reload;
mod secondary;
mod secrets;
pub(crate) mod slot;
mod tasks;
mod waiting;
mod warnings;

use crate::{
    config::{ConfigError, NodeArgs, NodeConfig, resolve, spec_overrides},
    endpoints::Endpoints,
    logging, signer,
    traces::Traces,
};
use anyhow::Context;
use assay_chain::NodeApi;
use assay_gate::GateHandle;
use assay_network::ProofSync;
use assay_proof_engine::ProofTypes;
use assay_store::Store;
use assay_types::Spec;
use assay_verification::Verifier;
use assembly::{Prepared, network_config};
use engine_side::{Early, EngineSide};
use secrets::Secrets;
use std::{fmt::Display, str::FromStr, sync::Arc, time::Duration};
use tasks::until;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long everything together may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// Threads for blocking work: hashing, pairings, disk.
pub(crate) const BLOCKING_THREADS: usize = 64;

/// `assay node`: runs until SIGINT or SIGTERM, with `--exit-with-stdin` at most until standard input ends.
pub fn run(args: &NodeArgs) -> anyhow::Result<()> {
    let config = resolve(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("tokio runtime")?;
    let traces = Traces::of(config.otlp_endpoint.as_deref(), &runtime)?;
    logging::init(&config.log_level, config.log_format, traces.as_ref())?;
    crate::config::warn_of_unknown_variables();
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let with_stdin = args.exit_with_stdin;
        let ended = async {
            tokio::select! {
                () = crate::signals::ended() => {}
                () = crate::signals::stdin_ended(), if with_stdin => {}
            }
        };
        tokio::pin!(ended);
        let mut hangups = crate::signals::hangups();
        let starting = Node::start(config, stop.clone());
        let mut node = tokio::select! {
            node = starting => node?,
            () = &mut ended => return Ok(()),
        };
        let outcome = loop {
            let hangup = async {
                match &mut hangups {
                    Some(hangups) => hangups.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                () = &mut ended => break Ok(()),
                // None of them ends by itself: a node without one of its parts is worse than none.
                _ = node.tasks.join_next() => {
                    break Err(anyhow::anyhow!("a part of the node ended by itself; see the log"));
                }
                Some(()) = hangup => node.reload(args).await,
            }
        };
        stop.cancel();
        node.ended().await;
        outcome
    });
    drop(traces);
    // Work on blocking threads that does not end by itself is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// A node that runs.
pub struct Node {
    /// Where it listens.
    pub endpoints: Endpoints,
    verifier: Verifier,
    store: Store,
    tasks: JoinSet<()>,
    gate: GateHandle,
    sync: ProofSync,
    config: NodeConfig,
    /// What stands behind the numbers; never changes.
    proof_types: Arc<ProofTypes>,
    /// Whether any proof type is verified.
    verifies: bool,
    beacon: Arc<NodeApi>,
    spec: Arc<Spec>,
    stop: CancellationToken,
}

impl Node {
    /// Starts a node; it runs until `stop` is cancelled. Waits for the beacon node for as long as it takes where its
    /// network is not known from before.
    pub async fn start(config: NodeConfig, stop: CancellationToken) -> anyhow::Result<Self> {
        let engine_side = match Secrets::read(&config)? {
            Some(secrets) => {
                let side = EngineSide::bind(&config, secrets)?;
                let early = Early::start(&side, &config, Arc::new(engine_side::Deaf), &stop).await?;
                Some((side, early))
            }
            None => None,
        };
        let node = Self::start_behind(config, engine_side, stop.clone()).await;
        if node.is_err() {
            stop.cancel();
        }
        node
    }

    /// Starts a node whose Engine API is served already. Where it fails, what serves it goes on.
    async fn start_behind(
        config: NodeConfig,
        engine_side: Option<(EngineSide, Early)>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        assay_engine_api::install_crypto_provider();
        let named = config.clone();
        let key_signers = tokio::task::spawn_blocking(move || signer::key_signers(&named)).await??;
        // Only to see that they can be had: what the keys stand for depends on the chain.
        engine::native_verifiers(&config.provisional(), &config.provisional_entries()?, 0)?;
        let peers = parse_all("peer", &config.peers)?;
        let boot_nodes = parse_all("boot-nodes", &config.boot_nodes)?;
        network_config(&config).check()?;
        let overrides = spec_overrides(config.network_config.as_deref(), config.revision, &config.spec)?;
        std::fs::create_dir_all(&config.datadir)
            .with_context(|| format!("--datadir {}", config.datadir.display()))?;

        let bootstrap =
            network_file::connect(&config.datadir, &config.beacon_node, &overrides, &config.spec).await?;
        Self::with_network(
            &config,
            bootstrap,
            overrides,
            Prepared {
                engine_side,
                key_signers,
                peers,
                boot_nodes,
            },
            &stop,
        )
        .await
    }

    /// `--trusted-checkpoint`, as soon as the beacon node gives its block.
    fn trust_checkpoint(&self) -> Result<(), ConfigError> {
        if let Some(checkpoint) = self.config.checkpoint()? {
            let (beacon, spec, gate) = (self.beacon.clone(), self.spec.clone(), self.gate.clone());
            let trust = checkpoint::trust(checkpoint, beacon, spec, gate);
            tokio::spawn(until(&self.stop, trust));
        }
        Ok(())
    }

    /// Reads the settings anew.
    async fn reload(&mut self, args: &NodeArgs) {
        let before = self.config.trusted_checkpoint.clone();
        let parts = reload::Running {
            gate: &self.gate,
            verifies: self.verifies,
            spec: &self.spec,
            proof_types: &self.proof_types,
        };
        self.config = reload::reload(args, self.config.clone(), &parts).await;
        // What peers are told goes by the same numbers.
        let counted = self.config.counted_types().to_vec();
        self.sync.set_counted(self.config.required_proofs, counted);
        if self.config.trusted_checkpoint != before
            && let Err(error) = self.trust_checkpoint()
        {
            tracing::error!(%error, "SIGHUP");
        }
    }

    /// Ends once `stop` is cancelled and everything has come to rest, or the time for that is over.
    pub async fn ended(mut self) {
        let rest = async {
            self.verifier.shutdown().await;
            while self.tasks.join_next().await.is_some() {}
            if let Err(error) = self.store.flush().await {
                tracing::error!(%error, "store");
            }
        };
        if tokio::time::timeout(STOP_TIMEOUT, rest).await.is_err() {
            tracing::warn!("not everything ended within {STOP_TIMEOUT:?}");
        }
        tracing::info!("ended");
    }
}

/// Each as what it should be, the flag named in the error.
fn parse_all<T: FromStr<Err: Display>>(flag: &'static str, given: &[String]) -> Result<Vec<T>, ConfigError> {
    given
        .iter()
        .map(|text| {
            text.trim().parse().map_err(|e| ConfigError::Value {
                flag,
                why: format!("{text:?}: {e}"),
            })
        })
        .collect()
}

/// `assay/<version>/<platform>`, as beacon nodes name themselves.
pub fn version() -> String {
    format!(
        "assay/{}/{}-{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS
    )
}
