//! Envelopes through the whole verifier: real hashes and signatures.

use crate::house::*;
use assay_types::ForkName;
use assay_verification::{Brought, ProofSigner, SignError, UnsignedProofs, UnsignedVerdict};

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

struct Key(Arc<MemoryChain>);

#[async_trait::async_trait]
impl ProofSigner for Key {
    fn validators(&self, _: Slot) -> Vec<ValidatorIndex> {
        vec![1]
    }
    async fn sign(
        &self,
        proof: assay_verification::CheckedProof,
        payload: &PayloadInfo,
    ) -> Result<SignedProof, SignError> {
        let spec = self.0.spec();
        let (revision, message) = message_of(spec, proof.into_proof(), payload)?;
        assert_eq!(revision, Revision::Beta);
        let (proof_type, data) = (message.proof_type, message.proof_data);
        let genesis = self.0.genesis();
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
    let proofs = UnsignedProofs::new(house.intake.clone(), Some(Arc::new(Key(house.chain.clone()))));
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
    assert_eq!(proofs.bring(unsigned(1), PATIENCE).await, Brought::OnTheNetwork);
    assert_eq!(house.store.proofs().len(), 1);
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
