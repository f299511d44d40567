#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
//! SIGKILL at random points under load: what was acknowledged is there, and the database always opens.
//!
//! The test starts itself again as a child process. The child writes proofs, blocks, finality and the gate's records
//! from several tasks and tells each acknowledgement over a pipe; this process notes them, kills the child at a random
//! moment (opening and creating included), opens the database and looks for everything that was acknowledged.
//!
//! `ASSAY_KILL_ROUNDS` kills in all (10), ten to a seed and database. `tests/kill-store.sh` does 200 over 20 seeds.

use assay_chain::Checkpoint;
use assay_store::{BlockUpdate, ChainIdentity, ChainUpdate, Store, StoreConfig, StoreError};
use assay_types::{
    Epoch, ExecutionProof, ProofKey, ProofMessage, PublicInput, Revision, Root, SignatureBytes,
    SignedExecutionProof, SignedProof, Slot,
};
use assay_verification::{KnownProofs, VerifiedProof};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

const CHILD: &str = "ASSAY_KILL_CHILD";
const KILLS_PER_SEED: u64 = 10;
const WRITERS: u64 = 4;
const SLOTS_PER_EPOCH: u64 = 8;

fn config() -> StoreConfig {
    StoreConfig {
        identity: ChainIdentity {
            genesis_validators_root: Root::from([1; 32]),
            chain_id: 1337,
            config_name: "kill".into(),
        },
        request_form: assay_types::NewPayloadRequestForm::C,
        slots_per_epoch: SLOTS_PER_EPOCH,
        retention_epochs: 1,
        max_db_size: None,
        cache_bytes: 4 * 1024 * 1024,
    }
}

fn root(kind: u8, slot: u64) -> Root {
    let mut root = [kind; 32];
    root[24..].copy_from_slice(&slot.to_be_bytes());
    Root::from(root)
}

/// The proof of a slot's payload; its length and bytes follow from slot and type. Of type 1 it is an envelope, which names the
/// block: that comes to the index after it, or not before the kill.
fn proof(slot: u64, proof_type: u8) -> VerifiedProof {
    let mut rng = StdRng::seed_from_u64(slot * 256 + u64::from(proof_type));
    let len = match rng.random_range(0..20) {
        0 => rng.random_range(500_000..4_194_304),
        1..=4 => rng.random_range(60_000..500_000),
        _ => rng.random_range(32..20_000),
    };
    let mut data = vec![0; len];
    rng.fill(&mut data[..]);
    if proof_type == 1 {
        let envelope = SignedProof {
            revision: Revision::Beta,
            message: ProofMessage {
                proof_data: data.into(),
                proof_type,
                root: root(0xbb, slot),
            },
            validator_index: slot % 7,
            signature: SignatureBytes::from([3; 96]),
        };
        let (payload, message) = (root(0xaa, slot), root(0xcc, slot));
        return VerifiedProof::assume_verified_envelope(envelope, payload, message, Slot(slot));
    }
    let signed = SignedExecutionProof {
        message: ExecutionProof {
            proof_data: data.into(),
            proof_type,
            public_input: PublicInput {
                new_payload_request_root: root(0xaa, slot),
            },
        },
        validator_index: slot % 7,
        signature: SignatureBytes::from([3; 96]),
    };
    let ssz = signed.to_ssz_bytes();
    VerifiedProof::assume_verified(ssz, signed, root(0xcc, slot), Slot(slot), None)
}

fn block(slot: u64) -> BlockUpdate {
    BlockUpdate {
        block_root: root(0xbb, slot),
        parent_root: root(0xbb, slot - 1),
        slot: Slot(slot),
        new_payload_request_root: Some(root(0xaa, slot)),
    }
}

