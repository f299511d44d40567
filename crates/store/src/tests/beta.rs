//! Proofs of both revisions in one database: `alpha` under its payload, `beta` under the block it names.

use super::support::{TestStore, block, block_root, config, key, payload, proof_key, ssz, wait};
use crate::{BlockUpdate, PutOutcome, RecordKey, record::CHUNK_BYTES, tables};
use assay_types::{ProofKey, ProofMessage, ProofName, Revision, Root, SignatureBytes, SignedProof, Slot};
use assay_verification::{KnownProofs, VerifiedProof};
use redb::{Database, ReadableTable};

fn envelope(slot: u64, block_number: u64, proof_type: u8, validator_index: u64) -> RecordKey {
    RecordKey {
        slot: Slot(slot),
        root: block_root(block_number),
        proof_type,
        validator_index,
    }
}

fn put(t: &TestStore, key: RecordKey, len: usize) -> PutOutcome {
    wait(t.store().put_record(key, Revision::Beta, ssz(&key, len))).unwrap()
}

/// Block `number` with the payload of another.
fn twin(number: u64, of: u64, parent: u64, slot: u64) -> BlockUpdate {
    BlockUpdate {
        new_payload_request_root: Some(payload(of)),
        ..block(number, parent, slot)
    }
}

fn types_of(t: &TestStore, number: u64) -> Vec<u8> {
    t.store().reader().proof_types_of(&payload(number)).unwrap()
}

#[test]
fn each_revision_is_found_by_its_own_name_and_both_by_the_payload() {
    let mut t = TestStore::new(config());
    t.blocks(&[block(1, 0, 1), block(2, 1, 2)]);
    t.put(key(1, 1, 2, 5), 100);
    let long = 2 * CHUNK_BYTES + 5;
    assert_eq!(put(&t, envelope(1, 1, 1, 6), long), PutOutcome::Stored);
    assert_eq!(put(&t, envelope(1, 1, 1, 6), long), PutOutcome::AlreadyStored);
    for _ in 0..2 {
        let (store, reader) = (t.store(), t.store().reader());
        assert_eq!(types_of(&t, 1), [1, 2]);
        let named = |name: ProofName| store.has_valid_named(&name);
        assert!(named(ProofName::beta(block_root(1), 1)));
        assert!(!named(ProofName::beta(block_root(1), 2)));
        assert!(!named(ProofName::beta(block_root(2), 1)));
        assert!(named(ProofName::alpha(proof_key(&key(1, 1, 2, 5)))));
        assert!(!named(ProofName::alpha(proof_key(&key(1, 1, 1, 6)))));
        // Whatever its name: the payload is proven by this type.
        assert!(store.has_valid(&ProofKey {
            new_payload_request_root: payload(1),
            proof_type: 1
        }));
        let stored = reader.block(&block_root(1)).unwrap().unwrap();
        for (revision, kept, len) in [
            (Revision::Alpha, key(1, 1, 2, 5), 100),
            (Revision::Beta, envelope(1, 1, 1, 6), long),
        ] {
            let found = reader.proofs_of_block(&stored, revision).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].record_key(), found[0].revision()), (&kept, revision));
            assert_eq!(found[0].ssz(), &ssz(&kept, len));
            let listed = reader.summary(&kept).unwrap().unwrap();
            assert_eq!((listed.revision, listed.bytes), (revision, len as u64));
        }
        assert_eq!(reader.stats().unwrap().proof_bytes, 100 + long as u64);
        t.reopen();
    }
}

#[test]
fn req_resp_serves_alpha_alone() {
    let t = TestStore::new(config());
    let head = block(2, 1, 2);
    t.blocks(&[block(1, 0, 1), head]);
    t.head(head);
    t.put(key(1, 1, 1, 5), 100);
    put(&t, envelope(1, 1, 1, 6), 100);
    put(&t, envelope(2, 2, 1, 6), 100);
    assert_eq!(t.range(0, 10, &[]), [key(1, 1, 1, 5)]);
    let both = t.store().range_of(Revision::ALL, Slot(0), 10);
    let both: Vec<RecordKey> = both.summaries_blocking().unwrap().iter().map(|s| s.key).collect();
    assert_eq!(
        both,
        [key(1, 1, 1, 5), envelope(1, 1, 1, 6), envelope(2, 2, 1, 6)]
    );
}

#[test]
fn two_blocks_with_one_payload_keep_their_own() {
    let t = TestStore::new(config());
    t.blocks(&[block(1, 0, 5), twin(7, 1, 0, 5)]);
    put(&t, envelope(5, 1, 1, 6), 100);
    put(&t, envelope(5, 7, 1, 6), 200);
    let kept = |number| {
        let stored = t.store().reader().block(&block_root(number)).unwrap().unwrap();
        let keys = t.store().reader().keys_of_block(&stored, Revision::Beta);
        keys.unwrap()
    };
    assert_eq!(kept(1), [envelope(5, 1, 1, 6)]);
    assert_eq!(kept(7), [envelope(5, 7, 1, 6)]);
    assert_eq!(types_of(&t, 1), [1]);
    // Finality decides for one of the blocks; the payload stays proven by its proof.
    let two = block(2, 1, 8);
    t.blocks(&[two]);
    t.head(two);
    t.finalize(1, &two, &[]);
    assert_eq!(t.keys(), [envelope(5, 1, 1, 6)]);
}

