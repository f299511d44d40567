//! Status, ping, metadata, goodbye, proof status, and the talk on a new connection.

use super::rig::*;
use crate::{
    Fault, Goodbye, PeerStatus,
    framing::{ErrorCode, encode_request, encode_success_chunk},
    rpc::{OURS, PeerMetadata, Protocol, RequestError, THEIRS},
};
use assay_chain::{Chain, Checkpoint};
use assay_types::{Epoch, ExecutionProofStatus, ForkDigest, Root, Slot};

#[tokio::test]
async fn status_is_exchanged_in_both_versions() {
    let (a, b) = (Rig::start().await, Rig::start().await);
    a.connect(&b).await;
    assert_eq!(a.requester.status(b.peer).await, Err(RequestError::NotReady));
    a.has_head(Slot(39));
    match a.requester.status(b.peer).await {
        Err(RequestError::Refused { code, message }) => {
            assert_eq!(code, ErrorCode::ResourceUnavailable);
            assert_eq!(message, "the head is not known yet");
        }
        other => panic!("{other:?}"),
    }
    b.has_head(Slot(40));
    let status = a.requester.status(b.peer).await.unwrap();
    let digest = b.chain.spec().fork_digest(
        &b.chain.genesis().genesis_validators_root,
        b.chain.spec().epoch_at_slot(NOW),
    );
    let expected = PeerStatus {
        fork_digest: digest,
        finalized_root: Root::ZERO,
        finalized_epoch: Epoch(0),
        head_root: Root::from([9; 32]),
        head_slot: Slot(40),
        earliest_available_slot: Some(Slot(8)),
    };
    assert_eq!(status, expected);
    assert_eq!(b.book.statuses.lock()[&a.peer].head_slot, Slot(39));

    // A node that knows version 1 alone.
    let old = Rig::start_with(Settings {
        offered: vec![Protocol::StatusV1],
        ..Settings::default()
    })
    .await;
    old.has_head(Slot(20));
    a.connect(&old).await;
    let status = a.requester.status(old.peer).await.unwrap();
    assert_eq!(
        (status.head_slot, status.earliest_available_slot),
        (Slot(20), None)
    );
    assert_eq!(old.counters.requests_of(Protocol::StatusV1, THEIRS, "ok"), 1);
    assert_eq!(a.counters.requests_of(Protocol::StatusV1, OURS, "ok"), 1);
    assert_eq!(
        a.requester.ping(old.peer, 0).await,
        Err(RequestError::Unsupported)
    );
}

#[tokio::test]
async fn ping_metadata_and_proof_status_tell_what_is_so() {
    let (a, b) = (Rig::start().await, Rig::start().await);
    a.connect(&b).await;
    let metadata = PeerMetadata {
        seq_number: 5,
        attnets: [1, 2, 3, 4, 5, 6, 7, 8],
        syncnets: Some(3),
        custody_group_count: Some(4),
    };
    *b.metadata.lock() = metadata;
    assert_eq!(a.requester.ping(b.peer, 7).await, Ok(5));
    assert_eq!(a.requester.metadata(b.peer).await, Ok(metadata));
    for (protocol, ssz) in [
        (Protocol::MetadataV1, metadata.to_v1_bytes()),
        (Protocol::MetadataV2, metadata.to_v2_bytes()),
        (Protocol::MetadataV3, metadata.to_v3_bytes()),
    ] {
        assert_eq!(a.exchange(&b, protocol, &[]).await, encode_success_chunk(&ssz));
    }
    let ours = ExecutionProofStatus {
        block_root: Root::from([3; 32]),
        slot: Slot(12),
        proof_types: vec![4],
    };
    let theirs = a
        .requester
        .execution_proof_status(b.peer, ours.clone())
        .await
        .unwrap();
    assert_eq!(
        theirs,
        ExecutionProofStatus {
            block_root: Root::ZERO,
            slot: Slot(0),
            proof_types: TYPES.to_vec()
        }
    );
    assert_eq!(b.book.proof_statuses.lock()[&a.peer], ours);
}

