//! The attackers: what they do, how often they did it, and what of that the victim must have seen.

use crate::{
    flood, frames,
    node::{self, Failure, block_root, random_bytes, root},
    readers, records, requests, takers, unfinished,
    wire::{Line, Way},
};
use assay_network::enr::{Enr, EnrExt as _};
use assay_types::{ForkDigest, Root, Slot, digest::execution_proof_topic, gossip::compress};
use libp2p::{Multiaddr, PeerId};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a new identity waits after the last was cut off.
const PAUSE: Duration = Duration::from_millis(500);

/// Time for one to do a few of its kind.
const CALLED: Duration = Duration::from_secs(30);

/// What is kept at the victim to be asked for: one proof of 1 MiB, then some of the largest size.
pub(crate) const KEPT_MIDDLE: u32 = 900;
pub(crate) const KEPT_LARGEST: std::ops::Range<u32> = 901..909;
/// Blocks asked for by root at once.
const BY_ROOT: usize = 8;

/// What an attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Well-formed proofs of payloads that nobody knows.
    UnknownPayloads,
    /// Proofs of a known payload, of validators that do not exist.
    UnknownValidators,
    /// Bytes that are no snappy.
    NoSnappy,
    /// Snappy that is no proof.
    NoProof,
    /// As many streams as can be opened.
    Streams,
    /// Messages of which all but the end comes, each on a connection of its own that stays.
    Unfinished,
    /// Requests for every proof, and none of them taken.
    Takers,
    /// Statuses that were true once, the older the later.
    OldStatus,
    /// Records that do not fit, and packets that are none, over discovery.
    WrongRecords,
    /// One proof of the largest size again and again, in RPCs full of it.
    Repeats,
    /// RPCs of nearly the largest size, full of proofs of unknown payloads.
    Rpcs,
    /// Over mplex, frames of the largest size on streams that are not read.
    Frames,
    /// Proofs of a known payload that has none, of the largest size, of a validator that is contained.
    Contained,
    /// As `Unfinished`, each message smaller than an honest one in progress.
    Holders,
    /// Requests for proofs of which nothing is taken, or hardly anything.
    Readers,
    /// Requests with as many bytes behind them as are taken.
    Behind,
}

/// Which kinds attack at the same time: all at once would leave too little of each on two cores.
pub(crate) const GROUPS: [(&str, &[Attack]); 3] = [
    (
        "messages, streams, statuses, records",
        &[
            Attack::UnknownPayloads,
            Attack::UnknownValidators,
            Attack::NoSnappy,
            Attack::NoProof,
            Attack::Streams,
            Attack::Unfinished,
            Attack::Takers,
            Attack::OldStatus,
            Attack::WrongRecords,
        ],
    ),
    (
        "much in one: RPCs, frames",
        &[Attack::Repeats, Attack::Rpcs, Attack::Frames, Attack::Contained],
    ),
    (
        "what is held",
        &[Attack::Holders, Attack::Readers, Attack::Behind],
    ),
];

impl Attack {
    pub(crate) const ALL: [Self; 16] = [
        Self::UnknownPayloads,
        Self::UnknownValidators,
        Self::NoSnappy,
        Self::NoProof,
        Self::Streams,
        Self::Unfinished,
        Self::Takers,
        Self::OldStatus,
        Self::WrongRecords,
        Self::Repeats,
        Self::Rpcs,
        Self::Frames,
        Self::Contained,
        Self::Holders,
        Self::Readers,
        Self::Behind,
    ];
    /// Those that publish.
    pub(crate) const FLOODS: [Self; 7] = [
        Self::UnknownPayloads,
        Self::UnknownValidators,
        Self::NoSnappy,
        Self::NoProof,
        Self::Repeats,
        Self::Rpcs,
        Self::Contained,
    ];
    /// Those whose streams for requests the victim takes.
    pub(crate) const ASKING: [Self; 4] = [Self::Streams, Self::Frames, Self::Readers, Self::Behind];
    /// Those that begin messages.
    pub(crate) const BEGINNING: [Self; 2] = [Self::Unfinished, Self::Holders];

    /// By its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let is_it = |attack: &Self| format!("{attack:?}").eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_it)
    }

    /// Fewer would hold no more than they may: of unfinished messages 32 MiB, of RPCs not worked off yet, of mplex'
    /// frames some 40 MiB each, of rooms and places what they have.
    const fn fewest(self) -> usize {
        match self {
            Self::Unfinished => 6,
            Self::Rpcs | Self::Frames | Self::Behind => 12,
            Self::Readers => 16,
            Self::Holders => 48,
            _ => 1,
        }
    }
}

