//! Many at once, and the end.

use crate::house::*;

#[tokio::test(start_paused = true)]
async fn the_same_bytes_from_all_sides_are_verified_once() {
    let house = house();
    house.engine.set_delay(Duration::from_secs(1));
    let ssz = house.signed(key(1, 1), "V", 1).to_ssz_bytes();
    let submissions = (0..20_u8).map(|n| {
        let source = if n % 2 == 0 { gossip(n) } else { Source::Http };
        house.verdict(Candidate::Ssz(Bytes::copy_from_slice(&ssz)), source)
    });
    for verdict in futures::future::join_all(submissions).await {
        assert_eq!(word(&verdict), "accept");
    }
    assert_eq!(house.engine.calls(), (1, 1));
    assert_eq!(house.store.proofs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_proofs_at_once_are_verified_a_few_at_a_time() {
    let house = house_with(VerifierConfig {
        engine_calls: 3,
        ..VerifierConfig::default()
    });
    house.engine.set_delay(Duration::from_millis(100));
    for n in 10..40 {
        house.chain.add_payload(root(n), SLOT);
    }
    let all = (10..40).map(|n| house.verdict(house.ssz(key(n, 1), "V", 1), gossip(n)));
    for verdict in futures::future::join_all(all).await {
        assert_eq!(word(&verdict), "accept");
    }
    assert_eq!(house.engine.calls(), (30, 3));
}

#[tokio::test(start_paused = true)]
async fn a_flood_stays_within_its_bounds() {
    let house = house();
    house.chain.set_registry(Registry::NotDecisive);
    let limit = i64::try_from(VerifierConfig::default().room.bytes).unwrap();
    let big = Bytes::from(vec![7; 1 << 20]);
    let mut waiting = Vec::new();
    for n in 0..200_u64 {
        let message = ExecutionProof {
            proof_data: big.clone(),
            proof_type: 1 + (n % 2) as u8,
            public_input: PublicInput {
                new_payload_request_root: root((n % 50) as u8),
            },
        };
        let forged = SignedExecutionProof {
            message,
            validator_index: n,
            signature: Default::default(),
        };
        waiting.push(
            house
                .intake
                .submit(Candidate::signed(forged), gossip((n % 40) as u8))
                .await,
        );
        assert!(house.intake.metrics().snapshot().held_bytes <= limit);
    }
    let honest = house.verdict(house.ssz(key(1, 1), "V", 1), gossip(99)).await;
    assert_eq!(word(&honest), "accept");
    for submission in waiting {
        if let Submission::Parked { verdict, .. } = submission {
            drop(last_word(verdict).await);
        }
    }
    assert_eq!(house.intake.metrics().snapshot().held, 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_answers_everybody() {
    let house = house();
    let Submission::Parked { verdict, .. } = house.submit(house.ssz(key(2, 1), "V", 1), gossip(1)).await
    else {
        panic!("not parked")
    };
    house.engine.set_delay(Duration::from_secs(3600));
    let under_way = tokio::spawn({
        let (intake, candidate) = (house.intake.clone(), house.ssz(key(1, 1), "V", 1));
        async move { intake.submit(candidate, gossip(1)).await }
    });
    // Until it is with the engine.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(house.engine.calls().0, 1);
    tokio::time::timeout(Duration::from_secs(5), house.verifier.shutdown())
        .await
        .expect("it ends");
    assert_eq!(word(&last_word(verdict).await), "ignore internal");
    let Submission::Decided(verdict) = within(under_way).await.unwrap() else {
        panic!("not decided")
    };
    assert_eq!(word(&verdict), "ignore internal");
    let after = house.verdict(house.ssz(key(1, 2), "V", 1), gossip(1)).await;
    assert_eq!(word(&after), "ignore internal");
    assert!(house.store.proofs().is_empty());
    assert_eq!(
        house.intake.metrics().snapshot().ignored(IgnoreReason::Internal),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_the_store() {
    let house = house();
    house.store.set_delay(Duration::from_secs(3));
    let under_way = tokio::spawn({
        let (intake, candidate) = (house.intake.clone(), house.ssz(key(1, 1), "V", 1));
        async move { intake.submit(candidate, gossip(1)).await }
    });
    // Until it is with the store.
    tokio::time::sleep(Duration::from_secs(1)).await;
    within(house.verifier.shutdown()).await;
    let Submission::Decided(verdict) = within(under_way).await.unwrap() else {
        panic!("not decided")
    };
    assert_eq!(word(&verdict), "accept");
    assert_eq!(house.store.proofs().len(), 1);
    assert_eq!(house.gate.name(), "gate");
}
