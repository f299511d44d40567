//! What peers answer that is wrong, late or cut off: an error each, a fault where it is theirs.

use super::rig::*;
use crate::{
    Fault, Goodbye,
    framing::{ErrorCode, encode_error_chunk, encode_success_chunk},
    rpc::{OURS, Protocol, RequestError, RpcConfig, RpcTimeouts, Stage, StreamLimits},
};
use assay_types::{ExecutionProofsByRange, ProofByRootIdentifier, ProofByRootIdentifiers, Slot};
use bytes::Bytes;
use std::time::Duration;

async fn impatient() -> (Rig, Liar) {
    let timeouts = RpcTimeouts {
        open: Duration::from_secs(10),
        first_byte: Duration::from_millis(200),
        chunk_read: Duration::from_millis(400),
        ..RpcTimeouts::default()
    };
    let rig = Rig::start_with(Settings {
        config: RpcConfig {
            timeouts,
            ..RpcConfig::default()
        },
        ..Settings::default()
    })
    .await;
    let liar = Liar::start().await;
    liar.connect_from(&rig).await;
    (rig, liar)
}

/// All of a by-range answer for two slots and types 1 and 2.
async fn asked(rig: &Rig, liar: &Liar) -> (Vec<Bytes>, Option<RequestError>) {
    let request = ExecutionProofsByRange {
        start_slot: Slot(20),
        count: 2,
        proof_types: vec![1, 2],
    };
    let mut response = match rig.requester.execution_proofs_by_range(liar.peer, request).await {
        Ok(response) => response,
        Err(error) => return (vec![], Some(error)),
    };
    let mut proofs = Vec::new();
    while let Some(proof) = response.next().await {
        match proof {
            Ok(proof) => proofs.push(proof),
            Err(error) => {
                assert!(response.next().await.is_none(), "nothing after an error");
                return (proofs, Some(error));
            }
        }
    }
    (proofs, None)
}

