//! The simulated beacon chain by itself, for scripts that start the nodes: `testnet/discovery`, `testnet/partition` and
//! `testnet/dashboard`.
//!
//! In: flags, and lines on standard input. Out: one JSON object a line on standard output: `up` with the addresses, then a
//! `block` a slot and a `proven` for every proof that a node took. It ends with its standard input.
//!
//! | line in | what it does |
//! |---|---|
//! | `begin N` | makes a block in each of the next N slots, then says `done` |
//! | `prove URL...` | proofs go to these nodes from now on, a payload's to the next in turn |
//! | `types T,T...` | kinds of proof of the payloads from now on |
//! | `forge V` / `forge off` | beside them validator V signs rubbish of the last kind for each payload |
//! | `finality stalls` / `finality moves` | whether finality follows the head |
//! | `execution N none` / `syncing` / `invalid` / `error` / `hang` | what the Nth execution client does wrong from now on, from 0 |
#![allow(clippy::print_stdout, reason = "an example that prints")]

use anyhow::{Context, bail};
use assay::config::DEFAULT_DEV_SEED;
use assay_engine_api::JwtSecret;
use assay_proof_engine::DevProver;
use assay_simulator::{
    ChainConfig, ExecutionFault, FollowerConfig, ProofMaker, ProverConfig, SimBlock, Simulation,
    SimulationConfig, prover::SimProver, simulation::now_ms,
};
use assay_types::{ProofType, Slot, Spec};
use bytes::Bytes;
use clap::Parser;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// Flags.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Engine endpoint that a beacon node calls, whether it is there yet or not; as many beacon nodes as there are of these
    #[arg(long = "engine", required = true)]
    engines: Vec<String>,
    /// Address of the beacon nodes and execution clients
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Where the JWT secret is written
    #[arg(long)]
    jwt: PathBuf,
    /// Length of a slot, whole seconds
    #[arg(long, default_value_t = 2000)]
    slot_ms: u64,
    /// Kinds of proof, one of each for every payload
    #[arg(long, value_delimiter = ',', default_value = "1")]
    proof_types: Vec<ProofType>,
    /// Bytes of each proof
    #[arg(long, default_value_t = 20_000)]
    proof_size: usize,
    /// From a payload to its proofs
    #[arg(long, default_value_t = 200)]
    proof_delay_ms: u64,
}

/// Says one thing.
fn say(what: &Value) {
    println!("{what}");
}

/// What makes blocks and has them proven.
struct Maker {
    simulation: Simulation,
    args: Args,
    proofs: ProofMaker,
    types: Mutex<Vec<ProofType>>,
    forger: Mutex<Option<u64>>,
    targets: Mutex<Vec<Arc<SimProver>>>,
    forgers: Mutex<Vec<Arc<SimProver>>>,
    names: Mutex<Vec<String>>,
}

impl Maker {
    /// Proofs go to these nodes.
    fn prove_at(&self, urls: Vec<String>) -> anyhow::Result<()> {
        let types = self.types.lock().clone();
        let prover = |url: &String, proof_types: &[ProofType], validator_index, maker: &ProofMaker| {
            SimProver::new(ProverConfig {
                targets: vec![url.clone()],
                proof_types: proof_types.to_vec(),
                proof_size: self.args.proof_size,
                delay: Duration::from_millis(self.args.proof_delay_ms),
                validator_index,
                maker: maker.clone(),
            })
            .map(Arc::new)
        };
        let honest = urls.iter().map(|url| prover(url, &types, 0, &self.proofs));
        *self.targets.lock() = honest.collect::<Result<_, _>>()?;
        let forger = *self.forger.lock();
        let rubbish: ProofMaker = Arc::new(|_, _, size| vec![1; size].into());
        let last = types.last().map(std::slice::from_ref).unwrap_or_default();
        let forged = urls
            .iter()
            .filter_map(|url| forger.map(|v| prover(url, last, v, &rubbish)));
        *self.forgers.lock() = forged.collect::<Result<_, _>>()?;
        *self.names.lock() = urls;
        Ok(())
    }

    /// The same nodes again, after the kinds of proof or the forger have changed.
    fn prove_again(&self) -> anyhow::Result<()> {
        let urls = self.names.lock().clone();
        self.prove_at(urls)
    }

    /// The slot by the clock, and when the next begins.
    fn next_slot(&self) -> (Slot, Duration) {
        let genesis_ms = self.simulation.chain().lock().genesis().genesis_time * 1000;
        let next = now_ms().saturating_sub(genesis_ms) / self.args.slot_ms + 1;
        let begins = genesis_ms + next * self.args.slot_ms;
        (Slot(next), Duration::from_millis(begins.saturating_sub(now_ms())))
    }

