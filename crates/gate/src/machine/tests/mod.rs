//! Tests of the machine: a table per rule, and a model that drives it through random histories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conflict;
mod forget;
mod forms;
mod model;
mod observation;
mod policies;
mod prune;
mod recursive;
mod restart;
mod rules;
mod streams;

use super::*;
use assay_types::{ForkName, Hash256};
use std::num::NonZeroU8;

/// The hash of payload `n` of a test; 0 is the zero hash.
fn hash(n: u8) -> BlockHash {
    let mut bytes = [0; 32];
    bytes[0] = n;
    Hash256(bytes)
}

/// The request root of payload `n`.
fn root(n: u8) -> Root {
    let mut bytes = [0xee; 32];
    bytes[0] = n;
    Hash256(bytes)
}

/// Payload `n` on `parent`, at slot `n`.
fn payload(n: u8, parent: u8) -> PayloadFacts {
    PayloadFacts {
        block_hash: hash(n),
        parent_hash: hash(parent),
        new_payload_request_root: root(n),
        slot: Slot(u64::from(n)),
        fork: ForkName::Fulu,
    }
}

fn require(k: u8) -> GateConfig {
    GateConfig {
        policy: ImportPolicy::RequireProofs,
        required_proofs: NonZeroU8::new(k).unwrap(),
        ..GateConfig::default()
    }
}

fn observe() -> GateConfig {
    GateConfig::default()
}

fn status(status: StatusWord, latest_valid_hash: Option<BlockHash>) -> ElAnswer {
    ElAnswer::Status {
        status,
        latest_valid_hash,
    }
}

const SYNCING: ElAnswer = ElAnswer::Status {
    status: StatusWord::Syncing,
    latest_valid_hash: None,
};

fn valid(n: u8) -> ElAnswer {
    status(StatusWord::Valid, Some(hash(n)))
}

fn invalid(latest_valid: Option<u8>) -> ElAnswer {
    status(StatusWord::Invalid, latest_valid.map(hash))
}

/// A gate, the time, and everything it asked for.
struct Bench {
    gate: Gate,
    now: u64,
    calls: u64,
    actions: Vec<Action>,
    records: BTreeMap<[u8; 32], Vec<u8>>,
}

impl Bench {
    fn new(config: GateConfig) -> Self {
        Self {
            gate: Gate::new(config),
            now: 1,
            calls: 0,
            actions: Vec::new(),
            records: BTreeMap::new(),
        }
    }

    /// A gate under `config` whose beacon node started from payload 1, which the EL has.
    fn started(config: GateConfig) -> Self {
        let mut bench = Self::new(config);
        assert_eq!(bench.head(1, valid(1)), Decision::PassThrough);
        bench
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        self.now += 1;
        let actions = self.gate.on_event(event, UnixMillis(self.now));
        self.keep(&actions);
        self.actions.extend(actions.iter().cloned());
        actions
    }

    fn keep(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Persist { changes, .. } = action {
                for (key, value) in changes {
                    match value {
                        Some(value) => drop(self.records.insert(*key, value.clone())),
                        None => drop(self.records.remove(key)),
                    }
                }
            }
        }
    }

    fn restarted(&self, config: GateConfig) -> Self {
        let records = self.records.iter().map(|(k, v)| (*k, v.clone())).collect();
        let (gate, actions) = Gate::restore(records, config, UnixMillis(self.now)).unwrap();
        let mut bench = Self {
            gate,
            now: self.now,
            calls: self.calls,
            actions: Vec::new(),
            records: self.records.clone(),
        };
        bench.keep(&actions);
        bench.actions = actions;
        bench
    }

    fn call(&mut self) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }

    fn decided(actions: &[Action], call: CallId) -> Decision {
        let mut found = actions.iter().filter_map(|a| match a {
            Action::Answer {
                call: c, decision, ..
            } if *c == call => Some(*decision),
            _ => None,
        });
        let decision = found.next().expect("every call is answered");
        assert_eq!(found.next(), None, "every call is answered once");
        decision
    }

    /// newPayload and the EL's answer, the hash checked.
    fn import(&mut self, payload: PayloadFacts, answer: ElAnswer) -> Decision {
        self.import_checked(payload, RequestCheck::Matches, answer)
    }

    fn import_checked(&mut self, payload: PayloadFacts, check: RequestCheck, answer: ElAnswer) -> Decision {
        let payload = AskedPayload::Read { payload, check };
        self.event(Event::NewPayload { payload });
        let call = self.call();
        let actions = self.event(Event::NewPayloadAnswered {
            call,
            payload,
            answer,
        });
        Self::decided(&actions, call)
    }

    /// newPayload of which only the hashes can be read, and the EL's answer.
    fn import_named(&mut self, payload: PayloadFacts, answer: ElAnswer) -> Decision {
        let payload = AskedPayload::Named {
            block_hash: payload.block_hash,
            parent_hash: payload.parent_hash,
        };
        self.event(Event::NewPayload { payload });
        let call = self.call();
        let actions = self.event(Event::NewPayloadAnswered {
            call,
            payload,
            answer,
        });
        Self::decided(&actions, call)
    }

    /// fcU and the EL's answer.
    fn head(&mut self, head: u8, answer: ElAnswer) -> Decision {
        self.head_finalized(head, 0, answer)
    }

    fn head_finalized(&mut self, head: u8, finalized: u8, answer: ElAnswer) -> Decision {
        let state = ForkchoiceState {
            head: hash(head),
            safe: hash(finalized),
            finalized: hash(finalized),
        };
        self.event(Event::ForkchoiceUpdated { state });
        let call = self.call();
        let actions = self.event(Event::ForkchoiceUpdatedAnswered {
            call,
            state: Some(state),
            answer,
        });
        Self::decided(&actions, call)
    }

    fn prove(&mut self, n: u8, proof_type: ProofType) -> Vec<Action> {
        let key = ProofKey {
            new_payload_request_root: root(n),
            proof_type,
        };
        self.event(Event::ProofVerified { key })
    }

    fn verdict(&self, n: u8) -> PayloadVerdict {
        self.gate.payload(&hash(n)).expect("known").verdict
    }

    fn held_by(&self, n: u8) -> Option<HeldBy> {
        self.gate.holds_back(&hash(n))
    }

    fn alarms(&self) -> Vec<Alarm> {
        let alarm = |a: &Action| match a {
            Action::Alarm(alarm) => Some(*alarm),
            _ => None,
        };
        self.actions.iter().filter_map(alarm).collect()
    }
}

fn is_syncing(decision: Decision) -> bool {
    matches!(decision, Decision::LowerToSyncing(_))
}
