//! The executable specification's tests of gossip in `beta`, as a table of ours: one row a test of theirs, step by step.
//! `specs/upstream-tests.md` lists theirs against these rows; `the_list_names_every_row` holds the two together.
//!
//! What they call valid is here a verdict after the store, so what they do between `validate_execution_proof_gossip` and
//! `on_execution_proof` is shown with an engine that is away: then a message is marked, and nothing valid is known yet.

use crate::house::*;
use Step::{
    Asked, BlockComes, EngineAway, EngineBack, EngineSays, Exits, Forgets, Kept, PayloadComes, Returns, Says,
    Sends,
};
use assay_chain::ValidatorRecord;
use assay_proof_engine::Verification;
use assay_types::{SecretKey, SignatureBytes, proof_beta::PublicInput as Stated};

/// The block that every house here knows, its payload, and one that nobody knows.
const BLOCK: u8 = 8;
const PAYLOAD: u8 = 1;
const UNKNOWN: u8 = 0xaa;
const CHAIN_ID: u64 = 77;

/// One gossip message.
#[derive(Clone, Copy)]
struct Envelope {
    block: u8,
    proof_type: ProofType,
    /// Its first byte says what the scripted engine makes of it: "I" is invalid.
    data: &'static str,
    validator: ValidatorIndex,
    wrong: Option<Wrong>,
}

#[derive(Clone, Copy)]
enum Wrong {
    /// 96 zero bytes in place of the signature.
    Signature,
    /// One past the registry, over the signature of another.
    Index,
}

const PROOF: Envelope = Envelope {
    block: BLOCK,
    proof_type: 1,
    data: "V",
    validator: 0,
    wrong: None,
};

const fn of_type(proof_type: u8) -> Envelope {
    Envelope { proof_type, ..PROOF }
}

