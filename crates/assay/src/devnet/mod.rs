//! `assay devnet`: a network of nodes over the simulator, in a line or finding each other, each its own process with its own
//! data directory.
//!
//! In: how many nodes and slots. Out: a live view, a summary read from the nodes' HTTP APIs (on SIGINT of what there is by
//! then), and exit code 0 only if every proof reached every node and every payload became VALID everywhere. The nodes end
//! with it, however it ends.
//!
//! | file | what it holds |
//! |---|---|
//! | `args` | the flags |
//! | `child` | one node's process |
//! | `observe` | what a node's HTTP API says |
//! | `summary` | the figures and the verdict at the end |
//! | `view` | the live view |

mod args;
mod child;
mod observe;
mod summary;
mod view;

pub use args::{DevnetArgs, Topology};

use anyhow::{Context, bail};
use assay_engine_api::jwt::JwtSecret;
use assay_proof_engine::DevProver;
use assay_simulator::{
    ChainConfig, FollowerConfig, ProverConfig, SimBlock, Simulation, SimulationConfig, prover::SimProver,
    simulation::now_ms,
};
use assay_types::{Epoch, ForkName, Spec};
use bytes::Bytes;
use child::NodeProcess;
use observe::NodeReport;
use parking_lot::Mutex;
use std::{io::Write, path::Path, sync::Arc, time::Duration};
use summary::Expectation;
use tokio_util::sync::CancellationToken;

/// Seconds from the start of the network to genesis: nodes connect before the first payload.
const GENESIS_DELAY_SECONDS: u64 = 2;
/// Slots after the last one in which proofs and verdicts may still arrive.
const GRACE_SLOTS: u64 = 2;
/// And a little more, for machines that are busy.
const GRACE_MS: u64 = 3000;
/// Between two looks at the nodes.
const POLL: Duration = Duration::from_millis(250);
/// The invented chain's id: none that has value on it.
const CHAIN_ID: u64 = 1337;
/// Most nodes of a devnet: each is a process.
const MAX_NODES: usize = 64;

/// Runs the network.
pub fn run(args: &DevnetArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(network(args))
}

/// What came of a run.
struct Run {
    /// The last that each node said; empty where it was interrupted before they were there.
    reports: Vec<NodeReport>,
    blocks: Vec<Arc<SimBlock>>,
    /// SIGINT or SIGTERM came before the end.
    interrupted: bool,
}

fn check(args: &DevnetArgs) -> anyhow::Result<()> {
    if args.nodes == 0 || args.nodes > MAX_NODES {
        bail!("--nodes: 1 to {MAX_NODES}");
    }
    if args.slots == 0 {
        bail!("--slots: at least 1");
    }
    if args.gloas_epoch == Some(0) {
        bail!("--gloas-epoch: at least 1, the simulated genesis is of Fulu");
    }
    if args.slot_ms == 0 || !args.slot_ms.is_multiple_of(1000) {
        bail!("--slot-ms: whole seconds, at least 1000: payload timestamps are in seconds");
    }
    if args.proof_types.is_empty() {
        bail!("--proof-types: at least one");
    }
    if args.required_proofs == 0 || args.required_proofs > args.proof_types.len() {
        bail!(
            "--required-proofs: 1 to the number of --proof-types ({})",
            args.proof_types.len()
        );
    }
    // Said before the run, not after it.
    if let Some(path) = &args.summary
        && path
            .parent()
            .is_some_and(|dir| !dir.as_os_str().is_empty() && !dir.is_dir())
    {
        bail!("--summary {}: no such directory", path.display());
    }
    Ok(())
}

/// A delay that no proof of the last payloads can have is no mistake where a failing run is what is wanted.
fn too_late(args: &DevnetArgs) -> Option<String> {
    let end = args.slot_ms.saturating_mul(GRACE_SLOTS);
    (args.proof_delay_ms > end).then(|| {
        format!(
            "--proof-delay-ms {}: the run ends some {end} ms after its last payload, before the last proofs come; it will \
             fail for them",
            args.proof_delay_ms
        )
    })
}

