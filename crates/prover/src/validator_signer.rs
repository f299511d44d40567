//! The `ProofSigner`: which validators the keys here belong to, whose turn it is, and a signature that was verified.

use crate::{
    SignerMetrics,
    key_signer::{KeyError, KeySigner, SigningMessage},
    validators::{self, Standing, Validator},
};
use assay_chain::{Chain, NodeApi, PayloadInfo};
use assay_types::{Epoch, PublicKey, PublicKeyBytes, SignedProof, Slot, ValidatorIndex};
use assay_verification::{CheckedProof, ProofSigner, SignError, message_of};
use async_trait::async_trait;
use parking_lot::RwLock;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How often keys and validators are looked up again: they come and go, become active, and exit.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(60);
/// The same while not everything could be looked up.
const LOOK_UP_RETRY: Duration = Duration::from_secs(5);
/// Validators the beacon node fails to tell of before the rest of a round is left for the next.
const LOOK_UP_ERRORS: usize = 3;
/// Validators asked one after the other to sign one proof, should the first not.
const SIGNERS_TRIED: usize = 3;

/// A key whose validator is known.
#[derive(Debug, Clone)]
struct Known {
    /// Its place among the key signers.
    source: usize,
    public_key: PublicKey,
    validator: Validator,
}

/// What has been logged, so that it is logged once per change.
#[derive(Default)]
struct Told {
    standing: BTreeMap<PublicKeyBytes, Standing>,
    failed: BTreeMap<usize, String>,
    beacon_node: bool,
    active: Option<usize>,
    /// The last key asked for before a round was broken off: the next begins behind it, so that keys the beacon node fails
    /// at do not keep it from ever asking for the others.
    broken_off_at: Option<PublicKeyBytes>,
}

/// Signs for the validators whose keys its key signers hold. `keep_up` has to run beside it: until it has asked the beacon
/// node, no validator is known.
pub struct ValidatorSigner {
    chain: Arc<dyn Chain>,
    sources: Vec<Arc<dyn KeySigner>>,
    known: RwLock<BTreeMap<PublicKeyBytes, Known>>,
    changed: watch::Sender<()>,
    metrics: SignerMetrics,
}

impl ValidatorSigner {
    /// With these sources of keys; a key that several have is the first one's.
    pub fn new(chain: Arc<dyn Chain>, sources: Vec<Arc<dyn KeySigner>>) -> Self {
        Self {
            chain,
            sources,
            known: RwLock::default(),
            changed: watch::Sender::new(()),
            metrics: SignerMetrics::default(),
        }
    }

    /// What it counts.
    pub fn metrics(&self) -> &SignerMetrics {
        &self.metrics
    }

    /// Told after each look-up.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Asks the key signers for keys and the beacon node for their validators, again and again, without an end. Says whose
    /// standing changed.
    pub async fn keep_up(&self, api: &NodeApi) {
        let mut told = Told::default();
        loop {
            let complete = self.look_up(api, &mut told).await;
            // Nobody listening is no error.
            self.changed.send_replace(());
            tokio::time::sleep(if complete { LOOK_UP_INTERVAL } else { LOOK_UP_RETRY }).await;
        }
    }

    /// One round; whether everything was answered. What was not keeps what was known of it.
    async fn look_up(&self, api: &NodeApi, told: &mut Told) -> bool {
        let (keys, mut complete) = self.keys(told).await;
        self.known.write().retain(|key, _| keys.contains_key(key));
        told.standing.retain(|key, _| keys.contains_key(key));
        let epoch = self.chain.spec().epoch_at_slot(self.chain.current_slot());
        let mut errors = 0;
        let mut in_turn: Vec<(PublicKeyBytes, usize)> = keys.into_iter().collect();
        if let Some(last) = told.broken_off_at.take() {
            let behind = in_turn.partition_point(|(key, _)| *key <= last);
            in_turn.rotate_left(behind);
        }
        for (key, source) in in_turn {
            match validators::look_up(api, &key).await {
                Ok(validator) => {
                    told.standing(key, validator.as_ref(), epoch);
                    self.keep(key, source, validator);
                }
                Err(error) => {
                    if !std::mem::replace(&mut told.beacon_node, true) {
                        tracing::warn!(%error, pubkey = %key, "validators cannot be looked up; trying again");
                    }
                    errors += 1;
                    if errors == LOOK_UP_ERRORS {
                        told.broken_off_at = Some(key);
                        break;
                    }
                }
            }
        }
        if errors == 0 {
            told.beacon_node = false;
        }
        complete &= errors == 0;
        let active = self.active(epoch).len();
        self.metrics.active.set(i64::try_from(active).unwrap_or(i64::MAX));
        if told.active.replace(active) != Some(active) {
            match active {
                0 => tracing::warn!("no validator with a key here is active: nothing can be signed"),
                _ => tracing::info!(active, "validators that can sign proofs"),
            }
        }
        complete
    }

