//! Proofs that come unsigned: they count, they save the engine's work, and they are known to nobody until they are signed.

use crate::house::*;
use assay_verification::{
    Brought, CheckedProof, ProofSigner, SignError, UnsignedError, UnsignedProofs, UnsignedVerdict,
    unsigned::MAX_UNSIGNED_PROOFS,
};
use async_trait::async_trait;
use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

fn unsigned(key: ProofKey, data: &str) -> ExecutionProof {
    ExecutionProof {
        proof_data: Bytes::copy_from_slice(data.as_bytes()),
        proof_type: key.proof_type,
        public_input: PublicInput {
            new_payload_request_root: key.new_payload_request_root,
        },
    }
}

fn says(verdict: &Result<UnsignedVerdict, UnsignedError>) -> String {
    match verdict {
        Ok(UnsignedVerdict::Valid(_)) => "valid".to_owned(),
        Ok(UnsignedVerdict::Invalid(why)) => format!("invalid {why}"),
        Ok(UnsignedVerdict::Unsupported) => "unsupported".to_owned(),
        Err(error) => format!("error {error}"),
    }
}

#[tokio::test]
async fn what_is_said_of_them() {
    let house = house();
    for (key, data, said) in [
        (key(1, 1), "V1", "valid"),
        (key(1, 1), "I1", "invalid it says so"),
        (key(1, 9), "V1", "unsupported"),
        (key(1, 1), "U1", "unsupported"),
        (key(1, 1), "", "error proof_data is empty"),
        (
            key(1, 1),
            "P1",
            "error proof engine answered something else: it panicked",
        ),
    ] {
        let verdict = house.intake.verify_unsigned(unsigned(key, data)).await;
        assert_eq!(says(&verdict), said, "{data}");
    }
    let large = ExecutionProof {
        proof_data: vec![b'V'; usize::try_from(house.chain.spec().max_proof_size).unwrap() + 1].into(),
        ..unsigned(key(1, 1), "")
    };
    let verdict = house.intake.verify_unsigned(large).await;
    assert!(matches!(
        verdict,
        Err(UnsignedError::Refused(RejectReason::OversizeProof))
    ));
    house.engine.set_down(true);
    let verdict = house.intake.verify_unsigned(unsigned(key(1, 1), "V2")).await;
    assert!(matches!(verdict, Err(UnsignedError::Engine(_))), "{verdict:?}");
    // Of all these one was valid; the store hears of none.
    assert_eq!(house.gate.unsigned(), [key(1, 1)]);
    assert!(house.store.unsigned().is_empty() && house.store.proofs().is_empty());
    house.verifier.shutdown().await;
}