async fn network(args: &DevnetArgs) -> anyhow::Result<()> {
    check(args)?;
    if let Some(warning) = too_late(args) {
        // A closed standard error leaves nobody to tell it to.
        let _ = writeln!(std::io::stderr(), "assay: {warning}");
    }
    let mut spec = Spec {
        config_name: "assay-devnet".into(),
        slot_duration_ms: args.slot_ms,
        chain_id: CHAIN_ID,
        ..Spec::minimal()
    };
    if let Some(gloas) = args.gloas_epoch {
        for (fork, _, epoch) in &mut spec.fork_schedule {
            if *fork == ForkName::Gloas {
                *epoch = Epoch(gloas);
            }
        }
    }
    let dev = DevProver::new(
        crate::config::DEFAULT_DEV_SEED,
        usize::try_from(spec.max_proof_size)?,
    );
    dev.check_size(args.proof_size).context("--proof-size")?;

    let home = child::Home::new(args.datadir.as_deref())?;
    let jwt = JwtSecret::generate();
    let jwt_file = home.path().join("jwt.hex");
    anyhow::ensure!(
        !jwt_file.exists(),
        "{} was an earlier devnet's directory: its chain is over, so name a new one (--datadir)",
        home.path().display()
    );
    jwt.write_new_file(&jwt_file)?;
    let simulation = Simulation::start(SimulationConfig {
        chain: ChainConfig {
            spec,
            genesis_time: now_ms() / 1000 + GENESIS_DELAY_SECONDS,
            validators: 64,
            payload_bytes: args.payload_bytes,
            seed: now_ms(),
        },
        followers: args.nodes,
        listen: std::net::Ipv4Addr::LOCALHOST.into(),
        jwt,
    })
    .await?;
    let simulation = Arc::new(simulation);
    let interrupted = CancellationToken::new();
    let listening = tokio::spawn({
        let interrupted = interrupted.clone();
        async move {
            crate::signals::ended().await;
            interrupted.cancel();
        }
    });
    let mut nodes: Vec<NodeProcess> = Vec::new();
    let run = drive(
        args,
        &simulation,
        (home.path(), &jwt_file),
        dev,
        &mut nodes,
        &interrupted,
    )
    .await;
    // Whatever came of it, the nodes end as they would by themselves; a second signal kills them.
    listening.abort();
    tokio::select! {
        _ = futures::future::join_all(nodes.iter_mut().map(NodeProcess::stop)) => {}
        () = crate::signals::ended() => {}
    }
    simulation.stop();
    let run = run?;
    let expected = Expectation {
        blocks: run.blocks,
        ..expectation(args)
    };
    let summary = summary::summarize(args, &expected, &run.reports, run.interrupted);
    summary::print(&summary)?;
    if let Some(path) = &args.summary {
        std::fs::write(path, serde_json::to_vec_pretty(&summary)?)
            .with_context(|| path.display().to_string())?;
    }
    if summary.failures.is_empty() {
        return Ok(());
    }
    if run.interrupted {
        bail!("{}", summary.failures.join("; "));
    }
    home.keep();
    bail!(
        "{}; data and logs are in {}",
        summary.failures.join("; "),
        home.path().display()
    );
}

fn expectation(args: &DevnetArgs) -> Expectation {
    Expectation {
        blocks: Vec::new(),
        slots: args.slots,
        proof_types: args.proof_types.clone(),
        verdicts_count: args.import_policy != crate::config::ImportPolicyName::Observe,
    }
}

/// Starts the nodes, each told of those whom the topology names, and waits until they are connected.
async fn start_nodes(
    args: &DevnetArgs,
    simulation: &Simulation,
    (home, jwt_file): (&Path, &Path),
    nodes: &mut Vec<NodeProcess>,
) -> anyhow::Result<reqwest::Client> {
    for index in 0..args.nodes {
        let mut known = Vec::new();
        match args.topology {
            Topology::Line => {
                known.push(("--disable-discovery", "true".to_owned()));
                known.extend(nodes.last().map(|n| ("--peer", n.endpoints.p2p.clone())));
            }
            Topology::Discovery => {
                known.extend(nodes.first().map(|n| ("--boot-nodes", n.endpoints.enr.clone())));
            }
        }
        nodes.push(start_node(args, simulation, home, jwt_file, index, known).await?);
    }
    let http = observe::client()?;
    observe::wait_for_peers(&http, nodes, args.topology).await?;
    Ok(http)
}

