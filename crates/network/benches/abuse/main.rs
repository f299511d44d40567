//! A node under attack: what honest proofs, memory and counters do while peers flood it.
//!
//! A victim stands between two honest nodes that know only it; every slot one of them brings a proof of 1 MiB, which
//! must be with the other within the slot, an honest peer on a slow link (`slow`) asks the victim for another, and a second
//! such peer brings one, each of which must be there within the slot too. Meanwhile attackers, each of which comes back under a new identity and by
//! another way (TCP and yamux, TCP and mplex, QUIC) as soon as it is cut off, do one of these at full rate, in three
//! groups (`attack::GROUPS`), one after the other:
//!
//! 1. proofs of payloads nobody knows, proofs of validators that do not exist, bytes that are no snappy, snappy that is no
//!    proof, thousands of streams, the largest messages begun and never ended, requests for every proof of gossip of which
//!    none is taken, statuses each older than the one before, and on discovery records that do not fit (wrong network,
//!    unreadable entries, addresses that are no host's or another's) and packets that are none;
//! 2. one proof of 4 MiB again and again, RPCs of 11.5 MiB full of proofs, proofs of 4 MiB by a validator that is
//!    contained, and on mplex frames of 1 MiB that nobody reads;
//! 3. messages begun that are smaller than an honest one in progress, requests for proofs by range and by root of which
//!    nothing is taken, or 1 KiB a second, and requests with as many bytes behind them as are taken.
//!
//! All is on loopback, where the limits by address do not hold: on the internet an attacker needs an address for every
//! four identities and a subnet for every ten.
//!
//! What was sent is held against what the victim counted (`books`): first a few attacks of each kind by each way, fewer
//! than what cuts anybody off, which must be counted as what they are, each of them; then each group at once, of which all
//! must be counted that arrived beyond doubt. What was under way when a connection ended never arrived; it is told how
//! much. (Packets that are none are discv5's to drop; it counts none of them. What frames nobody reads, and what is held, is
//! found in the memory.)
//!
//! `cargo bench -p assay-network --bench abuse [-- options]`, or `testnet/abuse/run.sh`. Ends with 1 if a proof or an answer came
//! late, the victim's memory passed the limit, or something that arrived is not counted. Its processor time is told and not
//! judged.
//!
//! | option | default | |
//! |---|---|---|
//! | `--slots N`, `--slot-ms N` | 6, 6000 | how long, each group |
//! | `--each N` | 4 | attackers of each kind; of some kinds more, which would do nothing else (`attack::Attack::fewest`) |
//! | `--limit-mib N` | 400 | of the victim's memory |
//! | `--only KIND,KIND` | | these kinds alone (`attack::Attack`), as one group |
//! | `--way WAY` | | by this way alone: `yamux`, `mplex` or `quic` |
//! | `--blind TEXT` | | metrics whose series hold this are not looked at: the comparison must fail then |
//! | `--record ENR --metrics HOST:PORT/PATH --pid PID --contained V` | | a node that runs already is the victim, which contains validator V; honest proofs are somebody else's to look after. Lines `payload ROOT SLOT BLOCK` on standard input name payloads that it knows, has a proof of and none of the type of false proofs |
//! | `--proof-type N` | 1 | the type of false proofs |

mod attack;
mod books;
mod bundle;
mod flood;
mod frames;
#[path = "../mesh/node.rs"]
mod node;
#[path = "../mesh/process.rs"]
mod process;
mod readers;
mod records;
mod requests;
mod slow;
mod takers;
mod unfinished;
mod victim;
mod wire;

