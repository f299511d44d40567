//! The invented chain. Blocks are whole SSZ blocks of the fork in force, signed by interop keys; state roots, payload
//! hashes and transactions are made up, deterministically from the seed.

use crate::block_json;
use assay_engine_api::block_hash;
use assay_types::{
    BeaconBlockSummary, BlockHash, Epoch, ForkName, NewPayloadRequest, PayloadEnvelope, PublicKeyBytes, Root,
    SecretKey, Slot, Spec,
    block::BlockPayload,
    containers,
    signing::{compute_domain, signing_root},
    spec::Genesis,
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{collections::HashMap, sync::Arc};

/// Most validators of an invented network.
pub const MAX_VALIDATORS: u64 = 4096;

/// `DOMAIN_BEACON_PROPOSER`.
const DOMAIN_BEACON_PROPOSER: [u8; 4] = [0, 0, 0, 0];
/// `DOMAIN_BEACON_BUILDER` (Gloas): under it envelopes are signed.
const DOMAIN_BEACON_BUILDER: [u8; 4] = [0x0b, 0, 0, 0];

/// How an invented chain is set up.
#[derive(Debug, Clone)]
pub struct ChainConfig {
    /// The network's values.
    pub spec: Spec,
    /// Unix seconds of slot 0.
    pub genesis_time: u64,
    /// Number of validators; keys are the interop keys by index.
    pub validators: u64,
    /// Bytes of transactions a payload carries, about.
    pub payload_bytes: usize,
    /// What hashes are made from: another seed, another chain.
    pub seed: u64,
}

/// What the simulator cannot do.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Settings that do not work.
    #[error("simulator settings: {0}")]
    Config(String),
    /// A block that is not on this chain.
    #[error("no block {0}")]
    UnknownBlock(Root),
    /// A block could not be put together.
    #[error("block of slot {slot}: {why}")]
    Block {
        /// Its slot.
        slot: Slot,
        /// What went wrong.
        why: String,
    },
    /// An address cannot be listened on, or a call failed.
    #[error("{what}: {why}")]
    Io {
        /// What was tried.
        what: String,
        /// What went wrong.
        why: String,
    },
}

/// A block of the invented chain.
#[derive(Debug)]
pub struct SimBlock {
    /// Its fork.
    pub fork: ForkName,
    /// `hash_tree_root(BeaconBlock)`.
    pub block_root: Root,
    /// The parent's.
    pub parent_root: Root,
    /// Its slot.
    pub slot: Slot,
    /// Who proposed it.
    pub proposer_index: u64,
    /// Root of its body.
    pub body_root: Root,
    /// An invented state root.
    pub state_root: Root,
    /// The `SignedBeaconBlock`.
    pub ssz: Bytes,
    /// The same as the Beacon API's JSON.
    pub json: serde_json::Value,
    /// The payload; none in the genesis block.
    pub payload: Option<SimPayload>,
    /// Gloas: what the payload travels in, after the block.
    pub envelope: Option<SimEnvelope>,
    /// The execution block this beacon block ends on: its payload's, or the execution chain's genesis.
    block_hash: BlockHash,
}

/// The payload of a block.
#[derive(Debug)]
pub struct SimPayload {
    /// Its `NewPayloadRequest`.
    pub request: NewPayloadRequest,
    /// The request's root.
    pub request_root: Root,
}

/// The envelope of a Gloas block's payload.
#[derive(Debug)]
pub struct SimEnvelope {
    /// The `SignedExecutionPayloadEnvelope`.
    pub ssz: Bytes,
    /// The same as the Beacon API's JSON.
    pub json: serde_json::Value,
}

impl SimBlock {
    /// The execution block this beacon block ends on: its payload's, or the execution chain's genesis.
    pub fn block_hash(&self) -> BlockHash {
        self.block_hash
    }
}

/// A validator's record.
#[derive(Debug, Clone)]
pub struct SimValidator {
    /// Its key.
    pub pubkey: PublicKeyBytes,
    /// First epoch it is active in.
    pub activation_epoch: Epoch,
    /// First epoch it is no longer active in.
    pub exit_epoch: Epoch,
}

/// The chain: every block that was produced, one canonical branch, and finality.
#[derive(Debug)]
pub struct SimChain {
    config: ChainConfig,
    spec: Arc<Spec>,
    genesis: Genesis,
    validators: Vec<SimValidator>,
    blocks: HashMap<Root, Arc<SimBlock>>,
    by_state_root: HashMap<Root, Root>,
    genesis_root: Root,
    head: Root,
    finalized: (Epoch, Root),
    justified: (Epoch, Root),
    finality_stalls: bool,
    produced: u64,
}