#[tokio::test]
async fn a_goodbye_is_told_and_ends_the_connection() {
    let (a, b) = (Rig::start().await, Rig::start().await);
    a.connect(&b).await;
    a.requester.goodbye(b.peer, Goodbye::IrrelevantNetwork).await;
    wait_for(|| (!a.connections.is_connected(&b.peer) && !b.connections.is_connected(&a.peer)).then_some(()))
        .await;
    assert_eq!(*b.book.goodbyes.lock(), [a.peer]);
    assert_eq!(a.requester.ping(b.peer, 0).await, Err(RequestError::NotConnected));

    // The side that is told hangs up, even if the other does not.
    let c = Rig::start().await;
    c.connect(&b).await;
    let answer = c
        .exchange(&b, Protocol::Goodbye, &encode_request(&250u64.to_le_bytes()))
        .await;
    assert_eq!(answer, encode_success_chunk(&0u64.to_le_bytes()));
    wait_for(|| (!c.connections.is_connected(&b.peer)).then_some(())).await;
    assert_eq!(*b.book.goodbyes.lock(), [a.peer, c.peer]);
}

fn talking() -> Settings {
    Settings {
        talks: true,
        ..Settings::default()
    }
}

#[tokio::test]
async fn a_new_connection_begins_with_the_handshake() {
    let (a, b) = (Rig::start_with(talking()).await, Rig::start_with(talking()).await);
    a.has_head(Slot(30));
    b.has_head(Slot(31));
    a.connect(&b).await;
    let (from_b, from_a) = wait_for(|| {
        let from_b = a.book.statuses.lock().get(&b.peer).copied()?;
        let from_a = b.book.statuses.lock().get(&a.peer).copied()?;
        Some((from_b, from_a))
    })
    .await;
    assert_eq!((from_b.head_slot, from_a.head_slot), (Slot(31), Slot(30)));
    wait_for(|| {
        let known = |book: &TestBook, peer| {
            book.metadata.lock().contains_key(peer) && book.proof_statuses.lock().contains_key(peer)
        };
        (known(&a.book, &b.peer) && known(&b.book, &a.peer)).then_some(())
    })
    .await;
    // Each asked once: what one side told, the other did not ask for.
    let asked = |rig: &Rig, protocol| rig.counters.requests_of(protocol, OURS, "ok");
    assert_eq!(
        (asked(&a, Protocol::StatusV2), asked(&b, Protocol::StatusV2)),
        (1, 0)
    );
    assert_eq!(
        (
            asked(&a, Protocol::ExecutionProofStatus),
            asked(&b, Protocol::ExecutionProofStatus)
        ),
        (1, 0)
    );
    assert!(a.book.faults.lock().is_empty() && b.book.faults.lock().is_empty());
}

