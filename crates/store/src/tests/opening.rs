//! Databases that cannot be opened, and what the user is told.

use super::support::{TestStore, block, block_root, config, key, payload, root, ssz, wait};
use crate::{KeptAs, Offline, PutOutcome, RecordKey, Store, StoreConfig, StoreError, Table, tables};
use assay_types::{ProofKey, ProofName, Revision, Slot};
use assay_verification::{ContainmentRecord, KnownProofs};
use redb::{Database, ReadableDatabase, TableHandle};
use std::{collections::BTreeSet, fs, path::Path};

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, config())
}

#[test]
fn a_database_of_another_chain_is_refused_with_both_names() {
    let mut t = TestStore::new(config());
    t.put(key(1, 1, 1, 1), 100);
    t.close();
    let mut other = config();
    other.identity.config_name = "othernet".into();
    for (root_, chain_id) in [(root(2, 2), 1337), (root(1, 1), 1)] {
        other.identity.genesis_validators_root = root_;
        other.identity.chain_id = chain_id;
        let error = Store::open(t.path(), other.clone()).unwrap_err();
        assert!(matches!(error, StoreError::OtherChain { .. }), "{error}");
        let text = error.to_string();
        for part in ["testnet", "othernet", "--datadir", "proofs.redb"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
    // Another name for the same chain is the same chain.
    other.identity = config().identity;
    other.identity.config_name = "renamed".into();
    assert!(Store::open(t.path(), other).is_ok());
}

fn set_meta(path: &Path, name: &'static str, value: &[u8]) {
    let database = Database::open(path).unwrap();
    let tx = database.begin_write().unwrap();
    tx.open_table(tables::META).unwrap().insert(name, value).unwrap();
    tx.commit().unwrap();
}

#[test]
fn schemas_that_are_not_ours_are_refused() {
    for (version, is_newer) in [(4u32, true), (u32::MAX, true), (0, false)] {
        let mut t = TestStore::new(config());
        t.close();
        set_meta(&t.path(), tables::meta::SCHEMA_VERSION, &version.to_le_bytes());
        let error = open(&t.path()).unwrap_err();
        if is_newer {
            assert_eq!(
                error,
                StoreError::NewerSchema {
                    path: t.path(),
                    found: version,
                    known: 3
                }
            );
            assert!(error.to_string().contains("--datadir"), "{error}");
        } else {
            assert!(matches!(error, StoreError::Corrupted { .. }), "{error}");
        }
    }
    for (name, value) in [
        (tables::meta::SCHEMA_VERSION, &[1u8, 0][..]),
        (tables::meta::CHAIN_ID, &[]),
        (tables::meta::GENESIS_VALIDATORS_ROOT, &[1; 31]),
        (tables::meta::MARKS, &[0; 39]),
    ] {
        let mut t = TestStore::new(config());
        t.close();
        set_meta(&t.path(), name, value);
        let error = open(&t.path()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupted { .. }), "{name}: {error}");
    }
}

/// As schema 1 left it: the same tables, records of `alpha`, its number.
#[test]
fn a_database_of_schema_1_is_brought_up_and_keeps_what_it_has() {
    let mut t = TestStore::new(config());
    t.blocks(&[block(1, 0, 1), block(2, 1, 2)]);
    t.put(key(1, 1, 1, 1), 300_000);
    t.put(key(2, 2, 3, 7), 100);
    t.close();
    set_meta(&t.path(), tables::meta::SCHEMA_VERSION, &1u32.to_le_bytes());
    let mut other = config();
    other.identity.chain_id = 1;
    let refused = Store::open(t.path(), other).unwrap_err();
    assert!(matches!(refused, StoreError::OtherChain { .. }), "{refused}");
    let version = |path: &Path| {
        let database = Database::open(path).unwrap();
        let meta = database.begin_read().unwrap().open_table(tables::META).unwrap();
        let version = meta.get(tables::meta::SCHEMA_VERSION).unwrap().unwrap();
        u32::from_le_bytes(version.value().try_into().unwrap())
    };
    assert_eq!(version(&t.path()), 1, "another chain's is left as it is");
    for _ in 0..2 {
        t.reopen();
        t.assert_holds(key(1, 1, 1, 1), 300_000);
        t.assert_holds(key(2, 2, 3, 7), 100);
        let of_block = t.store().reader().block(&block_root(1)).unwrap().unwrap();
        let kept = t
            .store()
            .reader()
            .proofs_of_block(&of_block, Revision::Alpha)
            .unwrap();
        assert_eq!((kept.len(), kept[0].revision()), (1, Revision::Alpha));
        t.close();
        assert_eq!(version(&t.path()), 3);
    }
}

/// A file that the program wrote when schema 1 was all there was, without its empty pages: length u32, then of each page
/// number u32 and 512 bytes, little-endian.
const SCHEMA_1: &[u8] = include_bytes!("schema-1.pages");

/// The same of schema 2, with envelopes: of some the block was in the index with its payload, of one it was not yet, of one
/// its payload was not.
const SCHEMA_2: &[u8] = include_bytes!("schema-2.pages");

/// An envelope's record, verified as a proof of this payload.
fn of(number: u64) -> KeptAs {
    KeptAs::Beta {
        new_payload_request_root: payload(number),
    }
}

fn unpack(packed: &[u8], path: &Path) {
    let (len, pages) = packed.split_first_chunk::<4>().unwrap();
    let mut file = vec![0; u32::from_le_bytes(*len) as usize];
    for page in pages.chunks_exact(516) {
        let (number, content) = page.split_first_chunk::<4>().unwrap();
        let at = u32::from_le_bytes(*number) as usize * 512;
        file[at..at + 512].copy_from_slice(content);
    }
    fs::write(path, file).unwrap();
}

#[test]
fn a_database_that_was_written_before_revisions_opens_with_all_it_had() {
    let mut t = TestStore::new(config());
    t.close();
    unpack(SCHEMA_1, &t.path());
    let before = fs::read(t.path()).unwrap();
    {
        let offline = Offline::open(&t.path()).unwrap();
        assert_eq!(offline.summary().unwrap().schema_version, 1);
    }
    assert_eq!(
        fs::read(t.path()).unwrap(),
        before,
        "looking at it changes nothing"
    );
    let long = key(9, 3, 1, 1);
    let kept = [
        (key(5, 1, 1, 1), 100),
        (key(5, 1, 2, 7), 9_000),
        (key(6, 2, 3, 7), 100),
        (key(9, 4, 1, 9), 100),
    ];
    for _ in 0..2 {
        t.reopen();
        for (key, len) in kept {
            t.assert_holds(key, len);
            assert_eq!(
                t.store().reader().summary(&key).unwrap().unwrap().revision,
                Revision::Alpha
            );
        }
        let read = t.store().reader().read(&long).unwrap().unwrap();
        assert_eq!(read.ssz(), &vec![0; 300_000]);
        assert_eq!(
            t.range(0, 20, &[]),
            [key(5, 1, 1, 1), key(5, 1, 2, 7), key(6, 2, 3, 7), long]
        );
        assert_eq!(t.store().contained_until(77), Some(Slot(64)));
        let stats = t.store().reader().stats().unwrap();
        assert!(stats.proofs >= 5 && stats.corrupted == 0, "{stats:?}");
        // From now on envelopes stand beside them.
        let envelope = RecordKey {
            root: block_root(2),
            ..key(6, 2, 1, 8)
        };
        wait(t.store().put_record(envelope, of(2), ssz(&envelope, 100))).unwrap();
        assert_eq!(t.store().reader().proof_types_of(&payload(2)).unwrap(), [1, 3]);
        t.close();
    }
    let offline = Offline::open(&t.path()).unwrap();
    assert_eq!(offline.summary().unwrap().schema_version, 3);
}

#[test]
fn a_database_of_schema_2_keeps_the_envelopes_of_which_it_says_what_they_prove() {
    let mut t = TestStore::new(config());
    t.close();
    unpack(SCHEMA_2, &t.path());
    let before = fs::read(t.path()).unwrap();
    let envelope = |slot, number, proof_type, validator_index| RecordKey {
        slot: Slot(slot),
        root: block_root(number),
        proof_type,
        validator_index,
    };
    // Slot and number of the block, type and signer; the payload it is of, where the database says so.
    let written = [
        (envelope(5, 1, 2, 7), Some(1)),
        (envelope(6, 2, 1, 8), Some(2)),
        (envelope(9, 4, 1, 3), Some(4)),
        (envelope(10, 5, 1, 3), Some(5)),
        (envelope(10, 6, 3, 3), Some(5)),
        (envelope(11, 11, 1, 3), None),
        (envelope(12, 12, 1, 3), None),
    ];
    {
        // Only read: as it was.
        let offline = Offline::open(&t.path()).unwrap();
        assert_eq!(offline.summary().unwrap().schema_version, 2);
        let reader = offline.reader();
        assert_eq!(reader.stats().unwrap().proofs, 8);
        assert_eq!(reader.proof_types_of(&payload(5)).unwrap(), [1, 3]);
        for (key, of) in written {
            assert_eq!(reader.payload_of(&key).unwrap(), of.map(payload), "{key:?}");
        }
        // The bytes are nobody's envelopes; nothing else is wrong.
        assert_eq!(offline.check(|_, _| ()).unwrap().count, 8);
    }
    assert_eq!(fs::read(t.path()).unwrap(), before);
    for _ in 0..2 {
        t.reopen();
        let (store, reader) = (t.store(), t.store().reader());
        t.assert_holds(key(5, 1, 1, 1), 100);
        t.assert_holds(envelope(5, 1, 2, 7), 9_000);
        let long = reader.read(&envelope(9, 4, 1, 3)).unwrap().unwrap();
        assert_eq!(long.ssz(), &vec![0; 300_000]);
        for (key, of) in written {
            assert_eq!(reader.payload_of(&key).unwrap(), of.map(payload), "{key:?}");
            assert_eq!(reader.read(&key).unwrap().is_some(), of.is_some(), "{key:?}");
            let Some(of) = of else { continue };
            let proven = ProofKey {
                new_payload_request_root: payload(of),
                proof_type: key.proof_type,
            };
            let name = ProofName::beta(key.root, key.proof_type);
            assert!(
                store.has_valid(&proven) && store.has_valid_named(&name, &payload(of)),
                "{key:?}"
            );
        }
        assert_eq!(types(&t, 1), [1, 2]);
        assert_eq!(types(&t, 5), [1, 3]);
        let stats = reader.stats().unwrap();
        assert_eq!((stats.proofs, stats.proof_bytes), (6, 309_400));
        assert_eq!(reader.load_gate_records().unwrap(), [([9; 32], vec![1, 2, 3])]);
        assert_eq!(store.contained_until(77), Some(Slot(64)));
        // Under which form those of before ran nobody knows.
        assert!(store.has_other_request_forms());
        t.close();
    }
    // What was not known any more is taken anew.
    t.reopen();
    let again = envelope(11, 11, 1, 3);
    let put = wait(t.store().put_record(again, of(11), ssz(&again, 100)));
    assert_eq!(put.unwrap(), PutOutcome::Stored);
    assert_eq!(types(&t, 11), [1]);
}

fn types(t: &TestStore, number: u64) -> Vec<u8> {
    t.store().reader().proof_types_of(&payload(number)).unwrap()
}

#[test]
fn one_process_at_a_time() {
    let t = TestStore::new(config());
    t.put(key(1, 1, 1, 1), 100);
    let error = open(&t.path()).unwrap_err();
    assert_eq!(error, StoreError::Locked { path: t.path() });
    assert!(error.to_string().contains("another process"), "{error}");
    t.assert_holds(key(1, 1, 1, 1), 100);
    let path = t.path();
    let directory = t.directory.path().to_owned();
    drop(t);
    assert!(!directory.exists() && !path.exists());
}

#[test]
fn files_that_are_no_database_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proofs.redb");
    for content in [
        &b"#!/bin/sh\necho no database\n"[..],
        &[0; 5000],
        &[0xff; 100_000],
    ] {
        fs::write(&path, content).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Corrupted { .. }), "{error}");
        assert!(error.to_string().contains("move the file away"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    // A redb file of another program.
    fs::remove_file(&path).unwrap();
    let foreign = Database::create(&path).unwrap();
    let tx = foreign.begin_write().unwrap();
    tx.open_table(redb::TableDefinition::<u64, u64>::new("theirs"))
        .unwrap()
        .insert(1, 1)
        .unwrap();
    tx.commit().unwrap();
    drop(foreign);
    let error = open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupted { .. }), "{error}");
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a-file");
    fs::write(&file, b"x").unwrap();
    for path in [directory.path().to_owned(), file.join("proofs.redb")] {
        let error = open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        assert!(
            error.to_string().contains(directory.path().to_str().unwrap()),
            "{error}"
        );
    }
    let deep = directory.path().join("a/b/c/proofs.redb");
    open(&deep).unwrap();
    assert!(deep.exists());
}

