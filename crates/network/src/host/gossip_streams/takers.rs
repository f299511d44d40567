//! Peers that do not take at once what goes to them, and which of them are let go. A state machine; time is given.
//!
//! All takers share this node's own link, so none is judged by how much it takes alone: on a link of 10 Mbit/s a dozen
//! honest peers take less than 1 Mbit/s each. A peer whose stream does not take a message waits; what it takes is counted
//! from then on. After six seconds it is slow, and of the slow ones
//!
//! 1. whoever takes nothing, or next to nothing (`NEXT_TO_NOTHING`), for 15 s goes;
//! 2. where the copies in their queues may be more than `MAX_SLOW_COPIES`, those that take least in a second go, until
//!    they are not; by that, and not by how long they wait: attackers may begin to wait after honest peers;
//! 3. at half time, 30 s, whoever has less than half of the largest message goes, but for as many of those that take most
//!    as there are whole messages in what all take together in the other half: better a few get it than nobody;
//! 4. whoever has not taken its message after 60 s goes: five slots have begun since.
//!
//! By 2 and 3 the two that take most never go (`FEW`). It is a fault of the peer's where others fare far better at the
//! same time: by 1 if anybody took something meanwhile, else if it takes less than an eighth of what those two do. Where
//! all are slow it is the link, and nobody's fault.

use crate::gossip::PEER_QUEUE_LEN;
use libp2p::PeerId;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Time in which a peer takes one message: 4 MiB at 0.6 Mbit/s, which is what a peer gets from each of eight that send
/// it the same over its link of 5 Mbit/s.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// When it is looked at whether it will.
const HALF_TIME: Duration = Duration::from_secs(30);
/// As long a peer may take next to nothing.
const NOTHING_TAKEN_FOR: Duration = Duration::from_secs(15);
/// Bytes that are next to nothing in this time: 17 kbit/s. Windows are told of in steps, the smallest of 128 KiB.
const NEXT_TO_NOTHING: u64 = 32 << 10;
/// Bytes of copies that slow peers' queues may hold together: the larger the proofs, the fewer are slow at one time.
const MAX_SLOW_COPIES: usize = 96 << 20;
/// Those that take most, whose full queues fit at any time: a queue holds `PEER_QUEUE_LEN` messages of 4 MiB.
const FEW: usize = 2;
const _: () = assert!(FEW * PEER_QUEUE_LEN * (4 << 20) <= MAX_SLOW_COPIES);
/// A peer that has waited for this long is slow. Sooner would cut off honest peers where this node's own link is slow:
/// 4 MiB to three peers take 2 s at 50 Mbit/s.
const SLOW: Duration = Duration::from_secs(6);
/// Who is let go and takes less than this part of what the two that take most do has only itself to blame.
const FAR_LESS: u64 = 8;
/// How long a message that went out may be in the queue of a slow peer: it is asked for within two slots, lies there for
/// a slot before it would be dropped, and is taken or not.
const IN_QUEUES: Duration = Duration::from_secs(100);

#[derive(Default)]
pub(super) struct Takers {
    waiting: HashMap<u64, Waiting>,
    /// When one of them last took more than next to nothing.
    progressed: Option<Instant>,
    /// What went out last: when, and how many bytes. As many as one queue holds.
    sent: VecDeque<(Instant, usize)>,
}

/// A peer that is to be let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) struct LetGo {
    pub(in crate::host) peer: PeerId,
    /// Whether that is its fault.
    pub(in crate::host) is_fault: bool,
}

/// A message that its peer did not take at once.
struct Waiting {
    peer: PeerId,
    since: Instant,
    /// Bytes since then.
    taken: u64,
    /// When it last had taken more than next to nothing since the time before, and how much it had by then.
    progressed: (Instant, u64),
    /// Whether it stays on after half time.
    stays: bool,
}

impl Waiting {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Bytes taken in a second.
    fn rate(&self, now: Instant) -> u64 {
        let ms = u64::try_from(self.age(now).as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        self.taken.saturating_mul(1000) / ms
    }

    fn stands_still(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.progressed.0) > NOTHING_TAKEN_FOR
    }
}

