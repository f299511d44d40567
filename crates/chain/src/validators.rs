//! Validators, asked for one at a time when a proof names them, and kept.
//!
//! A *reading* is what a beacon node said of one index in the state of one block. It may be used for a payload whose
//! block is
//! - that block or an ancestor of it, and is decisive: an activation or exit epoch, once set, never changes, and one set
//!   after the payload's block lies more than `MAX_SEED_LOOKAHEAD` epochs after it, so the descendant's record gives the
//!   same answer for the payload's epoch. An index that a descendant does not have, the block's state does not have either.
//! - a descendant of it within `MAX_SEED_LOOKAHEAD` epochs, but then only to accept (protocol.md section 11): by the same
//!   rule a validator active for an epoch in reach stays so. Used only while the payload's block is not imported.
//!
//! Readings are kept by index (a few each: several branches, several heads), negative ones in a cache of their own, so
//! that a flood of indices that do not exist cannot push out honest provers. A key is asked for once at a time, and what
//! could not be answered is not asked again for a moment. Public keys are validated once.

use crate::view::{ValidatorAnswer, ValidatorRecord};
use assay_types::{Epoch, PublicKey, PublicKeyBytes, Root, ValidatorIndex};
use async_trait::async_trait;
use lru::LruCache;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fmt,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{OnceCell, Semaphore};

/// Validators kept with their readings (a few hundred bytes each).
pub const MAX_VALIDATORS: usize = 8192;
/// Indices kept that some state does not have.
pub const MAX_ABSENT: usize = 4096;
/// Readings kept of one index; the oldest goes.
pub const READINGS_PER_VALIDATOR: usize = 4;
/// Requests under way at once for indices never read before.
pub const MAX_NEW_REQUESTS: usize = 8;
/// Requests under way at once for indices read before: the network's provers, whom a flood of others must not delay.
pub const MAX_KNOWN_REQUESTS: usize = 4;
/// Keys that wait or are under way at once; more get `Unavailable`.
pub const MAX_WAITING: usize = 256;
/// How long what could not be answered is not asked again.
pub const UNAVAILABLE_FOR: Duration = Duration::from_secs(1);
/// `MAX_SEED_LOOKAHEAD` of the consensus specifications, in epochs: changes to the active set lie at least this far ahead.
pub const MAX_SEED_LOOKAHEAD: u64 = 4;

const fn nonzero(n: usize) -> NonZeroUsize {
    match NonZeroUsize::new(n) {
        Some(n) => n,
        None => NonZeroUsize::MIN,
    }
}

/// Which state to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateId {
    /// The beacon node's head.
    Head,
    /// By state root.
    Root(Root),
}

impl fmt::Display for StateId {
    /// As the Beacon API writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Root(root) => root.fmt(f),
        }
    }
}

/// A validator's record as it comes, key not yet checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawValidator {
    /// `pubkey`.
    pub pubkey: PublicKeyBytes,
    /// `activation_epoch`.
    pub activation_epoch: Epoch,
    /// `exit_epoch`.
    pub exit_epoch: Epoch,
}

/// What a beacon node says of a validator in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateValidator {
    /// Its record.
    Found(RawValidator),
    /// The state is there and has no such index.
    Absent,
    /// The node does not have the state (any more, or yet).
    NoState,
    /// It could not tell. The text says why.
    Failed(String),
}

/// Whoever can be asked for a validator: a beacon node's API, or an embedder.
#[async_trait]
pub trait ValidatorSource: Send + Sync + 'static {
    /// The validator with this index in this state. Ends by itself within seconds.
    async fn validator(&self, state: StateId, index: ValidatorIndex) -> StateValidator;
}

/// A state to ask for, and the block that built it, where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) state: StateId,
    pub(crate) block_root: Option<Root>,
    pub(crate) epoch: Epoch,
    /// Whether an answer from this state may reject.
    pub(crate) decisive: bool,
}

/// What was read of an index: in the state of which block, and of which epoch.
#[derive(Clone)]
struct Reading {
    block_root: Root,
    epoch: Epoch,
    record: Arc<ValidatorRecord>,
}

