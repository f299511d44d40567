#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::{
    DevProver,
    test_support::{PATIENCE, payload_request},
};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::time::timeout;

/// What a scripted backend does with a call.
#[derive(Debug, Clone)]
enum Act {
    Say(Verification),
    Fail,
    /// Cannot read the proof.
    Unread,
    Panic,
    Hang,
    /// Answers `Valid` once this many calls are under way at once, or after a pause.
    Crowd,
}

struct Scripted {
    name: String,
    types: Vec<ProofType>,
    act: Mutex<Act>,
    calls: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    requests: Mutex<Vec<Vec<ProofType>>>,
    notified: Mutex<Vec<Root>>,
    judges_only: AtomicBool,
    events: broadcast::Sender<EngineEvent>,
}

impl Scripted {
    fn new(name: &str, types: &[ProofType], act: Act) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            types: types.to_vec(),
            act: Mutex::new(act),
            calls: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            requests: Mutex::default(),
            notified: Mutex::default(),
            judges_only: AtomicBool::new(false),
            events: broadcast::channel(8).0,
        })
    }

    fn route(self: &Arc<Self>) -> Route {
        Route {
            engine: self.clone(),
            proof_types: None,
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn act(&self) -> Result<Verification, EngineError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let act = self.act.lock().clone();
        match act {
            Act::Say(verification) => Ok(verification),
            Act::Fail => Err(EngineError::Unavailable("scripted".into())),
            Act::Unread => Err(EngineError::Unreadable("scripted".into())),
            Act::Panic => panic!("scripted panic of a backend"),
            Act::Hang => std::future::pending().await,
            Act::Crowd => {
                let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
                self.most_under_way.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                self.under_way.fetch_sub(1, Ordering::SeqCst);
                Ok(Verification::Valid)
            }
        }
    }
}

#[async_trait]
impl ProofEngine for Scripted {
    fn name(&self) -> &str {
        &self.name
    }
    fn proof_types(&self) -> Vec<ProofType> {
        self.types.clone()
    }
    fn makes_proofs(&self) -> bool {
        !self.judges_only.load(Ordering::SeqCst)
    }

    async fn verify(&self, _: &EngineInput) -> Result<Verification, EngineError> {
        self.act().await
    }
    async fn request(
        &self,
        _: Root,
        _: Arc<NewPayloadRequest>,
        types: &[ProofType],
    ) -> Result<ProofGenId, EngineError> {
        self.requests.lock().push(types.to_vec());
        self.act().await.map(|_| ProofGenId([7; 8]))
    }
    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.events.subscribe()
    }
    async fn notify_new_payload(&self, root: Root, _: Arc<NewPayloadRequest>) {
        if matches!(*self.act.lock(), Act::Panic) {
            panic!("scripted panic of a notification");
        }
        self.notified.lock().push(root);
    }
    async fn notify_forkchoice_updated(&self, head: Root, _: Root, _: Root) {
        self.notified.lock().push(head);
    }
}

fn config() -> RouterConfig {
    RouterConfig {
        verify_timeout: Duration::from_millis(100),
        ..RouterConfig::default()
    }
}

fn router(backends: &[&Arc<Scripted>]) -> Router {
    Router::new(backends.iter().map(|b| b.route()).collect(), config()).unwrap()
}

fn proof(proof_type: ProofType) -> EngineInput {
    DevProver::new("seed", 4096)
        .prove_execution(Root::ZERO, proof_type, 64)
        .unwrap()
        .into()
}

use Act::{Fail, Hang, Panic, Say};
use Verification::{Invalid, Unsupported, Valid};

/// First endpoint, second endpoint, answer, whether the second was asked.
#[tokio::test]
async fn failover_table() {
    let unavailable = |why: &str| Err(EngineError::Unavailable(why.into()));
    let timed_out = Err(EngineError::TimedOut(Duration::from_millis(100)));
    let invalid = || Invalid("no".into());
    let table: Vec<(Act, Act, Result<Verification, EngineError>, bool)> = vec![
        (Say(Valid), Fail, Ok(Valid), false),
        (Say(invalid()), Say(Valid), Ok(invalid()), false),
        (Fail, Say(Valid), Ok(Valid), true),
        (Fail, Say(invalid()), Ok(invalid()), true),
        (Panic, Say(Valid), Ok(Valid), true),
        (Hang, Say(Valid), Ok(Valid), true),
        (Say(Unsupported), Say(Valid), Ok(Valid), true),
        (Say(Unsupported), Say(Unsupported), Ok(Unsupported), true),
        // What one could not judge and another does not know is undecided, not unsupported.
        (Say(Unsupported), Fail, unavailable("scripted"), true),
        (Fail, Say(Unsupported), unavailable("scripted"), true),
        (Fail, Fail, unavailable("scripted"), true),
        (Fail, Panic, unavailable("the backend panicked"), true),
        (Fail, Hang, timed_out, true),
    ];
    for (first, second, answer, second_asked) in table {
        let what = format!("{first:?}, {second:?}");
        let (a, b) = (Scripted::new("a", &[1], first), Scripted::new("b", &[1], second));
        let got = timeout(PATIENCE, router(&[&a, &b]).verify(&proof(1)))
            .await
            .unwrap();
        assert_eq!(got, answer, "{what}");
        assert_eq!(a.calls(), 1, "{what}");
        assert_eq!(b.calls() == 1, second_asked, "{what}");
    }
}

