//! Proofs of both revisions in one database: `alpha` under its payload, `beta` under the block it names.

use super::support::{TestStore, block, block_root, config, key, payload, proof_key, ssz, wait};
use crate::{BlockUpdate, KeptAs, PutOutcome, RecordKey, record::CHUNK_BYTES, tables};
use assay_types::{
    NewPayloadRequestForm, ProofKey, ProofMessage, ProofName, Revision, Root, SignatureBytes, SignedProof,
    Slot,
};
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

/// Verified as a proof of payload `of`.
fn put_of(t: &TestStore, key: RecordKey, of: u64, len: usize) -> PutOutcome {
    let kept_as = KeptAs::Beta {
        new_payload_request_root: payload(of),
    };
    wait(t.store().put_record(key, kept_as, ssz(&key, len))).unwrap()
}

/// Of the payload that has the block's number.
fn put(t: &TestStore, key: RecordKey, len: usize) -> PutOutcome {
    let number = u64::from_be_bytes(key.root.0[24..].try_into().unwrap());
    put_of(t, key, number, len)
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
        let named = |name: ProofName| store.has_valid_named(&name, &payload(1));
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
    put_of(&t, envelope(5, 7, 1, 6), 1, 200);
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

/// Killed after the proof's commit and before its block is in the index.
#[test]
fn a_proof_whose_block_is_not_in_the_index_counts_after_a_restart_and_is_served_once_the_block_is_met() {
    let mut t = TestStore::new(config());
    put(&t, envelope(3, 3, 1, 6), 100);
    t.reopen();
    let key = ProofKey {
        new_payload_request_root: payload(3),
        proof_type: 1,
    };
    let named = |t: &TestStore, of: Root| t.store().has_valid_named(&ProofName::beta(block_root(3), 1), &of);
    let served = |t: &TestStore| -> Vec<RecordKey> {
        let mut stream = t
            .store()
            .by_root(vec![(block_root(3), Vec::new())])
            .of(&[Revision::Beta]);
        std::iter::from_fn(|| stream.next_blocking().unwrap())
            .map(|proof| *proof.record_key())
            .collect()
    };
    assert!(t.store().has_valid(&key) && named(&t, payload(3)));
    assert_eq!(types_of(&t, 3), [1]);
    assert!(served(&t).is_empty(), "nobody knows the block");
    let withheld = BlockUpdate {
        new_payload_request_root: None,
        ..block(3, 2, 3)
    };
    for met in [withheld, block(3, 2, 3)] {
        t.blocks(&[met]);
        t.reopen();
        assert!(t.store().has_valid(&key) && named(&t, payload(3)));
        assert_eq!(types_of(&t, 3), [1]);
        assert_eq!(served(&t), [envelope(3, 3, 1, 6)]);
    }
    assert_eq!(t.range(0, 10, &[]), [], "not canonical");
    assert_eq!(t.store().reader().stats().unwrap().proofs, 1);
}

/// The block's payload has another request root: another form of it holds than when the proof was verified.
#[test]
fn what_was_verified_for_another_request_root_is_neither_known_nor_served_until_it_is_put_anew() {
    let mut t = TestStore::new(config());
    t.blocks(&[block(3, 2, 3)]);
    put(&t, envelope(3, 3, 1, 6), 100);
    let name = ProofName::beta(block_root(3), 1);
    let of_block = |t: &TestStore| {
        let stored = t.store().reader().block(&block_root(3)).unwrap().unwrap();
        let keys = t.store().reader().keys_of_block(&stored, Revision::Beta).unwrap();
        (stored.new_payload_request_root.unwrap(), keys)
    };
    assert_eq!(of_block(&t), (payload(3), vec![envelope(3, 3, 1, 6)]));
    assert!(!t.store().has_other_request_forms());
    t.config.request_form = NewPayloadRequestForm::A;
    t.reopen();
    assert!(t.store().has_other_request_forms());
    t.blocks(&[twin(3, 30, 2, 3)]);
    assert_eq!(of_block(&t), (payload(30), vec![]));
    assert!(!t.store().has_valid_named(&name, &payload(30)));
    assert!(types_of(&t, 30).is_empty());
    // What was verified stays so of what it was verified for.
    assert_eq!(types_of(&t, 3), [1]);
    // The same message, verified now: it takes the old one's place.
    assert_eq!(put_of(&t, envelope(3, 3, 1, 6), 30, 100), PutOutcome::Stored);
    assert_eq!(
        put_of(&t, envelope(3, 3, 1, 6), 30, 100),
        PutOutcome::AlreadyStored
    );
    t.reopen();
    assert_eq!(of_block(&t), (payload(30), vec![envelope(3, 3, 1, 6)]));
    assert!(t.store().has_valid_named(&name, &payload(30)));
    assert!(types_of(&t, 3).is_empty() && types_of(&t, 30) == [1]);
    let stats = t.store().reader().stats().unwrap();
    assert_eq!((stats.proofs, stats.proof_bytes), (1, 100));
    t.close();
    let findings = crate::Offline::open(&t.path()).unwrap().check(|_, _| ()).unwrap();
    // The bytes are no envelope's; of the index nothing is wrong.
    assert_eq!(findings.count, 1, "{findings:?}");
}

#[test]
fn a_proof_goes_with_what_is_recorded_of_it() {
    let t = TestStore::new(config());
    let (two, three, four) = (block(2, 1, 2), block(3, 2, 4), block(4, 2, 4));
    // Of 3, which is orphaned, the index never had the payload.
    let unseen = BlockUpdate {
        new_payload_request_root: None,
        ..three
    };
    t.blocks(&[two, unseen, four]);
    for (slot, number) in [(2, 2), (4, 3), (4, 4)] {
        put(&t, envelope(slot, number, 1, 0), 100);
    }
    t.head(four);
    t.finalize(1, &four, &[payload(3)]);
    assert_eq!(t.keys(), [envelope(4, 4, 1, 0)]);
    for number in [2, 3] {
        assert!(types_of(&t, number).is_empty(), "{number}");
    }
    let left = t.store().reader().shared.read(|tx| {
        let (bound, payloads) = (tx.open_table(tables::BOUND)?, tx.open_table(tables::PAYLOADS)?);
        let bound: Vec<Root> = bound
            .iter()?
            .map(|e| e.map(|(_, r)| Root::from(*r.value())))
            .collect::<Result<_, _>>()?;
        Ok((bound, payloads.get(&payload(3).0)?.is_some()))
    });
    assert_eq!(left.unwrap(), (vec![payload(4)], false));
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