#[tokio::test]
async fn wrong_responses_end_with_an_error_and_a_fault() {
    let (rig, liar) = impatient().await;
    let chunk = |slot, proof_type, validator| {
        encode_success_chunk(&proof(&rig.chain, slot, proof_type, validator, 300).to_ssz_bytes())
    };
    let good = chunk(20, 1, 3);
    let with_context = [&good[..1], &[1, 2, 3, 4], &good[1..]].concat();
    let nine = (0..9).flat_map(|n| chunk(20, 1, n)).collect::<Vec<_>>();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let malformed = |text: &str| Some(RequestError::Malformed(text.to_owned()));
    let invalid = Some(Fault::InvalidResponse);
    /// Name, what is answered, proofs taken, error, fault.
    type Case = (&'static str, Lie, usize, Option<RequestError>, Option<Fault>);
    let table: Vec<Case> = vec![
        ("nothing", Lie::Say(vec![]), 0, None, None),
        ("one", Lie::Say(good.clone()), 1, None, None),
        (
            "two of one type by two validators",
            Lie::Say([good.clone(), chunk(20, 1, 4)].concat()),
            2,
            None,
            None,
        ),
        (
            "a type not asked for",
            Lie::Say([good.clone(), chunk(20, 3, 3)].concat()),
            1,
            Some(RequestError::NotAskedFor),
            Some(Fault::WrongProof),
        ),
        (
            "the same twice",
            Lie::Say([good.clone(), good.clone()].concat()),
            1,
            Some(RequestError::NotAskedFor),
            Some(Fault::WrongProof),
        ),
        (
            "more than can be",
            Lie::Say(nine),
            8,
            Some(RequestError::TooMany),
            Some(Fault::WrongProof),
        ),
        (
            "context bytes",
            Lie::Say(with_context),
            0,
            malformed("the length prefix says 1 bytes, 145 to 4194449 are possible"),
            invalid,
        ),
        (
            "too large",
            Lie::Say(vec![0, 0xff, 0xff, 0xff, 0x7f]),
            0,
            malformed("the length prefix says 268435455 bytes, 145 to 4194449 are possible"),
            invalid,
        ),
        (
            "no container",
            Lie::Say(encode_success_chunk(&[0xff; 200])),
            0,
            malformed("not a valid SSZ SignedExecutionProof: offset 4294967295 is beyond the end"),
            invalid,
        ),
        (
            "cut off",
            Lie::Say(good[..good.len() - 1].to_vec()),
            0,
            Some(RequestError::Closed),
            None,
        ),
        (
            "reset",
            Lie::SayAndReset([good.clone(), good[..9].to_vec()].concat()),
            1,
            Some(RequestError::Closed),
            None,
        ),
        (
            "refused",
            Lie::Say(
                [
                    good.clone(),
                    encode_error_chunk(ErrorCode::Other(139), "b\u{fc}sy"),
                ]
                .concat(),
            ),
            1,
            Some(RequestError::Refused {
                code: ErrorCode::Other(139),
                message: "b\u{fc}sy".to_owned(),
            }),
            None,
        ),
        (
            "silence",
            Lie::SayAndHold(vec![]),
            0,
            Some(RequestError::TimedOut(Stage::FirstByte)),
            Some(Fault::TimedOut),
        ),
        (
            "a stall",
            Lie::SayAndHold([good.clone(), good[..20].to_vec()].concat()),
            1,
            Some(RequestError::TimedOut(Stage::Chunk)),
            Some(Fault::TimedOut),
        ),
    ];
    for (name, lie, proofs, error, fault) in table {
        rig.book.faults.lock().clear();
        liar.says(lie);
        let (got, ended) = asked(&rig, &liar).await;
        assert_eq!(got.len(), proofs, "{name}");
        assert_eq!(ended, error, "{name}");
        let faults: Vec<_> = rig.book.faults.lock().iter().map(|(_, f)| *f).collect();
        assert_eq!(faults, fault.into_iter().collect::<Vec<_>>(), "{name}");
    }
    liar.says(Lie::Say(flipped));
    rig.book.faults.lock().clear();
    assert!(matches!(
        asked(&rig, &liar).await.1,
        Some(RequestError::Malformed(_))
    ));
    assert_eq!(
        rig.counters
            .requests_of(Protocol::ExecutionProofsByRange, OURS, "not_asked_for"),
        2
    );
}

/// A peer that is full, that leaves, or that resets what it cannot serve has done nothing wrong.
#[tokio::test]
async fn an_end_before_the_answer_is_no_fault() {
    let (rig, liar) = impatient().await;
    for (n, lie) in (1..).zip([Lie::Say(vec![]), Lie::SayAndReset(vec![]), Lie::HangUp]) {
        liar.says(lie);
        let answer = rig.requester.ping(liar.peer, 0).await;
        assert_eq!(answer, Err(RequestError::Closed), "{n}");
        assert_eq!(rig.counters.requests_of(Protocol::Ping, OURS, "closed"), n);
    }
    assert_eq!(rig.counters.requests_of(Protocol::Ping, OURS, "ok"), 0);

    // One of ours that serves as many streams as it may.
    let full = Rig::start_with(Settings {
        config: RpcConfig {
            streams: StreamLimits {
                base_total: 0,
                ..StreamLimits::default()
            },
            ..RpcConfig::default()
        },
        ..Settings::default()
    })
    .await;
    rig.has_head(Slot(39));
    rig.connect(&full).await;
    assert_eq!(rig.requester.status(full.peer).await, Err(RequestError::Closed));
    assert_eq!(*rig.book.faults.lock(), []);
}

/// What peers make of a goodbye: nothing of it is held against them, and the connection ends.
#[tokio::test]
async fn whatever_comes_of_a_goodbye_is_no_fault() {
    let lies = [
        Lie::Say(vec![]),
        Lie::Say(vec![0xff; 40]),
        Lie::SayAndReset(vec![]),
        Lie::SayAndHold(vec![]),
        Lie::HangUp,
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let (rig, liar) = impatient().await;
        liar.says(lie);
        rig.requester.goodbye(liar.peer, Goodbye::TooManyPeers).await;
        wait_for(|| (!rig.connections.is_connected(&liar.peer)).then_some(())).await;
        assert_eq!(liar.streams(), 1, "{n}");
        assert_eq!(*rig.book.faults.lock(), [], "{n}");
        assert_eq!(rig.counters.goodbyes_of(OURS, "too_many_peers"), 1, "{n}");
        // Of one that is gone nothing was told.
        rig.requester.goodbye(liar.peer, Goodbye::TooManyPeers).await;
        assert_eq!(rig.counters.goodbyes_of(OURS, "too_many_peers"), 1, "{n}");
    }
}

#[tokio::test]
async fn single_answers_must_be_what_was_asked_for() {
    let (rig, liar) = impatient().await;
    // Bits that stand for no subnet.
    let mut metadata = [0; 25];
    metadata[16] = 0xf0;
    liar.says(Lie::Say(encode_success_chunk(&metadata)));
    assert!(matches!(
        rig.requester.metadata(liar.peer).await,
        Err(RequestError::Malformed(_))
    ));
    assert_eq!(*rig.book.faults.lock(), [(liar.peer, Fault::InvalidResponse)]);
    let counted = |result| rig.counters.requests_of(Protocol::MetadataV3, OURS, result);
    assert_eq!((counted("malformed"), counted("ok")), (1, 0));
}

#[tokio::test]
async fn by_root_no_more_than_was_asked_for_is_taken() {
    let (rig, liar) = impatient().await;
    let chunk = |slot| encode_success_chunk(&proof(&rig.chain, slot, 1, 3, 300).to_ssz_bytes());
    liar.says(Lie::Say([chunk(20), chunk(21)].concat()));
    let request = ProofByRootIdentifiers(vec![ProofByRootIdentifier {
        block_root: block_root(20),
        proof_types: vec![1],
    }]);
    let mut response = rig
        .requester
        .execution_proofs_by_root(liar.peer, request)
        .await
        .unwrap();
    assert!(response.next().await.unwrap().is_ok());
    assert_eq!(response.next().await, Some(Err(RequestError::TooMany)));
}

#[tokio::test]
async fn two_requests_of_a_kind_are_under_way_and_others_wait() {
    let (rig, liar) = impatient().await;
    liar.says(Lie::SayAndHold(vec![]));
    let mut open = Vec::new();
    let request = ExecutionProofsByRange {
        start_slot: Slot(20),
        count: 2,
        proof_types: vec![1],
    };
    for _ in 0..2 {
        open.push(
            rig.requester
                .execution_proofs_by_range(liar.peer, request.clone())
                .await
                .unwrap(),
        );
    }
    let third = rig
        .requester
        .execution_proofs_by_range(liar.peer, request.clone());
    tokio::pin!(third);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut third)
            .await
            .is_err()
    );
    wait_for(|| (liar.streams() == 2).then_some(())).await;
    // Another protocol has its own two.
    let ping = tokio::time::timeout(PATIENCE, rig.requester.ping(liar.peer, 0)).await;
    assert_eq!(ping.unwrap(), Err(RequestError::TimedOut(Stage::FirstByte)));
    open.pop();
    assert!(tokio::time::timeout(PATIENCE, third).await.unwrap().is_ok());

    // Behind two that go on, so many wait and no more.
    open.push(
        rig.requester
            .execution_proofs_by_range(liar.peer, request.clone())
            .await
            .unwrap(),
    );
    let waiting: Vec<_> = (0..64)
        .map(|_| {
            let (requester, request, peer) = (rig.requester.clone(), request.clone(), liar.peer);
            tokio::spawn(async move { requester.execution_proofs_by_range(peer, request).await.map(drop) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let one_more = rig.requester.execution_proofs_by_range(liar.peer, request);
    assert_eq!(one_more.await.err(), Some(RequestError::Busy));
    drop(open);
    for one in waiting {
        tokio::time::timeout(PATIENCE, one)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