#[tokio::test]
async fn each_type_goes_to_its_backends() {
    let (a, b) = (
        Scripted::new("a", &[1, 2], Say(Valid)),
        Scripted::new("b", &[3, 1], Say(Valid)),
    );
    let router = router(&[&a, &b]);
    assert_eq!(router.proof_types(), [1, 2, 3]);
    assert!(!router.is_insecure());
    for (proof_type, answer, calls) in [
        (1, Valid, (1, 0)),
        (2, Valid, (2, 0)),
        (3, Valid, (2, 1)),
        (4, Unsupported, (2, 1)),
    ] {
        assert_eq!(
            router.verify(&proof(proof_type)).await.unwrap(),
            answer,
            "{proof_type}"
        );
        assert_eq!((a.calls(), b.calls()), calls, "{proof_type}");
    }
    let preferring = RouterConfig {
        preferred_types: vec![3, 9, 2],
        ..config()
    };
    let preferred = Router::new(vec![a.route(), b.route()], preferring).unwrap();
    assert_eq!(preferred.proof_types(), [3, 2, 1]);
    let narrowed = Route {
        proof_types: Some(vec![2, 2]),
        ..a.route()
    };
    assert_eq!(Router::new(vec![narrowed], config()).unwrap().proof_types(), [2]);
}

#[tokio::test]
async fn routers_that_cannot_work_are_refused() {
    assert_eq!(
        Router::new(Vec::new(), config()).err(),
        Some(RouterError::NoRoute)
    );
    let none = Scripted::new("none", &[], Fail);
    assert_eq!(
        Router::new(vec![none.route()], config()).err(),
        Some(RouterError::NoProofTypes("none".into()))
    );
    let some = Scripted::new("some", &[1], Fail);
    let zero = RouterConfig {
        max_concurrent_calls: 0,
        ..config()
    };
    assert_eq!(
        Router::new(vec![some.route()], zero).err(),
        Some(RouterError::ZeroLimit("max_concurrent_calls"))
    );
}

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

#[tokio::test]
async fn calls_are_counted_by_endpoint_and_outcome() {
    let (a, b) = (
        Scripted::new("a", &[1], Fail),
        Scripted::new("b", &[1], Say(Invalid("no".into()))),
    );
    let router = router(&[&a, &b]);
    let mut registry = prometheus_client::registry::Registry::default();
    router.metrics().register(&mut registry);
    router.verify(&proof(1)).await.unwrap();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"calls_total{proof_engine="a",call="verify",outcome="unavailable"} 1"#,
        r#"calls_total{proof_engine="b",call="verify",outcome="invalid"} 1"#,
        r#"healthy{proof_engine="a"} 0"#,
        r#"healthy{proof_engine="b"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

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

#[tokio::test]
async fn notifications_reach_every_backend_in_order_past_one_that_panics() {
    let (a, b) = (Scripted::new("a", &[1], Fail), Scripted::new("b", &[1], Panic));
    let router = router(&[&b, &a]);
    let root = |n: u8| Root::from([n; 32]);
    for n in 0..4 {
        router.notify_new_payload(root(n), payload_request()).await;
        router
            .notify_forkchoice_updated(root(100 + n), Root::ZERO, Root::ZERO)
            .await;
    }
    let order: Vec<Root> = [0, 100, 1, 101, 2, 102, 3, 103].map(root).to_vec();
    let arrived = timeout(PATIENCE, async {
        while a.notified.lock().len() < 8 || b.notified.lock().len() < 4 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    arrived.await.unwrap();
    assert_eq!(*a.notified.lock(), order);
    assert_eq!(*b.notified.lock(), [100, 101, 102, 103].map(root));
}