/// What is just as large as it may be is judged, and the engine is asked once for bytes that are invalid.
#[tokio::test]
async fn the_largest_is_judged_and_the_invalid_is_asked_for_once() {
    let house = house();
    let most = usize::try_from(house.chain.spec().max_proof_size).unwrap();
    let largest = ExecutionProof {
        proof_data: vec![b'V'; most].into(),
        ..unsigned(key(1, 1), "")
    };
    assert_eq!(says(&house.intake.verify_unsigned(largest).await), "valid");
    let asked = house.engine.calls().0;
    for _ in 0..3 {
        let verdict = house.intake.verify_unsigned(unsigned(key(1, 2), "I1")).await;
        assert!(says(&verdict).starts_with("invalid"), "{verdict:?}");
    }
    assert_eq!(house.engine.calls().0, asked + 1);
    // Whoever signs these bytes is judged like anybody else: gossip has not heard of them.
    let signed = house.ssz(key(1, 2), "I1", 0);
    assert_eq!(
        word(&house.verdict(signed, gossip(1)).await),
        "reject invalid_proof"
    );
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn it_is_not_known_on_gossip_and_a_signed_one_costs_the_engine_nothing() {
    let house = house();
    let verdict = house.intake.verify_unsigned(unsigned(key(1, 1), "V1")).await;
    assert_eq!(says(&verdict), "valid");
    assert_eq!(
        (house.intake.proven_types(&root(1)), house.engine.calls().0),
        (1, 1)
    );
    assert_eq!(house.intake.proven_types(&root(2)), 0);
    // Rules 1, 3 and 4 have heard of nothing; rules 5 and 6 hold as ever.
    let mut forged = house.signed(key(1, 1), "V1", 0);
    forged.signature.0[5] ^= 1;
    let forged = Candidate::Ssz(forged.to_ssz_bytes());
    assert_eq!(
        word(&house.verdict(forged, gossip(1)).await),
        "reject bad_signature"
    );
    let signed = house.ssz(key(1, 1), "V1", 0);
    assert_eq!(word(&house.verdict(signed, gossip(1)).await), "accept");
    assert_eq!(house.engine.calls().0, 1, "the engine was not asked again");
    assert_eq!(house.store.proofs().len(), 1);
    // Other bytes are another matter.
    let other = house.intake.verify_unsigned(unsigned(key(1, 2), "V1")).await;
    assert_eq!(says(&other), "valid");
    let signed = house.ssz(key(1, 2), "I2", 1);
    assert_eq!(
        word(&house.verdict(signed, gossip(1)).await),
        "reject invalid_proof"
    );
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn what_was_judged_signed_is_not_judged_again() {
    let house = house();
    let signed = house.ssz(key(1, 1), "V1", 0);
    assert_eq!(word(&house.verdict(signed, gossip(1)).await), "accept");
    let signed = house.ssz(key(1, 2), "I1", 0);
    assert_eq!(
        word(&house.verdict(signed, gossip(1)).await),
        "reject invalid_proof"
    );
    let asked = house.engine.calls().0;
    let valid = house.intake.verify_unsigned(unsigned(key(1, 1), "V1")).await;
    let invalid = house.intake.verify_unsigned(unsigned(key(1, 2), "I1")).await;
    assert_eq!(says(&valid), "valid");
    assert!(says(&invalid).starts_with("invalid"));
    assert_eq!(house.engine.calls().0, asked);
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn finality_forgets_them() {
    let house = house();
    let verdict = house.intake.verify_unsigned(unsigned(key(1, 1), "V1")).await;
    assert_eq!(says(&verdict), "valid");
    let checkpoint = Checkpoint {
        epoch: Epoch(9),
        root: root(0),
    };
    house.chain.finalize(checkpoint, Slot(72), vec![]);
    within(async {
        while house.intake.proven_types(&root(1)) != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn there_is_a_bound_on_those_that_wait() {
    let house = house();
    house.engine.set_delay(Duration::from_millis(300));
    let all = (0..MAX_UNSIGNED_PROOFS + 3).map(|n| {
        let (intake, proof) = (house.intake.clone(), unsigned(key(1, 1), &format!("V{n}")));
        async move { says(&intake.verify_unsigned(proof).await) }
    });
    let said = within(futures::future::join_all(all)).await;
    let count = |what: &str| said.iter().filter(|s| *s == what).count();
    assert_eq!(count("valid"), MAX_UNSIGNED_PROOFS);
    assert_eq!(count("error too many unsigned proofs wait"), 3);
    assert_eq!(
        house.engine.calls().1,
        assay_verification::unsigned::UNSIGNED_AT_ONCE
    );
    house.verifier.shutdown().await;
}

/// Signs with an interop key, or does not so often.
struct Keys {
    chain: Arc<MemoryChain>,
    validator: ValidatorIndex,
    fails: AtomicUsize,
    signed: Mutex<Vec<ProofKey>>,
}

#[async_trait]
impl ProofSigner for Keys {
    fn validators(&self, _: Slot) -> Vec<ValidatorIndex> {
        vec![self.validator]
    }
    async fn sign(&self, proof: CheckedProof, payload: &PayloadInfo) -> Result<SignedProof, SignError> {
        let left = |n: usize| n.checked_sub(1);
        if self
            .fails
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left)
            .is_ok()
        {
            return Err(SignError::Signer("as the test wants it".to_owned()));
        }
        self.signed.lock().unwrap().push(proof.key());
        let (key, data) = (proof.key(), proof.proof().proof_data.clone());
        let (spec, genesis) = (self.chain.spec(), self.chain.genesis());
        let (revision, message) = message_of(spec, proof.proof().clone(), payload)?;
        Ok(match revision {
            Revision::Alpha => sign(spec, &genesis, key, payload.slot, data, self.validator).into(),
            Revision::Beta => sign_envelope(
                spec,
                &genesis,
                message.root,
                key.proof_type,
                payload.slot,
                data,
                self.validator,
            ),
        })
    }
}

fn keys(house: &House, validator: ValidatorIndex, fails: bool) -> Arc<Keys> {
    Arc::new(Keys {
        chain: house.chain.clone(),
        validator,
        fails: AtomicUsize::new(if fails { usize::MAX } else { 0 }),
        signed: Mutex::default(),
    })
}

#[tokio::test]
async fn with_a_signer_they_go_the_way_of_all_proofs() {
    let house = house();
    let signer = keys(&house, 2, false);
    let proofs = UnsignedProofs::new(house.intake.clone(), Some(signer.clone()));
    let bring = |key, data| proofs.bring(unsigned(key, data), Duration::from_secs(5));
    assert_eq!(
        bring(key(1, 1), "I1").await,
        Brought::Refused("the proof engine says the proof is invalid: it says so".to_owned())
    );
    assert_eq!(
        bring(key(1, 9), "V").await,
        Brought::Refused(IgnoreReason::UnsupportedType.to_string())
    );
    assert_eq!(
        bring(key(7, 1), "V").await,
        Brought::NotNow(IgnoreReason::UnknownPayload.to_string())
    );
    assert!(
        signer.signed.lock().unwrap().is_empty(),
        "nothing that is not valid, or of no known slot"
    );
    assert_eq!(bring(key(1, 1), "V1").await, Brought::OnTheNetwork);
    let kept = house.store.proofs();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].0.validator_index(), &kept[0].1), (2, &Source::Prover));
    // Of the same payload and type nothing more is signed.
    assert_eq!(bring(key(1, 1), "V2").await, Brought::OnTheNetwork);
    assert_eq!(signer.signed.lock().unwrap().len(), 1);

    // Behind the answer.
    let verdict = proofs.verify(unsigned(key(1, 2), "V1")).await;
    assert_eq!(says(&verdict), "valid");
    within(async {
        while house.store.proofs().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    house.verifier.shutdown().await;
}

#[tokio::test]
async fn a_signer_that_does_not_sign_and_one_that_must_not() {
    let house = house();
    let bring = |signer: Option<Arc<dyn ProofSigner>>| {
        let proofs = UnsignedProofs::new(house.intake.clone(), signer);
        async move {
            proofs
                .bring(unsigned(key(1, 1), "V1"), Duration::from_secs(5))
                .await
        }
    };
    assert_eq!(bring(None).await, Brought::NotSigned);
    assert!(
        matches!(bring(Some(keys(&house, 1, true))).await, Brought::NotNow(why) if why.contains("as the test"))
    );
    // Not in the registry: the verifier has the last word on what was signed.
    assert_eq!(
        bring(Some(keys(&house, 99, false))).await,
        Brought::Refused(RejectReason::UnknownValidator.to_string())
    );
    assert_eq!(house.gate.unsigned().len(), 3, "it counts all the same");
    assert!(house.store.proofs().is_empty());
    house.verifier.shutdown().await;
}

/// What came with its verdict comes no second time: it is kept until it can be signed, once, and asks the engine once.
#[tokio::test(start_paused = true)]
async fn a_valid_proof_waits_for_its_signer_and_for_its_payload() {
    let house = house();
    let signer = keys(&house, 2, false);
    signer.fails.store(2, Ordering::SeqCst);
    let proofs = UnsignedProofs::new(house.intake.clone(), Some(signer.clone()));
    let stored = async |n: usize| {
        within(async {
            while house.store.proofs().len() < n {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    };
    for data in ["V1", "V1", "V2"] {
        let verdict = proofs.verify(unsigned(key(1, 1), data)).await;
        assert_eq!(says(&verdict), "valid");
    }
    stored(1).await;
    assert_eq!(house.engine.calls().0, 2, "once for each of two proofs");
    assert_eq!(
        signer.signed.lock().unwrap().len(),
        1,
        "one of a payload and type"
    );
    // Before its payload.
    let verdict = proofs.verify(unsigned(key(7, 1), "V1")).await;
    assert_eq!(says(&verdict), "valid");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(house.store.proofs().len(), 1);
    house.chain.add_payload(root(7), SLOT);
    stored(2).await;
    assert_eq!(house.verifier.metrics().snapshot().never_signed, 0);

    // In vain for an epoch: said and counted, and its place is free.
    signer.fails.store(usize::MAX, Ordering::SeqCst);
    house.chain.add_payload(root(8), SLOT);
    for n in 0..=MAX_UNSIGNED_PROOFS {
        house.chain.add_payload(root(100 + n as u8), SLOT);
        let verdict = proofs.verify(unsigned(key(100 + n as u8, 1), "V1")).await;
        assert_eq!(says(&verdict), "valid");
    }
    let given_up = || house.verifier.metrics().snapshot().never_signed;
    assert_eq!(given_up(), 1, "one had no place");
    let epoch = house.chain.spec().slot_duration_ms * house.chain.spec().slots_per_epoch;
    tokio::time::sleep(Duration::from_millis(epoch)).await;
    assert_eq!(given_up(), 1 + MAX_UNSIGNED_PROOFS as u64);
    signer.fails.store(0, Ordering::SeqCst);
    assert_eq!(says(&proofs.verify(unsigned(key(8, 1), "V1")).await), "valid");
    stored(3).await;
    house.verifier.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_brings_again_is_tried_again_until_its_time_is_over() {
    let house = house();
    let proofs = UnsignedProofs::new(house.intake.clone(), Some(keys(&house, 2, false)));
    house.engine.set_down(true);
    let bringing = {
        let proofs = proofs.clone();
        tokio::spawn(async move {
            proofs
                .bring_in_the_end(unsigned(key(1, 1), "V1"), Duration::from_secs(5))
                .await
        })
    };
    tokio::time::sleep(Duration::from_secs(20)).await;
    house.engine.set_down(false);
    assert_eq!(bringing.await.unwrap(), Brought::OnTheNetwork);
    assert_eq!(house.store.proofs().len(), 1);
    house.engine.set_down(true);
    let bring = |data| proofs.bring_in_the_end(unsigned(key(1, 2), data), Duration::from_secs(5));
    assert!(matches!(bring("V1").await, Brought::NotNow(_)));
    assert_eq!(house.verifier.metrics().snapshot().never_signed, 1);
    house.engine.set_down(false);
    assert!(matches!(bring("I1").await, Brought::Refused(_)));
    assert_eq!(house.verifier.metrics().snapshot().never_signed, 1);
    house.verifier.shutdown().await;
}
