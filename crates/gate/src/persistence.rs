//! Where the gate's records are kept.

use crate::machine::{Record, RecordChange};

/// The records could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("gate records: {0}")]
pub struct PersistenceError(pub String);

/// Keeps the gate's records: opaque values under 32-byte keys.
pub trait GatePersistence: Send + Sync + 'static {
    /// Every record, in any order.
    fn load(&self) -> Result<Vec<Record>, PersistenceError>;
    /// Whether request roots in the records may be of another form (`NEW_PAYLOAD_REQUEST_FORM`) than today's.
    fn has_other_forms(&self) -> bool {
        false
    }
    /// Writes and deletes in one transaction; durable when it returns.
    fn write(&self, changes: &[RecordChange]) -> Result<(), PersistenceError>;
}

/// Keeps nothing beyond the process: for embedders without a disk and for tests.
#[derive(Debug, Default)]
pub struct InMemory(parking_lot::Mutex<std::collections::BTreeMap<[u8; 32], Vec<u8>>>);

impl GatePersistence for InMemory {
    fn load(&self) -> Result<Vec<Record>, PersistenceError> {
        Ok(self.0.lock().iter().map(|(k, v)| (*k, v.clone())).collect())
    }

    fn write(&self, changes: &[RecordChange]) -> Result<(), PersistenceError> {
        let mut records = self.0.lock();
        for (key, value) in changes {
            match value {
                Some(value) => drop(records.insert(*key, value.clone())),
                None => drop(records.remove(key)),
            }
        }
        Ok(())
    }
}

impl GatePersistence for assay_store::Store {
    fn load(&self) -> Result<Vec<Record>, PersistenceError> {
        self.load_gate_records()
            .map_err(|e| PersistenceError(e.to_string()))
    }

    fn has_other_forms(&self) -> bool {
        self.has_other_request_forms()
    }

    fn write(&self, changes: &[RecordChange]) -> Result<(), PersistenceError> {
        self.put_gate_records_blocking(changes)
            .map_err(|e| PersistenceError(e.to_string()))
    }
}
