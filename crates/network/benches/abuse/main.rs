//! A node under attack: what honest proofs, memory and counters do while peers flood it.
//!
//! A victim stands between two honest nodes that know only it; every slot one of them brings a proof of 1 MiB, which
//! must be with the other within the slot. Meanwhile attackers, each of which comes back under a new identity as soon as
//! it is cut off, do one of these at full rate: proofs of payloads nobody knows, proofs of validators that do not exist,
//! bytes that are no snappy, snappy that is no proof, thousands of streams, messages that are begun and never ended,
//! requests for every proof of which none is taken, statuses each older than the one before, and on discovery records
//! that do not fit (wrong network, unreadable entries, addresses that are no host's or another's) and packets that are
//! none.
//! All is on loopback, where the limits by address do not hold: on the internet an attacker needs an address for every
//! four identities and a subnet for every ten.
//!
//! `cargo bench -p assay-network --bench abuse [-- --slots 10 --slot-ms 6000 --each 4 --limit-mib 400]`, or
//! `testnet/abuse/run.sh`. Ends with 1 if a proof came late or the victim's memory passed the limit.

mod attack;
#[path = "../mesh/node.rs"]
mod node;
mod records;
mod takers;

use attack::Attack;
use node::{Failure, say};
use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

/// Bytes of an honest proof.
const PROOF_BYTES: usize = 1 << 20;
/// Time for one answer of a node.
const PATIENCE: Duration = Duration::from_secs(60);
/// The victim, and the honest nodes.
const VICTIM: usize = 0;
const HONEST: [usize; 2] = [1, 2];

struct Plan {
    slots: u32,
    slot: Duration,
    each: usize,
    limit_mib: u64,
}

impl Plan {
    fn from_args(args: &[String]) -> Result<Self, Failure> {
        let mut plan = Self {
            slots: 10,
            slot: Duration::from_secs(6),
            each: 4,
            limit_mib: 400,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--slots" => plan.slots = value()?.parse()?,
                "--slot-ms" => plan.slot = Duration::from_millis(value()?.parse()?),
                "--each" => plan.each = value()?.parse()?,
                "--limit-mib" => plan.limit_mib = value()?.parse()?,
                // Cargo's own.
                "--bench" => {}
                other => return Err(format!("unknown option {other}").into()),
            }
        }
        Ok(plan)
    }
}

struct Node {
    process: Child,
    input: ChildStdin,
    address: String,
    record: String,
}

/// Ends every node it started.
struct Nodes {
    nodes: Vec<Node>,
    lines: Receiver<(usize, String)>,
    sender: Sender<(usize, String)>,
    directory: tempfile::TempDir,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // Gone already is as good.
            let _ = node.process.kill();
            let _ = node.process.wait();
        }
    }
}

impl Nodes {
    fn spawn(&mut self, peers: &[String]) -> Result<(), Failure> {
        let i = self.nodes.len();
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--node", "127.0.0.1", "shipped", "70"])
            .arg(self.directory.path().join(i.to_string()))
            .args(peers)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().ok_or("no input")?;
        let output = process.stdout.take().ok_or("no output")?;
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send((i, line)).is_err() {
                    return;
                }
            }
        });
        self.nodes.push(Node {
            process,
            input,
            address: String::new(),
            record: String::new(),
        });
        let ready = self.until(PATIENCE, |from, line| from == i && line.starts_with("ready "))?;
        let (address, record) = ready
            .strip_prefix("ready ")
            .and_then(|said| said.split_once(' '))
            .ok_or("it does not get ready")?;
        (self.nodes[i].address, self.nodes[i].record) = (address.to_owned(), record.to_owned());
        Ok(())
    }

    fn tell(&mut self, node: usize, line: &str) -> Result<(), Failure> {
        let input = &mut self.nodes[node].input;
        writeln!(input, "{line}")?;
        input.flush()?;
        Ok(())
    }

    /// The first line of which this is true; empty when time is up.
    fn until(&self, wait: Duration, is_it: impl Fn(usize, &str) -> bool) -> Result<String, Failure> {
        let end = Instant::now() + wait;
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok((from, line)) if is_it(from, &line) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(String::new()),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The victim's memory in MiB: now, and the most it ever was.
    fn memory(&self) -> Result<(u64, u64), Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.nodes[VICTIM].process.id()))?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024)
        };
        Ok((field("VmRSS:"), field("VmHWM:")))
    }

    /// The victim's counters that say what was dropped and why.
    fn drops(&mut self) -> Result<HashMap<String, u64>, Failure> {
        self.tell(VICTIM, "metrics")?;
        let mut drops = HashMap::new();
        loop {
            let line = self.until(PATIENCE, |from, line| {
                from == VICTIM && line.starts_with("metric")
            })?;
            let Some(line) = line.strip_prefix("metric ") else {
                return Ok(drops);
            };
            if let Some((name, value)) = line.rsplit_once(' ')
                && let Ok(value) = value.parse::<f64>()
                && value > 0.0
                && [
                    "verdicts",
                    "undecodable",
                    "over_budget",
                    "denied",
                    "fault",
                    "banned",
                    "goodbye",
                    "dropped",
                    "given_up",
                    "records",
                    "dial_failures",
                    "requests_total{protocol=\"execution_proof_status",
                    "requests_total{protocol=\"status",
                ]
                .iter()
                .any(|part| name.contains(part))
            {
                drops.insert(name.trim_start_matches("assay_network_").to_owned(), value as u64);
            }
        }
    }
}

