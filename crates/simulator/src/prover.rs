//! The simulator's prover: proves every payload, signs with an interop key, and posts the proofs to one node.

use crate::{SimBlock, SimChain, SimError};
use assay_types::{ProofMessage, ProofType, Revision, SecretKey, SignedProof, StatedInput};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

/// Makes proof bytes: what is to be proven, type and size in. The simulator knows no proof engine; whoever starts it brings one.
pub type ProofMaker = Arc<dyn Fn(&StatedInput, ProofType, usize) -> Bytes + Send + Sync>;

/// How the prover works.
#[derive(Clone)]
pub struct ProverConfig {
    /// Beacon API base URLs the proofs are posted to.
    pub targets: Vec<String>,
    /// Kinds of proof, one of each for every payload.
    pub proof_types: Vec<ProofType>,
    /// Bytes of each proof.
    pub proof_size: usize,
    /// From the payload to its proofs.
    pub delay: Duration,
    /// The validator that signs.
    pub validator_index: u64,
    /// What makes the bytes.
    pub maker: ProofMaker,
}

/// How many proofs went where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProverCounts {
    /// Taken by a node with 200.
    pub posted: u64,
    /// Given up.
    pub failed: u64,
}

/// Posts proofs as they are asked for.
pub struct SimProver {
    config: ProverConfig,
    http: reqwest::Client,
    counts: Mutex<ProverCounts>,
}

/// How often and how far apart a post is tried: the node may not have seen the payload yet.
const TRIES: u32 = 20;
const RETRY: Duration = Duration::from_millis(500);

impl SimProver {
    /// A prover.
    pub fn new(config: ProverConfig) -> Result<Self, SimError> {
        assay_engine_api::install_crypto_provider();
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|e| SimError::Io {
                what: "HTTP client".into(),
                why: e.to_string(),
            })?;
        Ok(Self {
            config,
            http,
            counts: Mutex::default(),
        })
    }

    /// How many proofs went where.
    pub fn counts(&self) -> ProverCounts {
        *self.counts.lock()
    }

    /// Signs one proof for a block's payload, of the revision that holds for its fork.
    pub fn signed_proof(
        &self,
        chain: &Mutex<SimChain>,
        block: &SimBlock,
        proof_type: ProofType,
    ) -> Option<SignedProof> {
        let request_root = block.payload.as_ref()?.request_root;
        let (spec, genesis) = {
            let chain = chain.lock();
            (chain.spec().clone(), chain.genesis())
        };
        let epoch = spec.epoch_at_slot(block.slot);
        let revision = spec.revision_at_epoch(epoch);
        let input = StatedInput::new(&spec, revision, request_root);
        let message = ProofMessage {
            proof_data: (self.config.maker)(&input, proof_type, self.config.proof_size),
            proof_type,
            root: match revision {
                Revision::Alpha => request_root,
                Revision::Beta => block.block_root,
            },
        };
        let proof_root = spec.proof_message_root(epoch, &message);
        let signing_root = spec.execution_proof_signing_root(&genesis, epoch, &proof_root);
        let signature = SecretKey::interop(self.config.validator_index).sign(&signing_root);
        Some(SignedProof {
            revision,
            message,
            validator_index: self.config.validator_index,
            signature,
        })
    }

    /// Proves a block's payload after the delay and posts every proof to every target.
    pub async fn prove(&self, chain: &Mutex<SimChain>, block: &SimBlock) {
        tokio::time::sleep(self.config.delay).await;
        for proof_type in self.config.proof_types.clone() {
            let Some(signed) = self.signed_proof(chain, block, proof_type) else {
                continue;
            };
            let body = signed.to_ssz_bytes();
            for target in &self.config.targets {
                let posted = self.post(target, &body).await;
                let mut counts = self.counts.lock();
                match posted {
                    Ok(()) => counts.posted += 1,
                    Err(why) => {
                        counts.failed += 1;
                        tracing::warn!(slot = %block.slot, proof_type, target, why, "proof not taken");
                    }
                }
            }
        }
    }

    async fn post(&self, target: &str, body: &Bytes) -> Result<(), String> {
        let url = format!("{}/eth/v1/beacon/execution_proofs", target.trim_end_matches('/'));
        let mut last = String::new();
        for _ in 0..TRIES {
            let sent = self
                .http
                .post(&url)
                .header("content-type", "application/octet-stream")
                .body(body.clone())
                .send()
                .await;
            match sent {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if answer.status().is_client_error() => {
                    return Err(format!(
                        "{}: {}",
                        answer.status(),
                        answer.text().await.unwrap_or_default()
                    ));
                }
                Ok(answer) => last = answer.status().to_string(),
                Err(e) => last = e.to_string(),
            }
            tokio::time::sleep(RETRY).await;
        }
        Err(last)
    }
}
