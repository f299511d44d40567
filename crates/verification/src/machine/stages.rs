//! From the turn to the verdict: which stage is next, and what its outcome means (rules 1, 5, 6, 8, 9).

use super::{
    Action, CandidateId, Lane, Machine, Outcome, Stage, View,
    held::{Held, State},
    observed::Judgement,
    work::WorkQueue,
};
use crate::{IgnoreReason, ParkReason, RejectReason, Source, Verdict, VerifiedProof};
use assay_chain::{ValidatorAnswer, ValidatorRecord};
use assay_proof_engine::{EngineError, Verification};
use assay_types::{EngineInput, ProofKey, ProofName, ProofType, Slot};
use std::sync::Arc;

/// Tries after which a proof that the proof engine answers it cannot read is let go: another engine may be asked meanwhile,
/// or a newer version of it.
pub(super) const UNREADABLE_TRIES: u32 = 4;

impl Machine {
    /// Gives free turns away and starts what work there are hands for.
    pub(super) fn settle(&mut self, view: &dyn View) {
        while let Some(key) = self.free.pop_first() {
            self.give_turn(key, view);
        }
        while let Some(id) = self.cpu.start(&self.room) {
            self.start(id);
        }
        while let Some(id) = self.validator_reads.start(&self.room) {
            self.start(id);
        }
        let (room, queues) = (&self.room, self.engine_calls.values_mut());
        let begun: Vec<_> = queues
            .flat_map(|queue| std::iter::from_fn(|| queue.start(room)))
            .collect();
        for id in begun {
            self.start(id);
        }
        while let Some(id) = self.commits.start(&self.room) {
            self.start(id);
        }
    }

    fn give_turn(&mut self, key: ProofName, view: &dyn View) {
        while let Some((id, authenticated)) = self.next_in_lane(&key) {
            let Some(held) = self.room.get(id) else { return };
            let unsolicited = held.is_unsolicited() && !authenticated;
            let validator = held.parsed.validator_index();
            if self.is_settled(id, view) {
                self.finish(id, Verdict::Ignore(IgnoreReason::AlreadyValid));
                continue;
            }
            match self.entrance(key, validator, unsolicited, view) {
                Err(reason) => self.finish(id, Verdict::Ignore(reason)),
                Ok(None) => self.park(id, ParkReason::UnknownPayload),
                Ok(Some(payload)) => {
                    self.set_timer(id, None);
                    self.room.set_payload_known(id, true);
                    let Some(held) = self.room.get_mut(id) else { return };
                    if held.last_park == Some(ParkReason::UnknownPayload) {
                        // Were it to wait for that again, it would be told again.
                        held.last_park = None;
                        let root = payload.new_payload_request_root;
                        self.actions
                            .extend(held.sharers.iter().map(|sharer| Action::PayloadFound {
                                ticket: sharer.ticket,
                                payload: root,
                            }));
                    }
                    held.payload = Some(payload);
                    let stage = match (authenticated, held.proof_root) {
                        (true, _) => Stage::Engine,
                        (false, Some(_)) => Stage::Validator,
                        (false, None) => Stage::Hash,
                    };
                    if let Some(lane) = self.lanes.get_mut(&key) {
                        lane.active = Some(id);
                        lane.last_authenticated = authenticated;
                    }
                    return match stage {
                        Stage::Engine => self.ask_engine(id, view),
                        stage => self.ready(id, stage),
                    };
                }
            }
        }
    }