/// One line is one write, so that a kill cuts at most the last line.
fn tell(line: String) {
    std::io::stdout()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

/// Writes until it is killed. `first` is the first slot of this life.
fn child(directory: &Path, first: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let store = Store::open(directory.join("proofs.redb"), config()).unwrap();
    tell("opened".into());
    let next = Arc::new(AtomicU64::new(first));
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for writer in 0..WRITERS {
            let (store, next) = (store.clone(), next.clone());
            tasks.push(tokio::spawn(async move {
                loop {
                    let slot = next.fetch_add(1, Ordering::SeqCst);
                    for proof_type in 0..=(slot % 2) as u8 {
                        store.put(&proof(slot, proof_type)).await.unwrap();
                        tell(format!("proof {slot} {proof_type}"));
                    }
                    // Keys of its own: the order of this writer's writes is the order of its lines.
                    let key = writer * 10 + slot % 10;
                    let value = (!slot.is_multiple_of(5)).then(|| slot.to_be_bytes().to_vec());
                    tell(format!("gating {key} {slot}"));
                    store
                        .put_gate_records(vec![([key as u8; 32], value)])
                        .await
                        .unwrap();
                    tell(format!("gate {key} {slot}"));
                }
            }));
        }
        // The chain goes after them: heads, and finality that prunes.
        let (store, next) = (store.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            let mut head = first;
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let to = next.load(Ordering::SeqCst);
                if to <= head {
                    continue;
                }
                let mut updates: Vec<_> = (head..to).map(|slot| ChainUpdate::Block(block(slot))).collect();
                updates.push(ChainUpdate::Head(block(to - 1)));
                store.apply(updates).await.unwrap();
                tell(format!("head {}", to - 1));
                head = to;
                let epoch = (head - 1) / SLOTS_PER_EPOCH;
                if epoch >= 6 {
                    let finalized = (epoch - 3) * SLOTS_PER_EPOCH;
                    tell(format!("finalizing {finalized}"));
                    let checkpoint = Checkpoint {
                        epoch: Epoch(epoch - 3),
                        root: root(0xbb, finalized),
                    };
                    store
                        .on_finalized(checkpoint, Slot(finalized), Vec::new())
                        .await
                        .unwrap();
                }
            }
        }));
        // None of them ends by itself; one that panics ends the process.
        let (ended, _, _) = futures::future::select_all(tasks).await;
        ended.unwrap();
    });
}

/// What the acknowledgements say.
#[derive(Default)]
struct Acknowledged {
    proofs: Vec<(u64, u8)>,
    head: u64,
    /// The highest slot whose finality was asked for: below its retention nothing has to be there.
    finalizing: u64,
    /// Per gate key: slot of the last acknowledged write, and of those begun after it.
    gate: BTreeMap<u8, (u64, Vec<u64>)>,
    last_slot: u64,
    opened: u64,
}

impl Acknowledged {
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "opened" => self.opened += 1,
            "proof" => self.proofs.push((number(1), number(2) as u8)),
            "head" => self.head = self.head.max(number(1)),
            "finalizing" => self.finalizing = self.finalizing.max(number(1)),
            "gating" => self.gate.entry(number(1) as u8).or_default().1.push(number(2)),
            "gate" => {
                let (acknowledged, _) = self.gate.entry(number(1) as u8).or_default();
                *acknowledged = (*acknowledged).max(number(2));
            }
            // What the test harness prints.
            _ => return,
        }
        if let Some(slot) = words.get(1).and_then(|_| words.last()?.parse::<u64>().ok()) {
            self.last_slot = self.last_slot.max(slot);
        }
    }

    fn check(&self, directory: &Path, what: &str) {
        let store =
            Store::open(directory.join("proofs.redb"), config()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let kept_from = self.finalizing.saturating_sub(SLOTS_PER_EPOCH);
        for (slot, proof_type) in &self.proofs {
            if *slot < kept_from {
                continue;
            }
            let key = ProofKey {
                new_payload_request_root: root(0xaa, *slot),
                proof_type: *proof_type,
            };
            assert!(
                store.has_valid(&key),
                "{what}: acknowledged proof {slot}/{proof_type} is lost"
            );
            let stored = store.reader().get(&key).unwrap().expect("its bytes");
            assert_eq!(
                stored.ssz(),
                proof(*slot, *proof_type).ssz(),
                "{what}: {slot}/{proof_type}"
            );
        }
        if self.head > 0 {
            let head = store
                .reader()
                .block(&root(0xbb, self.head))
                .unwrap()
                .expect("the head");
            assert!(head.is_canonical, "{what}: head {}", self.head);
        }
        let gate: BTreeMap<u8, u64> = store
            .load_gate_records()
            .unwrap()
            .into_iter()
            .map(|(key, value)| (key[0], u64::from_be_bytes(value.try_into().unwrap())))
            .collect();
        for (key, (acknowledged, begun)) in &self.gate {
            // The last acknowledged write, or one begun later that reached the disk unannounced.
            let written = |slot: &u64| (!slot.is_multiple_of(5)).then_some(*slot);
            let allowed: Vec<_> = begun
                .iter()
                .filter(|s| *s >= acknowledged)
                .map(written)
                .chain((*acknowledged == 0).then_some(None))
                .collect();
            assert!(
                allowed.contains(&gate.get(key).copied()),
                "{what}: gate key {key}: {:?}, not in {allowed:?}",
                gate.get(key)
            );
        }
        // Pruning that the kill cut short goes on after the opening: look when a commit finds no more to prune.
        let list = || store.reader().list(None, usize::MAX).unwrap();
        let mut all = list();
        loop {
            futures::executor::block_on(store.flush()).unwrap();
            let before = std::mem::replace(&mut all, list());
            if before == all {
                break;
            }
        }
        let stats = store.reader().stats().unwrap();
        assert_eq!(stats.proofs, all.len() as u64, "{what}");
        assert_eq!(
            stats.proof_bytes,
            all.iter().map(|s| s.bytes).sum::<u64>(),
            "{what}"
        );
        for summary in all {
            assert!(
                store.reader().read(&summary.key).unwrap().is_some(),
                "{what}: {:?} is damaged",
                summary.key
            );
        }
        assert_eq!(store.reader().stats().unwrap().corrupted, 0, "{what}");
    }
}

