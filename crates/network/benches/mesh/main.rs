//! What proofs cost on the wire: a network of nodes, each a process of its own, that pass proofs of random bytes.
//!
//! For each set of parameters: bytes written to sockets, by all nodes, per byte of proof delivered (each proof once to
//! each node but its publisher; 1 is the least there can be), and the time from publication until a proof is with its
//! last node. Whole nodes: host, verifier, signatures; the chain is in memory and the engine takes `--verify-ms`.
//!
//! `cargo bench -p assay-network --bench mesh` runs sixteen nodes on loopback, where two cores that encrypt are the
//! limit: bytes per byte say more than times there. `testnet/mesh/shaped.sh` puts each node into a network namespace
//! with a link of 50 Mbit/s and runs this with `--namespaces`.
//!
//! | option | default | |
//! |---|---|---|
//! | `--nodes N` | 16 | nodes, every one connected to every other |
//! | `--proofs N` | 4 | proofs a slot, each from another node |
//! | `--bytes N` | 1048576 | of proof data |
//! | `--slots N` | 3 | slots measured |
//! | `--slot-ms N` | 6000 | from one slot's proofs to the next's |
//! | `--spread-ms N` | 0 | from a slot's first proof to its last |
//! | `--verify-ms N` | 70 | what the proof engine takes |
//! | `--vanish` | | a quarter of the nodes is gone right before the last slot's proofs |
//! | `--sets a,b` | `without,eth2,shipped` | sets of parameters: those names, or `D/low/high/out/lazy[/heartbeat ms[/heartbeats announced]]`, with `-` in front for no IDONTWANT; `a+b` gives nodes a and b in turn |
//! | `--namespaces PREFIX` | | node i runs in the network namespace PREFIXi |
//! | `--check` | | ends with 1 where a goal is missed: every proof delivered to every node there; the set `shipped` at most half of the bytes per byte of `without` if both are measured, and in namespaces at most 1.5 |
//! | `--subnet A.B.C` | 127.0.0 | node i listens on A.B.C.(i+1) with `--namespaces`, else all on A.B.C.1 |

mod cluster;
mod node;
mod process;

use node::{Failure, parameters, say};

/// What to measure.
#[derive(Debug, Clone)]
struct Plan {
    nodes: usize,
    proofs: usize,
    bytes: usize,
    slots: usize,
    slot_ms: u64,
    spread_ms: u64,
    verify_ms: u64,
    vanish: bool,
    check: bool,
    sets: Vec<String>,
    namespaces: Option<String>,
    subnet: String,
}

impl Plan {
    fn from_args(args: &[String]) -> Result<Self, Failure> {
        let mut plan = Self {
            nodes: 16,
            proofs: 4,
            bytes: 1 << 20,
            slots: 3,
            slot_ms: 6000,
            spread_ms: 0,
            verify_ms: 70,
            vanish: false,
            check: false,
            sets: ["without", "eth2", "shipped"].map(str::to_owned).to_vec(),
            namespaces: None,
            subnet: "127.0.0".to_owned(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--nodes" => plan.nodes = value()?.parse()?,
                "--proofs" => plan.proofs = value()?.parse()?,
                "--bytes" => plan.bytes = value()?.parse()?,
                "--slots" => plan.slots = value()?.parse()?,
                "--slot-ms" => plan.slot_ms = value()?.parse()?,
                "--spread-ms" => plan.spread_ms = value()?.parse()?,
                "--verify-ms" => plan.verify_ms = value()?.parse()?,
                "--vanish" => plan.vanish = true,
                "--check" => plan.check = true,
                "--sets" => plan.sets = value()?.split(',').map(str::to_owned).collect(),
                "--namespaces" => plan.namespaces = Some(value()?.clone()),
                "--subnet" => plan.subnet = value()?.clone(),
                // Cargo's own.
                "--bench" => {}
                other => return Err(format!("unknown option {other}").into()),
            }
        }
        if plan.nodes < 2 || plan.nodes > 200 || plan.slots == 0 {
            return Err("2 to 200 nodes and a slot at least".into());
        }
        Ok(plan)
    }
}

/// The most bytes on the wire per byte delivered on shaped links.
const SHAPED_GOAL: f64 = 1.5;
/// And the most of what they are without IDONTWANT.
const SHARE_GOAL: f64 = 0.5;

/// What is not as it should be.
fn misses(plan: &Plan, measured: &[(&str, cluster::Figures)]) -> Vec<String> {
    let mut misses: Vec<String> = measured
        .iter()
        .filter(|(_, figures)| figures.delivered < figures.expected)
        .map(|(set, figures)| format!("{set}: {} of {} delivered", figures.delivered, figures.expected))
        .collect();
    let of = |name: &str| {
        let found = measured.iter().find(|(set, _)| *set == name);
        found.map(|(_, figures)| figures.bytes_per_byte)
    };
    if let Some(shipped) = of("shipped") {
        if plan.namespaces.is_some() && shipped > SHAPED_GOAL {
            misses.push(format!("{shipped:.2} bytes per byte, not {SHAPED_GOAL} at most"));
        }
        if let Some(without) = of("without").filter(|without| shipped > without * SHARE_GOAL) {
            misses.push(format!(
                "{shipped:.2} bytes per byte are more than half of {without:.2}"
            ));
        }
    }
    misses
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--node") {
        return node::run(&args[1..]);
    }
    let plan = Plan::from_args(&args)?;
    say(&format!(
        "{} nodes, {} proofs of {} bytes a slot of {} ms over {} ms, {} slots, engine {} ms, {}",
        plan.nodes,
        plan.proofs,
        plan.bytes,
        plan.slot_ms,
        plan.spread_ms,
        plan.slots,
        plan.verify_ms,
        plan.namespaces.as_deref().map_or("loopback", |_| "namespaces"),
    ))?;
    say(
        "| set | D/low/high/out/lazy, announced | IDONTWANT | bytes per byte | most by one node | p50 ms | p95 ms | delivered |",
    )?;
    say("|---|---|---|---|---|---|---|---|")?;
    let mut measured = Vec::new();
    for set in &plan.sets {
        let p = parameters(set.split('+').next().unwrap_or(set))?;
        let figures = cluster::measure(&plan, set)?;
        say(&format!(
            "| {set} | {}/{}/{}/{}/{}, {} x {} ms | {} | {:.2} | {:.2} | {} | {} | {} of {} |",
            p.mesh_n,
            p.mesh_n_low,
            p.mesh_n_high,
            p.mesh_outbound_min,
            p.gossip_lazy,
            p.announced,
            p.heartbeat.as_millis(),
            if p.idontwant { "yes" } else { "no" },
            figures.bytes_per_byte,
            figures.most_by_one,
            figures.p50_ms,
            figures.p95_ms,
            figures.delivered,
            figures.expected,
        ))?;
        measured.push((set.as_str(), figures));
    }
    let misses = misses(&plan, &measured);
    if plan.check && !misses.is_empty() {
        return Err(misses.join("; ").into());
    }
    Ok(())
}
