//! The writing thread. Commands that wait together share a commit; each is answered once the commit is on disk.
//!
//! The gate's records have a lane of their own. They are small and an answer of the Engine API waits for them, so they do
//! not share a commit with megabytes of proofs: what waits in their lane is committed by itself and first. The two lanes
//! take turns where both have work, so neither waits for more than one commit of the other that is under way.

use crate::{
    config::StoreConfig,
    error::{StoreError, TxResult},
    index::{self, ChainUpdate, Gaps},
    prune::{self, Pruning},
    record::{self, Found, KeptAs, RecordKey},
    shared::Shared,
    store::PutOutcome,
    tables::{Marks, Tables, meta},
};
use assay_types::{Root, Slot, ValidatorIndex};
use bytes::Bytes;
use redb::ReadableTable;
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::{mpsc, oneshot};

/// Commands that wait for the writer in each lane; whoever brings one more waits.
pub const QUEUE_COMMANDS: usize = 64;
/// Most commands in one commit.
pub const BATCH_COMMANDS: usize = 64;
/// A commit takes no further command once it has this many bytes of proofs.
pub const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes of one of the gate's or the node's own records.
pub const MAX_SMALL_RECORD_BYTES: usize = 4 * 1024 * 1024;

/// What is to be written.
#[derive(Debug)]
pub(crate) enum Work {
    Put(RecordKey, KeptAs, Bytes),
    Gate(Vec<crate::GateRecord>),
    Node(String, Option<Vec<u8>>),
    Chain(Vec<ChainUpdate>),
    /// Changes that wait in `Shared`.
    Pending,
}

/// How it went. Only a put tells more than `Done`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Done {
    Done,
    Put(PutOutcome),
}

#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) work: Work,
    /// Nobody listens where the caller went away; the work is done all the same.
    pub(crate) answer: oneshot::Sender<Result<Done, StoreError>>,
}

/// The sending ends of the two lanes.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// The gate's records.
    pub(crate) gate: mpsc::Sender<Command>,
    /// Everything else.
    pub(crate) bulk: mpsc::Sender<Command>,
}

impl Lanes {
    pub(crate) fn of(&self, work: &Work) -> &mpsc::Sender<Command> {
        match work {
            Work::Gate(_) => &self.gate,
            _ => &self.bulk,
        }
    }
}

/// Their receiving ends.
pub(crate) struct Queues {
    gate: mpsc::Receiver<Command>,
    bulk: mpsc::Receiver<Command>,
    /// The last commit was the gate's: proofs that wait are next.
    gate_was_last: bool,
}

/// Commands of one lane that share a commit; none where only pruning is to be done.
#[derive(Debug, Default)]
struct Batch {
    commands: Vec<Command>,
    /// The gate's: nothing else is done in this commit.
    is_gate: bool,
}

pub(crate) fn lanes() -> (Lanes, Queues) {
    let (gate, gate_queue) = mpsc::channel(QUEUE_COMMANDS);
    let (bulk, bulk_queue) = mpsc::channel(QUEUE_COMMANDS);
    let queues = Queues {
        gate: gate_queue,
        bulk: bulk_queue,
        gate_was_last: false,
    };
    (Lanes { gate, bulk }, queues)
}

impl Queues {
    /// The next batch; an empty one where nothing waits and `idle_work` is to be done. `None`: no sender is left and
    /// nothing is queued.
    fn next(&mut self, idle_work: bool) -> Option<Batch> {
        // Looked at first: what was sent before the last sender went is still found.
        let ended = self.gate.is_closed() && self.bulk.is_closed();
        let first = match self.waiting(idle_work) {
            Some(first) => first,
            None if ended => return None,
            None if idle_work => {
                self.gate_was_last = false;
                return Some(Batch::default());
            }
            None => {
                let Self { gate, bulk, .. } = self;
                futures::executor::block_on(async {
                    tokio::select! {
                        biased;
                        Some(command) = gate.recv() => Some((command, true)),
                        Some(command) = bulk.recv() => Some((command, false)),
                        else => None,
                    }
                })?
            }
        };
        Some(self.fill(first))
    }

    /// A command that waits, the gate's first unless it had the last turn and there is something else to do.
    fn waiting(&mut self, idle_work: bool) -> Option<(Command, bool)> {
        if self.gate_was_last {
            match self.bulk.try_recv() {
                Ok(command) => return Some((command, false)),
                Err(_) if idle_work => return None,
                Err(_) => {}
            }
        }
        match self.gate.try_recv() {
            Ok(command) => Some((command, true)),
            Err(_) => self.bulk.try_recv().ok().map(|command| (command, false)),
        }
    }

