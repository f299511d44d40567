//! The router over scripted endpoints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bounds;
mod hanging;
mod requests;

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
