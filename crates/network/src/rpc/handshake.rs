//! What is asked of a connected peer, and when: a state machine without I/O.
//!
//! The dialling side speaks first (phase0 p2p): status, then metadata, then proof status to proof-aware peers (a MUST of
//! protocol.md section 5). The other side gives it some time to do so, then asks itself what it was not told. After that:
//! pings, metadata when its number changed, status and proof status again when this node's own moved on, and from time
//! to time.

use crate::backoff;
use assay_types::{Epoch, ForkDigest, Slot};
use std::time::{Duration, Instant};

/// Time for a peer that dialled us to speak first.
const SPEAK_FIRST: Duration = Duration::from_secs(8);
/// Between pings; beacon nodes take 15 to 30 s.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// Between exchanges of status where nothing moved (beacon nodes: 5 minutes).
const STATUS_INTERVAL: Duration = Duration::from_secs(300);
/// Between exchanges of proof status where nothing moved.
const PROOF_STATUS_INTERVAL: Duration = Duration::from_secs(120);
/// Least time between two exchanges of one kind, however fast this node moves on.
const MIN_INTERVAL: Duration = Duration::from_secs(12);
/// Wait after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// The longest wait after failures.
const MAX_RETRY: Duration = Duration::from_secs(300);
/// Times in a row that a peer may leave status unanswered before it counts as telling none: after more than a minute.
const MUTE_AFTER: u32 = 4;

/// A question for the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    Status,
    Metadata,
    ProofStatus,
    Ping,
}

/// What this node would say of itself now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Own {
    /// Digest, head epoch and finalized epoch, once there is a head. A change is worth a new exchange.
    pub(crate) status: Option<(ForkDigest, Epoch, Epoch)>,
    /// Newest proven slot.
    pub(crate) proof_slot: Slot,
    /// `eproof` of the peer's record: `None` where no record is known.
    pub(crate) eproof: Option<u8>,
}

/// How a question fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    /// The peer does not speak the protocol: it is not asked again.
    Unsupported,
    /// Not now: the peer said so, or this node could not ask.
    Declined,
    /// No answer, or none that is one.
    Failed,
}

/// One kind of question.
#[derive(Debug, Clone, Copy)]
struct Topic {
    /// When to ask; `None`: never again, or not before something happens.
    due: Option<Instant>,
    last: Option<Instant>,
    failures: u32,
    /// Failures in a row that were no answer at all.
    silences: u32,
    unsupported: bool,
}

impl Topic {
    const fn due(due: Option<Instant>) -> Self {
        Self {
            due,
            last: None,
            failures: 0,
            silences: 0,
            unsupported: false,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        !self.unsupported && self.due.is_some_and(|due| due <= now)
    }

    /// Earlier, if nothing failed lately and it was not exchanged just now.
    fn hasten(&mut self, now: Instant) {
        if self.failures == 0 {
            let earliest = self.last.map_or(now, |last| last + MIN_INTERVAL);
            self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
        }
    }

    fn exchanged(&mut self, now: Instant, again: Option<Duration>) {
        self.last = Some(now);
        self.failures = 0;
        self.silences = 0;
        self.due = again.map(|interval| now + interval);
    }

    fn fared(&mut self, outcome: Outcome, now: Instant, again: Option<Duration>) {
        match outcome {
            Outcome::Answered => self.exchanged(now, again),
            Outcome::Unsupported => self.unsupported = true,
            Outcome::Declined | Outcome::Failed => {
                self.silences = match outcome {
                    Outcome::Failed => self.silences.saturating_add(1),
                    _ => 0,
                };
                let wait = backoff::doubled(FIRST_RETRY, MAX_RETRY, self.failures);
                self.failures = self.failures.saturating_add(1);
                self.due = Some(now + wait);
            }
        }
    }
}

/// The talk with one connected peer.
#[derive(Debug)]
pub(crate) struct Handshake {
    status: Topic,
    metadata: Topic,
    proof_status: Topic,
    ping: Topic,
    /// What was said in the last exchange of each.
    said_status: Option<(ForkDigest, Epoch, Epoch)>,
    said_proof_slot: Option<Slot>,
    seq_number: Option<u64>,
}

impl Handshake {
    pub(crate) fn new(dialled: bool, now: Instant) -> Self {
        let first = if dialled { now } else { now + SPEAK_FIRST };
        Self {
            status: Topic::due(Some(first)),
            metadata: Topic::due(Some(first)),
            proof_status: Topic::due(Some(first)),
            ping: Topic::due(Some(first + PING_INTERVAL)),
            said_status: None,
            said_proof_slot: None,
            seq_number: None,
        }
    }

