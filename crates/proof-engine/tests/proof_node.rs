//! The `proof-node` backend against a stub of the node's HTTP API, with every fault it has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use assay_proof_engine::{
    BackendConfigError, DevProver, EngineError, EngineEvent, ProofEngine, ProofNodeConfig, ProofNodeEngine,
    ProofTypeNames, Route, Router, RouterConfig, Verification,
    testing::{Faults, StubConfig, StubProofNode},
};
use assay_types::{
    EngineInput, ExecutionPayload, ExecutionProof, ExecutionRequests, ForkName, NewPayloadRequest, ProofKey,
    Revision, Root, Spec,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::broadcast,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(30);
const MAX: usize = 4 << 20;
const REQUESTS: &str = "/v1/execution_proof_requests";

fn spec() -> Spec {
    Spec::minimal()
}

fn prover() -> DevProver {
    DevProver::new("stub", MAX)
}

fn payload(number: u8) -> (Root, Arc<NewPayloadRequest>) {
    let execution_payload = ExecutionPayload {
        parent_hash: Root::ZERO,
        fee_recipient: [0; 20],
        state_root: Root::ZERO,
        receipts_root: Root::ZERO,
        logs_bloom: Bytes::from_static(&[0; 256]),
        prev_randao: Root::ZERO,
        block_number: number.into(),
        gas_limit: 0,
        gas_used: 0,
        timestamp: 12,
        extra_data: Bytes::new(),
        base_fee_per_gas: Default::default(),
        block_hash: Root::from([number; 32]),
        transactions: Vec::new(),
        withdrawals: Vec::new(),
        blob_gas_used: 0,
        excess_blob_gas: 0,
        block_access_list: Bytes::new(),
        slot_number: 0,
    };
    let request = NewPayloadRequest {
        fork: ForkName::Fulu,
        execution_payload,
        versioned_hashes: Vec::new(),
        parent_beacon_block_root: Root::ZERO,
        execution_requests: ExecutionRequests::default(),
    };
    (request.hash_tree_root(&spec()).unwrap(), Arc::new(request))
}

async fn stub(proving_ms: u64) -> StubProofNode {
    StubProofNode::start(StubConfig {
        seed: "stub".into(),
        names: ProofTypeNames::default(),
        spec: spec(),
        proof_size: 300_000,
        proving_delay: Duration::from_millis(proving_ms),
    })
    .await
    .unwrap()
}

fn config(url: &str) -> ProofNodeConfig {
    ProofNodeConfig {
        poll_interval: Duration::from_millis(200),
        reconnect: (Duration::from_millis(20), Duration::from_millis(100)),
        ..ProofNodeConfig::new(url.parse().unwrap(), vec![5, 6], Arc::new(spec()))
    }
}

fn engine(stub: &StubProofNode) -> ProofNodeEngine {
    ProofNodeEngine::new(config(&stub.url())).unwrap()
}

async fn next(events: &mut broadcast::Receiver<EngineEvent>) -> EngineEvent {
    timeout(PATIENCE, events.recv())
        .await
        .expect("an event in time")
        .unwrap()
}

/// The next event completes this proof, with bytes that verify.
async fn expect_proof(events: &mut broadcast::Receiver<EngineEvent>, root: Root) -> u8 {
    match next(events).await {
        EngineEvent::Completed { key, proof_data, .. } => {
            assert_eq!(key.new_payload_request_root, root);
            assert_eq!(
                proof_data,
                prover().prove(&root, key.proof_type, 300_000).unwrap()
            );
            key.proof_type
        }
        other => panic!("{other:?}"),
    }
}

fn proof(proof_type: u8, size: usize) -> ExecutionProof {
    prover()
        .prove_execution(Root::from([7; 32]), proof_type, size)
        .unwrap()
}

#[tokio::test]
async fn requested_proofs_come_once_each() {
    let stub = stub(50).await;
    let engine = engine(&stub);
    let mut events = engine.events();
    let (root, request) = payload(1);
    engine.request(root, request.clone(), &[5, 6]).await.unwrap();
    // Asked again while under way: no second event.
    engine.request(root, request, &[5]).await.unwrap();
    let mut types = vec![
        expect_proof(&mut events, root).await,
        expect_proof(&mut events, root).await,
    ];
    types.sort_unstable();
    assert_eq!(types, [5, 6]);
    let more = timeout(Duration::from_millis(600), events.recv()).await;
    assert!(more.is_err(), "{more:?}");
    assert_eq!(engine.proof_types(), [5, 6]);
}

/// Faults under which every proof comes all the same.
#[tokio::test]
async fn faults_delay_a_proof_and_lose_none() {
    let table: [(&str, Faults); 5] = [
        (
            "lost events",
            Faults {
                lose_events: true,
                ..Faults::default()
            },
        ),
        (
            "streams that break",
            Faults {
                break_streams: true,
                ..Faults::default()
            },
        ),
        (
            "404 for a while",
            Faults {
                absent_downloads: 3,
                ..Faults::default()
            },
        ),
        (
            "slow bodies",
            Faults {
                slow_bodies: Some(Duration::from_millis(300)),
                ..Faults::default()
            },
        ),
        (
            "lost, absent and slow",
            Faults {
                lose_events: true,
                absent_downloads: 1,
                slow_bodies: Some(Duration::from_millis(50)),
                ..Faults::default()
            },
        ),
    ];
    for (what, faults) in table {
        let stub = stub(20).await;
        stub.set_faults(faults);
        let engine = engine(&stub);
        let mut events = engine.events();
        let (root, request) = payload(2);
        engine.request(root, request, &[6]).await.expect(what);
        assert_eq!(expect_proof(&mut events, root).await, 6, "{what}");
    }
}

#[tokio::test]
async fn a_500_while_fetching_is_tried_again() {
    let stub = stub(300).await;
    let engine = engine(&stub);
    let mut events = engine.events();
    let (root, request) = payload(3);
    engine.request(root, request, &[5]).await.unwrap();
    stub.set_faults(Faults {
        failing_calls: 4,
        ..Faults::default()
    });
    assert_eq!(expect_proof(&mut events, root).await, 5);
}

#[tokio::test]
async fn a_failure_is_told_with_its_reason() {
    let stub = stub(20).await;
    stub.set_faults(Faults {
        fail_proving: Some("witness\u{1b}[31m missing".into()),
        ..Faults::default()
    });
    let engine = engine(&stub);
    let mut events = engine.events();
    let (root, request) = payload(4);
    // The event may be lost before the stream is open; a second request brings it.
    engine.request(root, request.clone(), &[5]).await.unwrap();
    let event = loop {
        match timeout(Duration::from_millis(500), events.recv()).await {
            Ok(event) => break event.unwrap(),
            Err(_) => drop(engine.request(root, request.clone(), &[5]).await),
        }
    };
    match event {
        EngineEvent::Failed { key, reason } => {
            assert_eq!((key.new_payload_request_root, key.proof_type), (root, 5));
            assert_eq!(reason, "proving_error: witness [31m missing");
        }
        other => panic!("{other:?}"),
    }
}

/// Downloads that are no proof are never handed on, and are given up at the end of the time for proving.
#[tokio::test]
async fn bodies_that_are_no_proof_are_cut_off_and_given_up() {
    for (what, faults, says) in [
        (
            "1 GiB",
            Faults {
                endless_downloads: Some(1 << 30),
                ..Faults::default()
            },
            "more than 4194304 bytes",
        ),
        (
            "nothing",
            Faults {
                empty_downloads: true,
                ..Faults::default()
            },
            "empty",
        ),
        (
            "404 for ever",
            Faults {
                absent_downloads: u32::MAX,
                ..Faults::default()
            },
            "404",
        ),
    ] {
        let stub = stub(10).await;
        stub.set_faults(faults);
        let engine = ProofNodeEngine::new(ProofNodeConfig {
            proving_timeout: Duration::from_millis(900),
            ..config(&stub.url())
        })
        .unwrap();
        let mut events = engine.events();
        let (root, request) = payload(5);
        engine.request(root, request, &[5]).await.unwrap();
        match next(&mut events).await {
            EngineEvent::Failed { key, reason } => {
                assert_eq!(key.new_payload_request_root, root, "{what}");
                assert!(reason.contains(says), "{what}: {reason}");
            }
            EngineEvent::Completed { proof_data, .. } => panic!("{what}: {} bytes", proof_data.len()),
        }
    }
}

#[tokio::test]
async fn a_request_answered_with_another_root_is_not_waited_for() {
    let stub = stub(10).await;
    stub.set_faults(Faults {
        other_root: true,
        ..Faults::default()
    });
    // What is waited for is given up soon, and that would be told.
    let engine = ProofNodeEngine::new(ProofNodeConfig {
        proving_timeout: Duration::from_millis(200),
        ..config(&stub.url())
    })
    .unwrap();
    let mut events = engine.events();
    let (root, request) = payload(6);
    let refused = engine.request(root, request.clone(), &[5]).await.unwrap_err();
    assert!(
        matches!(&refused, EngineError::Protocol(why) if why.contains("request root 0xee")),
        "{refused}"
    );
    let refused = engine.request(root, request.clone(), &[]).await;
    assert!(matches!(refused, Err(EngineError::Unavailable(_))), "{refused:?}");
    let refused = engine.request(root, request, &[5, 99]).await;
    assert!(matches!(refused, Err(EngineError::Unavailable(_))), "{refused:?}");
    assert!(timeout(Duration::from_millis(300), events.recv()).await.is_err());
}

#[tokio::test]
async fn verdicts_are_the_nodes_about_exactly_these_bytes() {
    let stub = stub(0).await;
    let engine = engine(&stub);
    for size in [32, 65_536, 1_000_000, MAX] {
        assert_eq!(
            engine.verify(&proof(5, size).into()).await.unwrap(),
            Verification::Valid,
            "{size}"
        );
    }
    let good = proof(5, 5000);
    let mut flipped = good.proof_data.to_vec();
    flipped[4999] ^= 1;
    let flipped = ExecutionProof {
        proof_data: flipped.into(),
        ..good.clone()
    };
    let retyped = ExecutionProof {
        proof_type: 6,
        ..good.clone()
    };
    for bad in [flipped, retyped] {
        assert!(matches!(
            engine.verify(&bad.clone().into()).await.unwrap(),
            Verification::Invalid(_)
        ));
    }
    let nameless = ExecutionProof {
        proof_type: 200,
        ..good.clone()
    };
    assert_eq!(
        engine.verify(&nameless.clone().into()).await.unwrap(),
        Verification::Unsupported
    );
    stub.set_faults(Faults {
        say_invalid: true,
        ..Faults::default()
    });
    assert!(matches!(
        engine.verify(&good.clone().into()).await.unwrap(),
        Verification::Invalid(_)
    ));
}

/// Whatever else is answered is no verdict.
#[tokio::test]
async fn wrong_answers_are_never_a_verdict() {
    let stub = stub(0).await;
    let engine = ProofNodeEngine::new(ProofNodeConfig {
        call_timeout: Duration::from_millis(400),
        ..config(&stub.url())
    })
    .unwrap();
    let answer = |text: &str| Faults {
        verification_answer: Some(text.into()),
        ..Faults::default()
    };
    let other_root = format!(
        r#"{{"status":"INVALID","new_payload_request_root":"{}"}}"#,
        Root::from([8; 32])
    );
    let table: Vec<(&str, Faults)> = vec![
        ("another root", answer(&other_root)),
        (
            "another type",
            answer(r#"{"status":"INVALID","proof_type":"reth-zisk"}"#),
        ),
        ("nothing", answer("")),
        ("no JSON", answer("INVALID")),
        ("no object", answer(r#""INVALID""#)),
        ("no status", answer("{}")),
        ("lower case", answer(r#"{"status":"invalid"}"#)),
        ("two statuses", answer(r#"{"status":"VALID","status":"INVALID"}"#)),
        (
            "a huge number",
            answer(&format!(r#"{{"status":1{}}}"#, "0".repeat(400))),
        ),
        (
            "too much",
            answer(&format!(r#"{{"status":"VALID","x":"{}"}}"#, "x".repeat(100_000))),
        ),
        (
            "500",
            Faults {
                failing_calls: 1,
                ..Faults::default()
            },
        ),
        (
            "slow",
            Faults {
                slow_bodies: Some(PATIENCE),
                ..Faults::default()
            },
        ),
    ];
    for (what, faults) in table {
        stub.set_faults(faults);
        let got = engine.verify(&proof(5, 100_000).into()).await;
        assert!(got.is_err(), "{what}: {got:?}");
    }
    // An answer to a body that was not read is not about these bytes.
    stub.set_faults(Faults {
        answer_early: true,
        ..Faults::default()
    });
    let got = engine.verify(&proof(5, MAX).into()).await;
    assert!(got.is_err(), "early: {got:?}");
    stub.set_faults(Faults::default());
    assert_eq!(
        engine.verify(&proof(5, 100_000).into()).await.unwrap(),
        Verification::Valid,
        "afterwards"
    );

    let unknown = ProofTypeNames::new([(5, "no-such-type".to_owned())]).unwrap();
    let elsewhere = ProofNodeEngine::new(ProofNodeConfig {
        names: unknown.into(),
        proof_types: vec![5],
        ..config(&stub.url())
    })
    .unwrap();
    let got = elsewhere.verify(&proof(5, 100).into()).await.unwrap_err();
    assert_eq!(
        got.to_string(),
        "proof engine not available: HTTP 404 Not Found: unknown proof_type"
    );
}

/// A number is another program's in another revision: a proof is judged, and asked for, by the name of its own.
#[tokio::test]
async fn a_type_has_the_name_of_the_proofs_revision() {
    let network = Arc::new(spec());
    for revision in [Revision::Alpha, Revision::Beta] {
        let stub = StubProofNode::start(StubConfig {
            seed: "stub".into(),
            names: ProofTypeNames::of(revision),
            spec: spec(),
            proof_size: 300_000,
            proving_delay: Duration::from_millis(10),
        })
        .await
        .unwrap();
        // The network's revisions change at Gloas; here every fork has the one.
        let sole = Arc::new(Spec {
            revision,
            revision_by_fork: Default::default(),
            ..spec()
        });
        let engine = ProofNodeEngine::new(ProofNodeConfig {
            proof_types: vec![1, 2],
            spec: sole,
            ..config(&stub.url())
        })
        .unwrap();
        let input = |revision, proof_type| {
            let key = ProofKey {
                new_payload_request_root: Root::from([7; 32]),
                proof_type,
            };
            let made = prover().prove(&key.new_payload_request_root, proof_type, 1000);
            EngineInput::new(&network, revision, key, made.unwrap())
        };
        for proof_type in [1, 2] {
            let verdict = engine.verify(&input(revision, proof_type)).await.unwrap();
            assert_eq!(verdict, Verification::Valid, "{revision} {proof_type}");
        }
        let mut events = engine.events();
        let (root, request) = payload(9);
        engine.request(root, request, &[1, 2]).await.unwrap();
        let mut came = vec![
            expect_proof(&mut events, root).await,
            expect_proof(&mut events, root).await,
        ];
        came.sort_unstable();
        assert_eq!(came, [1, 2], "{revision}");
    }
    // A type without a name where the proof's revision holds is one that this node cannot judge there.
    let stub = stub(0).await;
    let engine = ProofNodeEngine::new(ProofNodeConfig {
        proof_types: vec![0, 7],
        ..config(&stub.url())
    })
    .unwrap();
    for (revision, proof_type) in [(Revision::Beta, 0), (Revision::Alpha, 7)] {
        let key = ProofKey {
            new_payload_request_root: Root::from([7; 32]),
            proof_type,
        };
        let input = EngineInput::new(&network, revision, key, Bytes::from_static(b"proof"));
        assert_eq!(engine.verify(&input).await.unwrap(), Verification::Unsupported);
    }
}

#[tokio::test]
async fn a_node_that_comes_late_or_is_no_node_is_unavailable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:secret@{}/base", listener.local_addr().unwrap());
    let engine = ProofNodeEngine::new(config(&url)).unwrap();
    assert!(!engine.name().contains("secret"), "{}", engine.name());
    // Something that answers with what is no HTTP.
    let answering = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = [0; 512];
            let _ = socket.read(&mut seen).await;
            let _ = socket.write_all(b"SSH-2.0-nonsense\r\n").await;
        }
    });
    let got = engine.verify(&proof(5, 100).into()).await;
    assert!(
        matches!(&got, Err(EngineError::Unavailable(why)) if !why.contains("secret")),
        "{got:?}"
    );
    answering.abort();
    let _ = answering.await;
    let got = engine.verify(&proof(5, 100).into()).await;
    assert!(matches!(got, Err(EngineError::Unavailable(_))), "{got:?}");
    let (root, request) = payload(7);
    let got = engine.request(root, request, &[5]).await;
    assert!(matches!(got, Err(EngineError::Unavailable(_))), "{got:?}");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let refused = |config| ProofNodeEngine::new(config).err();
    for url in ["ftp://127.0.0.1/", "unix:/run/x", "data:text/plain,x"] {
        let got = refused(config(url));
        assert!(matches!(got, Some(BackendConfigError::Url(_))), "{url}: {got:?}");
    }
    let mut nameless = config("http://127.0.0.1:1");
    nameless.proof_types = vec![5, 77];
    let got = refused(nameless);
    assert!(
        matches!(got, Some(BackendConfigError::NoName { proof_type: 77, .. })),
        "{got:?}"
    );
}

/// Two nodes of one type under the router: the second one is asked where the first does not answer, and proofs come.
#[tokio::test]
async fn a_second_node_takes_over() {
    let (one, two) = (stub(10).await, stub(10).await);
    one.set_faults(Faults {
        failing_calls: u32::MAX,
        ..Faults::default()
    });
    let routes = [&one, &two].map(|stub| Route {
        engine: Arc::new(engine(stub)),
        proof_types: None,
    });
    let router = Router::new(routes.into(), RouterConfig::default()).unwrap();
    let mut events = router.events();
    assert_eq!(
        router.verify(&proof(5, 1000).into()).await.unwrap(),
        Verification::Valid
    );
    let (root, request) = payload(8);
    router.request(root, request, &[5]).await.unwrap();
    assert_eq!(expect_proof(&mut events, root).await, 5);
    assert_eq!(two.calls(&format!("POST {REQUESTS}")), 1);
}