enum Step {
    /// What it is told: the verdict, or why it waits.
    Sends(Envelope, &'static str),
    /// Its verdict by now, by its place among those sent.
    Says(usize, &'static str),
    BlockComes(u8),
    PayloadComes(u8),
    EngineAway,
    EngineBack,
    EngineSays(bool),
    /// The validator's exit epoch is the payload's epoch; or none again.
    Exits(ValidatorIndex),
    Returns(ValidatorIndex),
    /// A verifier that has seen nothing, over the same chain.
    Forgets,
    /// How often the engine was asked.
    Asked(usize),
    /// The types of what was kept of the block, in the order it came.
    Kept(&'static [ProofType]),
}

struct Row {
    /// Their test, without `test_`.
    name: &'static str,
    steps: &'static [Step],
}

const ALREADY: &str = "ignore already_valid";
const EMPTY: &str = "reject empty_proof";
const UNSUPPORTED: &str = "reject unsupported_type";
const WAITS_FOR_ENGINE: &str = "parked engine_unavailable";
const WAITS_FOR_PAYLOAD: &str = "parked unknown_payload";

const ROWS: &[Row] = &[
    Row {
        name: "gossip_deduplicates_execution_proofs_by_root_and_proof_type",
        steps: &[
            // Seen, and nothing valid known yet: the message by whomever, then another message of another prover.
            EngineAway,
            Sends(PROOF, WAITS_FOR_ENGINE),
            Sends(
                Envelope {
                    validator: 1,
                    ..PROOF
                },
                "ignore seen_proof",
            ),
            Sends(
                Envelope {
                    validator: 1,
                    data: "V competing",
                    ..PROOF
                },
                WAITS_FOR_ENGINE,
            ),
            EngineBack,
            Says(0, "accept"),
            Says(2, ALREADY),
            // Stored: no further one of its type, whoever brings it; the others go on.
            Sends(PROOF, ALREADY),
            Sends(
                Envelope {
                    validator: 2,
                    data: "V later",
                    ..PROOF
                },
                ALREADY,
            ),
            Sends(of_type(2), "accept"),
            Sends(of_type(3), "accept"),
            Kept(&[1, 2, 3]),
        ],
    },
    Row {
        name: "gossip_handles_missing_execution_proof_block_context",
        steps: &[
            Sends(
                Envelope {
                    block: UNKNOWN,
                    ..PROOF
                },
                WAITS_FOR_PAYLOAD,
            ),
            // A block that is known, its payload not: no state, no payload, no question.
            BlockComes(9),
            Sends(Envelope { block: 9, ..PROOF }, WAITS_FOR_PAYLOAD),
            Asked(0),
            PayloadComes(9),
            Says(1, "accept"),
            Asked(1),
        ],
    },
    Row {
        name: "gossip_applies_cheap_checks_before_payload_lookup",
        steps: &[
            Sends(
                Envelope {
                    block: UNKNOWN,
                    data: "",
                    ..PROOF
                },
                EMPTY,
            ),
            Sends(
                Envelope {
                    block: UNKNOWN,
                    proof_type: 0,
                    ..PROOF
                },
                UNSUPPORTED,
            ),
            // What is known is ignored without the payload: rows "rules 3 and 4 need no payload" in `machine/tests/rules.rs`.
            BlockComes(9),
            Sends(Envelope { block: 9, ..PROOF }, WAITS_FOR_PAYLOAD),
            Asked(0),
        ],
    },
    Row {
        name: "gossip_rejects_unauthenticated_execution_proofs_without_caching",
        steps: &[
            Sends(
                Envelope {
                    wrong: Some(Wrong::Index),
                    ..PROOF
                },
                "reject unknown_validator",
            ),
            Sends(
                Envelope {
                    wrong: Some(Wrong::Signature),
                    ..PROOF
                },
                "reject bad_signature",
            ),
            Exits(1),
            Sends(
                Envelope {
                    validator: 1,
                    proof_type: 2,
                    ..PROOF
                },
                "reject inactive_validator",
            ),
            Asked(0),
            // None of these is in the way of the same messages, rightly signed.
            Sends(PROOF, "accept"),
            Returns(1),
            Sends(
                Envelope {
                    validator: 1,
                    proof_type: 2,
                    ..PROOF
                },
                "accept",
            ),
        ],
    },
    Row {
        name: "gossip_rejects_malformed_execution_proof_fields_without_caching",
        steps: &[
            Sends(Envelope { data: "", ..PROOF }, EMPTY),
            Sends(of_type(0), UNSUPPORTED),
            Sends(
                Envelope {
                    proof_type: 4,
                    validator: 1,
                    ..PROOF
                },
                UNSUPPORTED,
            ),
            Asked(0),
            Sends(PROOF, "accept"),
        ],
    },
    Row {
        // `Asked` holds what the engine was asked against the block's context too.
        name: "verify_and_construct_execution_proof_from_envelope",
        steps: &[Sends(PROOF, "accept"), Asked(1)],
    },
    Row {
        name: "gossip_verifies_execution_proof_before_handler_stores_it",
        steps: &[
            EngineAway,
            Sends(PROOF, WAITS_FOR_ENGINE),
            Kept(&[]),
            EngineBack,
            Says(0, "accept"),
            Kept(&[1]),
            Sends(PROOF, ALREADY),
            Kept(&[1]),
            // Called invalid: the message is not judged again whoever signs it, and its prover has had its try.
            EngineSays(false),
            Sends(of_type(2), "reject invalid_proof"),
            EngineSays(true),
            Sends(
                Envelope {
                    proof_type: 2,
                    validator: 1,
                    ..PROOF
                },
                "ignore seen_proof",
            ),
            Sends(
                Envelope {
                    proof_type: 2,
                    data: "V another",
                    ..PROOF
                },
                "ignore contained",
            ),
            Kept(&[1]),
            Forgets,
            Sends(of_type(2), "accept"),
            Sends(of_type(3), "accept"),
            Kept(&[2, 3]),
        ],
    },
    Row {
        name: "on_execution_proof_requires_block_context_and_valid_proof",
        steps: &[
            Sends(
                Envelope {
                    block: UNKNOWN,
                    ..PROOF
                },
                WAITS_FOR_PAYLOAD,
            ),
            BlockComes(9),
            Sends(Envelope { block: 9, ..PROOF }, WAITS_FOR_PAYLOAD),
            EngineSays(false),
            Sends(PROOF, "reject invalid_proof"),
            Asked(1),
            Kept(&[]),
            EngineSays(true),
            Sends(
                Envelope {
                    validator: 1,
                    data: "V whole",
                    ..PROOF
                },
                "accept",
            ),
            Kept(&[1]),
        ],
    },
    Row {
        name: "signed_execution_proof_envelope_rejects_unassigned_proof_type",
        steps: &[
            Sends(of_type(0), UNSUPPORTED),
            Sends(of_type(4), UNSUPPORTED),
            Sends(of_type(255), UNSUPPORTED),
            Kept(&[]),
        ],
    },
    Row {
        name: "signed_execution_proof_envelope_admits_assigned_proof_type",
        steps: &[
            Sends(PROOF, "accept"),
            Sends(of_type(2), "accept"),
            Sends(of_type(3), "accept"),
        ],
    },
];

fn beta_spec() -> Spec {
    Spec {
        revision: Revision::Beta,
        chain_id: CHAIN_ID,
        ..Spec::minimal()
    }
}

/// Types 1, 2 and 3 are verified; the block is known with its payload.
fn beta_house() -> House {
    let house = house_for(beta_spec(), VerifierConfig::default(), [1, 2, 3]);
    house.chain.add_block_of(root(BLOCK), SLOT, root(PAYLOAD));
    house
}

fn signed_with(house: &House, proof_data: Bytes, of: Envelope) -> SignedProof {
    let (spec, genesis) = (house.chain.spec(), house.chain.genesis());
    let mut signed = sign_envelope(
        spec,
        &genesis,
        root(of.block),
        of.proof_type,
        SLOT,
        proof_data,
        of.validator,
    );
    match of.wrong {
        Some(Wrong::Signature) => signed.signature = SignatureBytes([0; 96]),
        Some(Wrong::Index) => signed.validator_index = 4,
        None => {}
    }
    signed
}

enum Told {
    Verdict(Verdict),
    Waits(oneshot::Receiver<Verdict>),
}

struct Play {
    house: House,
    told: Vec<Option<Told>>,
    peers: u8,
}

impl Play {
    /// As it came over the wire, each time from another peer.
    async fn sends(&mut self, of: Envelope) -> String {
        let ssz = signed_with(&self.house, Bytes::from_static(of.data.as_bytes()), of).to_ssz_bytes();
        self.peers += 1;
        let submission = self
            .house
            .submit(Candidate::Envelope(ssz), gossip(self.peers))
            .await;
        let (said, told) = match submission {
            Submission::Decided(verdict) => (word(&verdict), Told::Verdict(verdict)),
            Submission::Parked { reason, verdict } => {
                (format!("parked {}", reason.label()), Told::Waits(verdict))
            }
        };
        self.told.push(Some(told));
        said
    }

    async fn says(&mut self, place: usize) -> String {
        match self.told[place].take().expect("asked once") {
            Told::Verdict(verdict) => word(&verdict),
            Told::Waits(verdict) => word(&last_word(verdict).await),
        }
    }

    /// What the engine was asked last is built from the chain: the message names a block, no more.
    fn check_input(&self) {
        let Some(asked) = self.house.engine.last_asked() else {
            return;
        };
        let StatedInput::Beta(input) = &asked.public_input else {
            panic!("asked in alpha's words")
        };
        let of_payload = |payload| Stated {
            new_payload_request_root: root(payload),
            successful_validation: true,
            chain_id: CHAIN_ID,
            schema_id: 0x1501,
        };
        assert!([PAYLOAD, 9 + 100].map(of_payload).contains(input), "{input:?}");
    }

    fn set_exit(&self, index: ValidatorIndex, exit_epoch: Epoch) {
        let record = ValidatorRecord {
            pubkey: SecretKey::interop(index).public_key(),
            activation_epoch: Epoch(0),
            exit_epoch,
        };
        self.house.chain.add_validator(index, record);
    }

    async fn step(&mut self, step: &Step, at: &str) {
        match *step {
            Sends(of, says) => assert_eq!(self.sends(of).await, says, "{at}"),
            Says(place, says) => assert_eq!(self.says(place).await, says, "{at}"),
            BlockComes(block) => self.house.chain.add_block(root(block), SLOT),
            PayloadComes(block) => self
                .house
                .chain
                .add_block_of(root(block), SLOT, root(block + 100)),
            EngineAway => self.house.engine.set_down(true),
            EngineBack => self.house.engine.set_down(false),
            EngineSays(valid) => {
                let no = Verification::Invalid("as the row wants it".to_owned());
                self.house.engine.set_verdict((!valid).then_some(no));
            }
            Exits(index) => self.set_exit(index, self.house.chain.spec().epoch_at_slot(SLOT)),
            Returns(index) => self.set_exit(index, Epoch::FAR_FUTURE),
            Forgets => {
                let fresh = beta_house();
                std::mem::replace(&mut self.house, fresh)
                    .verifier
                    .shutdown()
                    .await;
            }
            Asked(times) => {
                assert_eq!(self.house.engine.calls().0, times, "{at}");
                self.check_input();
            }
            Kept(types) => {
                let kept: Vec<_> = self
                    .house
                    .store
                    .proofs()
                    .iter()
                    .filter(|(proof, _)| proof.block_root() == Some(root(BLOCK)))
                    .map(|(proof, _)| proof.name().proof_type)
                    .collect();
                assert_eq!(kept, types, "{at}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_executable_specifications_tests_of_gossip() {
    for row in ROWS {
        let mut play = Play {
            house: beta_house(),
            told: Vec::new(),
            peers: 0,
        };
        for (n, step) in row.steps.iter().enumerate() {
            play.step(step, &format!("{}, step {n}", row.name)).await;
        }
        play.house.verifier.shutdown().await;
    }
}

/// Their `test_p2p_size_bounds`: the largest message passes, and one byte more is refused by its size.
#[tokio::test]
async fn the_largest_envelope_and_one_byte_more() {
    let house = beta_house();
    let most = house.chain.spec().max_proof_size as usize;
    for (len, ssz_len, says) in [
        (most, 4_194_449, "accept"),
        (most + 1, 4_194_450, "reject oversize_proof"),
    ] {
        let ssz = signed_with(&house, Bytes::from(vec![b'V'; len]), PROOF).to_ssz_bytes();
        assert_eq!(ssz.len(), ssz_len);
        let verdict = house.verdict(Candidate::Envelope(ssz), gossip(1)).await;
        assert_eq!(word(&verdict), says, "{len}");
    }
    house.verifier.shutdown().await;
}

#[test]
fn the_list_names_every_row() {
    let list = include_str!("../../../../specs/upstream-tests.md");
    for row in ROWS {
        assert!(list.contains(&format!("`{}`", row.name)), "{}", row.name);
    }
}