    /// The question to put now, if any. It must be told how that fared before the next is asked for.
    pub(crate) fn next(&mut self, now: Instant, own: &Own) -> Option<Ask> {
        if own.status.is_some() && self.said_status.is_some() && own.status != self.said_status {
            self.status.hasten(now);
        }
        if self.said_proof_slot.is_some_and(|said| own.proof_slot > said) {
            self.proof_status.hasten(now);
        }
        // Without a head there is nothing true to say: status waits, the rest does not.
        if own.status.is_some() && self.status.is_due(now) {
            self.said_status = own.status;
            return Some(Ask::Status);
        }
        if self.metadata.is_due(now) {
            return Some(Ask::Metadata);
        }
        // A peer whose record is not known may be proof-aware: it is asked once.
        if own.eproof != Some(0) && self.proof_status.is_due(now) {
            self.said_proof_slot = Some(own.proof_slot);
            return Some(Ask::ProofStatus);
        }
        self.ping.is_due(now).then_some(Ask::Ping)
    }

    /// How a question fared.
    pub(crate) fn fared(&mut self, ask: Ask, outcome: Outcome, now: Instant) {
        match ask {
            Ask::Status => self.status.fared(outcome, now, Some(STATUS_INTERVAL)),
            Ask::Metadata => self.metadata.fared(outcome, now, None),
            Ask::ProofStatus => self.proof_status.fared(outcome, now, Some(PROOF_STATUS_INTERVAL)),
            Ask::Ping => self.ping.fared(outcome, now, Some(PING_INTERVAL)),
        }
    }

    /// Whether the peer tells no status: it does not speak it, or leaves it unanswered again and again.
    pub(crate) fn is_mute(&self) -> bool {
        self.status.last.is_none() && (self.status.unsupported || self.status.silences >= MUTE_AFTER)
    }

    /// The peer told its status of itself; what was answered is what this node says now.
    pub(crate) fn heard_status(&mut self, now: Instant, own: &Own) {
        if own.status.is_some() {
            self.said_status = own.status;
            self.status.exchanged(now, Some(STATUS_INTERVAL));
        }
        // The peer is at it: what it has not told is asked for now.
        if self.metadata.last.is_none() {
            self.metadata.hasten(now);
        }
    }

    /// The peer told its proof status of itself.
    pub(crate) fn heard_proof_status(&mut self, now: Instant, own: &Own) {
        self.said_proof_slot = Some(own.proof_slot);
        self.proof_status.unsupported = false;
        self.proof_status.exchanged(now, Some(PROOF_STATUS_INTERVAL));
    }

    /// The peer's metadata has this number: another than before means that there is news.
    pub(crate) fn heard_seq_number(&mut self, seq_number: u64, now: Instant) {
        if self.seq_number.is_some_and(|known| known < seq_number) {
            self.metadata.hasten(now);
        }
        if self.seq_number.is_none() {
            self.metadata.hasten(now);
        }
    }

