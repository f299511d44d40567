//! A damaged disk: what is wrong is never served, and never a panic.

use super::support::{TestStore, block, config, key, proof_key, ssz, wait};
use crate::{PutOutcome, RecordKey, Store, StoreError, error::TxResult, record::CHUNK_BYTES, tables};
use assay_verification::KnownProofs;
use redb::{Database, ReadableTable};
use std::fs;

const LEN: usize = CHUNK_BYTES + 1000;

/// Changes tables as a fault of disk or memory might, behind the store's back.
fn tamper(t: &mut TestStore, change: impl FnOnce(&redb::WriteTransaction)) {
    t.close();
    let database = Database::open(t.path()).unwrap();
    let tx = database.begin_write().unwrap();
    change(&tx);
    tx.commit().unwrap();
    drop(database);
    t.reopen();
}

type Change = Box<dyn FnOnce(&redb::WriteTransaction, &[u8; 49])>;

fn chunk(key: &[u8; 49], number: u8) -> [u8; 51] {
    let mut chunk = [0; 51];
    chunk[..49].copy_from_slice(key);
    chunk[50] = number;
    chunk
}

fn edit_header(tx: &redb::WriteTransaction, key: &[u8; 49], edit: impl FnOnce(&mut [u8; 20])) {
    let mut proofs = tx.open_table(tables::PROOFS).unwrap();
    let mut header = *proofs.get(key).unwrap().unwrap().value();
    edit(&mut header);
    proofs.insert(key, &header).unwrap();
}

fn edit_chunk(tx: &redb::WriteTransaction, key: &[u8; 49], number: u8, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut chunks = tx.open_table(tables::CHUNKS).unwrap();
    let key = chunk(key, number);
    let mut bytes = chunks.get(&key).unwrap().unwrap().value().to_vec();
    edit(&mut bytes);
    chunks.insert(&key, bytes.as_slice()).unwrap();
}

#[test]
fn damaged_records_are_counted_removed_and_can_come_again() {
    let changes: Vec<(&str, Change)> = vec![
        (
            "a bit of the first chunk",
            Box::new(|tx, k| edit_chunk(tx, k, 0, |c| c[17] ^= 1)),
        ),
        (
            "the last byte",
            Box::new(|tx, k| edit_chunk(tx, k, 1, |c| *c.last_mut().unwrap() ^= 0x80)),
        ),
        (
            "a shorter chunk",
            Box::new(|tx, k| edit_chunk(tx, k, 0, |c| c.truncate(c.len() - 1))),
        ),
        (
            "a longer chunk",
            Box::new(|tx, k| edit_chunk(tx, k, 1, |c| c.push(0))),
        ),
        (
            "a chunk gone",
            Box::new(|tx, k| {
                drop(
                    tx.open_table(tables::CHUNKS)
                        .unwrap()
                        .remove(&chunk(k, 0))
                        .unwrap(),
                )
            }),
        ),
        (
            "a chunk too many",
            Box::new(|tx, k| {
                drop(
                    tx.open_table(tables::CHUNKS)
                        .unwrap()
                        .insert(&chunk(k, 2), &[1u8][..])
                        .unwrap(),
                )
            }),
        ),
        (
            "a length of 4 GiB",
            Box::new(|tx, k| edit_header(tx, k, |h| h[..4].fill(0xff))),
        ),
        (
            "a length of 0",
            Box::new(|tx, k| edit_header(tx, k, |h| h[..4].fill(0))),
        ),
        (
            "a shorter length",
            Box::new(|tx, k| edit_header(tx, k, |h| h[0] ^= 1)),
        ),
        (
            "the checksum",
            Box::new(|tx, k| edit_header(tx, k, |h| h[19] ^= 1)),
        ),
    ];
    for (what, change) in changes {
        let mut t = TestStore::new(config());
        let (bad, good) = (key(5, 1, 1, 1), key(5, 1, 2, 1));
        t.head(block(1, 0, 5));
        t.put(bad, LEN);
        t.put(good, 300);
        tamper(&mut t, |tx| change(tx, &bad.to_bytes()));
        let reader = t.store().reader();
        assert_eq!(reader.read(&bad).unwrap(), None, "{what}");
        assert_eq!(reader.stats().unwrap().corrupted, 1, "{what}");
        wait(t.store().flush()).unwrap();
        assert!(
            !t.store().has_valid(&proof_key(&bad)),
            "{what}: it can be fetched again"
        );
        assert_eq!(t.range(0, 10, &[]), [good], "{what}");
        assert_eq!(t.keys(), [good], "{what}");
        assert_eq!(t.try_put(bad, LEN).unwrap(), PutOutcome::Stored, "{what}");
        t.assert_holds(bad, LEN);
        t.assert_holds(good, 300);
        assert_eq!(reader.stats().unwrap().corrupted, 1, "{what}");
    }
}