#[test]
fn an_empty_file_becomes_a_database() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proofs.redb");
    fs::write(&path, b"").unwrap();
    assert!(matches!(open(&path), Ok(_) | Err(StoreError::Corrupted { .. })));
}

#[test]
fn what_a_kill_during_creation_leaves_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proofs.redb");
    // As if a process was killed while it made the database: half a file under the temporary name.
    for id in [std::process::id(), 1] {
        fs::write(
            directory.path().join(format!("proofs.redb.new.{id}")),
            vec![0; 5000],
        )
        .unwrap();
    }
    fs::write(directory.path().join("proofs.redb.newer"), b"not ours").unwrap();
    drop(open(&path).unwrap());
    let left: BTreeSet<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(
        left,
        BTreeSet::from(["proofs.redb".into(), "proofs.redb.newer".into()])
    );
}

#[test]
fn the_file_has_the_documented_tables() {
    let mut t = TestStore::new(StoreConfig {
        max_db_size: Some(1),
        ..config()
    });
    t.put(key(1, 1, 1, 1), 100);
    t.close();
    let database = Database::open(t.path()).unwrap();
    let read = database.begin_read().unwrap();
    let found: BTreeSet<String> = read
        .list_tables()
        .unwrap()
        .map(|table| table.name().to_owned())
        .collect();
    assert_eq!(
        found,
        Table::ALL.iter().map(|table| table.name().to_owned()).collect()
    );
}