    /// The command and those that wait behind it in its lane, up to the bounds of a commit.
    fn fill(&mut self, (first, is_gate): (Command, bool)) -> Batch {
        self.gate_was_last = is_gate;
        let lane = if is_gate { &mut self.gate } else { &mut self.bulk };
        let mut bytes = first.work.bytes();
        let mut commands = vec![first];
        while commands.len() < BATCH_COMMANDS && bytes < BATCH_BYTES {
            let Ok(command) = lane.try_recv() else { break };
            bytes += command.work.bytes();
            commands.push(command);
        }
        Batch { commands, is_gate }
    }
}

type Answer = (oneshot::Sender<Result<Done, StoreError>>, Done);

pub(crate) struct Writer {
    shared: Arc<Shared>,
    config: StoreConfig,
    queues: Queues,
    /// As of the last commit; a failed one leaves it as it was.
    state: State,
    /// Finality updates are answered when their pruning is done.
    pruning_answers: Vec<oneshot::Sender<Result<Done, StoreError>>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) marks: Marks,
    pub(crate) gaps: Gaps,
    pub(crate) pruning: Pruning,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, config: StoreConfig, queues: Queues) -> Result<Self, StoreError> {
        let mut writer = Self {
            shared,
            config,
            queues,
            state: State::default(),
            pruning_answers: Vec::new(),
        };
        writer.state = writer.transaction(|tables, _, _| {
            Ok(State {
                marks: Marks::read(&tables.meta)?,
                gaps: index::find_gaps(tables)?,
                pruning: Pruning::at_start(),
            })
        })?;
        Ok(writer)
    }

    /// Runs until every handle is gone; what was queued by then is still written.
    pub(crate) fn run(mut self) {
        loop {
            let prunes = self.state.pruning.has_work && self.shared.is_healthy.load(Ordering::Relaxed);
            let Some(batch) = self.queues.next(prunes) else {
                return;
            };
            self.commit(batch);
        }
    }

    fn commit(&mut self, batch: Batch) {
        let Batch {
            commands: batch,
            is_gate,
        } = batch;
        let unwritten = self.shared.contained.lock().take_unwritten();
        let corrupt = std::mem::take(&mut *self.shared.corrupt.lock());
        let result = self.reopened().and_then(|()| {
            self.transaction(|tables, state, config| {
                let mut done = Vec::with_capacity(batch.len());
                for key in &corrupt {
                    remove_corrupt(tables, state, *key)?;
                }
                for command in &batch {
                    done.push(perform(tables, state, config, &self.shared, &command.work)?);
                }
                write_contained(tables, &unwritten)?;
                let mut pruned = 0;
                let due = !is_gate;
                if due && (state.pruning.has_work || prune::is_over_limit(&state.marks, config)) {
                    pruned = prune::step(tables, &mut state.marks, &mut state.pruning, config)?;
                }
                tables.meta.insert(meta::MARKS, &state.marks.to_bytes()[..])?;
                Ok((done, pruned, state.clone()))
            })
        });
        match result {
            Ok((done, pruned, state)) => {
                self.state = state;
                self.shared.pruned.fetch_add(pruned, Ordering::Relaxed);
                self.answer(batch, done);
            }
            Err(error) => {
                self.shared.contained.lock().put_back(unwritten);
                self.shared.corrupt.lock().extend(corrupt);
                self.fail(batch, &error);
            }
        }
    }

    fn answer(&mut self, batch: Vec<Command>, done: Vec<Done>) {
        if !self.shared.is_healthy.swap(true, Ordering::Relaxed) {
            tracing::info!(database = %self.shared.path.display(), "writing to the database works again");
        }
        for (command, done) in batch.into_iter().zip(done) {
            if command.work.waits_for_pruning() {
                self.pruning_answers.push(command.answer);
            } else {
                tell((command.answer, done));
            }
        }
        if !self.state.pruning.has_work {
            self.pruning_answers
                .drain(..)
                .for_each(|answer| tell((answer, Done::Done)));
        }
    }

    fn fail(&mut self, batch: Vec<Command>, error: &StoreError) {
        if self.shared.is_healthy.swap(false, Ordering::Relaxed) {
            tracing::error!(%error, "writing to the database failed; nothing new is accepted until it works again");
        }
        for answer in batch
            .into_iter()
            .map(|c| c.answer)
            .chain(self.pruning_answers.drain(..))
        {
            let _ = answer.send(Err(error.clone()));
        }
    }

    /// Opens the database again if the last commit failed: redb takes no more after a failed write.
    fn reopened(&self) -> Result<(), StoreError> {
        if self.shared.is_healthy.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.shared.reopen()
    }

    /// One transaction, durable when this returns. The state that `work` changes is a copy: a failure leaves no trace.
    fn transaction<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>, &mut State, &StoreConfig) -> TxResult<T>,
    ) -> Result<T, StoreError> {
        self.shared.with(|database| {
            let mut tx = database.begin_write()?;
            // A commit in two phases with the allocator's state in it: opening after a kill needs no walk over the file.
            tx.set_quick_repair(true);
            tx.set_durability(redb::Durability::Immediate)?;
            let mut state = self.state.clone();
            let result = {
                let mut tables = Tables::open(&tx)?;
                work(&mut tables, &mut state, &self.config)?
            };
            tx.commit()?;
            Ok(result)
        })
    }
}