#[test]
fn a_record_under_another_key_is_damaged() {
    let mut t = TestStore::new(config());
    let (from, to) = (key(5, 1, 1, 1), key(5, 1, 1, 2));
    t.put(from, 300);
    tamper(&mut t, |tx| {
        let mut proofs = tx.open_table(tables::PROOFS).unwrap();
        let header = *proofs.get(&from.to_bytes()).unwrap().unwrap().value();
        proofs.insert(&to.to_bytes(), &header).unwrap();
        let mut chunks = tx.open_table(tables::CHUNKS).unwrap();
        let bytes = chunks
            .get(&chunk(&from.to_bytes(), 0))
            .unwrap()
            .unwrap()
            .value()
            .to_vec();
        chunks
            .insert(&chunk(&to.to_bytes(), 0), bytes.as_slice())
            .unwrap();
    });
    assert_eq!(t.store().reader().read(&to).unwrap(), None);
    t.assert_holds(from, 300);
}

#[test]
fn a_put_replaces_a_damaged_record_that_nobody_has_read_yet() {
    let mut t = TestStore::new(config());
    let k = key(5, 1, 1, 1);
    t.put(k, LEN);
    tamper(&mut t, |tx| edit_chunk(tx, &k.to_bytes(), 0, |c| c[0] ^= 1));
    assert_eq!(t.try_put(k, LEN).unwrap(), PutOutcome::Stored);
    t.assert_holds(k, LEN);
    let stats = t.store().reader().stats().unwrap();
    assert_eq!((stats.proofs, stats.proof_bytes), (1, LEN as u64));
}

#[test]
fn a_panic_of_the_database_code_is_an_error_and_the_store_goes_on() {
    let t = TestStore::new(config());
    t.put(key(5, 1, 1, 1), 300);
    let shared = &t.store().reader().shared;
    let read = shared.read(|_| -> TxResult<()> { panic!("a page that makes no sense") });
    assert!(matches!(read, Err(StoreError::Corrupted { .. })));
    let write = shared.with(|database| -> TxResult<()> {
        let _tx = database.begin_write()?;
        panic!("a page that makes no sense")
    });
    assert!(matches!(write, Err(StoreError::Corrupted { .. })));
    t.put(key(6, 2, 1, 1), 300);
    t.assert_holds(key(5, 1, 1, 1), 300);
}

/// Any byte of the file, and any end of it: an error, or what was stored, or nothing; never other bytes, never a panic
/// that leaves the store.
#[test]
fn flipped_and_cut_files_never_serve_wrong_bytes() {
    let mut t = TestStore::new(config());
    let keys: Vec<RecordKey> = (0..12).map(|n| key(n, n, 1, n)).collect();
    for (n, k) in keys.iter().enumerate() {
        t.put(*k, 40 + n * 700);
    }
    t.store()
        .put_gate_records_blocking(&[([1; 32], Some(vec![1; 100]))])
        .unwrap();
    t.close();
    let sound = fs::read(t.path()).unwrap();
    let (mut refused, mut opened) = (0, 0);
    let flips = (0..60usize)
        .map(|i| (i * 64 + i % 7, None))
        .chain((0..60).map(|i| (4096 + i * sound.len() / 61, None)));
    let cuts = (0..12).map(|i| (0, Some(i * sound.len() / 12)));
    for (at, cut) in flips.chain(cuts) {
        let mut file = sound.clone();
        match cut {
            Some(len) => file.truncate(len),
            None => file[at] ^= 0x10,
        }
        if file.is_empty() {
            continue;
        }
        fs::write(t.path(), &file).unwrap();
        match Store::open(t.path(), config()) {
            Err(StoreError::Corrupted { .. } | StoreError::Io { .. } | StoreError::OtherChain { .. }) => {
                refused += 1
            }
            Err(StoreError::NewerSchema { .. }) => refused += 1,
            Err(other) => panic!("byte {at}, cut {cut:?}: {other}"),
            Ok(store) => {
                opened += 1;
                for (n, k) in keys.iter().enumerate() {
                    if let Ok(Some(proof)) = store.reader().read(k) {
                        assert_eq!(proof.ssz(), &ssz(k, 40 + n * 700), "byte {at}, cut {cut:?}");
                    }
                }
                // Whatever a write does, it says so.
                let _ = wait(store.put_raw(key(50, 50, 1, 1), ssz(&key(50, 50, 1, 1), 5000)));
            }
        }
    }
    assert!(refused > 5 && opened > 5, "{refused} refused, {opened} opened");
}