impl SimChain {
    /// A chain with its genesis block.
    pub fn new(config: ChainConfig) -> Result<Self, SimError> {
        if config.validators == 0 || config.validators > MAX_VALIDATORS {
            return Err(SimError::Config(format!("validators: 1 to {MAX_VALIDATORS}")));
        }
        let spec = Arc::new(config.spec.clone());
        let fork = spec.fork_at_epoch(Epoch(0));
        if fork < ForkName::Bellatrix || fork.has_envelope() {
            return Err(SimError::Config(format!(
                "the chain begins with a fork of Bellatrix to Fulu, not {fork}"
            )));
        }
        let validators: Vec<_> = (0..config.validators)
            .map(|index| SimValidator {
                pubkey: SecretKey::interop(index).public_key().to_bytes(),
                activation_epoch: Epoch(0),
                exit_epoch: Epoch::FAR_FUTURE,
            })
            .collect();
        let mut hash = Sha256::new_with_prefix(b"genesis validators");
        validators.iter().for_each(|v| hash.update(v.pubkey.0));
        hash.update(config.seed.to_le_bytes());
        let genesis = Genesis {
            genesis_time: config.genesis_time,
            genesis_validators_root: Root::from(<[u8; 32]>::from(hash.finalize())),
        };
        let mut chain = Self {
            config,
            spec,
            genesis,
            validators,
            blocks: HashMap::new(),
            by_state_root: HashMap::new(),
            genesis_root: Root::ZERO,
            head: Root::ZERO,
            finalized: (Epoch(0), Root::ZERO),
            justified: (Epoch(0), Root::ZERO),
            finality_stalls: false,
            produced: 0,
        };
        let block = chain.build(Slot(0), None)?;
        chain.genesis_root = block.block_root;
        chain.head = block.block_root;
        chain.insert(block);
        Ok(chain)
    }

    /// The network's values.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// Its genesis.
    pub fn genesis(&self) -> Genesis {
        self.genesis
    }

    /// The genesis block.
    pub fn genesis_root(&self) -> Root {
        self.genesis_root
    }

    /// A block.
    pub fn block(&self, root: &Root) -> Option<&Arc<SimBlock>> {
        self.blocks.get(root)
    }

    /// Every block, in no order.
    pub fn blocks(&self) -> impl Iterator<Item = &Arc<SimBlock>> {
        self.blocks.values()
    }

    /// The head of the canonical branch.
    pub fn head(&self) -> Result<Arc<SimBlock>, SimError> {
        self.blocks
            .get(&self.head)
            .cloned()
            .ok_or(SimError::UnknownBlock(self.head))
    }

    /// The finalized checkpoint.
    pub fn finalized(&self) -> (Epoch, Root) {
        self.finalized
    }

    /// The justified checkpoint.
    pub fn justified(&self) -> (Epoch, Root) {
        self.justified
    }

    /// The block whose state has this root.
    pub fn block_of_state(&self, state_root: &Root) -> Option<&Arc<SimBlock>> {
        self.by_state_root
            .get(state_root)
            .and_then(|root| self.blocks.get(root))
    }

