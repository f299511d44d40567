//! Calls under way and calls that wait are bounded.

use super::*;

#[tokio::test]
async fn calls_under_way_are_bounded() {
    let a = Scripted::new("a", &[1], Act::Crowd);
    let config = RouterConfig {
        max_concurrent_calls: 3,
        verify_timeout: PATIENCE,
        ..config()
    };
    let router = Arc::new(Router::new(vec![a.route()], config).unwrap());
    let calls = (0..40).map(|_| {
        let router = router.clone();
        tokio::spawn(async move { router.verify(&proof(1)).await })
    });
    for call in futures::future::join_all(calls).await {
        assert_eq!(call.unwrap().unwrap(), Valid);
    }
    assert_eq!(a.most_under_way.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn calls_that_wait_are_bounded_and_a_full_line_is_no_illness() {
    let a = Scripted::new("a", &[1], Hang);
    let config = RouterConfig {
        max_concurrent_calls: 1,
        max_waiting_calls: 2,
        verify_timeout: PATIENCE,
        ..config()
    };
    let router = Arc::new(Router::new(vec![a.route()], config).unwrap());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { router.verify(&proof(1)).await })
        })
        .collect();
    // The first hangs in the backend, the other two stand in line, the next one is turned away at once.
    while a.calls() == 0 {
        tokio::task::yield_now().await;
    }
    let turned_away = timeout(PATIENCE, async {
        loop {
            if let Ok(result) = timeout(Duration::from_millis(50), router.verify(&proof(1))).await {
                return result;
            }
        }
    });
    let result = turned_away.await.unwrap();
    assert!(
        matches!(&result, Err(EngineError::Unavailable(why)) if why.contains("too many")),
        "{result:?}"
    );
    assert!(router.health()[0].is_healthy);
    // A caller that goes away frees its place: the hanging call ends with it.
    *a.act.lock() = Say(Valid);
    for call in &waiting {
        call.abort();
    }
    for call in waiting {
        assert!(call.await.unwrap_err().is_cancelled());
    }
    assert_eq!(
        timeout(PATIENCE, router.verify(&proof(1)))
            .await
            .unwrap()
            .unwrap(),
        Valid
    );
}