fn run(plan: &Plan) -> Result<bool, Failure> {
    let (sender, lines) = channel();
    let mut nodes = Nodes {
        nodes: Vec::new(),
        lines,
        sender,
        directory: tempfile::tempdir()?,
    };
    nodes.spawn(&["--discovery".to_owned()])?;
    let (victim, record) = (
        nodes.nodes[VICTIM].address.clone(),
        nodes.nodes[VICTIM].record.clone(),
    );
    for _ in HONEST {
        nodes.spawn(std::slice::from_ref(&victim))?;
    }
    std::thread::sleep(Duration::from_secs(3));
    let (quiet, _) = nodes.memory()?;
    say(&format!(
        "{} attackers of each kind against one node, {} slots of {:?}; memory before: {quiet} MiB",
        plan.each, plan.slots, plan.slot
    ))?;

    // Payload 0 is what attackers may know too.
    for node in 0..=HONEST.len() {
        nodes.tell(node, "payload 0")?;
    }
    let attacks = attack::start(&victim, &record, plan.each)?;
    let mut all_in_time = true;
    let mut slowest = Duration::ZERO;
    for slot in 1..=plan.slots {
        let start = Instant::now();
        for node in 0..=HONEST.len() {
            nodes.tell(node, &format!("payload {slot}"))?;
        }
        let (from, to) = if slot % 2 == 0 {
            (HONEST[0], HONEST[1])
        } else {
            (HONEST[1], HONEST[0])
        };
        nodes.tell(from, &format!("prepare {slot} {PROOF_BYTES}"))?;
        nodes.tell(from, &format!("go {slot}"))?;
        let got = format!("got {slot} ");
        let arrived = nodes.until(plan.slot, |node, line| node == to && line.starts_with(&got))?;
        let took = start.elapsed();
        let in_time = !arrived.is_empty();
        all_in_time &= in_time;
        slowest = slowest.max(took);
        let (now, most) = nodes.memory()?;
        say(&format!(
            "slot {slot}: honest proof {}; memory {now} MiB, most {most} MiB; identities so far {}, sent {} MiB",
            if in_time {
                format!("after {} ms", took.as_millis())
            } else {
                "LATE".to_owned()
            },
            attacks.identities(),
            attacks.bytes() >> 20,
        ))?;
        std::thread::sleep(plan.slot.saturating_sub(start.elapsed()));
    }
    let (_, most) = nodes.memory()?;
    let mut drops: Vec<_> = nodes.drops()?.into_iter().collect();
    drops.sort();
    say("what was dropped, by reason:")?;
    for (name, count) in drops {
        say(&format!("  {count:>8}  {name}"))?;
    }
    let ok = all_in_time && most <= plan.limit_mib;
    say(&format!(
        "{}: slowest honest proof {} ms of {:?}, memory at most {most} of {} MiB, {} identities, attackers sent {} MiB",
        if ok { "ok" } else { "FAILED" },
        slowest.as_millis(),
        plan.slot,
        plan.limit_mib,
        attacks.identities(),
        attacks.bytes() >> 20,
    ))?;
    for attack in Attack::ALL {
        say(&format!("  {attack:?}: {}", attacks.did(attack)))?;
    }
    Ok(ok)
}

fn main() -> Result<ExitCode, Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--node") {
        node::run(&args[1..])?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(u8::from(!run(&Plan::from_args(&args)?)?)))
}
