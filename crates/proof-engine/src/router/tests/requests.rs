//! Requests for proofs: which endpoints are asked for which types, and again elsewhere.

use super::*;

/// Types of an endpoint that hangs wait for it; the others are asked for at once, and again elsewhere as soon as they fail.
#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_holds_up_no_other_types() {
    let (a, b, c) = (
        Scripted::new("a", &[1], Hang),
        Scripted::new("b", &[5], Fail),
        Scripted::new("c", &[5], Say(Valid)),
    );
    let router = Arc::new(Router::new(vec![a.route(), b.route(), c.route()], config()).unwrap());
    let asking = {
        let router = router.clone();
        tokio::spawn(async move {
            router
                .request(Root::from([5; 32]), payload_request(), &[1, 5])
                .await
        })
    };
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(*a.requests.lock(), [vec![1]]);
    assert_eq!(*c.requests.lock(), [vec![5]]);
    let mut events = router.events();
    assert!(asking.await.unwrap().is_ok());
    let event = events.try_recv().unwrap();
    assert!(
        matches!(&event, EngineEvent::Failed { key, .. } if key.proof_type == 1),
        "{event:?}"
    );
}

#[tokio::test]
async fn requests_are_split_and_failed_over() {
    let root = Root::from([5; 32]);
    let (a, b) = (
        Scripted::new("a", &[1, 2], Fail),
        Scripted::new("b", &[2, 3], Say(Valid)),
    );
    let router = router(&[&a, &b]);
    let mut events = router.events();
    let id = router
        .request(root, payload_request(), &[1, 2, 3, 3, 9])
        .await
        .unwrap();
    assert_eq!(id, proof_gen_id(&root));
    assert_eq!(*a.requests.lock(), [vec![1, 2]]);
    assert_eq!(*b.requests.lock(), [vec![3], vec![2]]);
    let mut failed = Vec::new();
    while let Ok(EngineEvent::Failed { key, .. }) = events.try_recv() {
        failed.push(key.proof_type);
    }
    failed.sort_unstable();
    assert_eq!(failed, [1, 9], "1 was not taken by its only endpoint, 9 has none");

    *b.act.lock() = Fail;
    for types in [&[1, 2][..], &[9], &[]] {
        let refused = router.request(root, payload_request(), types).await;
        assert!(
            matches!(refused, Err(EngineError::Unavailable(_))),
            "{types:?}: {refused:?}"
        );
    }
    assert!(events.try_recv().is_err(), "an error is told once");
}

/// Taking a request is not making the proof: who failed to make one is asked for it again after the others.
#[tokio::test]
async fn who_failed_to_make_a_proof_is_asked_for_it_after_the_others() {
    let (one, two) = (Root::from([1; 32]), Root::from([2; 32]));
    let (a, b) = (
        Scripted::new("a", &[1], Say(Valid)),
        Scripted::new("b", &[1], Say(Valid)),
    );
    let router = router(&[&a, &b]);
    let mut events = router.events();
    let mut asked = Vec::new();
    for root in [one, one, one, two] {
        router.request(root, payload_request(), &[1]).await.unwrap();
        let counts = (a.requests.lock().len(), b.requests.lock().len());
        asked.push(counts);
        let last = if counts.0 > counts.1 { &a } else { &b };
        let key = ProofKey {
            new_payload_request_root: root,
            proof_type: 1,
        };
        let reason = "out of memory".to_owned();
        last.events.send(EngineEvent::Failed { key, reason }).unwrap();
        let told = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        assert!(matches!(told, EngineEvent::Failed { .. }), "{told:?}");
    }
    // Of the first payload in turn; the second is another matter.
    assert_eq!(asked, [(1, 0), (1, 1), (2, 1), (3, 1)]);
}

#[tokio::test]
async fn what_makes_no_proofs_is_not_asked_for_any() {
    let (a, b) = (
        Scripted::new("a", &[1, 2], Say(Valid)),
        Scripted::new("b", &[1], Say(Valid)),
    );
    a.judges_only.store(true, Ordering::SeqCst);
    let router = router(&[&a, &b]);
    let root = Root::from([5; 32]);
    router.request(root, payload_request(), &[1]).await.unwrap();
    assert_eq!(*b.requests.lock(), [vec![1]]);
    // Type 2 has no maker, which is no illness of the one that judges it.
    assert!(router.request(root, payload_request(), &[2]).await.is_err());
    assert!(a.requests.lock().is_empty() && router.health()[0].is_healthy);
    assert_eq!(router.verify(&proof(1)).await.unwrap(), Valid);
    assert_eq!((a.calls(), b.calls()), (1, 1));
}

#[tokio::test]
async fn events_come_under_the_routers_id() {
    let (a, b) = (Scripted::new("a", &[1], Fail), Scripted::new("b", &[2], Fail));
    let router = router(&[&a, &b]);
    let mut events = router.events();
    let key = ProofKey {
        new_payload_request_root: Root::from([5; 32]),
        proof_type: 2,
    };
    let completed = EngineEvent::Completed {
        proof_gen_id: Some(ProofGenId([1; 8])),
        key,
        proof_data: vec![1].into(),
    };
    b.events.send(completed).unwrap();
    let event = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    let EngineEvent::Completed {
        proof_gen_id: id,
        key: got,
        ..
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(
        (id, got),
        (Some(proof_gen_id(&key.new_payload_request_root)), key)
    );
}