    /// A block in each of so many slots.
    async fn run(self: Arc<Self>, slots: u64) -> anyhow::Result<()> {
        for _ in 0..slots {
            let (slot, wait) = self.next_slot();
            tokio::time::sleep(wait).await;
            let block = self.simulation.produce(slot, None).await?;
            let root = block.payload.as_ref().map(|payload| payload.request_root);
            say(
                &json!({ "event": "block", "slot": slot.0, "block_root": block.block_root, "request_root": root, "at_ms": now_ms() }),
            );
            tokio::spawn(self.clone().prove(block));
            tokio::time::sleep(Duration::from_millis(self.args.slot_ms / 2)).await;
            self.simulation.repeat_forkchoice().await;
        }
        say(&json!({ "event": "done" }));
        Ok(())
    }

    /// A payload's proofs, to the next node in turn.
    async fn prove(self: Arc<Self>, block: Arc<SimBlock>) {
        let next = {
            let targets = self.targets.lock();
            let index = usize::try_from(block.slot.0).unwrap_or(0) % targets.len().max(1);
            targets.get(index).cloned().map(|target| (index, target))
        };
        let Some((index, prover)) = next else { return };
        // Before the honest one, which would settle it.
        let forger = self.forgers.lock().get(index).cloned();
        if let Some(forger) = forger {
            forger.prove(self.simulation.chain(), &block).await;
        }
        let before = prover.counts();
        prover.prove(self.simulation.chain(), &block).await;
        let counts = prover.counts();
        let by = self.names.lock().get(index).cloned();
        say(&json!({
            "event": "proven", "slot": block.slot.0, "by": by, "at_ms": now_ms(),
            // Of this payload, unless two were proven at once.
            "posted": counts.posted - before.posted, "failed": counts.failed - before.failed,
        }));
    }
}

/// Standard input, line by line, until its end.
fn lines_in() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args = Args::parse();
    if args.slot_ms == 0 || !args.slot_ms.is_multiple_of(1000) {
        bail!("--slot-ms: whole seconds, at least 1000: payload timestamps are in seconds");
    }
    let spec = Spec {
        config_name: "assay-testnet".into(),
        slot_duration_ms: args.slot_ms,
        chain_id: 1337,
        ..Spec::minimal()
    };
    let dev = DevProver::new(DEFAULT_DEV_SEED, usize::try_from(spec.max_proof_size)?);
    dev.check_size(args.proof_size).context("--proof-size")?;
    let jwt = JwtSecret::generate();
    jwt.write_new_file(&args.jwt)?;
    let simulation = Simulation::start(SimulationConfig {
        chain: ChainConfig {
            spec,
            genesis_time: now_ms() / 1000 + 1,
            validators: 64,
            payload_bytes: 2_000,
            seed: now_ms(),
        },
        followers: args.engines.len(),
        listen: args.listen,
        jwt,
    })
    .await?;
    let engines = args.engines.iter().map(|engine_url| FollowerConfig {
        engine_url: engine_url.clone(),
    });
    simulation.connect(engines.collect())?;
    let each = 0..args.engines.len();
    let beacon: Vec<_> = each.clone().map(|n| simulation.beacon_url(n)).collect();
    let execution: Vec<_> = each
        .map(|n| simulation.execution(n).map(|client| client.url()))
        .collect();
    say(&json!({ "event": "up", "beacon": beacon, "execution": execution }));

    let types = args.proof_types.clone();
    let maker = Arc::new(Maker {
        simulation,
        args,
        proofs: Arc::new(move |input, proof_type, size| {
            dev.prove_stated(input, proof_type, size)
                .unwrap_or_else(|_| Bytes::new())
        }),
        types: Mutex::new(types),
        forger: Mutex::default(),
        targets: Mutex::default(),
        forgers: Mutex::default(),
        names: Mutex::default(),
    });
    let (failed, mut failure) = mpsc::channel(1);
    let mut lines = lines_in();
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            Some(error) = failure.recv() => return Err(error),
        };
        let Some(line) = line else { return Ok(()) };
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["begin", slots] => {
                let (work, failed) = (maker.clone().run(slots.parse()?), failed.clone());
                tokio::spawn(async move {
                    if let Err(error) = work.await {
                        let _ = failed.send(error).await;
                    }
                });
            }
            ["prove", ref urls @ ..] => maker.prove_at(urls.iter().map(|&url| url.to_owned()).collect())?,
            ["types", types] => {
                *maker.types.lock() = types.split(',').map(str::parse).collect::<Result<_, _>>()?;
                maker.prove_again()?;
            }
            ["forge", who] => {
                *maker.forger.lock() = who.parse().ok();
                maker.prove_again()?;
            }
            ["execution", index, fault] => {
                let client = maker.simulation.execution(index.parse()?);
                let fault = match fault {
                    "none" => ExecutionFault::None,
                    "syncing" => ExecutionFault::Syncing,
                    "invalid" => ExecutionFault::Invalid,
                    "error" => ExecutionFault::Error,
                    "hang" => ExecutionFault::Hang,
                    _ => bail!("not understood: {line:?}"),
                };
                client.context("no such execution client")?.set_fault(fault);
            }
            ["finality", word @ ("stalls" | "moves")] => {
                let chain = maker.simulation.chain();
                chain.lock().stall_finality(word == "stalls");
            }
            _ => bail!("not understood: {line:?}"),
        }
    }
}