/// This test program again, as `child`.
fn spawn(directory: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills_lose_nothing_acknowledged", "--nocapture"])
        .env(CHILD, format!("{first} {}", directory.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_second_process_is_refused_until_the_first_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proofs.redb");
    let mut child = spawn(directory.path(), 100);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let opened = lines.any(|line| line.is_ok_and(|line| line == "opened"));
    let second = Store::open(&path, config());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(opened);
    assert_eq!(second.unwrap_err(), StoreError::Locked { path: path.clone() });
    Store::open(&path, config()).unwrap();
}

#[test]
fn kills_lose_nothing_acknowledged() {
    if let Ok(child_of) = std::env::var(CHILD) {
        let (first, directory) = child_of.split_once(' ').unwrap();
        return child(Path::new(directory), first.parse().unwrap());
    }
    let rounds: u64 =
        std::env::var("ASSAY_KILL_ROUNDS").map_or(10, |r| r.parse().expect("ASSAY_KILL_ROUNDS is a number"));
    let (mut proofs, mut opened) = (0, 0);
    for seed in 0..rounds.div_ceil(KILLS_PER_SEED) {
        let mut rng = StdRng::seed_from_u64(seed);
        let directory = tempfile::tempdir().unwrap();
        let mut acknowledged = Acknowledged::default();
        for kill in 0..KILLS_PER_SEED.min(rounds - seed * KILLS_PER_SEED) {
            let what = format!("seed {seed}, kill {kill}");
            let first = acknowledged.last_slot + 100;
            let mut child = spawn(directory.path(), first);
            let pipe = child.stdout.take().unwrap();
            let reader = std::thread::spawn(move || {
                let mut pipe = BufReader::new(pipe);
                let mut lines = Vec::new();
                let mut line = String::new();
                // A line without its end was cut by the kill: it says nothing.
                while pipe.read_line(&mut line).unwrap_or(0) > 0 && line.ends_with('\n') {
                    lines.push(line.trim_end().to_owned());
                    line.clear();
                }
                lines
            });
            // Often while it starts, mostly under load.
            let delay = if rng.random_range(0..5) == 0 {
                rng.random_range(0..30)
            } else {
                rng.random_range(30..700)
            };
            std::thread::sleep(Duration::from_millis(delay));
            let exited = child.try_wait().unwrap();
            assert!(exited.is_none(), "{what}: the child ended by itself: {exited:?}");
            child.kill().unwrap();
            child.wait().unwrap();
            reader
                .join()
                .unwrap()
                .iter()
                .for_each(|line| acknowledged.note(line));
            acknowledged.check(directory.path(), &what);
        }
        proofs += acknowledged.proofs.len();
        opened += acknowledged.opened;
    }
    println!("{rounds} kills, {opened} of them after the database was open; {proofs} acknowledged proofs");
    assert!(
        proofs > 0 && opened > rounds / 3,
        "hardly anything was written: {opened} openings, {proofs} proofs"
    );
}
