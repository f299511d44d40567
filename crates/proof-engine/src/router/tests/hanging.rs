//! Endpoints that fail, hang or cannot read a proof: who is asked, and who waits.

use super::*;

#[tokio::test]
async fn an_endpoint_that_fails_is_asked_last_until_it_is_due() {
    let (a, b) = (
        Scripted::new("a", &[1], Fail),
        Scripted::new("b", &[1], Say(Valid)),
    );
    let config = RouterConfig {
        retry_after: Duration::from_secs(3600),
        ..config()
    };
    let router = Router::new(vec![a.route(), b.route()], config).unwrap();
    router.verify(&proof(1)).await.unwrap();
    assert_eq!(
        router.health().iter().map(|h| h.is_healthy).collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(
        router.health()[0].last_error.as_deref(),
        Some("proof engine not available: scripted")
    );
    router.verify(&proof(1)).await.unwrap();
    assert_eq!((a.calls(), b.calls()), (1, 2), "the failing one is passed over");
    *b.act.lock() = Fail;
    *a.act.lock() = Say(Valid);
    assert_eq!(router.verify(&proof(1)).await.unwrap(), Valid);
    assert_eq!((a.calls(), b.calls()), (2, 3), "but not left out");
    assert_eq!(
        router
            .health()
            .iter()
            .map(|h| (h.is_healthy, h.failures))
            .collect::<Vec<_>>(),
        [(true, 1), (false, 1)]
    );

    let soon = RouterConfig {
        retry_after: Duration::ZERO,
        ..RouterConfig::default()
    };
    let (a, b) = (
        Scripted::new("a", &[1], Fail),
        Scripted::new("b", &[1], Say(Valid)),
    );
    let router = Router::new(vec![a.route(), b.route()], soon).unwrap();
    for _ in 0..3 {
        router.verify(&proof(1)).await.unwrap();
    }
    assert_eq!(a.calls(), 3, "due again at once");
}

/// A proof that an engine cannot read may be another's to read; it says nothing of the engine's health.
#[tokio::test]
async fn an_engine_that_cannot_read_a_proof_is_not_ill() {
    let (a, b) = (
        Scripted::new("a", &[1], Act::Unread),
        Scripted::new("b", &[1], Say(Valid)),
    );
    let both = router(&[&a, &b]);
    assert_eq!(both.verify(&proof(1)).await.unwrap(), Valid);
    assert_eq!((a.calls(), b.calls()), (1, 1));
    let unreadable = Err(EngineError::Unreadable("scripted".into()));
    let alone = router(&[&a]);
    assert_eq!(alone.verify(&proof(1)).await, unreadable);
    for health in both.health().into_iter().chain(alone.health()) {
        assert!(health.is_healthy && health.failures == 0, "{health:?}");
    }
}

/// One that hangs costs one caller its time; the others hear at once that it is not there, and one finds out when it is
/// back.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_keeps_one_caller_waiting() {
    let (a, b) = (
        Scripted::new("a", &[1], Hang),
        Scripted::new("b", &[2], Say(Valid)),
    );
    let config = RouterConfig {
        max_concurrent_calls: 1,
        retry_after: Duration::from_secs(10),
        retry_after_longest: Duration::from_secs(40),
        ..config()
    };
    let router = Router::new(vec![a.route(), b.route()], config).unwrap();
    let timed_out = Err(EngineError::TimedOut(Duration::from_millis(100)));
    assert_eq!(router.verify(&proof(1)).await, timed_out);
    let began = tokio::time::Instant::now();
    for _ in 0..50 {
        let answer = router.verify(&proof(1)).await;
        assert!(
            matches!(&answer, Err(EngineError::Unavailable(why)) if why.contains("not asked again yet")),
            "{answer:?}"
        );
        assert_eq!(router.verify(&proof(2)).await.unwrap(), Valid);
    }
    assert_eq!((began.elapsed(), a.calls()), (Duration::ZERO, 1));
}

/// What is due for another try after it hung is tried beside the other, whose answer is not waited for the longer; once it
/// answers it has its place again.
#[tokio::test(start_paused = true)]
async fn finding_out_whether_a_hanging_endpoint_is_back_costs_no_proof_its_time() {
    let (a, b) = (
        Scripted::new("a", &[1], Hang),
        Scripted::new("b", &[1], Say(Valid)),
    );
    let config = RouterConfig {
        verify_timeout: Duration::from_secs(5),
        retry_after: Duration::ZERO,
        ..config()
    };
    let router = Router::new(vec![a.route(), b.route()], config).unwrap();
    assert_eq!(router.verify(&proof(1)).await.unwrap(), Valid);
    assert_eq!((a.calls(), router.health()[0].is_healthy), (1, false));
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        assert_eq!(router.verify(&proof(1)).await.unwrap(), Valid);
        tokio::task::yield_now().await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!((a.calls(), b.calls()), (2, 6), "one finds out, not five");
    // The one that found out ends by its time-out; the next finds it back.
    tokio::time::sleep(Duration::from_secs(6)).await;
    *a.act.lock() = Say(Valid);
    assert_eq!(router.verify(&proof(1)).await.unwrap(), Valid);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(router.health()[0].is_healthy);
    let asked = b.calls();
    assert_eq!(router.verify(&proof(1)).await.unwrap(), Valid);
    assert_eq!(b.calls(), asked, "the first is the first again");
    // Another's silence is no verdict: what the one beside says counts.
    *a.act.lock() = Hang;
    *b.act.lock() = Fail;
    assert!(router.verify(&proof(1)).await.is_err());
    *a.act.lock() = Say(Invalid("no".into()));
    assert_eq!(router.verify(&proof(1)).await.unwrap(), Invalid("no".into()));
}

/// Those who stood in line behind a call that hung do not each wait for their own time-out.
#[tokio::test(start_paused = true)]
async fn who_stood_in_line_at_an_endpoint_that_hangs_hears_of_it() {
    let a = Scripted::new("a", &[1], Hang);
    let config = RouterConfig {
        max_concurrent_calls: 1,
        ..config()
    };
    let router = Arc::new(Router::new(vec![a.route()], config).unwrap());
    let began = tokio::time::Instant::now();
    let mut calls = Vec::new();
    for _ in 0..5 {
        let router = router.clone();
        calls.push(tokio::spawn(async move { router.verify(&proof(1)).await }));
        // They come one after the other, so that their times for a place end after the first call's.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
    assert_eq!((began.elapsed(), a.calls()), (Duration::from_millis(100), 1));
}

#[test]
fn pauses_before_an_endpoint_is_asked_again_grow_to_a_bound_and_are_spread() {
    let pauses = RetryPauses {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(12),
    };
    let after = |n, random| pauses.after(n, random).as_secs_f64();
    let middle: Vec<f64> = (1..7).map(|n| after(n, 0.5).round()).collect();
    assert_eq!(middle, [1.0, 2.0, 4.0, 8.0, 12.0, 12.0]);
    assert_eq!((after(1, 0.0), after(1, 1.0)), (0.8, 1.2));
    let longer = RetryPauses {
        first: Duration::from_secs(60),
        ..pauses
    };
    assert!(longer.after(u32::MAX, 1.0) < Duration::from_secs(73));
}