    /// Whose turn it is, if it is free. Those whose signature verified (they come back from the proof engine) and the
    /// others take turns, so that neither a flood of forgeries nor proofs that the engine chokes on shut the rest out.
    /// Among the first the one with the fewest tries goes first; among the others the oldest, a worthier one before.
    fn next_in_lane(&self, key: &ProofName) -> Option<(CandidateId, bool)> {
        let lane: &Lane = self.lanes.get(key)?;
        if lane.active.is_some() {
            return None;
        }
        let queued = || {
            lane.members
                .iter()
                .filter_map(|id| Some((*id, self.room.get(*id)?)))
                .filter(|(_, held)| held.state == State::Queued)
        };
        let signed = queued()
            .filter(|(_, held)| held.worth.authenticated)
            .min_by_key(|(id, held)| (held.tries, *id))
            .map(|(id, _)| (id, true));
        let unsigned = queued()
            .filter(|(_, held)| !held.worth.authenticated)
            .min_by_key(|(id, held)| (std::cmp::Reverse(held.worth), *id))
            .map(|(id, _)| (id, false));
        if lane.last_authenticated {
            unsigned.or(signed)
        } else {
            signed.or(unsigned)
        }
    }

    fn work(&mut self, stage: Stage, proof_type: ProofType) -> &mut WorkQueue {
        match stage {
            Stage::Hash | Stage::Signature => &mut self.cpu,
            Stage::Validator => &mut self.validator_reads,
            // Only types that are verified come so far.
            Stage::Engine => self
                .engine_calls
                .entry(proof_type)
                .or_insert_with(|| WorkQueue::new(self.config.engine_calls)),
            Stage::Commit => &mut self.commits,
        }
    }

    fn ready(&mut self, id: CandidateId, stage: Stage) {
        if let Some(held) = self.room.get_mut(id) {
            held.state = State::Ready(stage);
            let proof_type = held.key().proof_type;
            self.work(stage, proof_type).push(id);
        }
    }

    fn start(&mut self, id: CandidateId) {
        let Some(action) = self.room.get(id).and_then(|held| self.action(id, held)) else {
            // Cannot be: what a stage needs is there when the stage begins.
            return self.finish(id, Verdict::Ignore(IgnoreReason::Internal));
        };
        if let Some(held) = self.room.get_mut(id)
            && let State::Ready(stage) = held.state
        {
            held.state = State::Running(stage);
            self.actions.push(action);
        }
    }

    fn action(&self, id: CandidateId, held: &Held) -> Option<Action> {
        let State::Ready(stage) = held.state else {
            return None;
        };
        let payload = held.payload.as_ref()?;
        // Fork, epoch and activity are those of the payload's slot (protocol.md section 11).
        let epoch = self.spec.epoch_at_slot(payload.slot);
        Some(match stage {
            Stage::Hash => Action::Hash {
                id,
                parsed: held.parsed.clone(),
                epoch,
            },
            Stage::Validator => Action::ReadValidator {
                id,
                validator: held.parsed.validator_index(),
                payload: payload.clone(),
            },
            Stage::Signature => Action::CheckSignature {
                id,
                record: Arc::clone(&held.record.as_ref()?.0),
                proof_root: held.proof_root?,
                epoch,
                signature: held.parsed.signed.signature,
            },
            Stage::Engine => Action::AskEngine {
                id,
                input: self.engine_input(held)?,
            },
            Stage::Commit => Action::Commit {
                id,
                proof: Arc::new(VerifiedProof {
                    ssz: held.parsed.ssz.clone()?,
                    signed: held.parsed.signed.clone(),
                    new_payload_request_root: payload.new_payload_request_root,
                    origin: self.engine_input(held)?.origin(),
                    proof_root: held.proof_root?,
                    slot: payload.slot,
                    block_root: payload.block_root,
                }),
                source: held.sharers.first()?.source.clone(),
            },
        })
    }

    /// What the engine is asked: built from the chain, the message says whose payload, no more.
    fn engine_input(&self, held: &Held) -> Option<EngineInput> {
        let name = held.key();
        let key = ProofKey {
            new_payload_request_root: held.payload.as_ref()?.new_payload_request_root,
            proof_type: name.proof_type,
        };
        let proof_data = held.parsed.signed.message.proof_data.clone();
        Some(EngineInput::new(&self.spec, name.revision, key, proof_data))
    }