/// What of the victim's proofs is asked for.
#[derive(Clone)]
pub(crate) struct Served {
    /// A slot with a proof of 1 MiB.
    pub(crate) middle: Slot,
    /// Slots with proofs of the largest size that it has.
    pub(crate) start: Slot,
    pub(crate) count: u64,
    /// Blocks with such proofs.
    pub(crate) blocks: Vec<Root>,
}

/// Whom they attack.
pub(crate) struct Target {
    pub(crate) peer: PeerId,
    tcp: Multiaddr,
    quic: Multiaddr,
    pub(crate) record: Enr,
    pub(crate) digest: ForkDigest,
    /// Of the topic of proofs.
    pub(crate) topic: String,
    /// A payload that it knows, and has no valid proof of.
    payload: Mutex<Root>,
    /// The type of proof that there is none of.
    pub(crate) proof_type: u8,
    /// A validator that has signed an invalid proof.
    pub(crate) contained: u64,
    served: Mutex<Served>,
}

impl Target {
    /// As its record says.
    pub(crate) fn new(record: &str, proof_type: u8, contained: u64) -> Result<Self, Failure> {
        let record: Enr = record.parse()?;
        let first = |all: Vec<Multiaddr>| {
            all.into_iter()
                .next()
                .ok_or("an address is missing in its record")
        };
        let digest = record.fork_id().ok_or("no eth2 in its record")?.fork_digest;
        Ok(Self {
            peer: record.peer_id().ok_or("no peer id")?,
            tcp: first(record.tcp_multiaddrs())?,
            quic: first(record.quic_multiaddrs())?,
            record,
            digest,
            topic: execution_proof_topic(digest),
            payload: Mutex::new(root(0)),
            proof_type,
            contained,
            served: Mutex::new(Served {
                middle: Slot(u64::from(KEPT_MIDDLE)),
                start: Slot(u64::from(KEPT_LARGEST.start)),
                count: u64::from(KEPT_LARGEST.end - KEPT_LARGEST.start),
                blocks: KEPT_LARGEST.map(block_root).collect(),
            }),
        })
    }

    pub(crate) fn address(&self, way: Way) -> &Multiaddr {
        if way == Way::Quic { &self.quic } else { &self.tcp }
    }

    pub(crate) fn payload(&self) -> Root {
        self.payload.lock().map_or(Root::ZERO, |root| *root)
    }

    pub(crate) fn set_payload(&self, payload: Root) {
        if let Ok(mut known) = self.payload.lock() {
            *known = payload;
        }
    }

