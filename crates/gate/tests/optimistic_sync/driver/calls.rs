//! The node's calls under way: what the execution client says of each, what the gate makes of it, and what the node hears.

use super::{
    super::node::{Answer, Call, Id, LatestValid},
    Sim, Under, What,
    words::{decided, el_answer, hash, heard, named, state_of, word},
};
use assay_gate::{
    Asked, Decision, ImportPolicy, OnMissingProofs, PayloadVerdict, StatusWord,
    machine::{CallId, Event},
};

/// forkchoiceUpdated takes so long.
const FORKCHOICE_MS: u64 = 20;
/// A call that nobody answers.
const REFUSED_MS: u64 = 5;
/// An execution client that hangs answers after this.
const HANGING_MS: u64 = 6_000;
/// Longest that a call may take with its wait for proofs, as the endpoint has it: three quarters of the node's patience.
const LONGEST_CALL: u64 = 6_000;

impl Sim<'_> {
    /// What the execution client says of a payload, and when.
    fn execution(&self, call: Call) -> (Answer, u64) {
        let within = |time: Option<(u64, u64)>| time.is_some_and(|(from, to)| (from..to).contains(&self.now));
        let (id, takes) = match call {
            Call::NewPayload(id) => (id, self.world.blocks[id].execution_ms),
            Call::Forkchoice { head, .. } => (head, FORKCHOICE_MS),
        };
        if within(self.world.away) {
            return (Answer::None, self.now + REFUSED_MS);
        }
        let answer = if !self.world.blocks[id].valid {
            Answer::Invalid(LatestValid::Hash(self.world.payload_parent(id)))
        } else if within(self.world.syncing)
            && self
                .world
                .away
                .is_some_and(|(from, _)| self.world.blocks[id].payload_at >= from)
        {
            // What it had before it has still.
            Answer::NotValidated
        } else {
            Answer::Valid
        };
        match within(self.world.hanging) {
            true => (answer, self.now + HANGING_MS),
            false => (answer, self.now + takes),
        }
    }

    pub(super) fn submit(&mut self, call: Call) {
        self.calls += 1;
        let number = self.calls;
        let (el, at) = self.execution(call);
        let under = Under {
            call,
            el,
            first: None,
            silent: false,
            received: self.now,
        };
        if let Some(config) = self.config {
            if self.gate.is_none() {
                self.under.insert(
                    number,
                    Under {
                        el: Answer::None,
                        ..under
                    },
                );
                self.at(self.now + REFUSED_MS, What::Answered(number));
                return;
            }
            self.tell_gate(match call {
                Call::NewPayload(id) => Event::NewPayload {
                    payload: self.asked_payload(id),
                },
                Call::Forkchoice { .. } => Event::ForkchoiceUpdated {
                    state: state_of(call),
                },
            });
            if config.policy == ImportPolicy::ProofsOnly {
                self.under.insert(
                    number,
                    Under {
                        el: Answer::None,
                        ..under
                    },
                );
                self.at(self.now + REFUSED_MS, What::Answered(number));
                return;
            }
            if config.policy == ImportPolicy::AcceptProofs {
                self.at(self.now + config.execution_slow_after_ms, What::Silent(number));
            }
        }
        self.under.insert(number, under);
        self.at(at, What::Answered(number));
    }

    pub(super) fn el_answered(&mut self, number: u64) {
        let Some(under) = self.under.get(&number) else {
            return;
        };
        let (call, el, received) = (under.call, under.el, under.received);
        let Some(config) = self.config.filter(|_| self.gate.is_some()) else {
            return self.answer(number, el);
        };
        let id = CallId(number);
        let answer = el_answer(call, el);
        let actions = self.tell_gate(match call {
            Call::NewPayload(payload) => Event::NewPayloadAnswered {
                call: id,
                payload: self.asked_payload(payload),
                answer,
            },
            Call::Forkchoice { .. } => Event::ForkchoiceUpdatedAnswered {
                call: id,
                state: Some(state_of(call)),
                answer,
            },
        });
        let (decision, waits) = decided(&actions, id);
        if !waits {
            return self.answer(number, heard(call, decision, el));
        }
        if let Some(under) = self.under.get_mut(&number) {
            under.first = Some(decision);
        }
        let until = (self.now + config.wait_for_proofs_ms).min(received + LONGEST_CALL);
        self.at(until.max(self.now), What::WaitOver(number));
    }

    pub(super) fn wait_over(&mut self, number: u64) {
        let Some(first) = self.under.get(&number).and_then(|u| u.first) else {
            return;
        };
        let (call, el) = (self.under[&number].call, self.under[&number].el);
        let again = self.ask_again(number, word(el));
        let decision = if again.is_valid(word(el)) { again } else { first };
        self.answer(number, heard(call, decision, el));
    }

    /// A proof came, or the execution client has been silent for long: calls under way that it answers.
    pub(super) fn look_again(&mut self) {
        let numbers: Vec<u64> = self
            .under
            .iter()
            .filter(|(_, u)| u.silent || u.first.is_some())
            .map(|(n, _)| *n)
            .collect();
        for number in numbers {
            let under = &self.under[&number];
            let (call, el, waits) = (under.call, under.el, under.first.is_some());
            let now_valid = self
                .gate
                .as_ref()
                .and_then(|gate| gate.payload(&hash(named(call))))
                .is_some_and(|view| view.verdict == PayloadVerdict::Valid);
            if !now_valid {
                continue;
            }
            if waits {
                self.wait_over(number);
            } else if self.ask_again(number, None).is_valid(None) {
                self.answer(number, heard(call, Decision::RaiseToValid(hash(named(call))), el));
            }
        }
    }

    fn ask_again(&mut self, number: u64, status: Option<StatusWord>) -> Decision {
        let asked = match self.under[&number].call {
            Call::NewPayload(id) => Asked::Payload(self.asked_payload(id)),
            Call::Forkchoice { head, .. } => Asked::Head(hash(head)),
        };
        let call = CallId(number);
        let actions = self.tell_gate(Event::AskedAgain { call, asked, status });
        decided(&actions, call).0
    }

    fn answer(&mut self, number: u64, answer: Answer) {
        let Some(under) = self.under.remove(&number) else {
            return;
        };
        let id = named(under.call);
        if let Answer::Invalid(_) = answer {
            self.run.invalid.insert(id);
        }
        if answer == Answer::Valid && !self.is_founded(id, under.el) {
            self.run.unfounded.insert(id);
        }
        self.node.answered(under.call, answer);
    }

    /// Whether a payload may be called VALID now, by design.md's table of policies.
    fn is_founded(&self, id: Id, el: Answer) -> bool {
        let Some(config) = self.config else { return true };
        let proven = |id: &Id| *id == 0 || self.stored.contains(id);
        let mut chain =
            std::iter::successors(Some(id), |at| (*at != 0).then(|| self.world.payload_parent(*at)));
        match (config.policy, config.on_missing_proofs) {
            (ImportPolicy::Observe, _)
            | (ImportPolicy::RequireProofs, OnMissingProofs::TrustExecution { .. }) => el == Answer::Valid,
            (ImportPolicy::RequireProofs, OnMissingProofs::Wait) => {
                el == Answer::Valid && chain.skip(config.proof_lag as usize).all(|at| proven(&at))
            }
            (ImportPolicy::AcceptProofs, _) => el == Answer::Valid || proven(&id),
            (ImportPolicy::ProofsOnly, _) => chain.all(|at| proven(&at)),
        }
    }
}
