//! Putting, reading, and what is still there after a restart.

use super::support::{TestStore, block, config, key, payload, proof_key, root, ssz, wait};
use crate::{MAX_RECORD_BYTES, MAX_SMALL_RECORD_BYTES, PutOutcome, StoreError, record::CHUNK_BYTES};
use assay_types::{ProofKey, SignedExecutionProof, Slot};
use assay_verification::{ContainmentRecord, KnownProofs, ProofSink, Source, VerifiedProof};
use std::sync::Arc;

#[test]
fn proofs_of_every_size_survive_a_restart() {
    let mut t = TestStore::new(config());
    let sizes = [
        1,
        145,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        2 * CHUNK_BYTES,
        1_272_766,
        4_194_449,
    ];
    for (n, size) in (0..).zip(sizes) {
        t.put(key(n, n, 1, 7), size);
    }
    for _ in 0..2 {
        for (n, size) in (0..).zip(sizes) {
            t.assert_holds(key(n, n, 1, 7), size);
        }
        let stats = t.store().reader().stats().unwrap();
        assert_eq!(stats.proofs, sizes.len() as u64);
        assert_eq!(stats.proof_bytes, sizes.iter().sum::<usize>() as u64);
        assert_eq!(
            (stats.oldest_slot, stats.newest_slot),
            (Some(Slot(0)), Some(Slot(7)))
        );
        assert!(stats.is_healthy && stats.file_bytes > stats.proof_bytes);
        t.reopen();
    }
}

#[test]
fn one_payload_and_type_may_have_proofs_of_several_validators() {
    let t = TestStore::new(config());
    let keys = [key(5, 1, 1, 3), key(5, 1, 1, 9), key(5, 1, 2, 3), key(5, 2, 1, 3)];
    for k in keys {
        t.put(k, 200);
    }
    let reader = t.store().reader();
    assert_eq!(reader.keys_of(&payload(1)).unwrap(), keys[..3]);
    assert_eq!(reader.proof_types_of(&payload(1)).unwrap(), [1, 2]);
    assert_eq!(reader.proofs_for(&payload(1)).unwrap().len(), 3);
    assert_eq!(
        reader.get(&proof_key(&keys[1])).unwrap().unwrap().record_key(),
        &keys[0]
    );
    for (proof_type, known) in [(0, false), (1, true), (2, true), (3, false)] {
        let new_payload_request_root = payload(1);
        assert_eq!(
            t.store().has_valid(&ProofKey {
                new_payload_request_root,
                proof_type
            }),
            known,
            "{proof_type}"
        );
    }
    assert_eq!(reader.proofs_for(&payload(3)).unwrap(), []);
}

#[test]
fn the_first_proof_of_a_key_stays() {
    let t = TestStore::new(config());
    let k = key(5, 1, 1, 3);
    t.put(k, 200);
    assert_eq!(t.try_put(k, 300).unwrap(), PutOutcome::AlreadyStored);
    t.assert_holds(k, 200);
    assert_eq!(t.store().reader().stats().unwrap().proofs, 1);
}

#[test]
fn a_payload_has_one_slot() {
    let t = TestStore::new(config());
    t.put(key(5, 1, 1, 3), 200);
    t.put(key(6, 1, 2, 3), 200);
    assert_eq!(t.keys().iter().map(|k| k.slot.0).collect::<Vec<_>>(), [5, 5]);
}

#[test]
fn lists_go_on_after_a_key() {
    let t = TestStore::new(config());
    for n in 0..10 {
        t.put(key(n / 2, n, 1, 0), 100 + n as usize);
    }
    let reader = t.store().reader();
    let mut all = Vec::new();
    loop {
        let page = reader.list(all.last(), 3).unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3 && page.iter().all(|s| s.bytes >= 100));
        all.extend(page.into_iter().map(|s| s.key));
    }
    assert_eq!(all, t.keys());
    assert_eq!(all.len(), 10);
}