    pub(crate) fn served(&self) -> Served {
        match self.served.lock() {
            Ok(served) => served.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// A block whose payload has a proof at the victim.
    pub(crate) fn add_served(&self, slot: Slot, block: Root, is_first: bool) {
        let Ok(mut served) = self.served.lock() else {
            return;
        };
        served.middle = slot;
        if is_first {
            (served.start, served.count) = (slot, 0);
            served.blocks.clear();
        }
        // What is asked for in one request is bounded: 128 slots.
        served.count = (slot.0 + 1 - served.start.0).min(128);
        served.blocks.push(block);
        let old = served.blocks.len().saturating_sub(BY_ROOT);
        served.blocks.drain(..old);
    }
}

/// How often one thing was done.
#[derive(Default)]
pub(crate) struct Count {
    /// Begun to be sent: no more than this can have arrived.
    pub(crate) tried: AtomicU64,
    /// Arrived beyond doubt.
    pub(crate) sure: AtomicU64,
    /// Times that the victim ended it: a connection, or a stream of one that stands.
    pub(crate) ended: AtomicU64,
}

/// What the attackers did, together.
#[derive(Default)]
pub(crate) struct Tally {
    /// Connections tried, and those that were encrypted and agreed on; by way.
    pub(crate) identities: [AtomicU64; Way::ALL.len()],
    pub(crate) let_in: [AtomicU64; Way::ALL.len()],
    /// Names used on discovery.
    pub(crate) names: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) streams_tried: AtomicU64,
    pub(crate) streams_opened: AtomicU64,
    counts: [Count; Attack::ALL.len()],
    pub(crate) next: AtomicU32,
    /// Ids of proofs, as they were announced.
    pub(crate) ids: Mutex<Vec<Vec<u8>>>,
}

impl Tally {
    pub(crate) fn of(&self, attack: Attack) -> &Count {
        &self.counts[attack as usize]
    }
    pub(crate) fn tried(&self, attack: Attack) {
        self.tried_of(attack, 1);
    }
    pub(crate) fn tried_of(&self, attack: Attack, n: usize) {
        self.of(attack).tried.fetch_add(n as u64, Ordering::Relaxed);
    }
    pub(crate) fn sure(&self, attack: Attack) {
        self.sure_of(attack, 1);
    }
    pub(crate) fn sure_of(&self, attack: Attack, n: usize) {
        self.of(attack).sure.fetch_add(n as u64, Ordering::Relaxed);
    }
    pub(crate) fn ended(&self, attack: Attack) {
        self.of(attack).ended.fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    pub(crate) fn identities(&self) -> u64 {
        let connected: u64 = self.identities.iter().map(|n| n.load(Ordering::Relaxed)).sum();
        connected + self.names.load(Ordering::Relaxed)
    }
}

/// Attackers at work, until it is dropped.
pub(crate) struct Attackers {
    pub(crate) tally: Arc<Tally>,
    _runtime: tokio::runtime::Runtime,
}

/// One thread for those who attack.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Sets `each` attackers of these kinds on a node, each by another way every time it comes.
pub(crate) fn start(
    target: &Arc<Target>,
    kinds: &[Attack],
    ways: &[Way],
    each: usize,
) -> Result<Attackers, Failure> {
    let runtime = runtime()?;
    let tally = Arc::new(Tally::default());
    for attack in kinds.iter().copied() {
        for i in 0..each.max(attack.fewest()) {
            let (tally, target, ways) = (Arc::clone(&tally), Arc::clone(target), ways.to_vec());
            runtime.spawn(async move {
                for way in ways.iter().copied().cycle().skip(i % ways.len()) {
                    // Being cut off is what it is here for.
                    let _ = live(attack, way, &target, &tally).await;
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
    }
    Ok(Attackers {
        tally,
        _runtime: runtime,
    })
}

/// One identity, from its connection to its end.
async fn live(attack: Attack, way: Way, target: &Target, tally: &Arc<Tally>) -> Result<(), Failure> {
    match attack {
        Attack::WrongRecords => return records::live(target, tally).await,
        Attack::Frames => return frames::live(target, tally).await,
        _ => {}
    }
    let (mut line, incoming) = Line::dial(target, way, tally)?;
    let closed = line.closed();
    let work = async {
        match attack {
            Attack::Takers => takers::live(&mut line, incoming, target, tally).await,
            Attack::OldStatus => requests::statuses(&mut line, target, tally).await,
            Attack::Streams => requests::streams(&mut line, tally).await,
            Attack::Unfinished => unfinished::unfinished(&mut line, tally).await,
            Attack::Holders => unfinished::holders(&mut line, tally).await,
            Attack::Readers => readers::readers(&mut line, target, tally).await,
            Attack::Behind => readers::behind(&mut line, target, tally).await,
            _ => flood::live(attack, &mut line, incoming, target, tally).await,
        }
    };
    tokio::select! {
        () = closed.cancelled() => {
            tally.ended(attack);
            Ok(())
        }
        result = work => result,
    }
}

/// Each does a few of one kind of attack by each way, fewer than what gets anybody cut off, and stays until all of it has
/// arrived; how many that were.
pub(crate) fn roll_call(attack: Attack, target: &Arc<Target>) -> Result<u64, Failure> {
    let tally = Arc::new(Tally::default());
    runtime()?.block_on(async {
        for way in Way::ALL {
            let (mut line, incoming) = Line::dial(target, way, &tally)?;
            let few = async {
                match attack {
                    Attack::Streams => requests::few_streams(&mut line, &tally).await,
                    Attack::OldStatus => requests::few_statuses(&mut line, target, &tally).await,
                    _ => flood::few(attack, &mut line, incoming, target, &tally).await,
                }
            };
            let called = tokio::time::timeout(CALLED, few).await;
            let why = |error: &dyn std::fmt::Display| {
                format!(
                    "{attack:?} by {way:?}: {error}; the connection: {}",
                    line.why_closed()
                )
            };
            called.map_err(|e| why(&e))?.map_err(|e| why(&e))?;
        }
        Ok::<_, Failure>(())
    })?;
    Ok(tally.of(attack).sure.load(Ordering::Relaxed))
}

/// Makes the victim contain a validator: it gets an invalid proof that is signed as it should be.
pub(crate) fn contain(target: &Arc<Target>) -> Result<(), Failure> {
    let mut data = random_bytes(4, flood::PROOF_BYTES);
    // To the engine that the proof is bad.
    data[0] = b'I';
    let invalid = node::signed(&node::chain(), 0, data, target.contained);
    let message = compress(&invalid.to_ssz_bytes());
    runtime()?.block_on(async {
        let (mut line, incoming) = Line::dial(target, Way::Yamux, &Arc::default())?;
        let telling = flood::one(message, &mut line, incoming, target);
        tokio::time::timeout(CALLED, telling).await?
    })
}