    /// The ancestors of a block, itself first, down to genesis.
    pub fn branch<'a>(&'a self, root: &Root) -> impl Iterator<Item = &'a Arc<SimBlock>> + use<'a> {
        let mut next = self.blocks.get(root);
        std::iter::from_fn(move || {
            let block = next?;
            next = self.blocks.get(&block.parent_root);
            Some(block)
        })
    }

    /// The canonical block of a slot, if it has one.
    pub fn canonical_at(&self, slot: Slot) -> Option<&Arc<SimBlock>> {
        self.branch(&self.head)
            .take_while(|b| b.slot >= slot)
            .find(|b| b.slot == slot)
    }

    /// A validator's record.
    pub fn validator(&self, index: u64) -> Option<&SimValidator> {
        usize::try_from(index).ok().and_then(|i| self.validators.get(i))
    }

    /// A validator's index by its key.
    pub fn validator_by_key(&self, key: &PublicKeyBytes) -> Option<u64> {
        self.validators
            .iter()
            .position(|v| v.pubkey == *key)
            .map(|i| i as u64)
    }

    /// Number of validators.
    pub fn validator_count(&self) -> u64 {
        self.validators.len() as u64
    }

    /// Changes when a validator is active.
    pub fn set_validator(
        &mut self,
        index: u64,
        activation_epoch: Epoch,
        exit_epoch: Epoch,
    ) -> Result<(), SimError> {
        let validator = usize::try_from(index)
            .ok()
            .and_then(|i| self.validators.get_mut(i))
            .ok_or_else(|| SimError::Config(format!("no validator {index}")))?;
        validator.activation_epoch = activation_epoch;
        validator.exit_epoch = exit_epoch;
        Ok(())
    }

    /// Makes a block on `parent` (the head where `None`) and, where it builds on the head, moves the head to it.
    pub fn produce(&mut self, slot: Slot, parent: Option<Root>) -> Result<Arc<SimBlock>, SimError> {
        let parent = parent.unwrap_or(self.head);
        let block = self.build(slot, Some(parent))?;
        let root = block.block_root;
        let block = self.insert(block);
        if parent == self.head {
            self.set_head(root)?;
        }
        Ok(block)
    }

    /// Whether finality and justification stay where they are, as without the votes of a third of the validators.
    pub fn stall_finality(&mut self, stalled: bool) {
        self.finality_stalls = stalled;
    }

    /// Moves the head, to another branch too. Unless it stalls, finality follows: what is two epochs behind the head's epoch is final,
    /// one epoch justified, on the head's branch.
    pub fn set_head(&mut self, root: Root) -> Result<(), SimError> {
        let head = self
            .blocks
            .get(&root)
            .cloned()
            .ok_or(SimError::UnknownBlock(root))?;
        self.head = root;
        if self.finality_stalls {
            return Ok(());
        }
        let epoch = self.spec.epoch_at_slot(head.slot);
        for (back, final_too) in [(1, false), (2, true)] {
            let Some(target) = epoch.0.checked_sub(back).map(Epoch) else {
                continue;
            };
            let start = self.spec.start_slot(target);
            let Some(block) = self.branch(&root).find(|b| b.slot <= start).map(|b| b.block_root) else {
                continue;
            };
            if final_too && target > self.finalized.0 {
                self.finalized = (target, block);
            }
            if target > self.justified.0 {
                self.justified = (target, block);
            }
        }
        Ok(())
    }

    fn insert(&mut self, block: SimBlock) -> Arc<SimBlock> {
        let block = Arc::new(block);
        self.by_state_root.insert(block.state_root, block.block_root);
        self.blocks.insert(block.block_root, block.clone());
        block
    }

    /// Bytes made from the seed, a label and the number of blocks so far: no two blocks are alike.
    fn invent(&self, label: &str, slot: Slot) -> Root {
        let mut hash = Sha256::new_with_prefix(label.as_bytes());
        hash.update(self.config.seed.to_le_bytes());
        hash.update(slot.0.to_le_bytes());
        hash.update(self.produced.to_le_bytes());
        Root::from(<[u8; 32]>::from(hash.finalize()))
    }

    fn build(&mut self, slot: Slot, parent: Option<Root>) -> Result<SimBlock, SimError> {
        let failed = |why: String| SimError::Block { slot, why };
        let parent_block = match parent {
            Some(root) => Some(
                self.blocks
                    .get(&root)
                    .cloned()
                    .ok_or(SimError::UnknownBlock(root))?,
            ),
            None => None,
        };
        if parent_block.as_ref().is_some_and(|p| p.slot >= slot) {
            return Err(failed("not after its parent".into()));
        }
        self.produced += 1;
        let epoch = self.spec.epoch_at_slot(slot);
        let fork = self.spec.fork_at_epoch(epoch);
        let proposer_index = slot.0 % self.validator_count();
        let state_root = self.invent("state", slot);
        let draft = block_json::Draft {
            spec: &self.spec,
            fork,
            slot,
            proposer_index,
            parent_root: parent_block.as_ref().map_or(Root::ZERO, |p| p.block_root),
            state_root,
            payload: parent_block.as_ref().map(|p| block_json::PayloadDraft {
                parent_hash: p.block_hash(),
                prev_randao: self.invent("randao", slot),
                timestamp: self.genesis.genesis_time + slot.0 * self.spec.slot_duration_ms / 1000,
                transaction_bytes: self.config.payload_bytes,
                salt: self.invent("transactions", slot),
            }),
        };
        let mut json = draft.signed_block();
        let context = containers::ContainerContext::new(fork, &self.spec);
        let schema = containers::lookup("SignedBeaconBlock", &context).map_err(|e| failed(e.to_string()))?;
        let read = |json: &serde_json::Value| {
            let bytes = schema.encode_json(json).map_err(|e| failed(e.to_string()))?;
            BeaconBlockSummary::from_signed_block_ssz(fork, &self.spec, &Bytes::from(bytes))
                .map_err(|e| failed(e.to_string()))
        };
        // The payload's hash is that of its fields, as every client checks; then the block's root follows.
        let mut summary = read(&json)?;
        let mut envelope = None;
        let block_hash = match &summary.payload {
            BlockPayload::Request(request) => {
                let hash = block_hash::of_request(request);
                json["message"]["body"]["execution_payload"]["block_hash"] = hash.to_string().into();
                summary = read(&json)?;
                hash
            }
            BlockPayload::Bid { .. } => {
                let mut draft = draft.signed_envelope();
                let inside = self.read_envelope(fork, &draft).map_err(failed)?;
                let hash = block_hash::of_request(&inside.partial_request);
                draft["message"]["payload"]["block_hash"] = hash.to_string().into();
                let bid = &mut json["message"]["body"]["signed_execution_payload_bid"]["message"];
                bid["block_hash"] = hash.to_string().into();
                bid["execution_requests_root"] = inside.execution_requests_root.to_string().into();
                summary = read(&json)?;
                draft["message"]["beacon_block_root"] = summary.block_root.to_string().into();
                envelope = Some(draft);
                hash
            }
            BlockPayload::None => self.invent("execution genesis", slot),
        };
        let signed = |root: &Root, domain_type| {
            let version = self.spec.fork_version_at_epoch(epoch);
            let domain = compute_domain(domain_type, version, &self.genesis.genesis_validators_root);
            let signature = SecretKey::interop(proposer_index).sign(&signing_root(root, &domain));
            serde_json::Value::from(signature.to_string())
        };
        json["signature"] = signed(&summary.block_root, DOMAIN_BEACON_PROPOSER);
        let ssz = Bytes::from(schema.encode_json(&json).map_err(|e| failed(e.to_string()))?);
        let body_root = schema
            .view(&ssz)
            .ok()
            .and_then(|view| view.at("message.body").map(|body| body.hash_tree_root()))
            .ok_or_else(|| failed("no body".into()))?;
        let mut sealed = None;
        let request = match (&summary.payload, envelope) {
            (BlockPayload::Request(request), _) => Some(NewPayloadRequest::clone(request)),
            (_, Some(mut json)) => {
                let schema = containers::lookup("SignedExecutionPayloadEnvelope", &context)
                    .map_err(|e| failed(e.to_string()))?;
                let encode =
                    |json: &serde_json::Value| schema.encode_json(json).map_err(|e| failed(e.to_string()));
                let message = encode(&json)?;
                let root = schema
                    .view(&message)
                    .ok()
                    .and_then(|view| view.at("message").map(|message| message.hash_tree_root()))
                    .ok_or_else(|| failed("no envelope".into()))?;
                json["signature"] = signed(&root, DOMAIN_BEACON_BUILDER);
                let ssz = Bytes::from(encode(&json)?);
                let request = self
                    .read_envelope(fork, &json)
                    .and_then(|envelope| envelope.request(&summary).map_err(|e| e.to_string()))
                    .map_err(failed)?;
                sealed = Some(SimEnvelope { ssz, json });
                Some(request)
            }
            _ => None,
        };
        let payload = match request {
            Some(request) => Some(SimPayload {
                request_root: request
                    .hash_tree_root(&self.spec)
                    .map_err(|e| failed(e.to_string()))?,
                request,
            }),
            None => None,
        };
        Ok(SimBlock {
            fork,
            block_root: summary.block_root,
            parent_root: summary.parent_root,
            slot,
            proposer_index,
            body_root,
            state_root,
            ssz,
            json,
            payload,
            envelope: sealed,
            block_hash,
        })
    }

    fn read_envelope(&self, fork: ForkName, json: &serde_json::Value) -> Result<PayloadEnvelope, String> {
        PayloadEnvelope::from_signed_envelope_json(fork, &self.spec, json).map_err(|e| e.to_string())
    }
}
