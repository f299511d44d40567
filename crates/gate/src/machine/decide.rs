//! What calls are answered.

use super::{
    Gate,
    action::{Alarm, Decision, HeldBy},
    config::ImportPolicy,
    event::{
        Asked, AskedPayload, CallId, ElAnswer, ForkchoiceState, PayloadFacts, RequestCheck, StatusWord,
        UnixMillis,
    },
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
        self.take_payload(payload, check, now);
    }

    /// As `new_payload`, from a beacon node that is not the primary: no claim of where that started (rules 2 and 11).
    pub(super) fn other_payload(&mut self, payload: AskedPayload, now: UnixMillis) {
        if let AskedPayload::Read { payload, check } = payload {
            self.take_payload(payload, check, now);
        }
    }

    fn take_payload(&mut self, payload: PayloadFacts, check: RequestCheck, now: UnixMillis) {
        self.take_form(&payload, check, now);
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
        if let AskedPayload::Read { payload, check } = &payload {
            self.take_form(payload, *check, now);
        }
        let (status, latest_valid_hash) = match self.heard(answer) {
            // Rule 8: errors pass; without an answer the endpoint has its own error.
            ElAnswer::Error => return Decision::PassThrough,
            ElAnswer::Unavailable => return self.payload_without_answer(payload, now),
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
                let own = check == RequestCheck::Matches && self.root_belongs(&payload);
                if own && status == StatusWord::Syncing && self.is_raised(&hash) {
                    Decision::RaiseToValid(hash)
                } else {
                    self.not_better_than(status, latest_valid_hash)
                }
            }
        };
        if self.root_belongs(&payload) {
            self.note_new_payload(hash, now);
            let asked = AskedPayload::Read { payload, check };
            if !self.waits_for_proofs(&Asked::Payload(asked), Some(status)) {
                self.note_told(hash, decision, status, latest_valid_hash, now);
            }
        }
        decision
    }

    /// The EL is silent, or there is none: what proofs alone say.
    fn payload_without_answer(&mut self, asked: AskedPayload, now: UnixMillis) -> Decision {
        let proofs_only = !self.config.policy.has_execution_client();
        let otherwise = |held| match proofs_only {
            true => Decision::LowerToSyncing(held),
            // The endpoint's own error.
            false => Decision::PassThrough,
        };
        let AskedPayload::Read { payload, check } = asked else {
            return otherwise(HeldBy::Unreadable);
        };
        let hash = payload.block_hash;
        if check != RequestCheck::Matches {
            return match (proofs_only, check) {
                (true, RequestCheck::Mismatch) => Decision::Invalid,
                _ => otherwise(HeldBy::OtherRequestRoot),
            };
        }
        match self.config.policy {
            ImportPolicy::Observe | ImportPolicy::RequireProofs => return Decision::PassThrough,
            ImportPolicy::AcceptProofs | ImportPolicy::ProofsOnly => {}
        }
        if self.place(payload, now) == Placed::Refused {
            return otherwise(HeldBy::OtherRequestRoot);
        }
        self.note_new_payload(hash, now);
        if self.is_raised(&hash) {
            self.tell_valid(hash, now);
            return Decision::RaiseToValid(hash);
        }
        if proofs_only && !self.waits_for_proofs(&Asked::Payload(asked), None) {
            self.tell_syncing(hash, now);
        }
        otherwise(self.held_by(&hash).unwrap_or(HeldBy::UnknownPayload))
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
                self.unless_believed(latest_valid_hash.filter(|h| *h == hash))
            }
            StatusWord::Invalid => {
                // To be remembered, whoever brings the payload later.
                self.touch(hash, now);
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
        self.note_streams(&state, now);
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
        let (status, latest_valid_hash) = match self.heard(answer) {
            ElAnswer::Error => return Decision::PassThrough,
            ElAnswer::Unavailable => return self.head_without_answer(state, now),
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
                if status == StatusWord::Syncing && self.is_raised(&head) {
                    Decision::RaiseToValid(head)
                } else {
                    self.not_better_than(status, latest_valid_hash)
                }
            }
        };
        if !self.waits_for_proofs(&Asked::Head(head), Some(status)) {
            self.note_told(head, decision, status, latest_valid_hash, now);
        }
        // A head that is none finalizes nothing.
        if status != StatusWord::Invalid {
            self.finality_of_call(&state, now);
        }
        decision
    }

    /// As `payload_without_answer`, of a head.
    fn head_without_answer(&mut self, state: Option<ForkchoiceState>, now: UnixMillis) -> Decision {
        let proofs_only = !self.config.policy.has_execution_client();
        let Some(state) = state.filter(|s| !s.head.is_zero()) else {
            return match proofs_only {
                true => Decision::LowerToSyncing(HeldBy::Unreadable),
                false => Decision::PassThrough,
            };
        };
        let head = state.head;
        let raised = self.is_raised(&head);
        if !proofs_only && !raised {
            return Decision::PassThrough;
        }
        if proofs_only
            && raised
            && !(self.may_descend(head, state.safe) && self.may_descend(head, state.finalized))
        {
            return Decision::InvalidForkchoiceState;
        }
        self.touch(head, now);
        let decision = if raised {
            self.tell_valid(head, now);
            Decision::RaiseToValid(head)
        } else {
            if !self.waits_for_proofs(&Asked::Head(head), None) {
                self.tell_syncing(head, now);
            }
            Decision::LowerToSyncing(self.held_by(&head).unwrap_or(HeldBy::UnknownPayload))
        };
        self.finality_of_call(&state, now);
        decision
    }

    /// The head of a beacon node that is not the primary (rule 11): what is known of it, and nothing moves.
    pub(super) fn other_head(&mut self, call: CallId, head: BlockHash, now: UnixMillis) {
        let held = self.held_by(&head);
        let waits = held.is_some() && self.waits_for_proofs(&Asked::Head(head), self.client_said(&head));
        let decision = match held {
            None => {
                self.tell_valid(head, now);
                Decision::RaiseToValid(head)
            }
            Some(held) => {
                if !waits {
                    self.tell_syncing(head, now);
                }
                Decision::LowerToSyncing(held)
            }
        };
        self.answer(call, decision, ElAnswer::Unavailable, waits);
    }

    /// The EL's last word on a payload in the tree, as the status it was.
    pub(crate) fn client_said(&self, hash: &BlockHash) -> Option<StatusWord> {
        match self.tree.get(hash)?.el {
            ElStatus::Unknown => None,
            ElStatus::Valid => Some(StatusWord::Valid),
            ElStatus::Invalid => Some(StatusWord::Invalid),
            ElStatus::Syncing => Some(StatusWord::Syncing),
            ElStatus::Accepted => Some(StatusWord::Accepted),
        }
    }

    /// Whether a payload may stand on another (zero: none). False only where it is known that it does not.
    pub(super) fn may_descend(&self, head: BlockHash, ancestor: BlockHash) -> bool {
        if ancestor.is_zero() || self.tree.is_ancestor_or_self(&ancestor, &head) {
            return true;
        }
        let settled = self.settled.get(&ancestor);
        if settled.is_some_and(|s| s.canonical) {
            // What left the tree by finality is an ancestor of all that stayed.
            return true;
        }
        // The head's chain is known back to some slot: what is older may lie before that, and what was never seen anywhere.
        let slot = |hash: &BlockHash| self.tree.get(hash).and_then(|n| n.facts).map(|f| f.slot);
        let known_back_to = self.chain_of(head).iter().rev().find_map(slot);
        let ancestors = slot(&ancestor).or_else(|| settled.and_then(|s| s.slot));
        ancestors
            .zip(known_back_to)
            .is_none_or(|(ancestor, back_to)| ancestor < back_to)
    }

    /// Without an execution client nothing that is said in its name counts.
    fn heard(&self, answer: ElAnswer) -> ElAnswer {
        match self.config.policy.has_execution_client() {
            true => answer,
            false => ElAnswer::Unavailable,
        }
    }

    /// Whether a proof might still turn the answer VALID, and is to be waited for (rule 9).
    pub(crate) fn waits_for_proofs(&self, asked: &Asked, status: Option<StatusWord>) -> bool {
        if self.config.wait_for_proofs_ms == 0 {
            return false;
        }
        let hash = match asked {
            Asked::Payload(AskedPayload::Read { payload, check }) if *check != RequestCheck::Mismatch => {
                if !self.root_belongs(payload) {
                    return false;
                }
                payload.block_hash
            }
            Asked::Payload(_) => return false,
            Asked::Head(head) => *head,
        };
        let can = match self.config.policy {
            ImportPolicy::Observe => false,
            ImportPolicy::RequireProofs => status == Some(StatusWord::Valid),
            ImportPolicy::AcceptProofs => status == Some(StatusWord::Syncing),
            ImportPolicy::ProofsOnly => true,
        };
        can && !self.is_raised(&hash)
            && matches!(
                self.held_by(&hash),
                Some(HeldBy::Proofs { .. } | HeldBy::Ancestor(_))
            )
    }

    /// A call that waits is judged by what is known now.
    pub(super) fn asked_again(
        &mut self,
        call: CallId,
        asked: Asked,
        status: Option<StatusWord>,
        now: UnixMillis,
    ) {
        let hash = match asked {
            Asked::Payload(AskedPayload::Read { payload, check })
                if check != RequestCheck::Mismatch && self.root_belongs(&payload) =>
            {
                Some(payload.block_hash)
            }
            Asked::Payload(_) => None,
            Asked::Head(head) => Some(head),
        };
        let held = match hash {
            None => Some(HeldBy::OtherRequestRoot),
            Some(hash) => self.held_by(&hash),
        };
        let valid = hash.filter(|hash| match self.config.policy {
            // Rule 7: the EL's word then, and its present status.
            ImportPolicy::Observe | ImportPolicy::RequireProofs => {
                status == Some(StatusWord::Valid) && held.is_none()
            }
            ImportPolicy::AcceptProofs | ImportPolicy::ProofsOnly => self.is_raised(hash),
        });
        let decision = match (valid, status) {
            (Some(_), Some(StatusWord::Valid)) => Decision::PassThrough,
            (Some(hash), _) => Decision::RaiseToValid(hash),
            (None, _) => Decision::LowerToSyncing(held.unwrap_or(HeldBy::UnknownPayload)),
        };
        match (valid, hash) {
            (Some(hash), _) => self.tell_valid(hash, now),
            (None, Some(hash)) => self.tell_syncing(hash, now),
            (None, None) => {}
        }
        let answer = match status {
            Some(status) => ElAnswer::Status {
                status,
                latest_valid_hash: None,
            },
            None => ElAnswer::Unavailable,
        };
        self.answer(call, decision, answer, false);
    }

    /// Under `observe` the EL's word, whatever it is; else SYNCING.
    fn unless_observed(&self, held: HeldBy) -> Decision {
        match self.config.policy {
            ImportPolicy::Observe => Decision::PassThrough,
            _ => Decision::LowerToSyncing(held),
        }
    }

    /// The EL said VALID, naming this, of a request that could not be read: enough where the EL's VALID is all that is asked
    /// for.
    fn unless_believed(&self, named: Option<BlockHash>) -> Decision {
        match (self.config.policy, named) {
            (ImportPolicy::AcceptProofs, Some(named)) => self.valid_or_held(named),
            _ => self.unless_observed(HeldBy::Unreadable),
        }
    }

    /// A call whose payload is not known is never VALID.
    fn without_payload(&self, status: StatusWord, latest_valid_hash: Option<BlockHash>) -> Decision {
        match status {
            StatusWord::Valid => self.unless_believed(latest_valid_hash),
            StatusWord::Invalid => Decision::PassThrough,
            StatusWord::Syncing | StatusWord::Accepted => self.not_better_than(status, latest_valid_hash),
        }
    }

    /// The EL said VALID.
    fn valid_or_held(&self, hash: BlockHash) -> Decision {
        let held = match self.config.policy {
            ImportPolicy::Observe => None,
            // The EL's VALID is enough, unless the operator has to decide first (rule 4).
            ImportPolicy::AcceptProofs => self.held_by(&hash).filter(|h| matches!(h, HeldBy::Conflict(_))),
            ImportPolicy::RequireProofs | ImportPolicy::ProofsOnly => self.held_by(&hash),
        };
        held.map_or(Decision::PassThrough, Decision::LowerToSyncing)
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
            (Decision::RaiseToValid(_), _) => self.tell_valid(hash, now),
            (Decision::PassThrough, StatusWord::Invalid)
            | (Decision::Invalid | Decision::InvalidForkchoiceState, _) => {}
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