use assay_types::{Slot, gossip::compress};
use attack::{Attack, GROUPS, KEPT_LARGEST, KEPT_MIDDLE, Target};
use books::Metrics;
use node::{Failure, VALIDATORS, random_bytes, say};
use slow::{Duty, Slow};
use std::{
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use victim::{Nodes, Victim};
use wire::Way;

/// Bytes of an honest proof.
const PROOF_BYTES: usize = 1 << 20;
/// Payloads of proofs that come over a slow link have numbers from here on.
const BROUGHT: u32 = 10_000;
/// The honest nodes.
const HONEST: [usize; 2] = [1, 2];
/// What is called one by one: each can be counted as nothing but itself.
const CALLED: [Attack; 9] = [
    Attack::UnknownPayloads,
    Attack::UnknownValidators,
    Attack::NoSnappy,
    Attack::NoProof,
    Attack::Streams,
    Attack::OldStatus,
    Attack::Repeats,
    Attack::Rpcs,
    Attack::Contained,
];
/// Bytes of kept proofs of the largest size.
const LARGEST_BYTES: usize = 4 << 20;
/// Time for the victim to connect, and to keep what it is to serve.
const READY: Duration = Duration::from_secs(60);
/// Time for the victim to be done with what has come, after the attackers are gone.
const DONE: Duration = Duration::from_secs(30);

struct Plan {
    slots: u32,
    slot: Duration,
    each: usize,
    limit_mib: u64,
    only: Option<Vec<Attack>>,
    ways: Vec<Way>,
    blind: Option<String>,
    record: Option<String>,
    metrics: Option<String>,
    pid: Option<u32>,
    contained: Option<u64>,
    proof_type: u8,
}

impl Plan {
    fn from_args(args: &[String]) -> Result<Self, Failure> {
        let mut plan = Self {
            slots: 6,
            slot: Duration::from_secs(6),
            each: 4,
            limit_mib: 400,
            only: None,
            ways: Way::ALL.to_vec(),
            blind: None,
            record: None,
            metrics: None,
            pid: None,
            contained: None,
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
                "--only" => {
                    let named = |name: &str| {
                        Attack::named(name).ok_or_else(|| format!("{name} is no kind of attack"))
                    };
                    plan.only = Some(value()?.split(',').map(named).collect::<Result<_, _>>()?);
                }
                "--way" => {
                    let name = value()?;
                    plan.ways = vec![Way::named(name).ok_or_else(|| format!("{name} is no way"))?];
                }
                "--contained" => plan.contained = Some(value()?.parse()?),
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

    /// Which kinds attack at the same time.
    fn groups(&self) -> Vec<(&str, &[Attack])> {
        match &self.only {
            Some(kinds) => vec![("these alone", kinds)],
            None => GROUPS.to_vec(),
        }
    }

    fn victim(&self) -> Result<(Victim, Arc<Target>), Failure> {
        let Some(record) = &self.record else {
            let mut nodes = Nodes::start(HONEST.len())?;
            let target = Target::new(&nodes.nodes[0].record, self.proof_type, VALIDATORS)?;
            // What attackers may know too.
            nodes.tell_all("payload 0")?;
            let largest = KEPT_LARGEST.end - KEPT_LARGEST.start;
            for (first, count, bytes) in [
                (KEPT_MIDDLE, 1, PROOF_BYTES),
                (KEPT_LARGEST.start, largest, LARGEST_BYTES),
            ] {
                nodes.tell(0, &format!("keep {first} {count} {bytes}"))?;
                let kept = nodes.until(READY, |node, line| node == 0 && line == "kept")?;
                if kept.is_empty() {
                    return Err("the victim keeps nothing".into());
                }
            }
            return Ok((Victim::Own(nodes), Arc::new(target)));
        };
        let victim = Victim::Given {
            pid: self.pid.ok_or("--record needs --pid")?,
            metrics: self.metrics.clone().ok_or("--record needs --metrics")?,
        };
        let contained = self.contained.ok_or("--record needs --contained")?;
        let target = Arc::new(Target::new(record, self.proof_type, contained)?);
        let known = Arc::clone(&target);
        let (named, is_named) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut is_first = true;
            for line in std::io::stdin().lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let ["payload", root, slot, block] = words[..] else {
                    continue;
                };
                if let (Ok(root), Ok(slot), Ok(block)) = (root.parse(), slot.parse(), block.parse()) {
                    known.set_payload(root);
                    known.add_served(Slot(slot), block, is_first);
                    is_first = false;
                    let _ = named.send(());
                }
            }
        });
        is_named
            .recv_timeout(READY)
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

/// Makes a validator contained that is not yet.
fn contain(victim: &mut Victim, target: &Arc<Target>, plan: &Plan) -> Result<bool, Failure> {
    let before = settled(victim, plan)?.invalid();
    attack::contain(target)?;
    let counted = settled(victim, plan)?.invalid() - before;
    tell(&books::Line {
        what: format!(
            "an invalid proof of validator {}: {counted} counted as such",
            target.contained
        ),
        ok: counted == 1,
    })
}

/// A few attacks of each kind, one kind after the other.
fn roll_call(victim: &mut Victim, target: &Arc<Target>, plan: &Plan) -> Result<bool, Failure> {
    say("one kind after the other, by each way, fewer than what cuts anybody off:")?;
    let mut ok = true;
    let is_called = |attack: &Attack| plan.only.as_ref().is_none_or(|only| only.contains(attack));
    for attack in CALLED.into_iter().filter(is_called) {
        if attack == Attack::Contained && matches!(victim, Victim::Own(_)) {
            ok &= contain(victim, target, plan)?;
        }
        let before = settled(victim, plan)?;
        let arrived = attack::roll_call(attack, target)?;
        let after = settled(victim, plan)?;
        ok &= tell(&books::roll_call(attack, arrived, &before, &after))?;
    }
    Ok(ok)
}

/// Honest peers on slow links.
struct SlowPeers {
    reader: Slow,
    bringer: Slow,
}

/// How long each thing took that honest peers wanted of a slot; `None` if it was late.
struct Honest {
    /// A proof from one honest node to the other.
    proof: Option<Duration>,
    /// One that comes over a slow link, to the last of both.
    brought: Option<Duration>,
    /// The slow reader's.
    answer: Option<Duration>,
}

impl Honest {
    fn is_in_time(&self, victim: &Victim) -> bool {
        let by_gossip = self.proof.is_some() && self.brought.is_some();
        self.answer.is_some() && (by_gossip || matches!(victim, Victim::Given { .. }))
    }
}

/// One slot, at the end of which honest proofs are where they should be.
fn honest_slot(victim: &mut Victim, peers: &SlowPeers, slot: u32, plan: &Plan) -> Result<Honest, Failure> {
    let start = Instant::now();
    peers.reader.does(Duty::Ask)?;
    let mut honest = Honest {
        proof: None,
        brought: None,
        answer: None,
    };
    if let Victim::Own(nodes) = victim {
        let brought = BROUGHT + slot;
        nodes.tell_all(&format!("payload {slot}"))?;
        nodes.tell_all(&format!("payload {brought}"))?;
        let data = random_bytes(brought, PROOF_BYTES);
        let signed = node::signed(&node::chain(), brought, data, u64::from(slot) % VALIDATORS);
        peers
            .bringer
            .does(Duty::Bring(compress(&signed.to_ssz_bytes())))?;
        let [one, other] = HONEST;
        let (from, to) = if slot.is_multiple_of(2) {
            (one, other)
        } else {
            (other, one)
        };
        nodes.tell(from, &format!("prepare {slot} {PROOF_BYTES}"))?;
        nodes.tell(from, &format!("go {slot}"))?;
        let began = start.elapsed();
        let mut times = nodes
            .times(
                plan.slot.saturating_sub(began),
                &[
                    (to, format!("got {slot} ")),
                    (one, format!("got {brought} ")),
                    (other, format!("got {brought} ")),
                ],
            )?
            .into_iter()
            .map(|time| Some(time? + began));
        honest.proof = times.next().flatten();
        // Both, or none.
        honest.brought = times.try_fold(Duration::ZERO, |last, time| Some(last.max(time?)));
        peers.bringer.took()?;
    }
    std::thread::sleep(plan.slot.saturating_sub(start.elapsed()));
    honest.answer = peers.reader.took()?;
    Ok(honest)
}

/// What was seen while attackers were at work.
#[derive(Default)]
struct Seen {
    is_counted: bool,
    all_in_time: bool,
    slowest: Duration,
    slowest_brought: Duration,
    slowest_answer: Duration,
    most_mib: u64,
    processor_seconds: f64,
    identities: u64,
    sent_mib: u64,
    received_mib: i64,
}

impl Seen {
    /// Together with what was seen of another group.
    fn and(self, other: Self) -> Self {
        Self {
            is_counted: self.is_counted && other.is_counted,
            all_in_time: self.all_in_time && other.all_in_time,
            slowest: self.slowest.max(other.slowest),
            slowest_brought: self.slowest_brought.max(other.slowest_brought),
            slowest_answer: self.slowest_answer.max(other.slowest_answer),
            most_mib: self.most_mib.max(other.most_mib),
            processor_seconds: self.processor_seconds + other.processor_seconds,
            identities: self.identities + other.identities,
            sent_mib: self.sent_mib + other.sent_mib,
            received_mib: self.received_mib + other.received_mib,
        }
    }

    fn is_ok(&self, plan: &Plan) -> bool {
        self.all_in_time && self.is_counted && self.most_mib <= plan.limit_mib
    }

    /// The honest proofs are somebody else's to look after where the victim is given.
    fn tell(&self, plan: &Plan, victim: &Victim) -> Result<(), Failure> {
        let honest = match victim {
            Victim::Own(_) => format!(
                "slowest honest proof {} ms, by a slow link {} ms, ",
                self.slowest.as_millis(),
                self.slowest_brought.as_millis()
            ),
            Victim::Given { .. } => String::new(),
        };
        say(&format!(
            "{}: {honest}answer to the slow reader {} ms, of {} ms; memory at most {} of {} MiB; {:.1} s of processor time; {} identities, attackers sent {} MiB, {} received",
            if self.is_ok(plan) { "ok" } else { "FAILED" },
            self.slowest_answer.as_millis(),
            plan.slot.as_millis(),
            self.most_mib,
            plan.limit_mib,
            self.processor_seconds,
            self.identities,
            self.sent_mib,
            self.received_mib,
        ))?;
        Ok(())
    }
}

/// Attackers of some kinds at once, for as many slots as there are after `first`.
fn attacked(
    victim: &mut Victim,
    target: &Arc<Target>,
    peers: &SlowPeers,
    kinds: &[Attack],
    first: u32,
    plan: &Plan,
) -> Result<Seen, Failure> {
    let before = settled(victim, plan)?;
    victim.begin_most();
    let processor_before = victim.processor_seconds()?;
    let attackers = attack::start(target, kinds, &plan.ways, plan.each)?;
    let tally = Arc::clone(&attackers.tally);
    let sent_mib = || tally.bytes.load(Ordering::Relaxed) >> 20;
    let mut seen = Seen {
        all_in_time: true,
        is_counted: true,
        ..Seen::default()
    };
    let mut used_before = processor_before;
    for slot in first + 1..=first + plan.slots {
        let honest = honest_slot(victim, peers, slot, plan)?;
        seen.all_in_time &= honest.is_in_time(victim);
        let later = |slowest: &mut Duration, took: Option<Duration>| {
            *slowest = (*slowest).max(took.unwrap_or(plan.slot));
        };
        later(&mut seen.slowest, honest.proof);
        later(&mut seen.slowest_brought, honest.brought);
        later(&mut seen.slowest_answer, honest.answer);
        let by_gossip = match victim {
            Victim::Own(_) => format!(
                "honest proof {}, by a slow link {}; ",
                after(honest.proof),
                after(honest.brought)
            ),
            Victim::Given { .. } => String::new(),
        };
        let (now, most) = victim.memory()?;
        let used = victim.processor_seconds()?;
        say(&format!(
            "slot {slot}: {by_gossip}answer to the slow reader {}; memory {now} MiB, most {most} MiB; {:.1} s of processor time; identities so far {}, sent {} MiB",
            after(honest.answer),
            used - used_before,
            tally.identities(),
            sent_mib(),
        ))?;
        used_before = used;
    }
    seen.most_mib = victim.memory()?.1;
    seen.processor_seconds = used_before - processor_before;
    (seen.identities, seen.sent_mib) = (tally.identities(), sent_mib());
    drop(attackers);
    let after = settled(victim, plan)?;
    seen.received_mib = (after.received_bytes() - before.received_bytes()) >> 20;
    say("what was sent against what was counted:")?;
    for line in books::compare(kinds, &tally, &before, &after) {
        seen.is_counted &= tell(&line)?;
    }
    for way in Way::ALL {
        let get = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        let (tried, came) = (
            get(&tally.identities[way as usize]),
            get(&tally.let_in[way as usize]),
        );
        if tried > 0 {
            seen.is_counted &= tell(&books::Line {
                what: format!("by {way:?}: {came} connections of {tried} identities"),
                ok: came > 0,
            })?;
        }
    }
    Ok(seen)
}

fn after(took: Option<Duration>) -> String {
    took.map_or("LATE".to_owned(), |took| format!("after {} ms", took.as_millis()))
}

fn run(plan: &Plan) -> Result<bool, Failure> {
    let (mut victim, target) = plan.victim()?;
    std::thread::sleep(Duration::from_secs(3));
    let (quiet, _) = victim.memory()?;
    say(&format!(
        "{} attackers of each kind against one node, {} slots of {:?} for each group; memory before: {quiet} MiB",
        plan.each, plan.slots, plan.slot
    ))?;
    let mut all = Seen {
        is_counted: roll_call(&mut victim, &target, plan)?,
        all_in_time: true,
        ..Seen::default()
    };
    let slow = || Slow::start(&target, plan.slot);
    let peers = SlowPeers {
        reader: slow(),
        bringer: slow(),
    };
    let mut first = 0;
    for (name, kinds) in plan.groups() {
        say(&format!("at once, {name}: {kinds:?}"))?;
        let seen = attacked(&mut victim, &target, &peers, kinds, first, plan)?;
        seen.tell(plan, &victim)?;
        all = all.and(seen);
        first += plan.slots;
    }
    say("what was dropped, by reason:")?;
    for (series, count) in settled(&mut victim, plan)?.drops() {
        say(&format!("  {count:>8}  {series}"))?;
    }
    all.tell(plan, &victim)?;
    Ok(all.is_ok(plan))
}

fn main() -> Result<ExitCode, Failure> {
    // As `assay` does.
    assay_allocator::give_back_freed_memory();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--node") {
        node::run(&args[1..])?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(u8::from(!run(&Plan::from_args(&args)?)?)))
}
