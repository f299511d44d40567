//! What peers make this node hold on gossip's streams, over all of them together: messages that are begun and not
//! finished, messages that the host has not handled yet, room for messages past, and messages that nobody takes.
//!
//! gossipsub keeps what has come of a message until all of it has, for as long as that takes; what is whole waits for the
//! host, some of it for each connection; and a queue of copies is kept for a peer until the peer takes them. Each is
//! bounded for one peer; a hundred that do nothing else would fill the memory. So every stream is looked at from below:
//! which of them are gossip's is told by their negotiation (`sniff`), and where a message ends by its length in front.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | the accounts over all streams, shared |
//! | `unfinished` | messages that are begun: who gives way when they are too much |
//! | `in_hand` | room for what is whole, and the streams that wait for some |
//! | `kept` | room for messages past: which stream ends when it is too much |
//! | `takers` | peers that do not take at once what goes to them: who is let go |
//! | `handed` | gossip's behaviour, which tells what is in hand |
//! | `sniff` | which protocol a stream is for, and where its messages end |
//! | `stream` | the wrapping around connections and their streams |

mod handed;
mod in_hand;
mod kept;
mod sniff;
mod stream;
mod takers;
#[cfg(test)]
mod tests;
mod unfinished;

use crate::counters::Counters;
pub(super) use handed::CountedGossip;
use in_hand::{Reading, Room};
use kept::{Ends, Kept};
use libp2p::PeerId;
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::Instant,
};
pub(super) use stream::Watched;
pub(super) use takers::LetGo;
use takers::Takers;
use unfinished::Unfinished;

/// gossipsub 0.50 serves this many streams of one connection to each side, one after the other; with the next its handler
/// is spent: the connection stays, and nothing is heard or said on it. So a connection is closed when as many have ended,
/// which is nobody's fault, and either side may connect anew.
const STREAMS_PER_CONNECTION: u32 = 4;

/// What peers' agents (identify) begin with that are built on rust-libp2p. Its gossipsub opens another stream where one
/// has ended, and both sides go on as before: seen between two nodes of Assay, and by its source. js-libp2p's opens none
/// until the peer has disconnected, and go-libp2p's opens one and has forgotten what the other side had subscribed to.
pub(super) const REOPENS: [&str; 4] = ["assay/", "Lighthouse/", "Grandine/", "rust-libp2p/"];

/// Metric labels: a message that made no progress; one of the peer that had cost most when all held too much; messages that are
/// not taken, or too slowly; a stream that ended within a message, because it was longer than any may be or its connection was closed; a
/// connection closed because gossipsub would serve no further stream on it; a stream that ended between messages for the
/// room that it kept.
const UNFINISHED: &str = "unfinished";
const CROWDED_OUT: &str = "crowded_out";
const NOT_TAKEN: &str = "not_taken";
const BROKEN_OFF: &str = "broken_off";
const SPENT: &str = "spent";
const KEPT: &str = "kept";
/// An RPC that is none, or holds more messages or control than any may: gossipsub ends its stream.
const REFUSED: &str = "refused";
/// All of them.
pub(crate) const GIVEN_UP_REASONS: [&str; 7] = [
    UNFINISHED,
    CROWDED_OUT,
    NOT_TAKEN,
    BROKEN_OFF,
    SPENT,
    KEPT,
    REFUSED,
];

/// Every gossip stream that holds something. Clones share it.
#[derive(Clone, Default)]
pub(super) struct GossipStreams {
    accounts: Arc<Accounts>,
    counters: Counters,
}

/// No two of these are locked at once.
#[derive(Default)]
struct Accounts {
    last: AtomicU64,
    unfinished: Mutex<Unfinished>,
    room: Mutex<Room>,
    kept: Mutex<Kept>,
    takers: Mutex<Takers>,
    /// Peers that open another stream where one has ended.
    reopening: Mutex<HashSet<PeerId>>,
}

impl GossipStreams {
    pub(super) fn new(counters: Counters) -> Self {
        Self {
            accounts: Arc::default(),
            counters,
        }
    }

    /// Who is in the proofs' meshes now, and who is known to open another stream where one has ended (`REOPENS`).
    pub(super) fn know(&self, mesh: HashSet<PeerId>, reopening: HashSet<PeerId>) {
        self.accounts.kept.lock().meshed(mesh);
        *self.accounts.reopening.lock() = reopening;
    }

    fn reopens(&self, peer: &PeerId) -> bool {
        self.accounts.reopening.lock().contains(peer)
    }

    /// Gives up what is too slow. Peers whose messages make no progress, whose streams end; and peers that take
    /// nothing, or least where that is too little, which are to be let go.
    pub(super) fn sweep(&self, now: Instant) -> (Vec<PeerId>, Vec<LetGo>) {
        let reading = self.accounts.room.lock().clock(now);
        let (stuck, crowded_out) = self.accounts.unfinished.lock().sweep(reading);
        let gone = self.accounts.takers.lock().sweep(now);
        self.counters.gossip_streams(UNFINISHED, stuck.len());
        self.counters.gossip_streams(CROWDED_OUT, crowded_out);
        self.counters.gossip_streams(NOT_TAKEN, gone.len());
        (stuck, gone)
    }

    /// A message of so many bytes goes to others: each peer's queue may hold it.
    pub(super) fn sends(&self, len: usize, now: Instant) {
        self.accounts.takers.lock().sends(len, now);
    }

    fn open(&self) -> u64 {
        self.accounts.last.fetch_add(1, Relaxed)
    }

    /// What a stream holds of a message now; whether the stream is to end.
    fn holds(&self, id: u64, peer: PeerId, bytes: usize, reader: &Waker) -> bool {
        let now = self.accounts.room.lock().clock(Instant::now());
        self.accounts
            .unfinished
            .lock()
            .holds(id, peer, bytes, reader, now)
    }

    fn asks(&self, id: u64, reader: &Waker) -> Reading {
        self.accounts.room.lock().asks(id, reader)
    }

    fn turn_ends(&self, id: u64) {
        self.accounts.room.lock().ends(id);
    }

    fn brought(&self, id: u64, peer: PeerId, bytes: usize, reader: &Waker, ends: &Ends) {
        self.accounts
            .kept
            .lock()
            .brought(id, peer, bytes, reader, ends, Instant::now());
    }

    fn read_by(&self, id: u64, reader: &Waker) {
        self.accounts.kept.lock().read_by(id, reader);
    }

    fn comes(&self, bytes: usize) {
        self.accounts.room.lock().comes(bytes, Instant::now());
    }

    fn goes(&self, bytes: usize) {
        self.accounts.room.lock().goes(bytes, Instant::now());
    }

    fn waits(&self, id: u64, peer: PeerId, now: Instant) {
        self.accounts.takers.lock().waits(id, peer, now);
    }

    fn takes(&self, id: u64, bytes: usize) {
        self.accounts.takers.lock().takes(id, bytes, Instant::now());
    }

    fn taken(&self, id: u64) {
        self.accounts.takers.lock().taken(id);
    }

    /// A stream ended; whether it was given up.
    fn closed(&self, id: u64) -> bool {
        self.taken(id);
        self.turn_ends(id);
        self.accounts.kept.lock().gone(id);
        self.accounts.unfinished.lock().finished(id)
    }
}
