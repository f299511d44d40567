//! A node under attack: what honest proofs, memory and counters do while peers flood it.
//!
//! A victim stands between two honest nodes that know only it; every slot one of them brings a proof of 1 MiB, which
//! must be with the other within the slot. Meanwhile attackers, each of which comes back under a new identity and by
//! another way (TCP and yamux, TCP and mplex, QUIC) as soon as it is cut off, do one of these at full rate: proofs of
//! payloads nobody knows, proofs of validators that do not exist, bytes that are no snappy, snappy that is no proof,
//! thousands of streams, messages that are begun and never ended, requests for every proof of which none is taken,
//! statuses each older than the one before, and on discovery records that do not fit (wrong network, unreadable entries,
//! addresses that are no host's or another's) and packets that are none.
//! All is on loopback, where the limits by address do not hold: on the internet an attacker needs an address for every
//! four identities and a subnet for every ten.
//!
//! What was sent is held against what the victim counted (`books`): first a few attacks of each kind by each way, fewer
//! than what cuts anybody off, which must be counted as what they are, each of them; then all at once, of which all must
//! be counted that arrived beyond doubt. What was under way when a connection ended never arrived; it is told how much.
//! (Packets that are none are discv5's to drop; it counts none of them.)
//!
//! `cargo bench -p assay-network --bench abuse [-- options]`, or `testnet/abuse/run.sh`. Ends with 1 if a proof came late, the
//! victim's memory passed the limit, or something that arrived is not counted.
//!
//! | option | default | |
//! |---|---|---|
//! | `--slots N`, `--slot-ms N` | 10, 6000 | how long |
//! | `--each N` | 4 | attackers of each kind |
//! | `--limit-mib N` | 400 | of the victim's memory |
//! | `--blind TEXT` | | metrics whose series hold this are not looked at: the comparison must fail then |
//! | `--record ENR --metrics HOST:PORT/PATH --pid PID` | | a node that runs already is the victim; honest proofs are somebody else's to look after. Lines `payload ROOT` on standard input name a payload that it knows and has no proof of |
//! | `--proof-type N` | 1 | the type of false proofs |

mod attack;
mod books;
mod flood;
#[path = "../mesh/node.rs"]
mod node;
mod records;
mod requests;
mod takers;
mod victim;
mod wire;

use attack::{Attack, Target};
use books::Metrics;
use node::{Failure, say};
use std::{
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use victim::{Nodes, Victim};
use wire::Way;

/// Bytes of an honest proof.
const PROOF_BYTES: usize = 1 << 20;
/// The honest nodes.
const HONEST: [usize; 2] = [1, 2];
/// What is called one by one: each can be counted as nothing but itself.
const CALLED: [Attack; 6] = [
    Attack::UnknownPayloads,
    Attack::UnknownValidators,
    Attack::NoSnappy,
    Attack::NoProof,
    Attack::Streams,
    Attack::OldStatus,
];
/// Time for the victim to be done with what has come, after the attackers are gone.
const DONE: Duration = Duration::from_secs(30);

struct Plan {
    slots: u32,
    slot: Duration,
    each: usize,
    limit_mib: u64,
    blind: Option<String>,
    record: Option<String>,
    metrics: Option<String>,
    pid: Option<u32>,
    proof_type: u8,
}

impl Plan {
    fn from_args(args: &[String]) -> Result<Self, Failure> {
        let mut plan = Self {
            slots: 10,
            slot: Duration::from_secs(6),
            each: 4,
            limit_mib: 400,
            blind: None,
            record: None,
            metrics: None,
            pid: None,
            proof_type: 1,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--slots" => plan.slots = value()?.parse()?,
                "--slot-ms" => plan.slot = Duration::from_millis(value()?.parse()?),
                "--each" => plan.each = value()?.parse()?,
                "--limit-mib" => plan.limit_mib = value()?.parse()?,
                "--blind" => plan.blind = Some(value()?.clone()),
                "--record" => plan.record = Some(value()?.clone()),
                "--metrics" => plan.metrics = Some(value()?.clone()),
                "--pid" => plan.pid = Some(value()?.parse()?),
                "--proof-type" => plan.proof_type = value()?.parse()?,
                // Cargo's own.
                "--bench" => {}
                other => return Err(format!("unknown option {other}").into()),
            }
        }
        Ok(plan)
    }

    fn victim(&self) -> Result<(Victim, Arc<Target>), Failure> {
        let Some(record) = &self.record else {
            let nodes = Nodes::start(HONEST.len())?;
            let target = Target::new(&nodes.nodes[0].record, self.proof_type)?;
            return Ok((Victim::Own(nodes), Arc::new(target)));
        };
        let victim = Victim::Given {
            pid: self.pid.ok_or("--record needs --pid")?,
            metrics: self.metrics.clone().ok_or("--record needs --metrics")?,
        };
        let target = Arc::new(Target::new(record, self.proof_type)?);
        let known = Arc::clone(&target);
        let (named, is_named) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                let root = line
                    .strip_prefix("payload ")
                    .and_then(|root| root.trim().parse().ok());
                if let Some(root) = root {
                    known.set_payload(root);
                    let _ = named.send(());
                }
            }
        });
        is_named
            .recv_timeout(Duration::from_secs(60))
            .map_err(|_| "nobody names a payload")?;
        Ok((victim, target))
    }
}

