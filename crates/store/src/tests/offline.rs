//! A database without a node: read as it is, checked, pruned, filled, and never taken from a node that has it.

use super::support::{TestStore, block, block_root, config, payload, ssz, wait};
use crate::{
    BlockUpdate, Editor, KeptAs, Offline, PruneLimits, PutOutcome, RecordKey, Removed, StoreError, tables,
};
use assay_types::{
    ExecutionProof, ProofMessage, ProofType, PublicInput, Revision, SignatureBytes, SignedExecutionProof,
    SignedProof, Slot,
};
use bytes::Bytes;
use redb::{Database, ReadableTable};
use std::fs;

/// A proof that is one.
fn signed(slot: u64, proof_type: ProofType, validator_index: u64, len: usize) -> (RecordKey, Bytes) {
    let key = super::support::key(slot, slot, proof_type, validator_index);
    let proof = SignedExecutionProof {
        message: ExecutionProof {
            proof_data: ssz(&key, len),
            proof_type,
            public_input: PublicInput {
                new_payload_request_root: key.root,
            },
        },
        validator_index,
        signature: SignatureBytes([7; 96]),
    };
    (key, proof.to_ssz_bytes())
}

/// Slots 1 to 8, a block and two proofs each, all of 1000 bytes; finalized at slot 4, the first of epoch 1.
fn filled() -> TestStore {
    let mut config = config();
    // So that finality prunes nothing here.
    config.retention_epochs = 100;
    let t = TestStore::new(config);
    let blocks: Vec<BlockUpdate> = (1..=8).map(|n| block(n, n - 1, n)).collect();
    t.blocks(&blocks);
    t.head(blocks[7]);
    for slot in 1..=8 {
        for proof_type in [1, 2] {
            let (key, ssz) = signed(slot, proof_type, 3, 1000);
            assert_eq!(wait(t.store().put_raw(key, ssz)).unwrap(), PutOutcome::Stored);
        }
    }
    t.finalize(1, &blocks[3], &[]);
    t
}

/// An envelope of block `number`.
fn envelope(number: u64, proof_type: ProofType, len: usize) -> (RecordKey, Bytes) {
    let key = RecordKey {
        root: block_root(number),
        ..super::support::key(number, number, proof_type, 3)
    };
    let proof = SignedProof {
        revision: Revision::Beta,
        message: ProofMessage {
            proof_data: ssz(&key, len),
            proof_type,
            root: key.root,
        },
        validator_index: 3,
        signature: SignatureBytes([7; 96]),
    };
    (key, proof.to_ssz_bytes())
}

#[test]
fn envelopes_are_checked_counted_and_given_as_what_they_are() {
    let mut from = filled();
    let (key, bytes) = envelope(6, 3, 500);
    let of_six = KeptAs::Beta {
        new_payload_request_root: payload(6),
    };
    let put = from.store().put_record(key, of_six, bytes.clone());
    assert_eq!(wait(put).unwrap(), PutOutcome::Stored);
    from.close();
    let offline = Offline::open(&from.path()).unwrap();
    assert_eq!(offline.check(no_progress).unwrap().count, 0);
    assert_eq!(offline.summary().unwrap().schema_version, crate::SCHEMA_VERSION);
    let kept = offline.reader().read(&key).unwrap().unwrap();
    assert_eq!((kept.revision(), kept.ssz()), (Revision::Beta, &bytes));
    let mut to = TestStore::new(config());
    to.close();
    let editor = Editor::open(&to.path()).unwrap();
    editor.take_blocks(&[block(6, 5, 6)], None).unwrap();
    let taken = editor.take_proofs(&[(key, of_six, bytes)]).unwrap();
    assert_eq!(taken, [Some(PutOutcome::Stored)]);
    drop(editor);
    to.reopen();
    let types = to.store().reader().proof_types_of(&payload(6)).unwrap();
    assert_eq!(types, [3]);
}

fn no_progress(_: u64, _: u64) {}