#[tokio::test]
async fn peers_that_are_not_proof_aware_are_not_asked_for_proofs() {
    let a = Rig::start_with(talking()).await;
    *a.book.eproof.lock() = Some(0);
    let b = Rig::start().await;
    a.connect(&b).await;
    wait_for(|| a.book.metadata.lock().contains_key(&b.peer).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(b.book.proof_statuses.lock().is_empty());
}

/// Each status on its own, as a peer may send it.
#[tokio::test]
async fn peers_of_other_networks_are_reported() {
    let (a, b) = (Rig::start().await, Rig::start_with(talking()).await);
    let ours = Checkpoint {
        epoch: Epoch(3),
        root: Root::from([4; 32]),
    };
    b.chain.memory.finalize(ours, Slot(24), vec![]);
    b.chain
        .canonical
        .lock()
        .extend([(Slot(0), Root::from([7; 32])), (Slot(16), Root::from([6; 32]))]);
    b.has_head(Slot(40));
    a.connect(&b).await;
    let good = {
        a.has_head(Slot(40));
        a.requester.status(b.peer).await.unwrap()
    };
    assert_eq!(good.finalized_root, ours.root);
    assert!(b.book.faults.lock().is_empty());
    let table = [
        (good, false),
        (
            PeerStatus {
                fork_digest: ForkDigest([0xee; 4]),
                ..good
            },
            true,
        ),
        (
            PeerStatus {
                head_slot: Slot(41),
                ..good
            },
            false,
        ),
        (
            PeerStatus {
                head_slot: Slot(42),
                ..good
            },
            true,
        ),
        (
            PeerStatus {
                finalized_root: Root::from([5; 32]),
                ..good
            },
            true,
        ),
        (
            PeerStatus {
                finalized_root: Root::from([5; 32]),
                finalized_epoch: Epoch(2),
                ..good
            },
            true,
        ),
        (
            PeerStatus {
                finalized_root: Root::from([6; 32]),
                finalized_epoch: Epoch(2),
                ..good
            },
            false,
        ),
        // No block here at its first slot, or far ahead: nothing can be said.
        (
            PeerStatus {
                finalized_root: Root::from([5; 32]),
                finalized_epoch: Epoch(1),
                ..good
            },
            false,
        ),
        (
            PeerStatus {
                finalized_root: Root::from([5; 32]),
                finalized_epoch: Epoch(4),
                ..good
            },
            false,
        ),
        (
            PeerStatus {
                finalized_root: Root::ZERO,
                finalized_epoch: Epoch(0),
                ..good
            },
            false,
        ),
    ];
    for (status, is_irrelevant) in table {
        b.book.faults.lock().clear();
        let answer = a
            .exchange(&b, Protocol::StatusV2, &encode_request(&status.to_v2_bytes()))
            .await;
        assert_eq!(
            answer,
            encode_success_chunk(&good.to_v2_bytes()),
            "answered all the same"
        );
        let expected: &[_] = if is_irrelevant {
            &[(a.peer, Fault::WrongNetwork)]
        } else {
            &[]
        };
        assert_eq!(*b.book.faults.lock(), expected, "{status:?}");
    }
}

/// Any libp2p node may connect; one without status is of no use, whatever else it speaks.
#[tokio::test]
async fn peers_without_status_are_reported() {
    let a = Rig::start_with(talking()).await;
    a.has_head(Slot(40));
    let without = Rig::start_with(Settings {
        offered: vec![Protocol::Ping, Protocol::MetadataV2],
        ..Settings::default()
    })
    .await;
    a.connect(&without).await;
    wait_for(|| (!a.book.faults.lock().is_empty()).then_some(())).await;
    wait_for(|| a.book.metadata.lock().contains_key(&without.peer).then_some(())).await;
    assert_eq!(*a.book.faults.lock(), [(without.peer, Fault::NoStatus)]);
}

#[tokio::test]
async fn around_a_boundary_both_digests_are_good() {
    let mut spec = spec();
    spec.blob_schedule = vec![assay_types::spec::BlobParameters {
        epoch: Epoch(5),
        max_blobs_per_block: 12,
    }];
    let settings = Settings { spec, ..talking() };
    let (a, b) = (
        Rig::start_with(settings.clone()).await,
        Rig::start_with(settings).await,
    );
    a.has_head(Slot(30));
    b.has_head(Slot(30));
    a.connect(&b).await;
    // Slot 40 is the first of the new digest, 39 the last of the old.
    for (ours, theirs, good) in [(39, 40, true), (40, 39, true), (38, 41, false), (41, 38, false)] {
        a.chain.memory.set_slot(Slot(ours));
        b.chain.memory.set_slot(Slot(theirs));
        b.book.faults.lock().clear();
        a.requester.status(b.peer).await.unwrap();
        assert_eq!(b.book.faults.lock().is_empty(), good, "{ours} and {theirs}");
    }
}