#[test]
fn records_of_gate_node_and_containment_survive_a_restart() {
    let mut t = TestStore::new(config());
    let record = |n: u8, value: Option<&[u8]>| ([n; 32], value.map(<[u8]>::to_vec));
    t.store()
        .put_gate_records_blocking(&[
            record(2, Some(b"two")),
            record(1, Some(b"one")),
            record(3, Some(b"")),
        ])
        .unwrap();
    t.store()
        .put_gate_records_blocking(&[record(2, None), record(1, Some(b"uno")), record(9, None)])
        .unwrap();
    wait(t.store().put_node_value("enr_seq", Some(vec![7]))).unwrap();
    wait(t.store().put_node_value("gone", Some(vec![1]))).unwrap();
    wait(t.store().put_node_value("gone", None)).unwrap();
    t.store().contain(5, Slot(100));
    t.store().contain(5, Slot(90));
    t.store().contain(6, Slot(50));
    for restarted in [false, true] {
        if restarted {
            t.reopen();
        }
        let store = t.store();
        assert_eq!(
            store.load_gate_records().unwrap(),
            [([1; 32], b"uno".to_vec()), ([3; 32], Vec::new())]
        );
        assert_eq!(
            wait(async { store.reader().node_value("enr_seq") }).unwrap(),
            Some(vec![7])
        );
        assert_eq!(store.reader().node_value("gone").unwrap(), None);
        assert_eq!(store.contained_until(5), Some(Slot(100)), "the later slot holds");
        assert_eq!(store.contained_until(6), Some(Slot(50)));
        assert_eq!(store.contained_until(7), None);
    }
    // Containment ends with the finality of its slot.
    let b = block(1, 0, 60);
    t.blocks(&[b]);
    t.finalize(15, &b, &[]);
    wait(t.store().flush()).unwrap();
    t.reopen();
    assert_eq!(
        (t.store().contained_until(5), t.store().contained_until(6)),
        (Some(Slot(100)), None)
    );
}

#[test]
fn contained_validators_are_bounded_and_the_soonest_released_goes() {
    let mut t = TestStore::new(config());
    for validator in 0..crate::MAX_CONTAINED as u64 + 10 {
        t.store().contain(validator, Slot(1_000_000 - validator));
    }
    for _ in 0..2 {
        let is_contained = |v: &u64| t.store().contained_until(*v).is_some();
        let contained = (0..crate::MAX_CONTAINED as u64 + 10).filter(is_contained);
        assert_eq!(contained.count(), crate::MAX_CONTAINED);
        assert!(is_contained(&0), "the one contained longest stays");
        wait(t.store().flush()).unwrap();
        t.reopen();
    }
}

#[test]
fn records_beyond_their_bounds_are_refused() {
    let t = TestStore::new(config());
    let k = key(1, 1, 1, 1);
    let large = vec![0; MAX_RECORD_BYTES + 1].into();
    assert!(matches!(
        wait(t.store().put_raw(k, large)),
        Err(StoreError::TooLarge { .. })
    ));
    let large = vec![0; MAX_SMALL_RECORD_BYTES + 1];
    let gate = t
        .store()
        .put_gate_records_blocking(&[([1; 32], Some(large.clone()))]);
    assert!(matches!(gate, Err(StoreError::TooLarge { .. })));
    assert!(matches!(
        wait(t.store().put_node_value("x", Some(large))),
        Err(StoreError::TooLarge { .. })
    ));
    assert_eq!(t.keys(), []);
}

fn verified(number: u64, proof_type: u8) -> Arc<VerifiedProof> {
    let k = key(number, number, proof_type, 4);
    let signed = SignedExecutionProof {
        message: assay_types::ExecutionProof {
            proof_data: ssz(&k, 500),
            proof_type,
            public_input: assay_types::PublicInput {
                new_payload_request_root: payload(number),
            },
        },
        validator_index: 4,
        signature: assay_types::SignatureBytes::from([9; 96]),
    };
    let ssz = signed.to_ssz_bytes();
    Arc::new(VerifiedProof::assume_verified(
        ssz,
        signed,
        root(3, number),
        Slot(number),
        None,
    ))
}

#[tokio::test]
async fn a_verified_proof_goes_in_by_the_sink_and_comes_out_as_it_was() {
    let t = TestStore::new(config());
    let store = t.store().clone();
    let proof = verified(3, 1);
    assert_eq!(ProofSink::name(&store), "store");
    assert!(!store.has_valid(&proof.key()));
    store.accepted(&proof, &Source::Http).await.unwrap();
    assert!(store.has_valid(&proof.key()));
    let stored = store.get(proof.key()).await.unwrap().unwrap();
    assert_eq!(stored.ssz(), proof.ssz());
    assert_eq!(&stored.signed().unwrap(), proof.signed());
    assert_eq!(
        (
            stored.slot(),
            stored.validator_index(),
            proof_key(stored.record_key())
        ),
        (Slot(3), 4, proof.key())
    );
    assert_eq!(store.put(&proof).await.unwrap(), PutOutcome::AlreadyStored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_all_stored() {
    let t = TestStore::new(config());
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let store = t.store().clone();
            tokio::spawn(async move { store.put(&verified(n, (n % 3) as u8)).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), PutOutcome::Stored);
    }
    assert_eq!(t.store().stats().await.unwrap().proofs, 300);
}