/// As the verifier hands it over.
#[test]
fn what_the_verifier_accepted_is_kept_as_what_it_is() {
    let t = TestStore::new(config());
    t.blocks(&[block(1, 0, 1)]);
    let key = envelope(1, 1, 2, 6);
    let signed = SignedProof {
        revision: Revision::Beta,
        message: ProofMessage {
            proof_data: ssz(&key, 200),
            proof_type: 2,
            root: key.root,
        },
        validator_index: 6,
        signature: SignatureBytes([1; 96]),
    };
    let proof = VerifiedProof::assume_verified_envelope(signed.clone(), payload(1), Root::ZERO, Slot(1));
    assert_eq!(wait(t.store().put(&proof)).unwrap(), PutOutcome::Stored);
    let stored = t.store().reader().read(&key).unwrap().unwrap();
    assert_eq!(
        (stored.revision(), stored.name()),
        (Revision::Beta, signed.name())
    );
    assert_eq!(stored.signed().unwrap(), signed);
    assert_eq!(types_of(&t, 1), [2]);
}

#[test]
fn two_blocks_of_one_slot_keep_their_own_payloads_proofs_apart() {
    let t = TestStore::new(config());
    t.blocks(&[block(1, 0, 1), block(11, 0, 1)]);
    put(&t, envelope(1, 1, 1, 6), 100);
    put(&t, envelope(1, 11, 2, 6), 100);
    for (number, proof_type, envelope) in [(1, 1, envelope(1, 1, 1, 6)), (11, 2, envelope(1, 11, 2, 6))] {
        assert_eq!(types_of(&t, number), [proof_type]);
        let keys = t.store().reader().keys_of(&payload(number)).unwrap();
        assert_eq!(keys, [envelope]);
    }
}

#[test]
fn a_proof_that_comes_before_its_block_is_found_once_that_is_there() {
    let t = TestStore::new(config());
    put(&t, envelope(3, 3, 1, 6), 100);
    assert!(t.store().has_valid_named(&ProofName::beta(block_root(3), 1)));
    assert!(types_of(&t, 3).is_empty());
    t.blocks(&[BlockUpdate {
        new_payload_request_root: None,
        ..block(3, 2, 3)
    }]);
    assert!(types_of(&t, 3).is_empty());
    t.blocks(&[block(3, 2, 3)]);
    assert_eq!(types_of(&t, 3), [1]);
}

#[test]
fn orphans_and_what_is_too_old_go_by_either_name() {
    let t = TestStore::new(config());
    // 1 ─ 2 ─ 4 ─ 5, and 3 beside 4 of the same slot, 9 above it.
    let (two, three, four, five) = (block(2, 1, 2), block(3, 2, 4), block(4, 2, 4), block(5, 4, 8));
    let nine = block(9, 3, 9);
    t.blocks(&[block(1, 0, 1), two, three, four, five, nine]);
    t.head(five);
    for (slot, number) in [(1, 1), (2, 2), (4, 3), (4, 4), (8, 5), (9, 9)] {
        put(&t, envelope(slot, number, 1, 0), 100);
        t.put(key(slot, number, 1, 0), 100);
    }
    t.finalize(1, &four, &[payload(3), payload(9)]);
    let left: Vec<_> = t.keys().iter().map(|k| (k.slot.0, k.root)).collect();
    assert_eq!(
        left,
        [
            (4, payload(4)),
            (4, block_root(4)),
            (8, payload(5)),
            (8, block_root(5))
        ]
    );
    assert_eq!(types_of(&t, 4), [1]);
}

#[test]
fn the_mark_of_the_revision_is_under_the_checksum() {
    let mut t = TestStore::new(config());
    t.put(key(1, 1, 1, 1), 100);
    put(&t, envelope(2, 2, 1, 1), 100);
    t.close();
    {
        let database = Database::open(t.path()).unwrap();
        let tx = database.begin_write().unwrap();
        {
            let mut proofs = tx.open_table(tables::PROOFS).unwrap();
            let all: Vec<_> = proofs
                .iter()
                .unwrap()
                .map(|entry| entry.map(|(k, v)| (*k.value(), *v.value())).unwrap())
                .collect();
            for (k, mut header) in all {
                header[3] ^= 0x80;
                proofs.insert(&k, &header).unwrap();
            }
        }
        tx.commit().unwrap();
    }
    t.reopen();
    for key in [key(1, 1, 1, 1), envelope(2, 2, 1, 1)] {
        assert_eq!(t.store().reader().read(&key).unwrap(), None, "{key:?}");
    }
}
