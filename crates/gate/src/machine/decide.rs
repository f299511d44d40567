//! What calls are answered.

use super::{
    Gate,
    action::{Alarm, Decision, HeldBy},
    config::ImportPolicy,
    event::{AskedPayload, ElAnswer, ForkchoiceState, PayloadFacts, RequestCheck, StatusWord, UnixMillis},
    node::ElStatus,
    tree::Placed,
};
use assay_types::BlockHash;

impl Gate {
    /// A payload came: it gets its place as soon as its hash is checked, whatever the EL says later.
    pub(super) fn new_payload(&mut self, payload: AskedPayload, now: UnixMillis) {
        let (payload, check) = match payload {
            AskedPayload::Read { payload, check } => (payload, check),
            AskedPayload::Named {
                block_hash,
                parent_hash,
            } => return self.claim(block_hash, parent_hash, now),
            AskedPayload::Unread => return,
        };
        self.claim(payload.block_hash, payload.parent_hash, now);
        if check == RequestCheck::Matches && self.place(payload, now) == Placed::Here {
            self.note_new_payload(payload.block_hash, now);
        } else {
            // The EL's VALID may give it its place: then its proofs must be there.
            self.out.recalls.push(payload.new_payload_request_root);
        }
    }

    fn note_new_payload(&mut self, hash: BlockHash, now: UnixMillis) {
        if let Some(node) = self.tree.get_mut(&hash)
            && node.times.new_payload_at.is_none()
        {
            node.times.new_payload_at = Some(now);
            self.out.dirty.insert(hash);
        }
    }

    /// The answer to newPayload.
    pub(super) fn new_payload_answered(
        &mut self,
        payload: AskedPayload,
        answer: ElAnswer,
        now: UnixMillis,
    ) -> Decision {
        let (status, latest_valid_hash) = match answer {
            // Rule 8: errors pass; without an answer the endpoint has its own error.
            ElAnswer::Error | ElAnswer::Unavailable => return Decision::PassThrough,
            ElAnswer::Unreadable => return self.unless_observed(HeldBy::Unreadable),
            ElAnswer::Status {
                status,
                latest_valid_hash,
            } => (status, latest_valid_hash),
        };
        let (payload, check) = match payload {
            AskedPayload::Read { payload, check } => (payload, check),
            AskedPayload::Named {
                block_hash,
                parent_hash,
            } => {
                return self.named_payload(block_hash, parent_hash, status, latest_valid_hash, now);
            }
            AskedPayload::Unread => return self.without_payload(status, latest_valid_hash),
        };
        let hash = payload.block_hash;
        let decision = match status {
            StatusWord::Valid => self.payload_called_valid(payload, check, latest_valid_hash, now),
            StatusWord::Invalid => {
                // Rule 5: the EL may speak of the request, not of the payload that this hash belongs to.
                let own = check != RequestCheck::Mismatch
                    && self.tree.get(&hash).is_none_or(|n| {
                        n.facts
                            .is_none_or(|f| f.new_payload_request_root == payload.new_payload_request_root)
                    })
                    && self
                        .settled
                        .get(&hash)
                        .is_none_or(|s| s.root.is_none_or(|r| r == payload.new_payload_request_root));
                if own && check == RequestCheck::Matches {
                    self.place(payload, now);
                }
                self.called_invalid(
                    own.then_some(hash),
                    Some(payload.parent_hash),
                    latest_valid_hash,
                    hash,
                    now,
                )
            }
            StatusWord::Syncing | StatusWord::Accepted => {
                let placed = check == RequestCheck::Matches && self.place(payload, now) == Placed::Here;
                if placed {
                    self.mark_el(hash, el_status(status), now);
                }
                self.not_better_than(status, latest_valid_hash)
            }
        };
        if self.root_belongs(&payload) {
            self.note_new_payload(hash, now);
            self.note_told(hash, decision, status, latest_valid_hash, now);
        }
        decision
    }

    /// What the EL says of a payload whose request could not be read holds for its hash, as with fcU; but it is not
    /// VALID.
    fn named_payload(
        &mut self,
        hash: BlockHash,
        parent: BlockHash,
        status: StatusWord,
        latest_valid_hash: Option<BlockHash>,
        now: UnixMillis,
    ) -> Decision {
        let decision = match status {
            StatusWord::Valid => {
                if latest_valid_hash == Some(hash) {
                    self.touch(hash, now);
                    self.mark_el_valid(hash, now);
                }
                self.unless_observed(HeldBy::Unreadable)
            }
            StatusWord::Invalid => {
                self.called_invalid(Some(hash), Some(parent), latest_valid_hash, hash, now)
            }
            StatusWord::Syncing | StatusWord::Accepted => {
                self.mark_el(hash, el_status(status), now);
                self.not_better_than(status, latest_valid_hash)
            }
        };
        self.note_told(hash, decision, status, latest_valid_hash, now);
        decision
    }

    fn payload_called_valid(
        &mut self,
        payload: PayloadFacts,
        check: RequestCheck,
        latest_valid_hash: Option<BlockHash>,
        now: UnixMillis,
    ) -> Decision {
        let hash = payload.block_hash;
        if latest_valid_hash != Some(hash) {
            self.alarm(Alarm::ValidForOtherHash { block_hash: hash });
            return self.unless_observed(HeldBy::OtherLatestValidHash);
        }
        if check == RequestCheck::Mismatch {
            self.alarm(Alarm::HashCheckDisagrees { block_hash: hash });
            return self.unless_observed(HeldBy::OtherRequestRoot);
        }
        match self.place(payload, now) {
            Placed::Refused => self.unless_observed(HeldBy::OtherRequestRoot),
            Placed::Here | Placed::Settled => {
                self.mark_el_valid(hash, now);
                self.valid_or_held(hash)
            }
        }
    }

