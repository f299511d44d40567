//! The attackers: what they do, how often they did it, and what of that the victim must have seen.

use crate::{
    flood,
    node::{Failure, root},
    records, requests, takers,
    wire::{Line, Way},
};
use assay_network::enr::{Enr, EnrExt as _};
use assay_types::{ForkDigest, Root, digest::execution_proof_topic};
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

/// Fewest attackers that begin messages.
const UNFINISHED: usize = 6;

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
}

impl Attack {
    pub(crate) const ALL: [Self; 9] = [
        Self::UnknownPayloads,
        Self::UnknownValidators,
        Self::NoSnappy,
        Self::NoProof,
        Self::Streams,
        Self::Unfinished,
        Self::Takers,
        Self::OldStatus,
        Self::WrongRecords,
    ];
    /// Those that publish.
    pub(crate) const FLOODS: [Self; 4] = [
        Self::UnknownPayloads,
        Self::UnknownValidators,
        Self::NoSnappy,
        Self::NoProof,
    ];
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
}

impl Target {
    /// As its record says.
    pub(crate) fn new(record: &str, proof_type: u8) -> Result<Self, Failure> {
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
        self.of(attack).tried.fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn sure(&self, attack: Attack) {
        self.of(attack).sure.fetch_add(1, Ordering::Relaxed);
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

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Sets `each` attackers of every kind on a node, each by another way every time it comes.
pub(crate) fn start(target: &Arc<Target>, each: usize) -> Result<Attackers, Failure> {
    let runtime = runtime()?;
    let tally = Arc::new(Tally::default());
    for attack in Attack::ALL {
        let each = match attack {
            // Fewer would hold no more than they may.
            Attack::Unfinished => each.max(UNFINISHED),
            _ => each,
        };
        for i in 0..each {
            let (tally, target) = (Arc::clone(&tally), Arc::clone(target));
            runtime.spawn(async move {
                for way in Way::ALL.into_iter().cycle().skip(i % Way::ALL.len()) {
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
    if attack == Attack::WrongRecords {
        return records::live(target, tally).await;
    }
    let (mut line, incoming) = Line::dial(target, way, tally)?;
    let closed = line.closed();
    let work = async {
        match attack {
            Attack::Takers => takers::live(&mut line, incoming, target, tally).await,
            Attack::OldStatus => requests::statuses(&mut line, target, tally).await,
            Attack::Streams => requests::streams(&mut line, tally).await,
            Attack::Unfinished => requests::unfinished(&mut line, tally).await,
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
            let why = |error: &dyn std::fmt::Display| format!("{attack:?} by {way:?}: {error}");
            called.map_err(|e| why(&e))?.map_err(|e| why(&e))?;
        }
        Ok::<_, Failure>(())
    })?;
    Ok(tally.of(attack).sure.load(Ordering::Relaxed))
}