#[derive(Clone, Copy)]
struct AbsentReading {
    block_root: Root,
}

type Key = (ValidatorIndex, StateId);

/// The cache and the requests under way.
pub(crate) struct Validators {
    source: Arc<dyn ValidatorSource>,
    readings: Mutex<LruCache<ValidatorIndex, Vec<Reading>>>,
    absent: Mutex<LruCache<ValidatorIndex, Vec<AbsentReading>>>,
    unavailable: Mutex<LruCache<Key, (Instant, String)>>,
    under_way: Mutex<HashMap<Key, Arc<OnceCell<Outcome>>>>,
    new_requests: Semaphore,
    known_requests: Semaphore,
}

#[derive(Debug, Clone)]
enum Outcome {
    Found(Arc<ValidatorRecord>),
    Absent,
    NoState,
    Failed(String),
}

impl fmt::Debug for ValidatorRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidatorRecord")
            .field("pubkey", &self.pubkey.to_bytes())
            .field("activation_epoch", &self.activation_epoch)
            .field("exit_epoch", &self.exit_epoch)
            .finish()
    }
}

impl Validators {
    pub(crate) fn new(source: Arc<dyn ValidatorSource>) -> Self {
        Self {
            source,
            readings: Mutex::new(LruCache::new(nonzero(MAX_VALIDATORS))),
            absent: Mutex::new(LruCache::new(nonzero(MAX_ABSENT))),
            unavailable: Mutex::new(LruCache::new(nonzero(MAX_WAITING))),
            under_way: Mutex::new(HashMap::new()),
            new_requests: Semaphore::new(MAX_NEW_REQUESTS),
            known_requests: Semaphore::new(MAX_KNOWN_REQUESTS),
        }
    }

    /// A kept reading of a block for which `usable` holds, as a decisive answer.
    pub(crate) fn decisive(
        &self,
        index: ValidatorIndex,
        usable: impl Fn(&Root) -> bool,
    ) -> Option<ValidatorAnswer> {
        let found = self.readings.lock().get(&index).and_then(|readings| {
            readings
                .iter()
                .rev()
                .find(|reading| usable(&reading.block_root))
                .map(|reading| reading.record.clone())
        });
        if let Some(record) = found {
            return Some(ValidatorAnswer::Known {
                record,
                decisive: true,
            });
        }
        let absent = self
            .absent
            .lock()
            .get(&index)
            .is_some_and(|readings| readings.iter().any(|reading| usable(&reading.block_root)));
        absent.then_some(ValidatorAnswer::Absent { decisive: true })
    }

    /// A kept reading of an ancestor (`usable`) that shows the validator active at an epoch within reach of it.
    pub(crate) fn active(
        &self,
        index: ValidatorIndex,
        epoch: Epoch,
        usable: impl Fn(&Root) -> bool,
    ) -> Option<ValidatorAnswer> {
        let mut readings = self.readings.lock();
        let reading = readings.get(&index)?.iter().rev().find(|reading| {
            reading.record.is_active_at(epoch)
                && epoch <= reading.epoch.saturating_add(MAX_SEED_LOOKAHEAD)
                && usable(&reading.block_root)
        })?;
        Some(ValidatorAnswer::Known {
            record: reading.record.clone(),
            decisive: false,
        })
    }

    /// Asks the candidates in turn until one has its state.
    pub(crate) async fn ask(&self, index: ValidatorIndex, candidates: &[Candidate]) -> ValidatorAnswer {
        for candidate in candidates {
            let decisive = candidate.decisive;
            match self.ask_one(index, candidate).await {
                Outcome::Found(record) => return ValidatorAnswer::Known { record, decisive },
                Outcome::Absent => return ValidatorAnswer::Absent { decisive },
                Outcome::NoState => {}
                Outcome::Failed(why) => return ValidatorAnswer::Unavailable(why),
            }
        }
        ValidatorAnswer::Unavailable("the beacon node has none of the states that could tell".to_owned())
    }