    /// Every key with the place of its source; whether all sources answered.
    async fn keys(&self, told: &mut Told) -> (BTreeMap<PublicKeyBytes, usize>, bool) {
        let mut keys = BTreeMap::new();
        let mut complete = true;
        for (source, signer) in self.sources.iter().enumerate() {
            let found = match signer.public_keys().await {
                Ok(found) => {
                    if told.failed.remove(&source).is_some() {
                        tracing::info!(signer = signer.name(), "the signer answers again");
                    }
                    found
                }
                Err(error) => {
                    let why = error.to_string();
                    if told.failed.insert(source, why.clone()).as_ref() != Some(&why) {
                        tracing::warn!(
                            signer = signer.name(),
                            why,
                            "the signer does not tell its keys; trying again"
                        );
                    }
                    complete = false;
                    let known = self.known.read();
                    let former = known.iter().filter(|(_, known)| known.source == source);
                    former.map(|(key, _)| *key).collect()
                }
            };
            for key in found {
                keys.entry(key).or_insert(source);
            }
        }
        (keys, complete)
    }

    fn keep(&self, key: PublicKeyBytes, source: usize, validator: Option<Validator>) {
        let mut known = self.known.write();
        let Some(validator) = validator else {
            known.remove(&key);
            return;
        };
        match PublicKey::from_bytes(&key) {
            Ok(public_key) => {
                let entry = Known {
                    source,
                    public_key,
                    validator,
                };
                known.insert(key, entry);
            }
            // No registry has such a key.
            Err(error) => tracing::error!(%error, pubkey = %key, "not a public key"),
        }
    }

    /// Those active at an epoch, by index.
    fn active(&self, epoch: Epoch) -> Vec<Known> {
        let known = self.known.read();
        let active = |known: &&Known| known.validator.standing(epoch) == Standing::Active;
        let mut active: Vec<Known> = known.values().filter(active).cloned().collect();
        active.sort_by_key(|known| known.validator.index);
        active
    }

    /// Asks one key; what comes back is verified before it is used.
    async fn sign_with(&self, known: &Known, message: &SigningMessage) -> Result<SignedProof, KeyError> {
        let Some(signer) = self.sources.get(known.source) else {
            return Err(KeyError::NoKey);
        };
        let signature = signer.sign(&known.validator.pubkey, message).await?;
        let (key, root) = (known.public_key.clone(), message.signing_root);
        let verified = tokio::task::spawn_blocking(move || key.verify(&root, &signature)).await;
        if !verified.unwrap_or(false) {
            return Err(KeyError::Refused(
                "the signature it gave does not verify".to_owned(),
            ));
        }
        Ok(SignedProof {
            revision: message.revision,
            message: message.message.clone(),
            validator_index: known.validator.index,
            signature,
        })
    }
}

#[async_trait]
impl ProofSigner for ValidatorSigner {
    fn validators(&self, slot: Slot) -> Vec<ValidatorIndex> {
        let active = self.active(self.chain.spec().epoch_at_slot(slot));
        active.iter().map(|known| known.validator.index).collect()
    }

    async fn sign(&self, proof: CheckedProof, payload: &PayloadInfo) -> Result<SignedProof, SignError> {
        let (spec, genesis, slot) = (self.chain.spec().clone(), self.chain.genesis(), payload.slot);
        let (revision, message) = message_of(&spec, proof.into_proof(), payload)?;
        let epoch = spec.epoch_at_slot(slot);
        let mut active = self.active(epoch);
        if active.is_empty() {
            return Err(SignError::NoValidator(slot));
        }
        // They take turns; who is next helps out.
        let turn = slot.0 % active.len() as u64;
        active.rotate_left(usize::try_from(turn).unwrap_or(0));
        let message = tokio::task::spawn_blocking(move || {
            SigningMessage::new(&spec, &genesis, epoch, revision, message)
        });
        let message = message
            .await
            .map_err(|error| SignError::Signer(error.to_string()))?;
        let (mut failed, mut tried, mut down) = (String::new(), 0, Vec::new());
        for known in &active {
            // Who does not answer for one key does not for another.
            if down.contains(&known.source) {
                continue;
            }
            if tried == SIGNERS_TRIED {
                break;
            }
            tried += 1;
            match self.sign_with(known, &message).await {
                Ok(signed) => {
                    self.metrics.signed.inc();
                    return Ok(signed);
                }
                Err(error) => {
                    self.metrics.failed.inc();
                    let signer = self.sources.get(known.source).map_or("", |signer| signer.name());
                    failed = format!("{signer}: {error}");
                    if matches!(error, KeyError::Unavailable(_)) {
                        down.push(known.source);
                    }
                    tracing::warn!(%slot, validator = known.validator.index, signer, %error, "a validator's key did not sign");
                }
            }
        }
        Err(SignError::Signer(failed))
    }
}

impl Told {
    /// Says where a validator stands, where that is news.
    fn standing(&mut self, key: PublicKeyBytes, validator: Option<&Validator>, epoch: Epoch) {
        let standing = validator.map_or(Standing::Unknown, |v| v.standing(epoch));
        if self.standing.insert(key, standing) == Some(standing) {
            return;
        }
        let index = validator.map(|v| v.index);
        match standing {
            Standing::Active => tracing::info!(validator = index, pubkey = %key, "the validator is active"),
            Standing::Unknown => {
                tracing::warn!(pubkey = %key, "the beacon node knows no such validator; waiting");
            }
            Standing::Pending => {
                tracing::warn!(validator = index, pubkey = %key, "not active yet; waiting");
            }
            Standing::Exited => {
                tracing::warn!(validator = index, pubkey = %key, "not active any more: signs nothing");
            }
        }
    }
}

#[cfg(test)]
mod tests;