#[test]
fn a_database_is_read_without_a_change_and_never_beside_a_node() {
    let mut t = filled();
    assert!(matches!(
        Offline::open(&t.path()).map(drop),
        Err(StoreError::Locked { .. })
    ));
    assert!(matches!(
        Editor::open(&t.path()).map(drop),
        Err(StoreError::Locked { .. })
    ));
    // A copy of a file that a process has open, as a file system's snapshot would have it.
    let copy = t.directory.path().join("copy.redb");
    fs::copy(t.path(), &copy).unwrap();
    let before = fs::read(&copy).unwrap();
    {
        let (a, b) = (Offline::open(&copy).unwrap(), Offline::open(&copy).unwrap());
        let summary = a.summary().unwrap();
        assert_eq!(summary.identity, config().identity);
        assert_eq!((summary.blocks, summary.canonical_blocks), (8, 8));
        assert_eq!(
            (summary.finalized_slot, summary.serve_range_start),
            (Slot(4), Slot(4))
        );
        assert_eq!(b.reader().stats().unwrap().proofs, 16);
        assert_eq!(b.reader().list(None, 100).unwrap().len(), 16);
        let blocks = a.blocks(Some((Slot(6), block_root(6))), 10).unwrap();
        assert_eq!(blocks.iter().map(|b| b.slot.0).collect::<Vec<_>>(), [7, 8]);
        assert!(blocks.iter().all(|b| b.is_canonical));
        let findings = a.check(no_progress).unwrap();
        assert_eq!(
            (findings.proofs, findings.blocks, findings.count),
            (16, 8, 0),
            "{findings:?}"
        );
        assert!(matches!(
            Editor::open(&copy).map(drop),
            Err(StoreError::Locked { .. })
        ));
    }
    assert!(before == fs::read(&copy).unwrap(), "reading changed the file");
    t.close();
    Editor::open(&t.path()).unwrap();
    assert!(matches!(
        Offline::open(&t.directory.path().join("none.redb")).map(drop),
        Err(StoreError::Io { .. })
    ));
}

#[test]
fn what_is_pruned_is_old_and_never_of_the_serve_range() {
    let each = signed(1, 1, 3, 1000).1.len() as u64;
    for (limits, left) in [
        (PruneLimits::default(), 1..=8),
        (
            PruneLimits {
                before: Some(Slot(3)),
                max_bytes: None,
            },
            3..=8,
        ),
        // The serve range begins at slot 4.
        (
            PruneLimits {
                before: Some(Slot(7)),
                max_bytes: None,
            },
            4..=8,
        ),
        (
            PruneLimits {
                before: None,
                max_bytes: Some(14 * each),
            },
            2..=8,
        ),
        (
            PruneLimits {
                before: None,
                max_bytes: Some(0),
            },
            4..=8,
        ),
    ] {
        let mut t = filled();
        t.close();
        let gone = 16 - 2 * left.clone().count() as u64;
        let editor = Editor::open(&t.path()).unwrap();
        let mut told = Vec::new();
        let removed = editor.prune(limits, |so_far| told.push(so_far)).unwrap();
        assert_eq!(
            removed,
            Removed {
                proofs: gone,
                bytes: gone * each
            },
            "{limits:?}"
        );
        assert_eq!(told.last(), Some(&removed));
        drop(editor);
        let offline = Offline::open(&t.path()).unwrap();
        let kept = offline.reader().list(None, 100).unwrap();
        let slots: Vec<u64> = kept.iter().step_by(2).map(|s| s.key.slot.0).collect();
        assert_eq!(slots, left.clone().collect::<Vec<_>>(), "{limits:?}");
        let findings = offline.check(no_progress).unwrap();
        assert_eq!(findings.count, 0, "{findings:?}");
        let blocks = offline.summary().unwrap().blocks;
        let by_slot = limits.before.is_some();
        assert_eq!(
            blocks,
            if by_slot { left.count() as u64 } else { 8 },
            "{limits:?}"
        );
        // A node goes on with it.
        drop(offline);
        t.reopen();
    }
}

