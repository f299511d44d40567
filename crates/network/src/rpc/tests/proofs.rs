//! Proofs by range and by root, asked and served.

use super::rig::*;
use crate::{
    framing::ErrorCode,
    rpc::{ProofResponse, Protocol, RequestError, RpcConfig, RpcTimeouts, THEIRS},
};
use assay_chain::Checkpoint;
use assay_types::{
    Epoch, ExecutionProofsByRange, ProofByRootIdentifier, ProofByRootIdentifiers, ProofType, Root, Slot,
};
use bytes::Bytes;
use std::{sync::atomic::Ordering, time::Duration};

async fn all(response: Result<ProofResponse, RequestError>) -> Result<Vec<Bytes>, RequestError> {
    let mut response = response?;
    let mut proofs = Vec::new();
    while let Some(proof) = response.next().await {
        proofs.push(proof?);
    }
    Ok(proofs)
}

async fn by_range(
    a: &Rig,
    b: &Rig,
    start: u64,
    count: u64,
    types: &[ProofType],
) -> Result<Vec<Bytes>, RequestError> {
    let request = ExecutionProofsByRange {
        start_slot: Slot(start),
        count,
        proof_types: types.to_vec(),
    };
    all(a.requester.execution_proofs_by_range(b.peer, request).await).await
}

async fn by_root(a: &Rig, b: &Rig, asked: &[(Root, &[ProofType])]) -> Result<Vec<Bytes>, RequestError> {
    let request = ProofByRootIdentifiers(
        asked
            .iter()
            .map(|(block_root, types)| ProofByRootIdentifier {
                block_root: *block_root,
                proof_types: types.to_vec(),
            })
            .collect(),
    );
    all(a.requester.execution_proofs_by_root(b.peer, request).await).await
}

/// Blocks of slots 24 to 40 with proofs of two types at 26, one at 30, none elsewhere.
async fn served() -> (Rig, Rig, [Bytes; 3]) {
    let (a, b) = (Rig::start().await, Rig::start().await);
    for slot in 24..=40 {
        b.store_block(slot).await;
    }
    let proofs = [
        b.store_proof(26, 1, 100).await,
        b.store_proof(26, 2, 200_000).await,
        b.store_proof(30, 1, 1).await,
    ];
    b.chain.memory.finalize(
        Checkpoint {
            epoch: Epoch(3),
            root: block_root(24),
        },
        Slot(24),
        vec![],
    );
    a.connect(&b).await;
    (a, b, proofs)
}

#[tokio::test]
async fn ranges_give_what_is_held_in_order() {
    let (a, b, [p26_1, p26_2, p30_1]) = served().await;
    let table: [(u64, u64, &[ProofType], Vec<&Bytes>); 9] = [
        (24, 17, &[], vec![&p26_1, &p26_2, &p30_1]),
        (24, 17, &[1], vec![&p26_1, &p30_1]),
        (24, 17, &[2, 1], vec![&p26_1, &p26_2, &p30_1]),
        (24, 17, &[9], vec![]),
        (27, 10, &[], vec![&p30_1]),
        // Overlaps what is held: its part. Beyond the head, and nothing: nothing.
        (0, 27, &[], vec![&p26_1, &p26_2]),
        (41, 100, &[], vec![]),
        (26, 0, &[], vec![]),
        (u64::MAX, 128, &[], vec![]),
    ];
    for (start, count, types, expected) in table {
        let got = by_range(&a, &b, start, count, types).await.unwrap();
        assert_eq!(
            got.iter().collect::<Vec<_>>(),
            expected,
            "{start} {count} {types:?}"
        );
    }
    assert!(a.book.faults.lock().is_empty() && b.book.faults.lock().is_empty());
}

/// No text of `beta` has requests.
#[tokio::test]
async fn envelopes_are_served_where_that_is_wanted() {
    for envelopes in [false, true] {
        let config = RpcConfig {
            envelopes,
            ..RpcConfig::default()
        };
        let settings = Settings {
            config,
            ..Settings::default()
        };
        let (a, b) = (Rig::start().await, Rig::start_with(settings).await);
        for slot in 24..=30 {
            b.store_block(slot).await;
        }
        let mut held = vec![
            b.store_proof(26, 1, 100).await,
            b.store_envelope(26, 2, 100).await,
        ];
        if !envelopes {
            held.truncate(1);
        }
        a.connect(&b).await;
        assert_eq!(by_range(&a, &b, 24, 7, &[]).await.unwrap(), held);
        let asked: (Root, &[ProofType]) = (block_root(26), &[1, 2]);
        assert_eq!(by_root(&a, &b, &[asked]).await.unwrap(), held);
    }
}

