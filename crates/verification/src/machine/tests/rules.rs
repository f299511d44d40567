//! One row a rule and outcome: what the house is like, what comes, what is said.

use super::world::{
    House, Registry, SLOT, forged, gossip, in_both_revisions, key, known, proof_root, req_resp, signed,
};
use crate::{Source, machine::Event};
use assay_types::{Epoch, Slot};
use std::time::Duration;

/// An epoch of the minimal preset.
const EPOCH: Duration = Duration::from_secs(48);

struct Row {
    name: &'static str,
    /// Prepares the house, submits, and returns what was said, step by step.
    run: fn(&mut House) -> Vec<String>,
    says: &'static [&'static str],
}

fn bring(house: &mut House, data: &str, signer: u64, source: Source) -> String {
    let ticket = house.bring(signed(key(1, 1), data, signer), source);
    house.word(ticket)
}

const ROWS: &[Row] = &[
    Row {
        name: "a valid proof is accepted from every source",
        run: |h| {
            let mut said = Vec::new();
            for (payload, source) in [gossip(1), req_resp(1), Source::Http, Source::Prover]
                .into_iter()
                .enumerate()
            {
                let payload = 10 + payload as u8;
                h.learn_payload(payload, SLOT);
                let ticket = h.bring(signed(key(payload, 1), "V", 1), source);
                said.push(h.word(ticket));
            }
            said
        },
        says: &["accept", "accept", "accept", "accept"],
    },
    Row {
        name: "rule 1: the message of one validator, signed by another while the engine is down",
        run: |h| {
            h.world.engine_up = false;
            vec![bring(h, "V", 1, gossip(1)), bring(h, "V", 2, gossip(2))]
        },
        says: &["parked engine_unavailable", "ignore seen_proof"],
    },
    Row {
        name: "rule 1: a message known as invalid, signed by another",
        run: |h| vec![bring(h, "I", 1, gossip(1)), bring(h, "I", 2, gossip(2))],
        says: &["reject invalid_proof", "ignore seen_proof"],
    },
    Row {
        name: "rule 1 is gossip's: who was asked, and the operator, learn that the message is invalid",
        run: |h| {
            let said = vec![
                bring(h, "I", 1, gossip(1)),
                bring(h, "I", 2, req_resp(2)),
                bring(h, "I", 3, Source::Http),
            ];
            assert_eq!(
                h.log.iter().filter(|l| *l == "engine I").count(),
                1,
                "judged once"
            );
            said
        },
        says: &[
            "reject invalid_proof",
            "reject invalid_proof",
            "reject invalid_proof",
        ],
    },
    Row {
        name: "rule 1 is gossip's: the operator's copy of a message that waits for the engine goes its own way",
        run: |h| {
            h.world.engine_up = false;
            let said = vec![bring(h, "V", 1, gossip(1)), bring(h, "V", 2, Source::Http)];
            h.world.engine_up = true;
            h.wait(Duration::from_secs(1));
            h.work();
            [said, vec![h.word(0), h.word(1)]].concat()
        },
        says: &[
            "parked engine_unavailable",
            "parked engine_unavailable",
            "accept",
            "ignore already_valid",
        ],
    },
    Row {
        name: "rule 2: no payload, then the payload",
        run: |h| {
            let ticket = h.bring(signed(key(2, 1), "V", 1), gossip(1));
            let before = h.word(ticket);
            h.learn_payload(2, SLOT);
            h.work();
            vec![before, h.word(ticket)]
        },
        says: &["parked unknown_payload", "accept"],
    },
    Row {
        name: "rule 2: no payload for an epoch, not a moment less",
        run: |h| {
            let ticket = h.bring(signed(key(2, 1), "V", 1), gossip(1));
            h.wait(EPOCH - Duration::from_millis(1));
            let before = h.word(ticket);
            h.wait(Duration::from_millis(1));
            vec![before, h.word(ticket)]
        },
        says: &["parked unknown_payload", "ignore unknown_payload"],
    },
    Row {
        name: "rule 2: a payload that nobody announced is found by looking again",
        run: |h| {
            let ticket = h.bring(signed(key(2, 1), "V", 1), gossip(1));
            h.world.add_payload(2, SLOT);
            h.wait(Duration::from_millis(500));
            h.work();
            vec![h.word(ticket)]
        },
        says: &["accept"],
    },
    Row {
        name: "an unsupported type is ignored, known payload or not, and not recorded",
        run: |h| {
            let (one, two) = (signed(key(1, 9), "V", 1), signed(key(2, 9), "V", 1));
            let said = [h.bring(one.clone(), gossip(1)), h.bring(two, gossip(1))];
            h.world.types.insert(9);
            let again = h.bring(one, gossip(1));
            vec![h.word(said[0]), h.word(said[1]), h.word(again)]
        },
        says: &["ignore unsupported_type", "ignore unsupported_type", "accept"],
    },
    Row {
        name: "rule 3: a valid proof is known, from anyone, on the way or on disk",
        run: |h| {
            h.learn_payload(2, SLOT);
            h.world.on_disk.insert(key(2, 1));
            let first = bring(h, "V", 1, gossip(1));
            let work = h.log.len();
            let said = vec![first, bring(h, "V other", 2, gossip(2)), {
                let ticket = h.bring(signed(key(2, 1), "V", 1), req_resp(1));
                h.word(ticket)
            }];
            assert_eq!(h.log.len(), work, "no work for what is known");
            said
        },
        says: &["accept", "ignore already_valid", "ignore already_valid"],
    },
    Row {
        name: "rule 3 for whoever posts: the posted message itself has to verify",
        run: |h| {
            let mut said = vec![bring(h, "V", 1, gossip(1))];
            let post = |h: &mut House, proof, source| {
                let before = h.log.len();
                let ticket = h.bring(proof, source);
                (h.word(ticket), h.log.split_off(before))
            };
            let again = signed(key(1, 1), "V", 1);
            let (word, work) = post(h, again.clone(), Source::Http);
            assert_eq!(
                work.iter().filter(|l| l.starts_with("engine")).count(),
                0,
                "known"
            );
            said.push(word);
            for (proof, source) in [
                (forged(again.clone(), 1), Source::Http),
                (forged(again, 1), Source::Prover),
                (forged(signed(key(1, 1), "V other", 2), 1), Source::Http),
                (signed(key(1, 1), "V other", 99), Source::Http),
                (signed(key(1, 1), "I", 2), Source::Http),
                (signed(key(1, 1), "V other", 3), Source::Http),
            ] {
                said.push(post(h, proof, source).0);
            }
            assert_eq!(h.commits.len(), 1, "another valid one is not kept");
            said
        },
        says: &[
            "accept",
            "ignore already_valid",
            "reject bad_signature",
            "reject bad_signature",
            "reject bad_signature",
            "reject unknown_validator",
            "reject invalid_proof",
            "ignore already_valid",
        ],
    },
    Row {
        name: "rule 3 for whoever posts: on disk from before a restart, and what waited while another was judged",
        run: |h| {
            h.learn_payload(2, SLOT);
            h.world.on_disk.insert(key(2, 1));
            let stored = h.bring(signed(key(2, 1), "V", 1), Source::Http);
            let forgery = h.bring(forged(signed(key(2, 1), "V", 1), 1), Source::Http);
            let first = h.submit(signed(key(1, 1), "V", 1), gossip(1));
            let waits = h.submit(forged(signed(key(1, 1), "V", 1), 1), Source::Http);
            let honest = h.submit(signed(key(1, 1), "V", 2), Source::Http);
            let gossiped = h.submit(signed(key(1, 1), "V", 3), gossip(2));
            h.work();
            [stored, forgery, first, waits, honest, gossiped]
                .map(|t| h.word(t))
                .to_vec()
        },
        says: &[
            "ignore already_valid",
            "reject bad_signature",
            "accept",
            "reject bad_signature",
            "ignore already_valid",
            "ignore already_valid",
        ],
    },
    Row {
        name: "rule 3: another type of the same payload, and the same type of another payload, are other proofs",
        run: |h| {
            h.learn_payload(2, SLOT);
            let first = bring(h, "V", 1, gossip(1));
            let others = [
                h.bring(signed(key(1, 2), "V", 1), gossip(1)),
                h.bring(signed(key(2, 1), "V", 1), gossip(1)),
            ];
            vec![first, h.word(others[0]), h.word(others[1])]
        },
        says: &["accept", "accept", "accept"],
    },
    Row {
        name: "rule 4: the validator's second try on gossip; asked for, it is judged",
        run: |h| {
            h.world.engine_up = false;
            let first = bring(h, "V one", 1, gossip(1));
            let second = bring(h, "V two", 1, gossip(2));
            h.world.engine_up = true;
            vec![first, second, bring(h, "V three", 1, req_resp(3))]
        },
        says: &[
            "parked engine_unavailable",
            "ignore seen_from_validator",
            "accept",
        ],
    },
    Row {
        name: "rules 3 and 4 need no payload",
        run: |h| {
            h.world.engine_up = false;
            let tried = bring(h, "V", 1, gossip(1));
            h.world.payloads.remove(&key(1, 1).root);
            let said = vec![
                tried,
                bring(h, "V again", 1, gossip(2)),
                bring(h, "V fresh", 2, gossip(3)),
            ];
            h.world.on_disk.insert(key(1, 1));
            [said, vec![bring(h, "V known", 3, gossip(4))]].concat()
        },
        says: &[
            "parked engine_unavailable",
            "ignore seen_from_validator",
            "parked unknown_payload",
            "ignore already_valid",
        ],
    },
    Row {
        name: "rule 4: a try whose signature did not verify is none",
        run: |h| {
            let forged = h.bring(forged(signed(key(1, 1), "V", 1), 1), gossip(1));
            vec![h.word(forged), bring(h, "V", 1, gossip(2))]
        },
        says: &["reject bad_signature", "accept"],
    },
    Row {
        name: "rule 5: outside the registry",
        run: |h| vec![bring(h, "V", 10, gossip(1)), bring(h, "V", u64::MAX, gossip(1))],
        says: &["reject unknown_validator", "reject unknown_validator"],
    },
    Row {
        name: "rule 5: active from the activation epoch to before the exit epoch, of the payload's slot",
        run: |h| {
            let epochs = [(5, 6), (6, 9), (0, 5), (0, 6)];
            let mut said = Vec::new();
            for (n, (activation, exit)) in epochs.into_iter().enumerate() {
                h.world
                    .validators
                    .insert(n as u64, (Epoch(activation), Epoch(exit)));
                // A payload each, so that rule 3 does not answer; slot 43 is in epoch 5, the clock far beyond it.
                h.world.slot = Slot(43 + 8 * 100);
                h.learn_payload(20 + n as u8, SLOT);
                let ticket = h.bring(signed(key(20 + n as u8, 1), "V", n as u64), gossip(1));
                said.push(h.word(ticket));
            }
            said
        },
        says: &[
            "accept",
            "reject inactive_validator",
            "reject inactive_validator",
            "accept",
        ],
    },
    Row {
        name: "rule 5: an answer that does not decide never rejects",
        run: |h| {
            h.world.registry = Registry::NotDecisive;
            h.world.validators.insert(1, (Epoch(6), Epoch(9)));
            let said = vec![
                bring(h, "V inactive", 1, gossip(1)),
                bring(h, "V absent", 10, gossip(1)),
            ];
            h.world.registry = Registry::Decisive;
            h.event(known(1));
            h.work();
            [said, vec![h.word(0), h.word(1)]].concat()
        },
        says: &[
            "parked validator_unavailable",
            "parked validator_unavailable",
            "reject inactive_validator",
            "reject unknown_validator",
        ],
    },
    Row {
        name: "rule 5: an answer that does not decide may accept",
        run: |h| {
            h.world.registry = Registry::NotDecisive;
            vec![bring(h, "V", 1, gossip(1))]
        },
        says: &["accept"],
    },
    Row {
        name: "rule 5: no answer is a wait with retries, at most an epoch",
        run: |h| {
            h.world.registry = Registry::Unavailable;
            let first = bring(h, "V", 1, gossip(1));
            let hashes = h.log.iter().filter(|l| l.starts_with("hash")).count();
            for _ in 0..48 {
                h.wait(Duration::from_secs(1));
                h.work();
            }
            assert_eq!(
                hashes,
                h.log.iter().filter(|l| l.starts_with("hash")).count(),
                "hashed once"
            );
            assert!(
                h.log.iter().filter(|l| *l == "validator 1").count() > 4,
                "asked again: {:?}",
                h.log
            );
            vec![first, h.word(0)]
        },
        says: &["parked validator_unavailable", "ignore validator_unavailable"],
    },
    Row {
        name: "rule 5: the validator is asked again at once when the beacon node is back",
        run: |h| {
            h.world.registry = Registry::Unavailable;
            let first = bring(h, "V", 1, gossip(1));
            h.world.registry = Registry::Decisive;
            h.event(Event::LookAgain);
            h.work();
            vec![first, h.word(0)]
        },
        says: &["parked validator_unavailable", "accept"],
    },
    Row {
        name: "rule 6: the signature does not verify; before the block's state is there that decides nothing",
        run: |h| {
            let bad = forged(signed(key(1, 1), "V", 1), 1);
            let decided = h.bring(bad.clone(), gossip(1));
            h.world.registry = Registry::NotDecisive;
            let undecided = h.bring(bad, gossip(1));
            let said = vec![h.word(decided), h.word(undecided)];
            h.world.registry = Registry::Decisive;
            h.event(known(1));
            h.work();
            [said, vec![h.word(undecided)]].concat()
        },
        says: &[
            "reject bad_signature",
            "parked validator_unavailable",
            "reject bad_signature",
        ],
    },
    Row {
        name: "rule 8: the engine says no: rejected, and the signer contained on gossip alone",
        run: |h| {
            h.learn_payload(2, SLOT);
            let first = bring(h, "I", 1, gossip(1));
            let next = h.bring(signed(key(2, 1), "V", 1), gossip(1));
            let asked = h.bring(signed(key(2, 1), "V", 1), req_resp(1));
            vec![first, h.word(next), h.word(asked)]
        },
        says: &["reject invalid_proof", "ignore contained", "accept"],
    },
    Row {
        name: "containment ends",
        run: |h| {
            h.world.contained.insert(1, Slot(50));
            h.world.slot = Slot(49);
            let before = bring(h, "V", 1, gossip(1));
            h.world.slot = Slot(50);
            vec![before, bring(h, "V", 1, gossip(1))]
        },
        says: &["ignore contained", "accept"],
    },
    Row {
        name: "rule 8: the engine does not know the type after all: ignored, and it may come again",
        run: |h| vec![bring(h, "U", 1, gossip(1)), bring(h, "V", 1, gossip(1))],
        says: &["ignore unsupported_type", "accept"],
    },
    Row {
        name: "rule 8: an engine that is down costs nobody anything",
        run: |h| {
            h.world.engine_up = false;
            let first = bring(h, "V", 1, gossip(1));
            for _ in 0..30 {
                h.wait(Duration::from_secs(3));
                h.work();
            }
            let meanwhile = h.word(0);
            h.world.engine_up = true;
            h.wait(Duration::from_secs(12));
            h.work();
            assert_eq!(
                h.log.iter().filter(|l| l.starts_with("signature")).count(),
                1,
                "signature checked once"
            );
            vec![first, meanwhile, h.word(0)]
        },
        says: &["parked engine_unavailable", "parked engine_unavailable", "accept"],
    },
    Row {
        name: "rule 8: an engine that stays down: let go after four epochs, and it may come again",
        run: |h| {
            h.world.engine_up = false;
            let first = bring(h, "V", 1, gossip(1));
            while h.now < EPOCH * 4 {
                h.wait(Duration::from_secs(1));
                h.work();
            }
            let gone = h.word(0);
            h.world.engine_up = true;
            vec![first, gone, bring(h, "V", 1, gossip(1))]
        },
        says: &["parked engine_unavailable", "ignore engine_unavailable", "accept"],
    },
    Row {
        name: "rule 9: a valid proof became known meanwhile",
        run: |h| {
            let ticket = h.submit(signed(key(1, 1), "V", 1), gossip(1));
            while !matches!(h.pending.first(), Some(crate::machine::Action::AskEngine { .. })) {
                h.do_one(0);
            }
            h.world.on_disk.insert(key(1, 1));
            h.work();
            assert!(h.commits.is_empty());
            vec![h.word(ticket)]
        },
        says: &["ignore already_valid"],
    },
    Row {
        name: "the store cannot take it: nothing is told, and it may come again",
        run: |h| {
            h.world.store_up = false;
            let first = bring(h, "V", 1, gossip(1));
            h.world.store_up = true;
            vec![first, bring(h, "V", 1, gossip(1))]
        },
        says: &["ignore internal", "accept"],
    },
    Row {
        name: "a payload that finality cut off",
        run: |h| {
            h.world.engine_up = false;
            let known = bring(h, "V", 1, gossip(1));
            h.finalize(Slot(48), &[1]);
            assert_eq!(h.machine.observed_len(), 0);
            vec![known, h.word(0)]
        },
        says: &["parked engine_unavailable", "ignore too_old"],
    },
    Row {
        name: "the node ends",
        run: |h| {
            let parked = h.bring(signed(key(2, 1), "V", 1), gossip(1));
            let under_way = h.submit(signed(key(1, 1), "V", 1), gossip(1));
            h.event(Event::Shutdown);
            h.work();
            let after = h.bring(signed(key(1, 1), "V", 1), gossip(1));
            assert!(h.commits.is_empty());
            vec![h.word(parked), h.word(under_way), h.word(after)]
        },
        says: &["ignore internal", "ignore internal", "ignore internal"],
    },
    Row {
        name: "the node ends while the store writes: that proof gets its verdict",
        run: |h| {
            let ticket = h.submit(signed(key(1, 1), "V", 1), gossip(1));
            while !matches!(h.pending.first(), Some(crate::machine::Action::Commit { .. })) {
                h.do_one(0);
            }
            h.event(Event::Shutdown);
            h.work();
            vec![h.word(ticket)]
        },
        says: &["accept"],
    },
];

#[test]
fn every_rule_says_what_it_should() {
    in_both_revisions(|| {
        for row in ROWS {
            let mut house = House::new();
            assert_eq!((row.run)(&mut house), row.says, "{}", row.name);
        }
    });
}

#[test]
fn the_world_tells_messages_apart() {
    let (a, b) = (signed(key(1, 1), "V", 1), signed(key(1, 1), "V", 2));
    assert_eq!(proof_root(&a.message), proof_root(&b.message));
    assert_ne!(a.signature, b.signature);
    assert_ne!(
        proof_root(&a.message),
        proof_root(&signed(key(1, 2), "V", 1).message)
    );
}
