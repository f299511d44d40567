#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::test_support::{PATIENCE, payload_request};
use assay_types::{ExecutionProof, Revision};
use tokio::time::timeout;

const MAX: usize = 4 * 1024 * 1024;

fn config() -> DevConfig {
    DevConfig {
        proof_types: vec![1, 2],
        ..DevConfig::new("a seed", network(1337))
    }
}

fn network(chain_id: u64) -> Arc<Spec> {
    Arc::new(Spec {
        chain_id,
        ..Spec::minimal()
    })
}

fn engine(config: DevConfig) -> DevEngine {
    DevEngine::new(config).unwrap()
}

async fn next(events: &mut broadcast::Receiver<EngineEvent>) -> EngineEvent {
    timeout(PATIENCE, events.recv()).await.unwrap().unwrap()
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let mainnet = DevConfig {
        spec: network(MAINNET_CHAIN_ID),
        ..config()
    };
    assert_eq!(
        DevEngine::new(mainnet.clone()).unwrap_err(),
        DevConfigError::Mainnet
    );
    assert!(
        DevConfigError::Mainnet
            .to_string()
            .contains("--unsafe-dev-proofs-on-mainnet")
    );
    assert!(
        DevEngine::new(DevConfig {
            allow_mainnet: true,
            ..mainnet
        })
        .unwrap()
        .is_insecure()
    );
    let no_types = DevConfig {
        proof_types: Vec::new(),
        ..config()
    };
    assert_eq!(
        DevEngine::new(no_types).unwrap_err(),
        DevConfigError::NoProofTypes
    );
    for size in [0, 31, MAX + 1] {
        let sized = DevConfig {
            proof_size: size,
            ..config()
        };
        assert!(matches!(DevEngine::new(sized), Err(DevConfigError::Size(e)) if e.size == size));
    }
    for rate in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let proving = DevConfig {
            proving_failure_rate: rate,
            ..config()
        };
        assert!(
            matches!(DevEngine::new(proving), Err(DevConfigError::Rate { .. })),
            "{rate}"
        );
        let unavailable = DevConfig {
            unavailable_rate: rate,
            ..config()
        };
        assert!(
            matches!(DevEngine::new(unavailable), Err(DevConfigError::Rate { .. })),
            "{rate}"
        );
    }
}

#[tokio::test]
async fn judges_proofs_of_any_size() {
    let engine = engine(DevConfig {
        verification_delay: Duration::from_millis(1),
        ..config()
    });
    for size in [32, 1024, MAX] {
        let good = engine
            .prover()
            .prove_execution(Root::from([3; 32]), 1, size)
            .unwrap();
        assert_eq!(
            engine.verify(&good.clone().into()).await.unwrap(),
            Verification::Valid,
            "{size}"
        );
        let other = ExecutionProof {
            proof_type: 2,
            ..good.clone()
        };
        assert!(
            matches!(
                engine.verify(&other.clone().into()).await.unwrap(),
                Verification::Invalid(_)
            ),
            "{size}"
        );
        let unknown = ExecutionProof {
            proof_type: 3,
            ..good
        };
        assert_eq!(
            engine.verify(&unknown.clone().into()).await.unwrap(),
            Verification::Unsupported,
            "{size}"
        );
    }
}

#[tokio::test]
async fn requested_proofs_come_as_events_and_verify() {
    let engine = engine(DevConfig {
        proving_delay: Duration::from_millis(5),
        proof_size: 2000,
        ..config()
    });
    let mut events = engine.events();
    let root = Root::from([9; 32]);
    let id = engine
        .request(root, payload_request(), &[2, 1, 77])
        .await
        .unwrap();
    for proof_type in [2, 1] {
        let EngineEvent::Completed {
            proof_gen_id,
            key,
            proof_data,
        } = next(&mut events).await
        else {
            panic!("a proof expected")
        };
        assert_eq!(proof_gen_id, Some(id));
        assert_eq!(
            key,
            ProofKey {
                new_payload_request_root: root,
                proof_type
            }
        );
        assert_eq!(
            proof_data,
            engine.prover().prove(&root, proof_type, 2000).unwrap()
        );
    }
    let EngineEvent::Failed { key, .. } = next(&mut events).await else {
        panic!("type 77 cannot be made")
    };
    assert_eq!(key.proof_type, 77);
}