    /// The beacon node named its head.
    pub(super) fn forkchoice_updated(&mut self, state: ForkchoiceState, now: UnixMillis) {
        if state.head.is_zero() {
            return;
        }
        self.end_startup(state.head, now);
        if self.head != Some(state.head) {
            self.head = Some(state.head);
            self.out.meta = true;
        }
    }

    /// The answer to fcU. An older or repeated head is a head as any other (rule 10).
    pub(super) fn forkchoice_updated_answered(
        &mut self,
        state: Option<ForkchoiceState>,
        answer: ElAnswer,
        now: UnixMillis,
    ) -> Decision {
        let (status, latest_valid_hash) = match answer {
            ElAnswer::Error | ElAnswer::Unavailable => return Decision::PassThrough,
            ElAnswer::Unreadable => return self.unless_observed(HeldBy::Unreadable),
            ElAnswer::Status {
                status,
                latest_valid_hash,
            } => (status, latest_valid_hash),
        };
        let Some(state) = state.filter(|s| !s.head.is_zero()) else {
            return self.without_payload(status, latest_valid_hash);
        };
        let head = state.head;
        self.touch(head, now);
        let decision = match status {
            StatusWord::Valid if latest_valid_hash != Some(head) => {
                self.alarm(Alarm::ValidForOtherHash { block_hash: head });
                self.unless_observed(HeldBy::OtherLatestValidHash)
            }
            StatusWord::Valid => {
                self.mark_el_valid(head, now);
                self.valid_or_held(head)
            }
            StatusWord::Invalid => {
                let parent = self.tree.get(&head).and_then(|n| n.parent());
                self.called_invalid(Some(head), parent, latest_valid_hash, head, now)
            }
            StatusWord::Syncing | StatusWord::Accepted => {
                self.mark_el(head, el_status(status), now);
                self.not_better_than(status, latest_valid_hash)
            }
        };
        self.note_told(head, decision, status, latest_valid_hash, now);
        self.finalize(state.finalized, now);
        decision
    }

    /// Under `observe` the EL's word, whatever it is; else SYNCING.
    fn unless_observed(&self, held: HeldBy) -> Decision {
        match self.config.policy {
            ImportPolicy::Observe => Decision::PassThrough,
            ImportPolicy::RequireProofs => Decision::LowerToSyncing(held),
        }
    }

    /// A call whose payload is not known is never VALID.
    fn without_payload(&self, status: StatusWord, latest_valid_hash: Option<BlockHash>) -> Decision {
        match status {
            StatusWord::Valid => self.unless_observed(HeldBy::Unreadable),
            StatusWord::Invalid => Decision::PassThrough,
            StatusWord::Syncing | StatusWord::Accepted => self.not_better_than(status, latest_valid_hash),
        }
    }

    /// The EL said VALID.
    fn valid_or_held(&self, hash: BlockHash) -> Decision {
        if self.config.policy == ImportPolicy::Observe {
            return Decision::PassThrough;
        }
        self.held_by(&hash)
            .map_or(Decision::PassThrough, Decision::LowerToSyncing)
    }

    /// The EL said SYNCING or ACCEPTED. Rule 3: both carry a null `latestValidHash`.
    fn not_better_than(&self, status: StatusWord, latest_valid_hash: Option<BlockHash>) -> Decision {
        match latest_valid_hash {
            None => Decision::PassThrough,
            Some(_) => self.unless_observed(HeldBy::El(el_status(status))),
        }
    }

    /// Whether this request is the one that belongs to its block hash.
    fn root_belongs(&self, payload: &PayloadFacts) -> bool {
        let hash = &payload.block_hash;
        let root = match (self.tree.get(hash), self.settled.get(hash)) {
            (Some(node), _) => node.facts.map(|f| f.new_payload_request_root),
            (None, settled) => settled.and_then(|s| s.root),
        };
        root == Some(payload.new_payload_request_root)
    }

    /// Keeps what the beacon node is told.
    fn note_told(
        &mut self,
        hash: BlockHash,
        decision: Decision,
        status: StatusWord,
        latest_valid_hash: Option<BlockHash>,
        now: UnixMillis,
    ) {
        match (decision, status) {
            (Decision::PassThrough, StatusWord::Valid) => {
                // Under `observe` the EL may have named another payload: what that says nobody knows.
                if latest_valid_hash == Some(hash) {
                    self.tell_valid(hash, now);
                }
            }
            (Decision::PassThrough, StatusWord::Invalid) => {}
            (Decision::PassThrough, StatusWord::Syncing | StatusWord::Accepted)
            | (Decision::LowerToSyncing(_), _) => self.tell_syncing(hash, now),
        }
    }
}

const fn el_status(status: StatusWord) -> ElStatus {
    match status {
        StatusWord::Valid => ElStatus::Valid,
        StatusWord::Invalid => ElStatus::Invalid,
        StatusWord::Syncing => ElStatus::Syncing,
        StatusWord::Accepted => ElStatus::Accepted,
    }
}