    /// The peer's metadata was read.
    pub(crate) fn read_metadata(&mut self, seq_number: u64) {
        self.seq_number = Some(seq_number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Own = Own {
        status: Some((ForkDigest([1; 4]), Epoch(10), Epoch(8))),
        proof_slot: Slot(0),
        eproof: None,
    };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// Asks and answers until nothing is due.
    fn settle(talk: &mut Handshake, now: Instant, own: &Own) -> Vec<Ask> {
        std::iter::from_fn(|| {
            let ask = talk.next(now, own)?;
            talk.fared(ask, Outcome::Answered, now);
            if ask == Ask::Metadata {
                talk.read_metadata(1);
            }
            Some(ask)
        })
        .collect()
    }

    #[test]
    fn the_dialling_side_speaks_first() {
        let start = Instant::now();
        let mut talk = Handshake::new(true, start);
        assert_eq!(
            settle(&mut talk, start, &HEAD),
            [Ask::Status, Ask::Metadata, Ask::ProofStatus]
        );
        assert_eq!(settle(&mut talk, after(start, 24), &HEAD), []);
        assert_eq!(settle(&mut talk, after(start, 25), &HEAD), [Ask::Ping]);
        assert_eq!(
            settle(&mut talk, after(start, 120), &HEAD),
            [Ask::ProofStatus, Ask::Ping]
        );
        assert_eq!(
            settle(&mut talk, after(start, 300), &HEAD),
            [Ask::Status, Ask::ProofStatus, Ask::Ping]
        );
    }

    #[test]
    fn the_other_side_waits_to_be_spoken_to() {
        let start = Instant::now();
        let mut silent = Handshake::new(false, start);
        assert_eq!(settle(&mut silent, after(start, 7), &HEAD), []);
        assert_eq!(
            settle(&mut silent, after(start, 8), &HEAD),
            [Ask::Status, Ask::Metadata, Ask::ProofStatus]
        );
        let mut talk = Handshake::new(false, start);
        talk.heard_status(after(start, 1), &HEAD);
        talk.heard_proof_status(after(start, 1), &HEAD);
        assert_eq!(settle(&mut talk, after(start, 1), &HEAD), [Ask::Metadata]);
        assert_eq!(settle(&mut talk, after(start, 20), &HEAD), []);
    }

    #[test]
    fn without_a_head_there_is_no_status_to_send() {
        let start = Instant::now();
        let headless = Own { status: None, ..HEAD };
        let mut talk = Handshake::new(true, start);
        assert_eq!(
            settle(&mut talk, start, &headless),
            [Ask::Metadata, Ask::ProofStatus]
        );
        assert_eq!(settle(&mut talk, after(start, 3), &HEAD), [Ask::Status]);
    }

    #[test]
    fn proof_status_goes_to_whoever_may_be_proof_aware() {
        let start = Instant::now();
        for (eproof, asked) in [(Some(0), false), (Some(1), true), (Some(255), true), (None, true)] {
            let mut talk = Handshake::new(true, start);
            let own = Own { eproof, ..HEAD };
            assert_eq!(
                settle(&mut talk, start, &own).contains(&Ask::ProofStatus),
                asked,
                "{eproof:?}"
            );
        }
        let mut talk = Handshake::new(true, start);
        talk.fared(Ask::ProofStatus, Outcome::Unsupported, start);
        assert_eq!(settle(&mut talk, start, &HEAD), [Ask::Status, Ask::Metadata]);
        let much_later = after(start, 10_000);
        assert!(!settle(&mut talk, much_later, &HEAD).contains(&Ask::ProofStatus));
        // It speaks it after all.
        talk.heard_proof_status(much_later, &HEAD);
        assert_eq!(
            settle(&mut talk, much_later + PROOF_STATUS_INTERVAL, &HEAD).first(),
            Some(&Ask::ProofStatus)
        );
    }

    #[test]
    fn what_moved_on_is_told_again_but_not_too_often() {
        let start = Instant::now();
        let mut talk = Handshake::new(true, start);
        settle(&mut talk, start, &HEAD);
        let moved = Own {
            status: Some((ForkDigest([1; 4]), Epoch(11), Epoch(8))),
            proof_slot: Slot(5),
            ..HEAD
        };
        assert_eq!(settle(&mut talk, after(start, 11), &moved), []);
        assert_eq!(
            settle(&mut talk, after(start, 12), &moved),
            [Ask::Status, Ask::ProofStatus]
        );
        assert_eq!(settle(&mut talk, after(start, 24), &moved), []);
    }

    #[test]
    fn failures_back_off_and_news_do_not_hasten_them() {
        let start = Instant::now();
        let mut talk = Handshake::new(true, start);
        let mut now = start;
        for wait in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(talk.next(now, &HEAD), Some(Ask::Status));
            talk.fared(Ask::Status, Outcome::Failed, now);
            settle(&mut talk, now, &HEAD);
            let moved = Own {
                status: Some((ForkDigest([1; 4]), Epoch(99), Epoch(8))),
                ..HEAD
            };
            assert_ne!(
                talk.next(after(now, wait - 1), &moved),
                Some(Ask::Status),
                "after {wait}"
            );
            now = after(now, wait);
        }
    }

    #[test]
    fn who_tells_no_status_is_mute() {
        let start = Instant::now();
        // What becomes of the asking, in turn; what the peer tells by itself then; whether it is mute before and after.
        let table: [(&[Outcome], bool, [bool; 2]); 6] = [
            (&[], false, [false, false]),
            (&[Outcome::Unsupported], true, [true, false]),
            (&[Outcome::Failed; 3], false, [false, false]),
            (&[Outcome::Failed; 4], true, [true, false]),
            (&[Outcome::Declined; 9], false, [false, false]),
            (
                &[
                    Outcome::Answered,
                    Outcome::Failed,
                    Outcome::Failed,
                    Outcome::Failed,
                    Outcome::Failed,
                ],
                false,
                [false, false],
            ),
        ];
        for (outcomes, tells, mute) in table {
            let mut talk = Handshake::new(true, start);
            for outcome in outcomes {
                talk.fared(Ask::Status, *outcome, start);
            }
            assert_eq!(talk.is_mute(), mute[0], "{outcomes:?}");
            if tells {
                talk.heard_status(start, &HEAD);
            }
            assert_eq!(talk.is_mute(), mute[1], "{outcomes:?}");
        }
    }

    #[test]
    fn metadata_is_read_again_when_its_number_grew() {
        let start = Instant::now();
        let mut talk = Handshake::new(true, start);
        settle(&mut talk, start, &HEAD);
        let now = after(start, 20);
        talk.heard_seq_number(1, now);
        assert_eq!(settle(&mut talk, now, &HEAD), []);
        talk.heard_seq_number(2, now);
        assert_eq!(settle(&mut talk, now, &HEAD), [Ask::Metadata]);
    }
}
