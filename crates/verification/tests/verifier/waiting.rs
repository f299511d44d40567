//! What has to wait, and what it waits for.

use crate::house::*;

#[tokio::test(start_paused = true)]
async fn a_proof_before_its_payload_waits_for_it() {
    let house = house();
    let submission = house.submit(house.ssz(key(2, 1), "V", 1), gossip(1)).await;
    let Submission::Parked {
        reason: ParkReason::UnknownPayload,
        verdict,
    } = submission
    else {
        panic!("not parked: {submission:?}")
    };
    house.chain.add_payload(root(2), SLOT);
    assert_eq!(word(&last_word(verdict).await), "accept");

    let submission = house.submit(house.ssz(key(3, 1), "V", 1), gossip(1)).await;
    let Submission::Parked { verdict, .. } = submission else {
        panic!("not parked: {submission:?}")
    };
    let began = tokio::time::Instant::now();
    assert_eq!(word(&last_word(verdict).await), "ignore unknown_payload");
    assert_eq!(began.elapsed().as_secs(), 48, "an epoch");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_down_hangs_or_panics_loses_nothing() {
    let house = house();
    house.engine.set_down(true);
    let candidate = house.ssz(key(1, 1), "V", 1);
    let Submission::Parked {
        reason: ParkReason::EngineUnavailable,
        mut verdict,
    } = house.submit(candidate, gossip(1)).await
    else {
        panic!("not parked")
    };
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(verdict.try_recv().is_err(), "no verdict while it is down");
    house.engine.set_down(false);
    assert_eq!(word(&last_word(verdict).await), "accept");

    house.engine.set_delay(Duration::from_secs(3600));
    let Submission::Parked {
        reason: ParkReason::EngineUnavailable,
        verdict,
    } = house.submit(house.ssz(key(1, 2), "V", 1), gossip(1)).await
    else {
        panic!("not parked")
    };
    house.engine.set_delay(Duration::ZERO);
    assert_eq!(word(&last_word(verdict).await), "accept");

    house.chain.add_payload(root(2), SLOT);
    assert!(matches!(
        house.submit(house.ssz(key(2, 1), "P", 1), gossip(1)).await,
        Submission::Parked {
            reason: ParkReason::EngineUnavailable,
            ..
        }
    ));
    assert_eq!(
        word(&house.verdict(house.ssz(key(2, 1), "V", 2), gossip(1)).await),
        "accept",
        "others go on"
    );
}

#[tokio::test(start_paused = true)]
async fn validators_that_cannot_be_read_are_asked_again() {
    let house = house();
    for (registry, again) in [(Registry::Unavailable, 1), (Registry::Hangs, 2)] {
        house.chain.set_registry(registry);
        let Submission::Parked {
            reason: ParkReason::ValidatorUnavailable,
            verdict,
        } = house
            .intake
            .submit(house.ssz(key(1, again), "V", 1), gossip(1))
            .await
        else {
            panic!("not parked")
        };
        house.chain.set_registry(Registry::Decisive);
        let began = tokio::time::Instant::now();
        house.chain.tell(ChainEvent::Connected(true));
        assert_eq!(word(&last_word(verdict).await), "accept");
        assert!(
            began.elapsed() < Duration::from_millis(400),
            "told, not waited for"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn missed_chain_events_are_made_up_for() {
    let house = house();
    let Submission::Parked { verdict, .. } = house.submit(house.ssz(key(2, 1), "V", 1), gossip(1)).await
    else {
        panic!("not parked")
    };
    house.chain.add_payload(root(2), SLOT);
    // More than the channel holds, before the verifier can look: its payload's event is among the lost.
    for _ in 0..200 {
        house.chain.tell(ChainEvent::Connected(false));
    }
    let began = tokio::time::Instant::now();
    assert_eq!(word(&last_word(verdict).await), "accept");
    assert!(
        began.elapsed() < Duration::from_millis(400),
        "told, not waited for"
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_no_longer_loses_nothing() {
    let house = house();
    let candidate = house.ssz(key(2, 1), "V", 1);
    let waited = house
        .intake
        .submit_and_wait(candidate, Source::Http, Duration::from_secs(1))
        .await;
    assert!(
        matches!(waited, Waited::StillWaiting(Some(ParkReason::UnknownPayload))),
        "{waited:?}"
    );
    house.chain.add_payload(root(2), SLOT);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(house.store.proofs().len(), 1);
    house.engine.set_delay(Duration::from_secs(5));
    let waited = house
        .intake
        .submit_and_wait(house.ssz(key(1, 1), "V", 1), Source::Http, Duration::from_secs(1))
        .await;
    assert!(matches!(waited, Waited::StillWaiting(None)), "{waited:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(house.store.proofs().len(), 2);
}

/// Two of one payload and type: one has the turn, the other has not; neither waits for the payload once that is there.
#[tokio::test(start_paused = true)]
async fn what_has_come_is_not_awaited_any_longer() {
    let house = house();
    house.engine.set_delay(Duration::from_secs(5));
    let mut verdicts = Vec::new();
    for validator in [1, 2] {
        let candidate = house.ssz(key(2, 1), "V", validator);
        match house.submit(candidate, gossip(1)).await {
            Submission::Parked { verdict, .. } => verdicts.push(verdict),
            decided @ Submission::Decided(_) => panic!("{decided:?}"),
        }
    }
    let mut registry = prometheus_client::registry::Registry::default();
    house.verifier.metrics().register(&mut registry);
    let gauge = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let named = |line: &&str| line.contains("waiting{reason=\"unknown_payload\"}");
        let line = text.lines().find(named).unwrap();
        line.split_whitespace().next_back().unwrap().to_owned()
    };
    assert_eq!(house.intake.awaited(8).1, 1);
    assert_eq!(house.intake.awaited_by(&root(2)).map(|a| a.count), Some(2));
    assert_eq!(house.intake.awaited_by(&root(1)), None);
    assert_eq!(gauge(), "2");
    house.chain.add_payload(root(2), SLOT);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(house.intake.waiting(), [(None, 2)].into(), "the engine is at it");
    assert_eq!(house.intake.awaited(8), (Vec::new(), 0));
    assert_eq!(house.intake.awaited_by(&root(2)), None);
    assert_eq!(gauge(), "0");
    for verdict in verdicts {
        last_word(verdict).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_payload_that_finality_cut_off_is_let_go() {
    let house = house();
    house.engine.set_down(true);
    let Submission::Parked { verdict, .. } = house.submit(house.ssz(key(1, 1), "V", 1), gossip(1)).await
    else {
        panic!("not parked")
    };
    let began = tokio::time::Instant::now();
    let checkpoint = Checkpoint {
        epoch: Epoch(6),
        root: root(9),
    };
    house.chain.finalize(checkpoint, Slot(48), vec![root(1)]);
    assert_eq!(word(&last_word(verdict).await), "ignore too_old");
    assert!(
        began.elapsed() < Duration::from_millis(400),
        "told, not waited for"
    );
}