    pub(super) fn done(&mut self, id: CandidateId, outcome: Outcome, view: &dyn View) {
        let Some(held) = self.room.get(id) else { return };
        let State::Running(stage) = held.state else { return };
        let proof_type = held.key().proof_type;
        self.work(stage, proof_type).remove(id);
        match (stage, outcome) {
            (Stage::Hash, Outcome::Hashed { parsed, proof_root }) => {
                if let Some(held) = self.room.get_mut(id) {
                    held.parsed = *parsed;
                    held.proof_root = Some(proof_root);
                }
                self.hashed(id);
            }
            (Stage::Validator, Outcome::Validator(answer)) => self.validator(id, answer),
            (Stage::Signature, Outcome::Signature(verified)) => self.signature(id, verified, view),
            (Stage::Engine, Outcome::Engine(answer)) => self.engine(id, answer, view),
            (Stage::Commit, Outcome::Committed { proof, durable }) => self.committed(id, proof, durable),
            // A crash, or (it cannot be) another stage's outcome: no judgement, and it may come again.
            _ => self.finish(id, Verdict::Ignore(IgnoreReason::Internal)),
        }
    }

    /// Rule 1.
    fn hashed(&mut self, id: CandidateId) {
        let Some(held) = self.room.get(id) else { return };
        let seen = held.proof_root.and_then(|root| self.observed.seen(&root));
        match (seen, held.is_unsolicited()) {
            (Some(_), true) => self.finish(id, Verdict::Ignore(IgnoreReason::SeenProof)),
            // Who was asked, or the operator, learns what is known: the engine's word holds whoever signs.
            (Some(Judgement::Invalid), false) => {
                self.finish(id, Verdict::Reject(RejectReason::InvalidProof));
            }
            (Some(Judgement::Signed | Judgement::Valid), false) | (None, _) => {
                self.ready(id, Stage::Validator)
            }
        }
    }

    /// Rule 5. Only an answer that decides may reject (protocol.md section 11).
    fn validator(&mut self, id: CandidateId, answer: ValidatorAnswer) {
        let Some(held) = self.room.get_mut(id) else { return };
        let Some(slot) = held.payload.as_ref().map(|p| p.slot) else {
            return;
        };
        let epoch = self.spec.epoch_at_slot(slot);
        let is_active = |record: &ValidatorRecord| record.is_active_at(epoch);
        match answer {
            ValidatorAnswer::Known { record, decisive } if is_active(&record) => {
                held.record = Some((record, decisive));
                self.ready(id, Stage::Signature);
            }
            ValidatorAnswer::Known { decisive: true, .. } => {
                self.finish(id, Verdict::Reject(RejectReason::InactiveValidator));
            }
            ValidatorAnswer::Absent { decisive: true } => {
                self.finish(id, Verdict::Reject(RejectReason::UnknownValidator));
            }
            ValidatorAnswer::Known { decisive: false, .. }
            | ValidatorAnswer::Absent { decisive: false }
            | ValidatorAnswer::Unavailable(_) => self.park(id, ParkReason::ValidatorUnavailable),
        }
    }

    /// Rule 6. From here on an active validator stands behind the message, and it is marked for rules 1 and 4.
    fn signature(&mut self, id: CandidateId, verified: bool, view: &dyn View) {
        let Some(held) = self.room.get_mut(id) else { return };
        let decisive = held.record.take().is_some_and(|(_, decisive)| decisive);
        match (verified, decisive) {
            (true, _) => {
                held.worth.authenticated = true;
                let (key, validator) = (held.key(), held.parsed.validator_index());
                if let (Some(root), Some(slot)) = (held.proof_root, held.payload.as_ref().map(|p| p.slot)) {
                    self.observed.mark(key, validator, root, slot);
                }
                if self.is_settled(id, view) {
                    self.finish(id, Verdict::Ignore(IgnoreReason::AlreadyValid));
                } else {
                    self.ask_engine(id, view);
                }
            }
            (false, true) => self.finish(id, Verdict::Reject(RejectReason::BadSignature)),
            // On another branch the index may be somebody else's.
            (false, false) => self.park(id, ParkReason::ValidatorUnavailable),
        }
    }