/// A proof that was requested is one of the revision that holds for its payload, on this chain and no other.
#[tokio::test]
async fn what_is_requested_states_what_it_is_judged_by() {
    for revision in [Revision::Alpha, Revision::Beta] {
        let on = |chain_id| {
            let mut spec = Spec::clone(&network(chain_id));
            (spec.revision, spec.revision_by_fork) = (revision, Default::default());
            Arc::new(spec)
        };
        let maker = engine(DevConfig {
            spec: on(1337),
            ..config()
        });
        let mut events = maker.events();
        let root = Root::from([9; 32]);
        maker.request(root, payload_request(), &[1]).await.unwrap();
        let EngineEvent::Completed { key, proof_data, .. } = next(&mut events).await else {
            panic!("a proof expected")
        };
        for (chain_id, valid) in [(1337, true), (1338, revision == Revision::Alpha)] {
            let input = EngineInput::new(&on(chain_id), revision, key, proof_data.clone());
            let verdict = maker.verify(&input).await.unwrap();
            assert_eq!(verdict == Verification::Valid, valid, "{revision:?} {chain_id}");
        }
    }
}

#[tokio::test]
async fn requests_beyond_the_bound_are_refused_and_room_comes_back() {
    let engine = engine(DevConfig {
        proving_delay: Duration::from_millis(200),
        ..config()
    });
    for n in 0..MAX_PENDING_REQUESTS {
        engine
            .request(Root::from([n as u8; 32]), payload_request(), &[1])
            .await
            .unwrap();
    }
    let refused = engine.request(Root::ZERO, payload_request(), &[1]).await;
    assert!(matches!(refused, Err(EngineError::Unavailable(_))), "{refused:?}");
    let again = timeout(PATIENCE, async {
        while engine.request(Root::ZERO, payload_request(), &[1]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    again.await.unwrap();
}

#[tokio::test]
async fn failures_come_at_their_rate_and_again_under_the_same_seed() {
    async fn outcomes(rate: f64) -> Vec<bool> {
        let engine = engine(DevConfig {
            unavailable_rate: rate,
            ..config()
        });
        let proof = engine.prover().prove_execution(Root::ZERO, 1, 64).unwrap();
        let mut out = Vec::new();
        for _ in 0..400 {
            match engine.verify(&proof.clone().into()).await {
                Ok(Verification::Valid) => out.push(true),
                Err(EngineError::Unavailable(_)) => out.push(false),
                other => panic!("{other:?}"),
            }
        }
        out
    }
    assert!(outcomes(0.0).await.iter().all(|ok| *ok));
    assert!(outcomes(1.0).await.iter().all(|ok| !*ok));
    let half = outcomes(0.5).await;
    let failed = half.iter().filter(|ok| !**ok).count();
    assert!((120..280).contains(&failed), "{failed} of 400");
    assert_eq!(half, outcomes(0.5).await);

    let engine = engine(DevConfig {
        proving_failure_rate: 1.0,
        ..config()
    });
    let mut events = engine.events();
    engine.request(Root::ZERO, payload_request(), &[1]).await.unwrap();
    assert!(matches!(next(&mut events).await, EngineEvent::Failed { .. }));
    // A proof that fails to be made says nothing about those that exist.
    let proof = engine.prover().prove_execution(Root::ZERO, 1, 64).unwrap();
    assert_eq!(
        engine.verify(&proof.clone().into()).await.unwrap(),
        Verification::Valid
    );
}

#[tokio::test]
async fn work_ends_with_the_engine() {
    let engine = engine(DevConfig {
        proving_delay: Duration::from_millis(20),
        ..config()
    });
    let mut events = engine.events();
    engine.request(Root::ZERO, payload_request(), &[1]).await.unwrap();
    drop(engine);
    let end = timeout(PATIENCE, events.recv()).await.unwrap();
    assert!(matches!(end, Err(broadcast::error::RecvError::Closed)), "{end:?}");
}
