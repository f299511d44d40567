//! The engine over systems of the tests' own: what is checked in which order, bounds, time, panics.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::{judgement::Refusal, system::OpenedProof};
use assay_types::ExecutionProof;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicUsize, Ordering};

const PATIENCE: Duration = Duration::from_secs(30);

/// Takes proofs of an order byte and the public values; the order says what happens.
#[derive(Default)]
struct Obedient {
    opened: AtomicUsize,
    verified: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    /// Verifications of `HANG` wait for this.
    released: Mutex<bool>,
    release: Condvar,
}

const HOLDS: u8 = 1;
const FAILS: u8 = 2;
const PANICS: u8 = 3;
const PANICS_ONCE: u8 = 4;
const PANICS_OTHERWISE: u8 = 5;
const PANICS_EARLY: u8 = 6;
const HANGS: u8 = 7;
const RECURSES: u8 = 8;

impl Obedient {
    fn release(&self) {
        *self.released.lock() = true;
        self.release.notify_all();
    }
}

struct ObedientProof<'a>(&'a Obedient, u8, Vec<u8>);

impl ProofSystem for Obedient {
    fn padded_to(&self) -> Option<usize> {
        None
    }

    fn open<'a>(&'a self, proof: &[u8]) -> Result<Box<dyn OpenedProof + 'a>, Refusal> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        match proof.split_first() {
            Some((&PANICS_EARLY, _)) => panic!("early"),
            Some((order, values)) => Ok(Box::new(ObedientProof(self, *order, values.to_vec()))),
            None => Err(Refusal::Malformed("empty".into())),
        }
    }
}

/// Uses about `depth` KiB of stack.
fn recurse(depth: usize) -> usize {
    let frame = std::hint::black_box([depth as u8; 1024]);
    if depth == 0 {
        0
    } else {
        recurse(depth - 1) + usize::from(frame[depth % 1024] == depth as u8)
    }
}

