//! The records behind the machine: one task writes them, and an answer that must not be forgotten waits for it.

use super::Inner;
use crate::{
    machine::{ImportPolicy, RecordChange},
    persistence::GatePersistence,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Wait between two tries to write records that could not be written.
pub(super) const WRITE_RETRY: Duration = Duration::from_millis(500);
/// Longest an answer waits for its records; after it the answer is SYNCING.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(2);

/// Changes that wait for the writer, newest value per key, so never more than the tree holds.
#[derive(Default)]
pub(super) struct Unwritten {
    pub(super) changes: BTreeMap<[u8; 32], Option<Vec<u8>>>,
    /// Number of the newest change in it.
    pub(super) newest: u64,
    /// Number of the newest change that has to be on disk before anybody is told VALID.
    pub(super) awaited: u64,
}

impl Inner {
    /// Waits until the change is on disk. False where that takes too long.
    pub(super) async fn durable(&self, change: Option<u64>) -> bool {
        // Under `observe` every answer is the execution client's, and a slow disk is no reason to keep it back.
        if self.gate.lock().config().policy == ImportPolicy::Observe {
            return true;
        }
        let Some(change) = change else { return true };
        let mut written = self.written.subscribe();
        let reached = written.wait_for(|w| *w >= change);
        matches!(tokio::time::timeout(WRITE_PATIENCE, reached).await, Ok(Ok(_)))
    }

    pub(super) fn take_unwritten(&self) -> Option<(Vec<RecordChange>, u64)> {
        let mut unwritten = self.unwritten.lock();
        let changes = std::mem::take(&mut unwritten.changes);
        (!changes.is_empty()).then(|| (changes.into_iter().collect(), unwritten.newest))
    }

    /// Puts back what could not be written, below what is newer.
    pub(super) fn put_back(&self, changes: &[RecordChange]) {
        let mut unwritten = self.unwritten.lock();
        for (key, value) in changes {
            unwritten.changes.entry(*key).or_insert_with(|| value.clone());
        }
    }
}

pub(super) async fn write_behind(
    inner: &Inner,
    persistence: Arc<dyn GatePersistence>,
    stop: CancellationToken,
) {
    let mut failing = false;
    loop {
        // What comes while it ends is written once more, or not at all.
        let ending = stop.is_cancelled();
        while let Some((changes, newest)) = inner.take_unwritten() {
            let changes = Arc::new(changes);
            let (target, batch) = (Arc::clone(&persistence), Arc::clone(&changes));
            let written = tokio::task::spawn_blocking(move || target.write(&batch)).await;
            let error = match written {
                Ok(Ok(())) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("gate records are written again");
                    }
                    inner.written.send_replace(newest);
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            inner.put_back(&changes);
            if !std::mem::replace(&mut failing, true) {
                tracing::error!(
                    error,
                    "gate records cannot be written; VALID answers are held back"
                );
            }
            if ending {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(WRITE_RETRY) => {}
                () = stop.cancelled() => break,
            }
        }
        if ending {
            return;
        }
        tokio::select! {
            () = inner.wake_writer.notified() => {}
            () = stop.cancelled() => {}
        }
    }
}
