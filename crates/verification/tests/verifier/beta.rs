//! Envelopes through the whole verifier: real hashes and signatures.

use crate::house::*;
use assay_chain::ValidatorRecord;
use assay_types::{ForkName, SecretKey};
use assay_verification::{Brought, CheckedProof, ProofSigner, SignError, UnsignedProofs, UnsignedVerdict};
use std::sync::atomic::{AtomicUsize, Ordering};

/// `beta` everywhere; block 8 has payload 1.
fn beta_house() -> House {
    let house = house_on(
        Spec {
            revision: Revision::Beta,
            chain_id: 77,
            ..Spec::minimal()
        },
        VerifierConfig::default(),
    );
    house.chain.add_block_of(root(8), SLOT, root(1));
    house
}

fn envelope(house: &House, block: u8, proof_type: ProofType, data: &str, validator: u64) -> SignedProof {
    sign_envelope(
        house.chain.spec(),
        &house.chain.genesis(),
        root(block),
        proof_type,
        SLOT,
        Bytes::copy_from_slice(data.as_bytes()),
        validator,
    )
}

#[tokio::test]
async fn an_envelope_goes_all_the_way() {
    let house = beta_house();
    let signed = envelope(&house, 8, 1, "V and more", 2);
    let ssz = signed.to_ssz_bytes();
    let Submission::Decided(Verdict::Accept(proof)) =
        house.submit(Candidate::Envelope(ssz.clone()), gossip(1)).await
    else {
        panic!("not accepted")
    };
    assert_eq!((proof.ssz(), proof.signed()), (&ssz, &signed));
    assert_eq!(
        (proof.key(), proof.name()),
        (key(1, 1), ProofName::beta(root(8), 1))
    );
    assert_eq!((proof.block_root(), proof.slot()), (Some(root(8)), SLOT));
    let asked = house.engine.last_asked().unwrap();
    let StatedInput::Beta(input) = asked.public_input else {
        panic!("asked in alpha's words")
    };
    assert_eq!(
        (input.new_payload_request_root, input.successful_validation),
        (root(1), true)
    );
    assert_eq!((input.chain_id, input.schema_id), (77, 0x1501));
    // The same bytes as an `alpha` proof name a payload that nobody knows.
    let parked = house.submit(Candidate::Ssz(ssz), gossip(1)).await;
    assert!(matches!(parked, Submission::Parked { .. }), "{parked:?}");
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn what_is_rejected_before_any_look_up() {
    let house = beta_house();
    let rows = [
        ("a type of the text", envelope(&house, 8, 2, "V", 1), "accept"),
        (
            "no type of it",
            envelope(&house, 8, 4, "V", 1),
            "reject unsupported_type",
        ),
        (
            "that, of an unknown block",
            envelope(&house, 99, 4, "V", 1),
            "reject unsupported_type",
        ),
        (
            "empty, of an unknown block",
            envelope(&house, 99, 1, "", 1),
            "reject empty_proof",
        ),
        (
            "a type of the text that no engine here verifies",
            envelope(&house, 8, 3, "V", 1),
            "ignore unsupported_type",
        ),
    ];
    for (name, signed, says) in rows {
        let verdict = house
            .verdict(Candidate::Envelope(signed.to_ssz_bytes()), gossip(1))
            .await;
        assert_eq!(word(&verdict), says, "{name}");
    }
    let alpha = house.verdict(house.ssz(key(1, 1), "V", 1), gossip(1)).await;
    assert_eq!(word(&alpha), "ignore wrong_revision");
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn an_envelope_waits_for_its_block() {
    let house = beta_house();
    let signed = envelope(&house, 9, 1, "V", 1);
    let Submission::Parked { verdict, .. } = house.submit(Candidate::signed(signed), gossip(1)).await else {
        panic!("its block is not known")
    };
    house.chain.add_block(root(9), SLOT);
    house.chain.add_payload(root(2), SLOT);
    house.chain.add_block_of(root(9), SLOT, root(2));
    assert_eq!(word(&last_word(verdict).await), "accept");
    house.verifier.shutdown().await;
}

/// A payload may be in several blocks: what is named, looked at and kept is the block's own.
#[tokio::test]
async fn a_proof_is_judged_by_the_block_it_names() {
    let house = beta_house();
    // An epoch later; its payload's first block stays 8.
    let later = Slot(SLOT.0 + 8);
    house.chain.add_block_of(root(9), later, root(1));
    house.chain.add_validator(
        2,
        ValidatorRecord {
            pubkey: SecretKey::interop(2).public_key(),
            activation_epoch: Epoch(0),
            exit_epoch: house.chain.spec().epoch_at_slot(later),
        },
    );
    for (validator, block, says) in [
        (2, 9, "reject inactive_validator"),
        (2, 8, "accept"),
        (1, 9, "accept"),
    ] {
        let signed = envelope(&house, block, 1, "V", validator);
        let verdict = house
            .verdict(Candidate::ssz(Revision::Beta, signed.to_ssz_bytes()), gossip(1))
            .await;
        assert_eq!(word(&verdict), says, "{validator} of {block}");
    }
    let kept: Vec<_> = house
        .store
        .proofs()
        .iter()
        .map(|(proof, _)| (proof.block_root(), proof.slot()))
        .collect();
    assert_eq!(kept, [(Some(root(8)), SLOT), (Some(root(9)), later)]);
    house.verifier.shutdown().await;
}

/// Whoever asks by the payload finds what names its block.
#[tokio::test(start_paused = true)]
async fn its_way_is_told_under_its_payload() {
    let house = beta_house();
    house.engine.set_down(true);
    let signed = envelope(&house, 8, 1, "V", 1);
    let Submission::Parked { verdict, .. } = house.submit(Candidate::signed(signed), gossip(1)).await else {
        panic!("the engine is down")
    };
    let trail = house.intake.trail(&[root(1), root(8)]);
    assert_eq!(trail.keys().collect::<Vec<_>>(), [&key(1, 1)]);
    house.engine.set_down(false);
    assert_eq!(word(&last_word(verdict).await), "accept");
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn what_is_to_be_signed_is_checked_in_the_revisions_words() {
    let house = beta_house();
    for revision in Revision::ALL {
        let proof = house.signed(key(1, 1), "V", 1).message;
        let spec = house.chain.spec();
        CheckedProof::check(house.engine.as_ref(), spec, *revision, proof)
            .await
            .unwrap();
        let asked = house.engine.last_asked().unwrap().public_input;
        let is_beta = matches!(asked, StatedInput::Beta(input) if input.chain_id == 77);
        assert_eq!(is_beta, *revision == Revision::Beta);
    }
    house.verifier.shutdown().await;
}

/// Signs as validator 1, and counts; in `alpha`'s words where that is wanted.
struct Key {
    chain: Arc<MemoryChain>,
    signed: AtomicUsize,
    in_alpha: bool,
}

impl Key {
    fn new(house: &House, in_alpha: bool) -> Arc<Self> {
        Arc::new(Self {
            chain: house.chain.clone(),
            signed: AtomicUsize::new(0),
            in_alpha,
        })
    }
}

#[async_trait::async_trait]
impl ProofSigner for Key {
    fn validators(&self, _: Slot) -> Vec<ValidatorIndex> {
        vec![1]
    }
    async fn sign(&self, proof: CheckedProof, payload: &PayloadInfo) -> Result<SignedProof, SignError> {
        self.signed.fetch_add(1, Ordering::Relaxed);
        let (spec, genesis) = (self.chain.spec(), self.chain.genesis());
        let proof = proof.into_proof();
        if self.in_alpha {
            let (key, data) = (proof.key(), proof.proof_data);
            return Ok(sign(spec, &genesis, key, payload.slot, data, 1).into());
        }
        let (revision, message) = message_of(spec, proof, payload)?;
        assert_eq!(revision, Revision::Beta);
        let (proof_type, data) = (message.proof_type, message.proof_data);
        Ok(sign_envelope(
            spec,
            &genesis,
            message.root,
            proof_type,
            payload.slot,
            data,
            1,
        ))
    }
}

#[tokio::test(start_paused = true)]
async fn unsigned_proofs_are_signed_as_envelopes_once_the_block_is_known() {
    let house = beta_house();
    let signer = Key::new(&house, false);
    let proofs = UnsignedProofs::new(house.intake.clone(), Some(signer.clone()));
    let unsigned = |n: u8| ExecutionProof {
        proof_data: Bytes::from_static(b"V unsigned"),
        proof_type: 1,
        public_input: PublicInput {
            new_payload_request_root: root(n),
        },
    };
    house.chain.add_payload(root(3), SLOT);
    let early = proofs.bring(unsigned(3), PATIENCE).await;
    assert_eq!(early, Brought::NotNow(SignError::NoBlock.to_string()));
    let asked = house.engine.calls().0;
    let brought = proofs.bring(unsigned(1), PATIENCE).await;
    assert_eq!(brought, Brought::OnTheNetwork);
    assert_eq!(house.store.proofs()[0].0.name(), ProofName::beta(root(8), 1));
    assert_eq!(
        house.engine.calls().0,
        asked + 1,
        "the signed one is the same message"
    );
    // By now it is known, signed, under the block's name.
    let said = house.intake.verify_unsigned(unsigned(1)).await.unwrap();
    assert!(matches!(said, UnsignedVerdict::Valid(_)));
    assert_eq!(house.intake.proven_types(&root(1)), 1);
    let signed = signer.signed.load(Ordering::Relaxed);
    assert_eq!(proofs.bring(unsigned(1), PATIENCE).await, Brought::OnTheNetwork);
    assert_eq!(house.store.proofs().len(), 1);
    assert_eq!(
        signer.signed.load(Ordering::Relaxed),
        signed,
        "known by its block: not signed again"
    );
    house.verifier.shutdown().await;
}

/// What no try will change is said at once.
#[tokio::test(start_paused = true)]
async fn a_signer_of_the_other_revision_is_told_so() {
    let house = beta_house();
    let proofs = UnsignedProofs::new(house.intake.clone(), Some(Key::new(&house, true)));
    let unsigned = house.signed(key(1, 1), "V", 1).message;
    let brought = proofs.bring(unsigned, PATIENCE).await;
    assert_eq!(brought, Brought::Refused(IgnoreReason::WrongRevision.to_string()));
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn at_a_boundary_each_payload_has_the_proofs_of_its_fork() {
    let mut spec = Spec::minimal();
    spec.revision_by_fork.insert(ForkName::Gloas, Revision::Beta);
    for entry in &mut spec.fork_schedule {
        if entry.0 == ForkName::Gloas {
            entry.2 = Epoch(6);
        }
    }
    let house = house_on(spec, VerifierConfig::default());
    // Payload 1 is of epoch 5; block 8 with payload 2 begins epoch 6.
    let (gloas, spec) = (Slot(48), house.chain.spec().clone());
    house.chain.add_block_of(root(8), gloas, root(2));
    let of_gloas = sign_envelope(
        &spec,
        &house.chain.genesis(),
        root(8),
        1,
        gloas,
        Bytes::from_static(b"V"),
        1,
    );
    let fulu = house.verdict(house.ssz(key(1, 1), "V", 1), gossip(1)).await;
    assert_eq!(word(&fulu), "accept");
    let verdict = house.verdict(Candidate::signed(of_gloas), gossip(1)).await;
    assert_eq!(word(&verdict), "accept");
    let wrong = house.verdict(house.ssz(key(2, 1), "V", 1), gossip(1)).await;
    assert_eq!(word(&wrong), "ignore wrong_revision");
    house.verifier.shutdown().await;
}
