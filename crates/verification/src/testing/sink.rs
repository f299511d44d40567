//! A `ProofSink` in memory.

use crate::{CheckedProof, KnownProofs, ProofSink, SinkError, Source, VerifiedProof};
use assay_types::{ProofKey, ProofName, Root};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

struct Kept {
    proofs: Vec<(Arc<VerifiedProof>, Source)>,
    unsigned: Vec<ProofKey>,
    fails: bool,
    delay: Duration,
}

/// Keeps what it is given, in order; also a `KnownProofs`.
pub struct MemorySink {
    name: &'static str,
    kept: Mutex<Kept>,
}

impl MemorySink {
    /// An empty one.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            kept: Mutex::new(Kept {
                proofs: Vec::new(),
                unsigned: Vec::new(),
                fails: false,
                delay: Duration::ZERO,
            }),
        }
    }

    /// Whether it refuses what it is given from now on.
    pub fn set_fails(&self, fails: bool) {
        self.kept.lock().fails = fails;
    }

    /// How long it takes.
    pub fn set_delay(&self, delay: Duration) {
        self.kept.lock().delay = delay;
    }

    /// Unsigned proofs it was told of.
    pub fn unsigned(&self) -> Vec<ProofKey> {
        self.kept.lock().unsigned.clone()
    }

    /// What it was given.
    pub fn proofs(&self) -> Vec<(Arc<VerifiedProof>, Source)> {
        self.kept.lock().proofs.clone()
    }
}

#[async_trait]
impl ProofSink for MemorySink {
    fn name(&self) -> &'static str {
        self.name
    }
    async fn accepted(&self, proof: &Arc<VerifiedProof>, source: &Source) -> Result<(), SinkError> {
        let delay = self.kept.lock().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut kept = self.kept.lock();
        if kept.fails {
            return Err(SinkError {
                sink: self.name,
                why: "as the test wants it".to_owned(),
            });
        }
        kept.proofs.push((Arc::clone(proof), source.clone()));
        Ok(())
    }
    async fn verified_unsigned(&self, proof: &CheckedProof) {
        self.kept.lock().unsigned.push(proof.key());
    }
}

impl KnownProofs for MemorySink {
    fn has_valid(&self, key: &ProofKey) -> bool {
        self.kept
            .lock()
            .proofs
            .iter()
            .any(|(proof, _)| proof.key() == *key)
    }
    fn has_valid_named(&self, name: &ProofName, new_payload_request_root: &Root) -> bool {
        self.kept.lock().proofs.iter().any(|(proof, _)| {
            (proof.name(), proof.key().new_payload_request_root) == (*name, *new_payload_request_root)
        })
    }
}