#[tokio::test]
async fn roots_give_what_is_held_in_the_order_asked() {
    let (a, b, [p26_1, p26_2, p30_1]) = served().await;
    let (r26, r30, unknown) = (block_root(26), block_root(30), Root::from([0xaa; 32]));
    type Case<'a> = (&'a [(Root, &'a [ProofType])], Vec<&'a Bytes>);
    let table: [Case<'_>; 6] = [
        (&[(r26, &[1])], vec![&p26_1]),
        (&[(r30, &[1]), (r26, &[2, 1])], vec![&p30_1, &p26_1, &p26_2]),
        (&[(unknown, &[1]), (r30, &[1])], vec![&p30_1]),
        (&[(r26, &[3])], vec![]),
        (&[(r26, &[2]), (r26, &[1])], vec![&p26_1, &p26_2]),
        (&[], vec![]),
    ];
    for (asked, expected) in table {
        let got = by_root(&a, &b, asked).await.unwrap();
        assert_eq!(got.iter().collect::<Vec<_>>(), expected, "{asked:?}");
    }
    // Empty types count as 4 and are served; a careful client never sends them, so this one gives no room for the answer.
    assert_eq!(by_root(&a, &b, &[(r26, &[])]).await, Err(RequestError::TooMany));
}

#[tokio::test]
async fn while_syncing_the_serve_range_is_unavailable() {
    let (a, b, [p26_1, ..]) = served().await;
    b.chain.synced.store(false, Ordering::Relaxed);
    let code = |result: Result<Vec<Bytes>, RequestError>| match result {
        Err(RequestError::Refused { code, .. }) => Some(code),
        _ => None,
    };
    let unavailable = Some(ErrorCode::ResourceUnavailable);
    assert_eq!(code(by_range(&a, &b, 24, 1, &[]).await), unavailable);
    assert_eq!(code(by_range(&a, &b, 0, 25, &[]).await), unavailable);
    assert_eq!(code(by_range(&a, &b, 40, 9, &[]).await), unavailable);
    // Outside the serve range: what is held, which is nothing here.
    assert_eq!(by_range(&a, &b, 0, 24, &[]).await, Ok(vec![]));
    assert_eq!(by_range(&a, &b, 41, 9, &[]).await, Ok(vec![]));
    // By root what is known is served.
    assert_eq!(by_root(&a, &b, &[(block_root(26), &[1])]).await, Ok(vec![p26_1]));
    assert_eq!(
        code(by_root(&a, &b, &[(Root::from([0xaa; 32]), &[1])]).await),
        unavailable
    );
    assert!(a.book.faults.lock().is_empty());
    assert_eq!(
        b.counters
            .requests_of(Protocol::ExecutionProofsByRange, THEIRS, "resource_unavailable"),
        3
    );
}

#[tokio::test]
async fn one_proof_a_payload_and_type_and_four_a_payload() {
    let (a, b) = (Rig::start().await, Rig::start().await);
    b.store_block(20).await;
    let mut expected = Vec::new();
    for proof_type in 0..6 {
        expected.push(b.store_proof(20, proof_type, 50).await);
        // Another validator's, of the same type: held, not sent.
        b.keep(20, proof(&b.chain, 20, proof_type, 9, 50)).await;
    }
    a.connect(&b).await;
    assert_eq!(by_range(&a, &b, 20, 1, &[]).await.unwrap(), expected[..4]);
    assert_eq!(by_range(&a, &b, 20, 1, &[4, 5]).await.unwrap(), expected[4..]);
}

#[tokio::test]
async fn proofs_of_four_mebibytes_arrive_whole() {
    let (a, b) = (Rig::start().await, Rig::start().await);
    let size = usize::try_from(assay_chain::Chain::spec(b.chain.as_ref()).max_proof_size).unwrap();
    let mut expected = Vec::new();
    for slot in 20..23 {
        b.store_block(slot).await;
        expected.push(b.store_proof(slot, 1, size).await);
    }
    a.connect(&b).await;
    assert!(by_range(&a, &b, 20, 3, &[1]).await.unwrap() == expected);
}

/// Each is read into the memory of one before it, larger or smaller.
#[tokio::test]
async fn proofs_of_any_size_follow_each_other_whole() {
    let (a, b) = (Rig::start().await, Rig::start().await);
    let mut expected = Vec::new();
    for (slot, size) in (20..).zip([300_000, 10, 65_536, 700_000, 1, 131_072, 2_000, 400_000]) {
        b.store_block(slot).await;
        expected.push(b.store_proof(slot, 1, size).await);
    }
    a.connect(&b).await;
    assert!(by_range(&a, &b, 20, 8, &[1]).await.unwrap() == expected);
}

/// A client that takes no proof lets the server send none: what is under way is bounded by the stream's window.
#[tokio::test]
async fn nothing_is_read_that_was_not_asked_for() {
    let timeouts = RpcTimeouts {
        chunk_write: Duration::from_secs(2),
        ..RpcTimeouts::default()
    };
    let settings = Settings {
        config: RpcConfig {
            timeouts,
            ..RpcConfig::default()
        },
        ..Settings::default()
    };
    let (a, b) = (Rig::start().await, Rig::start_with(settings).await);
    for slot in 20..40 {
        b.store_block(slot).await;
        b.store_proof(slot, 1, 1 << 20).await;
    }
    a.connect(&b).await;
    let request = ExecutionProofsByRange {
        start_slot: Slot(20),
        count: 20,
        proof_types: vec![1],
    };
    let mut response = a
        .requester
        .execution_proofs_by_range(b.peer, request)
        .await
        .unwrap();
    response.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sent = b.counters.chunks_of(Protocol::ExecutionProofsByRange, THEIRS);
    assert!(sent < 20, "{sent} chunks sent to a client that took one");
    // Dropping it ends the server's work, in its time.
    drop(response);
    wait_for(|| {
        let ended = b
            .counters
            .requests_of(Protocol::ExecutionProofsByRange, THEIRS, "write_timed_out");
        (ended == 1).then_some(())
    })
    .await;
}