impl OpenedProof for ObedientProof<'_> {
    fn public_values(&self) -> &[u8] {
        &self.2
    }

    fn verify(&self) -> Result<(), Refusal> {
        let Self(system, order, _) = self;
        let before = system.verified.fetch_add(1, Ordering::SeqCst);
        let now = system.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        system.most_under_way.fetch_max(now, Ordering::SeqCst);
        let result = match *order {
            HOLDS => Ok(()),
            PANICS => panic!("over these bytes"),
            PANICS_ONCE if before == 0 => panic!("by chance"),
            PANICS_ONCE => Ok(()),
            PANICS_OTHERWISE => panic!("for the {before}. time"),
            HANGS => {
                let mut released = system.released.lock();
                while !*released {
                    system.release.wait(&mut released);
                }
                Ok(())
            }
            RECURSES if recurse(4096) > 0 => Ok(()),
            _ => Err(Refusal::DoesNotVerify("ordered".into())),
        };
        system.under_way.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

const ROOT: [u8; 32] = [9; 32];

fn engine(concurrent: usize, timeout: Duration) -> (NativeEngine, Arc<Obedient>, NativeMetrics) {
    let system = Arc::new(Obedient::default());
    let metrics = NativeMetrics::default();
    let limits = NativeLimits {
        concurrent: NonZeroUsize::new(concurrent).unwrap(),
        timeout,
        ..NativeLimits::default()
    };
    let verifier = NativeVerifier {
        system: system.clone(),
        guest: Guest::Output,
    };
    let engine = NativeEngine::new(vec![(5, verifier)], 1, limits, metrics.clone()).unwrap();
    (engine, system, metrics)
}

fn proof(order: u8) -> ExecutionProof {
    proof_of(&[&[order][..], &ROOT, &[1]].concat())
}

fn proof_of(bytes: &[u8]) -> ExecutionProof {
    ExecutionProof {
        proof_data: Bytes::copy_from_slice(bytes),
        proof_type: 5,
        public_input: assay_types::PublicInput {
            new_payload_request_root: ROOT.into(),
        },
    }
}

#[tokio::test]
async fn verdicts() {
    use Verification::{Invalid, Valid};
    let invalid = |refusal: Refusal| Ok(Invalid(refusal.to_string()));
    let other_root = [&[HOLDS][..], &[8; 32], &[1]].concat();
    let table = [
        (proof(HOLDS), Ok(Valid), (1, 1)),
        (
            proof(FAILS),
            invalid(Refusal::DoesNotVerify("ordered".into())),
            (1, 1),
        ),
        (proof_of(&[]), invalid(Refusal::Malformed("empty".into())), (1, 0)),
        // What is cheap to refuse is not verified.
        (proof_of(&other_root), invalid(Refusal::OtherStatement), (1, 0)),
        // Bytes over which the verifier panics are tried twice and refused.
        (
            proof(PANICS),
            invalid(Refusal::Panics("over these bytes".into())),
            (2, 2),
        ),
        (
            proof(PANICS_EARLY),
            invalid(Refusal::Panics("early".into())),
            (2, 0),
        ),
        // 4 MiB of stack are there.
        (proof(RECURSES), Ok(Valid), (1, 1)),
    ];
    for (proof, verdict, steps) in table {
        let (engine, system, _) = engine(1, PATIENCE);
        assert_eq!(engine.verify(&proof.clone().into()).await, verdict);
        let counted = (
            system.opened.load(Ordering::SeqCst),
            system.verified.load(Ordering::SeqCst),
        );
        assert_eq!(counted, steps, "{verdict:?}");
    }
    // A panic that does not come again as it was is none of the proof's.
    for order in [PANICS_ONCE, PANICS_OTHERWISE] {
        let (engine, _, _) = engine(1, PATIENCE);
        let verdict = engine.verify(&proof(order).into()).await;
        assert!(
            matches!(&verdict, Err(EngineError::Unavailable(why)) if why.contains("panicked")),
            "{verdict:?}"
        );
    }
    let (engine, _, _) = engine(1, PATIENCE);
    let other_type = ExecutionProof {
        proof_type: 6,
        ..proof(HOLDS)
    };
    assert_eq!(
        engine.verify(&other_type.clone().into()).await,
        Ok(Verification::Unsupported)
    );
    assert!(!engine.is_insecure() && !engine.makes_proofs());
}

#[tokio::test]
async fn refusals_are_counted_by_reason() {
    let (engine, _, metrics) = engine(1, PATIENCE);
    for order in [FAILS, FAILS, PANICS, HOLDS] {
        engine.verify(&proof(order).into()).await.unwrap();
    }
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"refused_total{proof_type="5",reason="does_not_verify"} 2"#,
        r#"refused_total{proof_type="5",reason="panics"} 1"#,
        "under_way 0",
        "overdue_total 0",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_verifications_at_once_than_allowed() {
    let (engine, system, _) = engine(3, PATIENCE);
    let engine = Arc::new(engine);
    let calls: Vec<_> = (0..24)
        .map(|n: u8| {
            let engine = engine.clone();
            // Different bytes: the same ones are verified once.
            let mut bytes = proof(HANGS).proof_data.to_vec();
            bytes[0] = HANGS;
            let root: [u8; 32] = [n; 32];
            bytes[1..33].copy_from_slice(&root);
            let mut proof = proof_of(&bytes);
            proof.public_input.new_payload_request_root = root.into();
            tokio::spawn(async move { engine.verify(&proof.clone().into()).await })
        })
        .collect();
    let began = std::time::Instant::now();
    while system.under_way.load(Ordering::SeqCst) < 3 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    system.release();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(Verification::Valid));
    }
    assert_eq!(system.most_under_way.load(Ordering::SeqCst), 3);
}