/// The victim's counters once nothing moves any more.
fn settled(victim: &mut Victim, plan: &Plan) -> Result<Metrics, Failure> {
    let end = Instant::now() + DONE;
    loop {
        let before = victim.metrics(plan.blind.as_deref())?.balance();
        std::thread::sleep(Duration::from_secs(1));
        let now = victim.metrics(plan.blind.as_deref())?;
        if now.balance() == before || Instant::now() > end {
            return Ok(now);
        }
    }
}

/// Tells what was compared; whether all is well.
fn tell(line: &books::Line) -> Result<bool, Failure> {
    say(&format!(
        "  {}  {}",
        if line.ok { "ok    " } else { "FAILED" },
        line.what
    ))?;
    Ok(line.ok)
}

/// A few attacks of each kind, one kind after the other.
fn roll_call(victim: &mut Victim, target: &Arc<Target>, plan: &Plan) -> Result<bool, Failure> {
    say("one kind after the other, by each way, fewer than what cuts anybody off:")?;
    let mut ok = true;
    for attack in CALLED {
        let before = settled(victim, plan)?;
        let arrived = attack::roll_call(attack, target)?;
        let after = settled(victim, plan)?;
        ok &= tell(&books::roll_call(attack, arrived, &before, &after))?;
    }
    Ok(ok)
}

/// One slot, at the end of which an honest proof is where it should be; how long it took.
fn honest_slot(nodes: &mut Nodes, slot: u32, plan: &Plan) -> Result<Option<Duration>, Failure> {
    let start = Instant::now();
    nodes.tell_all(&format!("payload {slot}"))?;
    let [one, other] = HONEST;
    let (from, to) = if slot.is_multiple_of(2) {
        (one, other)
    } else {
        (other, one)
    };
    nodes.tell(from, &format!("prepare {slot} {PROOF_BYTES}"))?;
    nodes.tell(from, &format!("go {slot}"))?;
    let got = format!("got {slot} ");
    let arrived = nodes.until(plan.slot, |node, line| node == to && line.starts_with(&got))?;
    Ok((!arrived.is_empty()).then(|| start.elapsed()))
}

fn run(plan: &Plan) -> Result<bool, Failure> {
    let (mut victim, target) = plan.victim()?;
    std::thread::sleep(Duration::from_secs(3));
    let (quiet, _) = victim.memory()?;
    say(&format!(
        "{} attackers of each kind against one node, {} slots of {:?}; memory before: {quiet} MiB",
        plan.each, plan.slots, plan.slot
    ))?;
    if let Victim::Own(nodes) = &mut victim {
        // What attackers may know too.
        nodes.tell_all("payload 0")?;
    }
    let all_called = roll_call(&mut victim, &target, plan)?;

    let before = settled(&mut victim, plan)?;
    let attackers = attack::start(&target, plan.each)?;
    let tally = Arc::clone(&attackers.tally);
    let sent_mib = || tally.bytes.load(Ordering::Relaxed) >> 20;
    let mut all_in_time = true;
    let mut slowest = Duration::ZERO;
    for slot in 1..=plan.slots {
        let start = Instant::now();
        let mut honest = String::new();
        if let Victim::Own(nodes) = &mut victim {
            let took = honest_slot(nodes, slot, plan)?;
            all_in_time &= took.is_some();
            slowest = slowest.max(took.unwrap_or(plan.slot));
            honest = took.map_or("honest proof LATE; ".to_owned(), |took| {
                format!("honest proof after {} ms; ", took.as_millis())
            });
        }
        std::thread::sleep(plan.slot.saturating_sub(start.elapsed()));
        let (now, most) = victim.memory()?;
        let (identities, sent) = (tally.identities(), sent_mib());
        say(&format!(
            "slot {slot}: {honest}memory {now} MiB, most {most} MiB; identities so far {identities}, sent {sent} MiB"
        ))?;
    }
    let (_, most) = victim.memory()?;
    drop(attackers);
    let after = settled(&mut victim, plan)?;
    say("what was dropped, by reason:")?;
    for (series, count) in after.drops() {
        say(&format!("  {count:>8}  {series}"))?;
    }
    say("all at once, what was sent against what was counted:")?;
    let mut all_counted = all_called;
    for line in books::compare(&tally, &before, &after) {
        all_counted &= tell(&line)?;
    }
    for way in Way::ALL {
        let get = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        let (tried, came) = (
            get(&tally.identities[way as usize]),
            get(&tally.let_in[way as usize]),
        );
        let line = books::Line {
            what: format!("by {way:?}: {came} connections of {tried} identities"),
            ok: came > 0,
        };
        all_counted &= tell(&line)?;
    }
    let ok = all_in_time && all_counted && most <= plan.limit_mib;
    let honest = match &victim {
        Victim::Own(_) => format!(
            "slowest honest proof {} ms of {:?}, ",
            slowest.as_millis(),
            plan.slot
        ),
        Victim::Given { .. } => String::new(),
    };
    say(&format!(
        "{}: {honest}memory at most {most} of {} MiB, {} identities, attackers sent {} MiB",
        if ok { "ok" } else { "FAILED" },
        plan.limit_mib,
        tally.identities(),
        sent_mib(),
    ))?;
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