/// Starts the nodes into `nodes`, makes the blocks and their proofs, and watches until the end or an interruption.
async fn drive(
    args: &DevnetArgs,
    simulation: &Arc<Simulation>,
    files: (&Path, &Path),
    dev: DevProver,
    nodes: &mut Vec<NodeProcess>,
    interrupted: &CancellationToken,
) -> anyhow::Result<Run> {
    let starting = start_nodes(args, simulation, files, nodes);
    let Some(http) = interrupted.run_until_cancelled(starting).await.transpose()? else {
        return Ok(Run {
            reports: Vec::new(),
            blocks: Vec::new(),
            interrupted: true,
        });
    };
    simulation.connect(
        nodes
            .iter()
            .map(|n| FollowerConfig {
                engine_url: n.endpoints.engine.clone(),
            })
            .collect(),
    )?;

    for (index, node) in nodes.iter().enumerate() {
        let beacon = simulation.beacon_url(index).unwrap_or_default();
        let (number, http) = (index + 1, &node.endpoints.http);
        writeln!(
            std::io::stdout(),
            "node {number}: {http}/dashboard, beside the beacon node {beacon}"
        )?;
    }
    let first = nodes.first().context("no node")?;
    let proof_size = args.proof_size;
    let prover = Arc::new(SimProver::new(ProverConfig {
        targets: vec![first.endpoints.http.clone()],
        proof_types: args.proof_types.clone(),
        proof_size,
        delay: Duration::from_millis(args.proof_delay_ms),
        validator_index: 0,
        maker: Arc::new(move |input, proof_type, size| {
            dev.prove_stated(input, proof_type, size)
                .unwrap_or_else(|_| Bytes::new())
        }),
    })?);

    let blocks: Arc<Mutex<Vec<Arc<SimBlock>>>> = Arc::default();
    let produced = blocks.clone();
    let producing = {
        let simulation = simulation.clone();
        let slots = args.slots;
        tokio::spawn(async move {
            simulation
                .run(
                    slots,
                    |_| false,
                    Some(prover),
                    move |block| produced.lock().push(block.clone()),
                )
                .await
        })
    };
    let reports = watch(args, nodes, &http, simulation, &blocks, producing, interrupted).await?;
    let blocks = blocks.lock().clone();
    Ok(Run {
        reports,
        blocks,
        interrupted: interrupted.is_cancelled(),
    })
}

async fn start_node(
    args: &DevnetArgs,
    simulation: &Simulation,
    home: &Path,
    jwt_file: &Path,
    index: usize,
    known: Vec<(&'static str, String)>,
) -> anyhow::Result<NodeProcess> {
    let beacon = simulation.beacon_url(index).context("no beacon node")?;
    let execution = simulation.execution(index).context("no execution client")?.url();
    let types: Vec<String> = args.proof_types.iter().map(u8::to_string).collect();
    let mut flags = vec![
        ("--beacon-node", beacon),
        ("--engine-jwt", jwt_file.display().to_string()),
        ("--engine-port", "0".into()),
        ("--http-port", "0".into()),
        ("--listen-address", "127.0.0.1".into()),
        ("--port", "0".into()),
        ("--proof-engine-endpoint", "dev".into()),
        ("--proof-types", types.join(",")),
        ("--import-policy", args.import_policy.to_string()),
        ("--required-proofs", args.required_proofs.to_string()),
    ];
    if args.import_policy != crate::config::ImportPolicyName::ProofsOnly {
        flags.push(("--execution-endpoint", execution));
        flags.push(("--execution-jwt", jwt_file.display().to_string()));
    }
    flags.extend(known);
    NodeProcess::start(index, &home.join(format!("node-{}", index + 1)), &flags).await
}

/// Shows what happens until everything has arrived, the grace after the last slot is over, or the run is interrupted; the
/// last reports.
async fn watch(
    args: &DevnetArgs,
    nodes: &mut [NodeProcess],
    http: &reqwest::Client,
    simulation: &Arc<Simulation>,
    blocks: &Mutex<Vec<Arc<SimBlock>>>,
    producing: tokio::task::JoinHandle<Result<(), assay_simulator::SimError>>,
    interrupted: &CancellationToken,
) -> anyhow::Result<Vec<NodeReport>> {
    let mut view = view::LiveView::new(args.nodes, &args.proof_types);
    let mut deadline = None;
    // The gate forgets payloads behind finality: what was last said of each counts.
    let mut kept = vec![observe::SeenPayloads::new(); nodes.len()];
    let mut repeated = now_ms();
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = interrupted.cancelled() => {}
        }
        for node in nodes.iter_mut() {
            node.check_alive()?;
        }
        let mut reports = observe::all(http, nodes).await?;
        for (report, seen) in reports.iter_mut().zip(&mut kept) {
            report.keep(seen);
        }
        let produced = blocks.lock().clone();
        view.show(&mut std::io::stdout().lock(), &produced, &reports)?;
        if interrupted.is_cancelled() {
            producing.abort();
            view.finish();
            return Ok(reports);
        }
        if !producing.is_finished() {
            continue;
        }
        let now = now_ms();
        let end = *deadline.get_or_insert(now + args.slot_ms * GRACE_SLOTS + GRACE_MS);
        let expected = Expectation {
            blocks: produced,
            ..expectation(args)
        };
        if summary::failures(&expected, &reports).is_empty() || now >= end {
            producing.await??;
            view.finish();
            return Ok(reports);
        }
        // Empty slots: beacon nodes repeat forkchoiceUpdated for their head.
        if now >= repeated + args.slot_ms / 2 {
            repeated = now;
            simulation.repeat_forkchoice().await;
        }
    }
}