/// A verification that hangs: its caller hears so in time, keeps its place and no more; tries of the same bytes wait for
/// the same run, others are turned away; what it finds in the end is there for the next try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_that_takes_too_long_costs_one_place_and_is_not_begun_anew() {
    let timeout = Duration::from_millis(200);
    let (engine, system, metrics) = engine(1, timeout);
    let timed_out = Err(EngineError::TimedOut(timeout));
    assert_eq!(engine.verify(&proof(HANGS).into()).await, timed_out);
    assert_eq!(engine.verify(&proof(HANGS).into()).await, timed_out);
    assert_eq!(system.verified.load(Ordering::SeqCst), 1);
    let other = engine.verify(&proof(HOLDS).into()).await;
    assert!(
        matches!(&other, Err(EngineError::Busy(why)) if why.contains("under way")),
        "{other:?}"
    );

    system.release();
    let began = std::time::Instant::now();
    while metrics.overdue_count() == 0 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(engine.verify(&proof(HANGS).into()).await, Ok(Verification::Valid));
    assert_eq!(
        system.verified.load(Ordering::SeqCst),
        1,
        "the late verdict was kept"
    );
    assert_eq!(engine.verify(&proof(HOLDS).into()).await, Ok(Verification::Valid));
    // Kept for these bytes and this root alone.
    let mut other_root = proof(HANGS);
    other_root.public_input.new_payload_request_root = [8; 32].into();
    assert!(matches!(
        engine.verify(&other_root.clone().into()).await,
        Ok(Verification::Invalid(_))
    ));
}

/// A caller's time begins when it asks, a verification's when it has its place: what is found after the caller has gone is
/// kept, however short the verification itself was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_waits_for_any_more_is_kept() {
    let (engine, system, metrics) = engine(1, PATIENCE);
    let hangs: EngineInput = proof(HANGS).into();
    let hanging = tokio::time::timeout(Duration::from_millis(50), engine.verify(&hangs));
    assert!(hanging.await.is_err());
    system.release();
    // It has the one place next, so the first has ended.
    assert_eq!(engine.verify(&proof(HOLDS).into()).await, Ok(Verification::Valid));
    assert_eq!(
        (metrics.overdue_count(), system.verified.load(Ordering::SeqCst)),
        (0, 2)
    );
    assert_eq!(engine.verify(&hangs).await, Ok(Verification::Valid));
    assert_eq!(system.verified.load(Ordering::SeqCst), 2, "it was kept");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_behind() {
    let (engine, system, _) = engine(1, PATIENCE);
    let hangs: EngineInput = proof(HANGS).into();
    let hanging = tokio::time::timeout(Duration::from_millis(50), engine.verify(&hangs));
    assert!(hanging.await.is_err());
    system.release();
    assert_eq!(engine.verify(&proof(HOLDS).into()).await, Ok(Verification::Valid));
}

#[test]
fn engines_that_cannot_be() {
    let limits = NativeLimits::default();
    let new = |verifiers, chain_id| {
        NativeEngine::new(verifiers, chain_id, limits, NativeMetrics::default())
            .err()
            .map(|e| e.to_string())
    };
    let verifier = |guest| NativeVerifier {
        system: Arc::new(Obedient::default()),
        guest,
    };
    assert!(new(Vec::new(), 1).unwrap().contains("no verifier"));
    let twice = vec![(5, verifier(Guest::Output)), (5, verifier(Guest::Output))];
    assert!(new(twice, 1).unwrap().contains("two verifiers"));
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("statements");
    std::fs::write(&path, "").unwrap();
    let table = || Guest::UnsafeStatements(Arc::new(crate::StatementTable::new(&path).unwrap()));
    assert!(new(vec![(5, verifier(table()))], 1).unwrap().contains("mainnet"));
    let engine =
        NativeEngine::new(vec![(5, verifier(table()))], 2, limits, NativeMetrics::default()).unwrap();
    assert!(engine.is_insecure());
}
