//! The way of a proof: first look, signature, verdicts, sinks.

use crate::house::*;

#[tokio::test]
async fn a_proof_goes_all_the_way() {
    let house = house();
    let signed = house.signed(key(1, 1), "V and some more bytes", 2);
    let ssz = signed.to_ssz_bytes();
    let Submission::Decided(Verdict::Accept(proof)) =
        house.submit(Candidate::Ssz(ssz.clone()), gossip(1)).await
    else {
        panic!("not accepted")
    };
    assert_eq!(*proof.ssz(), ssz);
    assert_eq!(*proof.signed(), signed);
    assert_eq!(
        (proof.key(), proof.slot(), proof.validator_index()),
        (key(1, 1), SLOT, 2)
    );
    let spec = house.chain.spec();
    assert_eq!(
        *proof.proof_root(),
        spec.execution_proof_root(spec.epoch_at_slot(SLOT), &signed.message)
    );
    // The proof's bytes were never copied.
    let (from, data) = (
        ssz.as_ptr() as usize,
        proof.signed().message.proof_data.as_ptr() as usize,
    );
    assert!((from..from + ssz.len()).contains(&data));
    for sink in [&house.store, &house.gate] {
        let kept = sink.proofs();
        assert_eq!(kept.len(), 1);
        assert!(Arc::ptr_eq(&kept[0].0, &proof) && kept[0].1 == gossip(1));
    }
    assert_eq!(house.intake.metrics().snapshot().accepted("gossip"), 1);
}

#[tokio::test]
async fn a_value_from_json_has_its_bytes_afterwards() {
    let house = house();
    let signed = house.signed(key(1, 1), "V", 2);
    let Verdict::Accept(proof) = house
        .verdict(Candidate::signed(signed.clone()), Source::Http)
        .await
    else {
        panic!("not accepted")
    };
    assert_eq!(*proof.ssz(), signed.to_ssz_bytes());
    assert_eq!(*proof.signed(), signed);
}

#[tokio::test]
async fn the_first_look() {
    let house = house();
    let spec = house.chain.spec();
    let (fit, huge) = (
        spec.max_signed_proof_size(),
        usize::try_from(spec.max_proof_size).unwrap() + 1,
    );
    let message = |len: usize| ExecutionProof {
        proof_data: Bytes::from(vec![1; len]),
        proof_type: 1,
        public_input: PublicInput {
            new_payload_request_root: root(9),
        },
    };
    let signed = |len| SignedExecutionProof {
        message: message(len),
        validator_index: 0,
        signature: Default::default(),
    };
    let whole = house.signed(key(1, 1), "V", 1).to_ssz_bytes();
    let rows = [
        ("no bytes", Candidate::Ssz(Bytes::new()), "reject malformed"),
        (
            "cut short",
            Candidate::Ssz(whole.slice(..100)),
            "reject malformed",
        ),
        (
            "zeros",
            Candidate::Ssz(Bytes::from(vec![0; 300])),
            "reject malformed",
        ),
        (
            "the largest that may be, of nothing",
            Candidate::Ssz(Bytes::from(vec![0; fit])),
            "reject malformed",
        ),
        (
            "one byte more",
            Candidate::Ssz(Bytes::from(vec![0; fit + 1])),
            "reject oversize_proof",
        ),
        (
            "empty, SSZ",
            Candidate::Ssz(signed(0).to_ssz_bytes()),
            "reject empty_proof",
        ),
        ("empty, JSON", Candidate::signed(signed(0)), "reject empty_proof"),
        (
            "one byte too long, SSZ",
            Candidate::Ssz(signed(huge).to_ssz_bytes()),
            "reject oversize_proof",
        ),
        (
            "one byte too long, JSON",
            Candidate::signed(signed(huge)),
            "reject oversize_proof",
        ),
    ];
    for (name, candidate, expected) in rows {
        assert_eq!(
            word(&house.verdict(candidate, gossip(1)).await),
            expected,
            "{name}"
        );
    }
    // The largest proof there may be waits for its payload like any other.
    let largest = Candidate::signed(signed(huge - 1));
    assert!(matches!(
        house.submit(largest, gossip(1)).await,
        Submission::Parked {
            reason: ParkReason::UnknownPayload,
            ..
        }
    ));
    let snapshot = house.intake.metrics().snapshot();
    assert_eq!(snapshot.rejected(RejectReason::EmptyProof), 2);
    assert_eq!(snapshot.rejected(RejectReason::OversizeProof), 3);
    assert_eq!(snapshot.rejected(RejectReason::Malformed), 4);
}