    async fn ask_one(&self, index: ValidatorIndex, candidate: &Candidate) -> Outcome {
        let key = (index, candidate.state);
        if let Some((since, why)) = self.unavailable.lock().get(&key)
            && since.elapsed() < UNAVAILABLE_FOR
        {
            return Outcome::Failed(why.clone());
        }
        let cell = {
            let mut under_way = self.under_way.lock();
            if under_way.len() >= MAX_WAITING && !under_way.contains_key(&key) {
                return Outcome::Failed("too many validators are being asked for".to_owned());
            }
            under_way.entry(key).or_default().clone()
        };
        let waiting = Waiting {
            validators: self,
            key,
            cell,
        };
        // Where the first to ask goes away, one of the others asks in its place.
        waiting
            .cell
            .get_or_init(|| self.fetch(index, candidate))
            .await
            .clone()
    }

    async fn fetch(&self, index: ValidatorIndex, candidate: &Candidate) -> Outcome {
        let known = self.readings.lock().contains(&index);
        let lane = if known {
            &self.known_requests
        } else {
            &self.new_requests
        };
        let Ok(_permit) = lane.acquire().await else {
            return Outcome::Failed("the node is ending".to_owned());
        };
        let answer = self.source.validator(candidate.state, index).await;
        let outcome = self.judge(index, answer);
        match (&outcome, candidate.block_root) {
            (Outcome::Found(record), Some(block_root)) => {
                let reading = Reading {
                    block_root,
                    epoch: candidate.epoch,
                    record: record.clone(),
                };
                keep(self.readings.lock().get_or_insert_mut(index, Vec::new), reading);
            }
            (Outcome::Absent, Some(block_root)) => {
                keep(
                    self.absent.lock().get_or_insert_mut(index, Vec::new),
                    AbsentReading { block_root },
                );
            }
            (Outcome::Failed(why), _) => {
                self.unavailable
                    .lock()
                    .put((index, candidate.state), (Instant::now(), why.clone()));
            }
            _ => {}
        }
        outcome
    }

    fn judge(&self, index: ValidatorIndex, answer: StateValidator) -> Outcome {
        let raw = match answer {
            StateValidator::Found(raw) => raw,
            StateValidator::Absent => return Outcome::Absent,
            StateValidator::NoState => return Outcome::NoState,
            StateValidator::Failed(why) => return Outcome::Failed(why),
        };
        let before = self
            .readings
            .lock()
            .peek(&index)
            .and_then(|readings| readings.last().map(|r| r.record.clone()));
        let pubkey = match before {
            Some(record) if record.pubkey.to_bytes() == raw.pubkey => record.pubkey.clone(),
            // No registry holds such a key: it is the answer that is wrong, not the proof.
            _ => match PublicKey::from_bytes(&raw.pubkey) {
                Ok(pubkey) => pubkey,
                Err(error) => {
                    return Outcome::Failed(format!("the beacon node's key of validator {index}: {error}"));
                }
            },
        };
        Outcome::Found(Arc::new(ValidatorRecord {
            pubkey,
            activation_epoch: raw.activation_epoch,
            exit_epoch: raw.exit_epoch,
        }))
    }
}

fn keep<T>(readings: &mut Vec<T>, reading: T) {
    if readings.len() >= READINGS_PER_VALIDATOR {
        readings.remove(0);
    }
    readings.push(reading);
}

/// One who waits for a key. The key leaves the list of those under way once it is answered, so that the next question is
/// a new one, or when the last who waits goes away.
struct Waiting<'a> {
    validators: &'a Validators,
    key: Key,
    cell: Arc<OnceCell<Outcome>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut under_way = self.validators.under_way.lock();
        // The list and this one hold it: nobody else waits.
        let last = Arc::strong_count(&self.cell) <= 2;
        if (last || self.cell.initialized())
            && under_way
                .get(&self.key)
                .is_some_and(|cell| Arc::ptr_eq(cell, &self.cell))
        {
            under_way.remove(&self.key);
        }
    }
}