    /// Rule 8, unless the proof engine has called this very message valid when it came unsigned.
    fn ask_engine(&mut self, id: CandidateId, view: &dyn View) {
        let root = self.room.get(id).and_then(|held| held.proof_root);
        if root.is_some_and(|root| self.observed.is_valid_unsigned(&root)) {
            self.engine(id, Ok(Verification::Valid), view);
        } else {
            self.ready(id, Stage::Engine);
        }
    }

    /// Rules 8 and 9.
    fn engine(&mut self, id: CandidateId, answer: Result<Verification, EngineError>, view: &dyn View) {
        let Some(held) = self.room.get(id) else { return };
        let (key, validator, root) = (held.key(), held.parsed.validator_index(), held.proof_root);
        let (slot, tries) = (held.payload.as_ref().map_or(Slot(0), |p| p.slot), held.tries);
        match answer {
            Ok(Verification::Valid) if self.is_valid(&key, view) => {
                if let Some(root) = root {
                    self.observed.judge(key, root, slot, Judgement::Valid);
                }
                self.finish(id, Verdict::Ignore(IgnoreReason::AlreadyValid));
            }
            Ok(Verification::Valid) => {
                // Its block may have come meanwhile.
                if let (Some(payload), Some(held)) = (view.payload(&key), self.room.get_mut(id)) {
                    held.payload = Some(payload);
                }
                self.ready(id, Stage::Commit);
            }
            Ok(Verification::Invalid(_)) => {
                if let Some(root) = root {
                    self.observed.judge(key, root, slot, Judgement::Invalid);
                }
                let slots = self
                    .config
                    .containment_epochs
                    .saturating_mul(self.spec.slots_per_epoch);
                let until = view.current_slot().saturating_add(slots);
                self.actions.push(Action::Contain { validator, until });
                self.finish(id, Verdict::Reject(RejectReason::InvalidProof));
            }
            Ok(Verification::Unsupported) => self.finish(id, Verdict::Ignore(IgnoreReason::UnsupportedType)),
            // Nobody is blamed, and what an engine will never read is not kept for the time it may wait for one.
            Err(EngineError::Unreadable(_)) if tries >= UNREADABLE_TRIES => {
                self.finish(id, Verdict::Ignore(IgnoreReason::EngineUnavailable));
            }
            Err(_) => self.park(id, ParkReason::EngineUnavailable),
        }
    }

    fn committed(&mut self, id: CandidateId, proof: Arc<VerifiedProof>, durable: bool) {
        if !durable {
            return self.finish(id, Verdict::Ignore(IgnoreReason::Internal));
        }
        let key = proof.name();
        self.observed.set_valid(key, proof.key(), proof.slot());
        self.observed
            .judge(key, *proof.proof_root(), proof.slot(), Judgement::Valid);
        if let Some(held) = self.room.get(id) {
            for sharer in &held.sharers {
                if let Source::Gossip { peer } | Source::ReqResp { peer } = &sharer.source {
                    self.vouched.put(peer.clone(), ());
                }
            }
        }
        self.finish(id, Verdict::Accept(proof));
        // Others of the key had no turn meanwhile, so none of them is under way. What was posted gets its turn still.
        let others: Vec<_> = self
            .lanes
            .get(&key)
            .map(|l| l.members.iter().copied().collect())
            .unwrap_or_default();
        for other in others {
            if self.room.get(other).is_some_and(|held| !held.worth.local) {
                self.finish(other, Verdict::Ignore(IgnoreReason::AlreadyValid));
            }
        }
    }
}
