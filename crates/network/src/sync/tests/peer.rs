//! Simulated peers: what each holds, and how it answers.

use super::{block_root, key};
use crate::sync::event::Ask;
use assay_types::{ExecutionProofStatus, ProofKey, ProofType, Root, Slot};
use std::{collections::BTreeSet, time::Duration};

/// How a peer behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Serves what it holds, all of it.
    Honest,
    /// The same, a proof every two seconds.
    Slow,
    /// The same, but leaves in the middle of answers, and comes back.
    Vanishing,
    /// The same, but does not know requests by range.
    RootsOnly,
    /// The same, but says nothing of itself.
    NoStatus,
    /// Claims the head and has nothing.
    Boaster,
    /// Claims the head and never answers.
    Silent,
    /// Sends proofs that are none.
    Forger,
    /// Sends what was not asked for.
    Pusher,
    /// Sends ranges backwards.
    Backwards,
    /// Ends every answer after one proof, as if that were all.
    Stingy,
    /// Answers with an error.
    Refusing,
    /// Sends one needless proof every 30 seconds.
    Trickling,
    /// Knows nothing of proofs.
    Beacon,
}

impl Kind {
    pub(super) const ALL: [Self; 14] = [
        Self::Honest,
        Self::Slow,
        Self::Vanishing,
        Self::RootsOnly,
        Self::NoStatus,
        Self::Boaster,
        Self::Silent,
        Self::Forger,
        Self::Pusher,
        Self::Backwards,
        Self::Stingy,
        Self::Refusing,
        Self::Trickling,
        Self::Beacon,
    ];
    pub(super) const BAD: [Self; 9] = [
        Self::Boaster,
        Self::Silent,
        Self::Forger,
        Self::Pusher,
        Self::Backwards,
        Self::Stingy,
        Self::Refusing,
        Self::Trickling,
        Self::Beacon,
    ];

    /// Whether what it holds must have been fetched in the end.
    pub(super) const fn serves(self) -> bool {
        matches!(
            self,
            Self::Honest | Self::Slow | Self::Vanishing | Self::RootsOnly | Self::NoStatus
        )
    }
}

/// What a response does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Proof { key: ProofKey, good: bool },
    End,
    Fail,
    Unsupported,
    Leave,
}

pub(super) struct Peer {
    pub(super) kind: Kind,
    /// What it holds: branch, slot, type.
    pub(super) holds: BTreeSet<(u8, Slot, ProofType)>,
    /// The branch it takes for canonical: after a reorg it has only blocks of that one in its ranges.
    pub(super) branch: u8,
    pub(super) connected: bool,
    pub(super) banned: bool,
    pub(super) faults: u32,
    /// How often it leaves before it stays.
    pub(super) leaves: u32,
}

impl Peer {
    pub(super) fn status(&self, head: Slot) -> Option<ExecutionProofStatus> {
        let slot = match self.kind {
            Kind::NoStatus | Kind::Beacon => return None,
            kind if kind.serves() => self
                .holds
                .iter()
                .map(|(_, slot, _)| *slot)
                .max()
                .unwrap_or(Slot(0)),
            _ => head,
        };
        let block_root = if slot == Slot(0) {
            Root::ZERO
        } else {
            block_root(self.branch, slot)
        };
        Some(ExecutionProofStatus {
            block_root,
            slot,
            proof_types: vec![1, 2, 3, 4],
        })
    }

    /// An honest answer, in the order of the protocol.
    fn honest(&self, ask: &Ask) -> Vec<ProofKey> {
        match ask {
            Ask::Range { start, count, types } => self
                .holds
                .iter()
                .filter(|(branch, slot, t)| {
                    *branch == self.branch
                        && *slot >= *start
                        && slot.0 - start.0 < *count
                        && types.contains(t)
                })
                .map(|(branch, slot, t)| key(*branch, *slot, *t))
                .collect(),
            Ask::Root(asked) => asked
                .iter()
                .flat_map(|(root, types)| {
                    self.holds
                        .iter()
                        .filter(|(branch, slot, t)| block_root(*branch, *slot) == *root && types.contains(t))
                        .map(|(branch, slot, t)| key(*branch, *slot, *t))
                })
                .collect(),
        }
    }

    /// Steps of the answer and the time before each.
    pub(super) fn answer(&mut self, ask: &Ask, random: &mut dyn FnMut(u64) -> u64) -> Vec<(Duration, Step)> {
        let quick = Duration::from_millis(50 + random(100));
        let proof = |key| Step::Proof { key, good: true };
        let of = |wait: Duration, keys: Vec<ProofKey>, last: Step| {
            let mut steps: Vec<_> = keys.into_iter().map(|key| (wait, proof(key))).collect();
            steps.push((wait, last));
            steps
        };
        let asked: Vec<ProofKey> = match ask {
            Ask::Range { start, count, types } => (start.0..start.0 + count)
                .flat_map(|slot| types.iter().map(move |t| key(0, Slot(slot), *t)))
                .collect(),
            Ask::Root(asked) => asked
                .iter()
                .flat_map(|(root, types)| {
                    let slot = Slot(u64::from_be_bytes(root.as_slice()[..8].try_into().unwrap()));
                    let branch = root.as_slice()[31] - 0x10;
                    types.iter().map(move |t| key(branch, slot, *t))
                })
                .collect(),
        };
        match self.kind {
            Kind::RootsOnly if matches!(ask, Ask::Range { .. }) => vec![(quick, Step::Unsupported)],
            Kind::Honest | Kind::RootsOnly | Kind::NoStatus => of(quick, self.honest(ask), Step::End),
            Kind::Slow => of(Duration::from_secs(2), self.honest(ask), Step::End),
            Kind::Vanishing if self.leaves > 0 => {
                self.leaves -= 1;
                let mut keys = self.honest(ask);
                keys.truncate(keys.len() / 2);
                of(quick, keys, Step::Leave)
            }
            Kind::Vanishing => of(quick, self.honest(ask), Step::End),
            Kind::Boaster => vec![(quick, Step::End)],
            Kind::Silent => Vec::new(),
            Kind::Forger => asked
                .into_iter()
                .map(|key| (quick, Step::Proof { key, good: false }))
                .chain([(quick, Step::End)])
                .collect(),
            Kind::Pusher => {
                let slot = match ask {
                    Ask::Range { start, count, .. } => Slot(start.0 + count + 1),
                    Ask::Root(_) => Slot(1),
                };
                of(quick, vec![key(0, slot, 200)], Step::End)
            }
            Kind::Backwards => {
                let mut keys = self.honest(ask);
                keys.reverse();
                of(quick, keys, Step::End)
            }
            Kind::Stingy => {
                let mut keys = self.honest(ask);
                keys.truncate(1);
                of(quick, keys, Step::End)
            }
            Kind::Refusing => vec![(quick, Step::Fail)],
            Kind::Trickling => {
                let nobody = ProofKey {
                    new_payload_request_root: Root::from([0xee; 32]),
                    proof_type: asked.first().map_or(1, |k| k.proof_type),
                };
                vec![(Duration::from_secs(30), proof(nobody)); 600]
            }
            Kind::Beacon => vec![(quick, Step::Unsupported)],
        }
    }
}