#[test]
fn the_room_of_what_was_pruned_comes_back() {
    let mut t = TestStore::new(config());
    for slot in 1..=40 {
        let (key, ssz) = signed(slot, 1, 3, 256 * 1024);
        wait(t.store().put_raw(key, ssz)).unwrap();
    }
    let last = block(40, 39, 40);
    t.blocks(&[last]);
    t.close();
    let (path, before) = (t.path(), fs::metadata(t.path()).unwrap().len());
    let editor = Editor::open(&path).unwrap();
    // Without finality everything is of the serve range.
    let limits = PruneLimits {
        before: Some(Slot(40)),
        max_bytes: None,
    };
    assert_eq!(editor.prune(limits, |_| ()).unwrap(), Removed::default());
    drop(editor);
    t.reopen();
    t.finalize(10, &last, &[]);
    t.close();
    let editor = Editor::open(&path).unwrap();
    editor.compact().unwrap();
    drop(editor);
    let after = fs::metadata(&path).unwrap().len();
    assert!(after < before / 2, "{before} bytes before, {after} after");
    assert_eq!(Offline::open(&path).unwrap().check(no_progress).unwrap().count, 0);
    t.reopen();
}

#[test]
fn what_is_damaged_is_found_and_repaired() {
    type Change = fn(&redb::WriteTransaction, &[u8; 49]);
    let changes: [(&str, Change, usize); 5] = [
        (
            "checksum",
            |tx, key| {
                let mut chunks = tx.open_table(tables::CHUNKS).unwrap();
                let mut at = [0; 51];
                at[..49].copy_from_slice(key);
                let mut bytes = chunks.get(&at).unwrap().unwrap().value().to_vec();
                bytes[500] ^= 1;
                chunks.insert(&at, bytes.as_slice()).unwrap();
            },
            15,
        ),
        (
            "bytes are left of it",
            |tx, key| {
                tx.open_table(tables::PROOFS).unwrap().remove(key).unwrap();
            },
            15,
        ),
        (
            "index of payloads",
            |tx, key| {
                let mut root = [0; 32];
                root.copy_from_slice(&key[8..40]);
                tx.open_table(tables::PAYLOADS).unwrap().remove(&root).unwrap();
            },
            16,
        ),
        (
            "canonical in slot 9",
            |tx, _| {
                tx.open_table(tables::CANONICAL)
                    .unwrap()
                    .insert(9, &[9; 32])
                    .unwrap();
            },
            16,
        ),
        (
            "can be found by slot",
            |tx, _| {
                tx.open_table(tables::BLOCKS)
                    .unwrap()
                    .remove(&block_root(5).0)
                    .unwrap();
            },
            16,
        ),
    ];
    for (says, change, left) in changes {
        let mut t = filled();
        t.close();
        let database = Database::open(t.path()).unwrap();
        let tx = database.begin_write().unwrap();
        change(&tx, &signed(6, 1, 3, 1000).0.to_bytes());
        tx.commit().unwrap();
        drop(database);
        let findings = Offline::open(&t.path()).unwrap().check(no_progress).unwrap();
        assert!(findings.count > 0, "{says}");
        assert!(
            findings.texts.iter().any(|text| text.contains(says)),
            "{says}: {findings:?}"
        );
        Editor::open(&t.path()).unwrap().repair(&findings).unwrap();
        let offline = Offline::open(&t.path()).unwrap();
        assert_eq!(offline.reader().list(None, 100).unwrap().len(), left, "{says}");
        if left == 15 {
            let findings = offline.check(no_progress).unwrap();
            assert_eq!(findings.count, 0, "{says}: {findings:?}");
        }
    }
}