impl Takers {
    /// A message goes to a peer's stream, which does not take it now.
    pub(super) fn waits(&mut self, id: u64, peer: PeerId, now: Instant) {
        self.waiting.entry(id).or_insert(Waiting {
            peer,
            since: now,
            taken: 0,
            progressed: (now, 0),
            stays: false,
        });
    }

    /// The stream took so many bytes of it.
    pub(super) fn takes(&mut self, id: u64, bytes: usize, now: Instant) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.taken = waiting.taken.saturating_add(bytes as u64);
            if waiting.taken - waiting.progressed.1 >= NEXT_TO_NOTHING {
                waiting.progressed = (now, waiting.taken);
                self.progressed = Some(now);
            }
        }
    }

    /// It took all of it, or ended.
    pub(super) fn taken(&mut self, id: u64) {
        self.waiting.remove(&id);
    }

    /// A message of so many bytes goes to others.
    pub(super) fn sends(&mut self, len: usize, now: Instant) {
        self.sent.push_back((now, len));
        if self.sent.len() > PEER_QUEUE_LEN {
            self.sent.pop_front();
        }
    }

    /// Bytes of the messages that may be in a queue.
    fn in_queues(&self, now: Instant) -> impl Iterator<Item = usize> {
        let is_there = move |at: Instant| now.saturating_duration_since(at) <= IN_QUEUES;
        self.sent
            .iter()
            .filter(move |(at, _)| is_there(*at))
            .map(|(_, len)| *len)
    }

    /// How many peers may be slow at one time.
    fn slow_tolerated(&self, now: Instant) -> usize {
        let copies: usize = self.in_queues(now).sum();
        (MAX_SLOW_COPIES / copies.max(1)).max(FEW)
    }

    /// Peers to be let go, each once, by the rules above. They are forgotten: their connections are closed.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<LetGo> {
        let tolerated = self.slow_tolerated(now);
        let largest = self.in_queues(now).max().unwrap_or(0) as u64;
        let is_link_up = self
            .progressed
            .is_some_and(|at| now.saturating_duration_since(at) <= NOTHING_TAKEN_FOR);
        let slow = self
            .waiting
            .values_mut()
            .filter(|waiting| waiting.age(now) > SLOW);
        let (still, mut rest): (Vec<_>, Vec<_>) = slow.partition(|waiting| waiting.stands_still(now));
        let mut gone: BTreeMap<PeerId, bool> = still.iter().map(|still| (still.peer, is_link_up)).collect();
        rest.sort_by_key(|waiting| (Reverse(waiting.rate(now)), waiting.age(now), waiting.peer));
        let rates = || rest.iter().map(|waiting| waiting.rate(now));
        let most = rates().take(FEW).sum::<u64>() / rest.len().clamp(1, FEW) as u64;
        let together = rates().take(tolerated).fold(0, u64::saturating_add);
        let whole = together.saturating_mul(HALF_TIME.as_secs()) / largest.max(1);
        let brought = usize::try_from(whole).unwrap_or(usize::MAX).max(FEW);
        for (n, waiting) in rest.into_iter().enumerate() {
            let is_behind = waiting.age(now) > HALF_TIME && !waiting.stays && {
                waiting.stays = n < brought || waiting.taken >= largest / 2;
                !waiting.stays
            };
            if n >= tolerated || is_behind || waiting.age(now) > TAKEN_WITHIN {
                let is_fault = waiting.rate(now) < most / FAR_LESS;
                *gone.entry(waiting.peer).or_default() |= is_fault;
            }
        }
        self.waiting
            .retain(|_, waiting| !gone.contains_key(&waiting.peer));
        let let_go = |(peer, is_fault)| LetGo { peer, is_fault };
        gone.into_iter().map(let_go).collect()
    }

    /// How many messages wait, and how much was taken of them.
    #[cfg(test)]
    pub(super) fn all(&self) -> (usize, u64) {
        let taken = self.waiting.values().map(|waiting| waiting.taken).sum();
        (self.waiting.len(), taken)
    }
}

#[cfg(test)]
mod tests;