fn tell((answer, done): Answer) {
    let _ = answer.send(Ok(done));
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Self::Put(_, _, ssz) => ssz.len(),
            Self::Gate(records) => records.iter().flat_map(|(_, value)| value).map(Vec::len).sum(),
            Self::Node(_, value) => value.as_ref().map_or(0, Vec::len),
            Self::Chain(_) | Self::Pending => 0,
        }
    }

    fn waits_for_pruning(&self) -> bool {
        matches!(self, Self::Chain(updates) if updates.iter().any(|u| matches!(u, ChainUpdate::Finalized { .. })))
    }
}

fn perform(
    tables: &mut Tables<'_>,
    state: &mut State,
    config: &StoreConfig,
    shared: &Shared,
    work: &Work,
) -> TxResult<Done> {
    match work {
        Work::Put(key, kept_as, ssz) => {
            return Ok(Done::Put(put(tables, state, *key, *kept_as, ssz)?));
        }
        Work::Gate(records) => {
            for (key, value) in records {
                match value {
                    Some(value) => tables.gate.insert(key, value.as_slice())?,
                    None => tables.gate.remove(key)?,
                };
            }
        }
        Work::Node(name, Some(value)) => {
            tables.node.insert(name.as_str(), value.as_slice())?;
        }
        Work::Node(name, None) => {
            tables.node.remove(name.as_str())?;
        }
        Work::Chain(updates) => {
            for update in updates {
                chain_update(tables, state, config, shared, update)?;
            }
        }
        Work::Pending => {}
    }
    Ok(Done::Done)
}

fn chain_update(
    tables: &mut Tables<'_>,
    state: &mut State,
    config: &StoreConfig,
    shared: &Shared,
    update: &ChainUpdate,
) -> TxResult<()> {
    let State { marks, gaps, pruning } = state;
    match update {
        ChainUpdate::Block(block) => index::on_block(tables, gaps, marks.cutoff, block),
        ChainUpdate::Head(head) => {
            index::on_block(tables, gaps, marks.cutoff, head)?;
            index::on_head(tables, gaps, &head.block_root)
        }
        ChainUpdate::Finalized {
            checkpoint,
            slot,
            orphaned,
        } => {
            prune::on_finalized(
                tables,
                gaps,
                marks,
                pruning,
                config,
                (checkpoint, *slot, orphaned),
            )?;
            shared
                .contained
                .lock()
                .release_through(Slot(marks.finalized_slot));
            Ok(())
        }
        ChainUpdate::Conflict(roots) => index::on_conflict(tables, roots),
    }
}