#[test]
fn a_byte_that_changed_where_nothing_else_tells_is_found() {
    let mut t = filled();
    t.close();
    let path = t.path();
    let written = fs::read(&path).unwrap();
    assert_eq!(Offline::open(&path).unwrap().check(no_progress).unwrap().count, 0);
    let parent_of_5 = |path: &std::path::Path| {
        let offline = Offline::open(path).unwrap();
        let block = offline.reader().block(&block_root(5)).unwrap();
        block.map(|block| block.parent_root)
    };
    // Its parent is in the file once as its row has it, and where older pages were.
    let parent = block_root(4).0;
    let places = written.windows(32).enumerate();
    let places: Vec<usize> = places.filter(|(_, w)| *w == parent).map(|(at, _)| at).collect();
    let mut seen = 0;
    for at in places {
        let mut spoilt = written.clone();
        spoilt[at + 20] ^= 1;
        fs::write(&path, &spoilt).unwrap();
        let is_read_otherwise = parent_of_5(&path) != Some(block_root(4));
        let found = Offline::open(&path).unwrap().check(no_progress).unwrap();
        if is_read_otherwise {
            assert!(found.count > 0, "byte {at}");
            seen += 1;
        }
        assert!(fs::read(&path).unwrap() == spoilt, "looking changed the file");
    }
    assert!(seen > 0);
}

#[test]
fn a_proof_under_a_wrong_key_is_found() {
    let t = TestStore::new(config());
    let (key, bytes) = signed(5, 1, 3, 1000);
    let other = RecordKey {
        validator_index: 4,
        ..key
    };
    wait(t.store().put_raw(other, bytes)).unwrap();
    let junk = super::support::key(6, 6, 1, 1);
    t.put(junk, 50);
    let path = t.path();
    let copy = t.directory.path().join("copy.redb");
    fs::copy(path, &copy).unwrap();
    let findings = Offline::open(&copy).unwrap().check(no_progress).unwrap();
    assert_eq!(findings.damaged, [other, junk]);
    assert!(
        findings.texts[0].contains("validator 3 signed it"),
        "{findings:?}"
    );
    assert!(findings.texts[1].contains("no signed proof"), "{findings:?}");
}

#[test]
fn what_one_database_gave_another_takes_and_serves() {
    let mut from = filled();
    from.close();
    let offline = Offline::open(&from.path()).unwrap();
    let blocks = offline.blocks(None, 100).unwrap();
    let blocks: Vec<BlockUpdate> = blocks
        .iter()
        .map(|b| BlockUpdate {
            block_root: b.block_root,
            parent_root: b.parent_root,
            slot: b.slot,
            new_payload_request_root: b.new_payload_request_root,
        })
        .collect();
    let mut proofs = Vec::new();
    for summary in offline.reader().list(None, 100).unwrap() {
        let proof = offline.reader().read(&summary.key).unwrap().unwrap();
        assert_eq!(summary.revision, proof.revision());
        proofs.push((summary.key, KeptAs::Alpha, proof.ssz().clone()));
    }
    let mut to = TestStore::new(config());
    to.close();
    fs::remove_file(to.path()).unwrap();
    let editor = Editor::create(&to.path(), offline.identity()).unwrap();
    editor.take_blocks(&blocks, Some(block_root(8))).unwrap();
    let stored = editor.take_proofs(&proofs).unwrap();
    assert_eq!(stored, vec![Some(PutOutcome::Stored); 16]);
    let again = editor.take_proofs(&proofs).unwrap();
    assert_eq!(again, vec![Some(PutOutcome::AlreadyStored); 16]);
    drop(editor);
    to.reopen();
    assert_eq!(to.range(0, 100, &[1]).len(), 8);
    // What is canonical here stays: a head that somebody else had is not taken.
    let (a, b) = (block(20, 8, 20), block(21, 8, 21));
    to.blocks(&[a]);
    to.head(a);
    to.close();
    Editor::open(&to.path())
        .unwrap()
        .take_blocks(&[b], Some(b.block_root))
        .unwrap();
    to.reopen();
    let head = to.store().reader().newest_canonical_slot().unwrap();
    assert_eq!(head, Some(Slot(20)));
    // Nothing below what is kept comes back.
    to.finalize(5, &a, &[]);
    to.close();
    let low = Editor::open(&to.path())
        .unwrap()
        .take_proofs(&proofs[..1])
        .unwrap();
    assert_eq!(low, [None]);
    assert_eq!(payload(1), proofs[0].0.root);
}