#[tokio::test]
async fn signatures_are_checked_under_the_payloads_domain() {
    let house = house();
    let good = house.signed(key(1, 1), "V", 1);
    let mut other_message = good.clone();
    other_message.message.proof_data = Bytes::from_static(b"W");
    let mut infinity = good.clone();
    infinity.signature.0 = [0; 96];
    infinity.signature.0[0] = 0xc0;
    let mut other_signer = good.clone();
    other_signer.validator_index = 2;
    let (spec, genesis) = (house.chain.spec(), house.chain.genesis());
    let mut elsewhere = genesis;
    elsewhere.genesis_validators_root = root(0xbb);
    let other_network = sign(spec, &elsewhere, key(1, 1), SLOT, Bytes::from_static(b"V"), 1);
    for bad in [other_message, infinity, other_signer, other_network] {
        let verdict = house.verdict(Candidate::signed(bad), gossip(1)).await;
        assert_eq!(word(&verdict), "reject bad_signature");
    }
    assert_eq!(
        word(&house.verdict(Candidate::signed(good), gossip(1)).await),
        "accept"
    );
}

#[tokio::test]
async fn an_invalid_proof_contains_its_signer() {
    let house = house();
    house.chain.add_payload(root(2), SLOT);
    let verdict = house.verdict(house.ssz(key(1, 1), "I", 1), gossip(1)).await;
    assert_eq!(word(&verdict), "reject invalid_proof");
    assert_eq!(house.containment.contained_until(1), Some(Slot(44 + 64 * 8)));
    // What is asked before a candidate is brought says the same.
    let turned_away = |payload, validator| {
        let name = assay_types::ProofName {
            revision: assay_types::Revision::Alpha,
            root: root(payload),
            proof_type: 1,
        };
        house.intake.turns_away(&name, validator)
    };
    assert_eq!(turned_away(2, 1), Some(IgnoreReason::Contained));
    assert_eq!(turned_away(2, 2), None);
    house.chain.set_slot(Slot(44 + 64 * 8));
    assert_eq!(turned_away(2, 1), None, "it ends");
    assert_eq!(turned_away(1, 1), Some(IgnoreReason::SeenFromValidator));
    house.chain.set_slot(Slot(44));
    let (gossiped, posted) = (house.ssz(key(2, 1), "V", 1), house.ssz(key(2, 1), "V", 1));
    assert_eq!(
        word(&house.verdict(gossiped, gossip(1)).await),
        "ignore contained"
    );
    assert_eq!(word(&house.verdict(posted, Source::Http).await), "accept");
    assert!(
        house
            .store
            .proofs()
            .iter()
            .all(|(proof, _)| proof.key() == key(2, 1))
    );
    assert_eq!(house.intake.metrics().snapshot().contained, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_durable_is_told_to_nobody() {
    let house = house();
    house.store.set_fails(true);
    assert_eq!(
        word(&house.verdict(house.ssz(key(1, 1), "V", 1), gossip(1)).await),
        "ignore internal"
    );
    assert!(house.gate.proofs().is_empty());
    house.store.set_fails(false);
    // Later sinks that fail or hang change no verdict.
    house.gate.set_fails(true);
    assert_eq!(
        word(&house.verdict(house.ssz(key(1, 1), "V", 1), gossip(1)).await),
        "accept"
    );
    house.gate.set_fails(false);
    house.gate.set_delay(Duration::from_secs(3600));
    let began = tokio::time::Instant::now();
    assert_eq!(
        word(&house.verdict(house.ssz(key(1, 2), "V", 1), gossip(1)).await),
        "accept"
    );
    assert_eq!(began.elapsed(), VerifierConfig::default().sink_timeout);
    assert_eq!(house.store.proofs().len(), 2);
    let mut registry = prometheus_client::registry::Registry::default();
    house.verifier.metrics().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("sink_errors_total{sink=\"store\"} 1"), "{text}");
    assert!(text.contains("sink_errors_total{sink=\"gate\"} 2"), "{text}");
    assert!(
        text.contains("verdicts_total{source=\"gossip\",verdict=\"accept\",reason=\"\"} 2"),
        "{text}"
    );
}