pub(crate) fn put(
    tables: &mut Tables<'_>,
    state: &mut State,
    key: RecordKey,
    kept_as: KeptAs,
    ssz: &[u8],
) -> TxResult<PutOutcome> {
    let root = key.root.0;
    let indexed = tables.payloads.get(&root)?.map(|slot| slot.value());
    // One payload has one timestamp, so one slot, and so has one block: all its proofs are kept where the first one is.
    let slot = match indexed {
        Some(slot) => slot,
        None => {
            tables.payloads.insert(&root, key.slot.0)?;
            key.slot.0
        }
    };
    let key = RecordKey {
        slot: Slot(slot),
        ..key
    };
    let bound = tables
        .bound
        .get(&key.to_bytes())?
        .map(|root| Root::from(*root.value()));
    match record::read(&tables.proofs, &tables.chunks, key)? {
        Found::Good(_) if bound == kept_as.bound() => return Ok(PutOutcome::AlreadyStored),
        // Damaged, or verified when the block's payload had another request root: what is put was verified now.
        Found::Good(_) | Found::Corrupt(_) => {
            prune::remove_proof(tables, &mut state.marks, key)?;
            tables.payloads.insert(&root, slot)?;
        }
        Found::Absent => {}
    }
    if let Some(payload) = kept_as.bound()
        && tables.payloads.get(&payload.0)?.is_none()
    {
        tables.payloads.insert(&payload.0, slot)?;
    }
    record::insert(tables, key, kept_as, ssz)?;
    state.marks.proofs += 1;
    state.marks.proof_bytes += ssz.len() as u64;
    Ok(PutOutcome::Stored)
}

/// Removes a record that a reader found damaged, if it still is: it may have been written anew meanwhile.
fn remove_corrupt(tables: &mut Tables<'_>, state: &mut State, key: RecordKey) -> TxResult<()> {
    if matches!(
        record::read(&tables.proofs, &tables.chunks, key)?,
        Found::Corrupt(_)
    ) {
        prune::remove_proof(tables, &mut state.marks, key)?;
    }
    Ok(())
}

fn write_contained(
    tables: &mut Tables<'_>,
    changes: &BTreeMap<ValidatorIndex, Option<Slot>>,
) -> TxResult<()> {
    for (validator, until) in changes {
        match until {
            Some(until) => tables.contained.insert(*validator, until.0)?,
            None => tables.contained.remove(*validator)?,
        };
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn send(lanes: &Lanes, work: Work) {
        let (answer, _) = oneshot::channel();
        lanes.of(&work).try_send(Command { work, answer }).unwrap();
    }

    fn proof(lanes: &Lanes, bytes: usize) {
        let key = RecordKey {
            slot: Slot(1),
            root: assay_types::Root::from([1; 32]),
            proof_type: 1,
            validator_index: 1,
        };
        send(lanes, Work::Put(key, KeptAs::Alpha, Bytes::from(vec![7; bytes])));
    }

    fn gate(lanes: &Lanes) {
        send(lanes, Work::Gate(vec![([1; 32], Some(vec![1, 2, 3]))]));
    }

    /// What the next commit holds: whose it is, and how many commands.
    fn next(queues: &mut Queues) -> Option<(bool, usize)> {
        queues
            .next(false)
            .map(|batch| (batch.is_gate, batch.commands.len()))
    }

    #[test]
    fn the_gates_records_go_first_and_alone_and_the_lanes_take_turns() {
        let (lanes, mut queues) = lanes();
        // Far more than a commit takes.
        for _ in 0..20 {
            proof(&lanes, 4 << 20);
        }
        gate(&lanes);
        gate(&lanes);
        assert_eq!(next(&mut queues), Some((true, 2)), "behind 80 MiB of proofs");
        assert_eq!(next(&mut queues), Some((false, 4)), "16 MiB");
        gate(&lanes);
        assert_eq!(next(&mut queues), Some((true, 1)));
        // A gate that never stops writing does not keep proofs from the disk.
        for _ in 0..4 {
            gate(&lanes);
            assert_eq!(next(&mut queues), Some((false, 4)));
            assert_eq!(next(&mut queues), Some((true, 1)));
        }
        // What was queued when the last handle went is written; then it is over.
        gate(&lanes);
        send(&lanes, Work::Pending);
        drop(lanes);
        assert_eq!(next(&mut queues), Some((false, 1)));
        assert_eq!(next(&mut queues), Some((true, 1)));
        assert_eq!(next(&mut queues), None);
    }

    #[test]
    fn pruning_gets_its_turn_beside_the_gate() {
        let (lanes, mut queues) = lanes();
        for _ in 0..2 {
            gate(&lanes);
            assert!(queues.next(true).unwrap().is_gate);
            gate(&lanes);
            let batch = queues.next(true).unwrap();
            assert!(!batch.is_gate && batch.commands.is_empty());
            assert!(queues.next(true).unwrap().is_gate);
            assert!(!queues.next(true).unwrap().is_gate);
        }
    }
}
