//! The list that an export has beside its files, written last: an export without one was cut short.

use anyhow::{Context, bail, ensure};
use assay_proof_engine::proof_types::ProofTypeRecords;
use assay_store::{BlockUpdate, ChainIdentity, KeptAs, MAX_RECORD_BYTES, RecordKey, StoredBlock};
use assay_types::{ProofName, ProofType, Revision, Root, SignedProof, Slot, ValidatorIndex};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet},
    io::Read,
    path::{Component, Path},
};

/// Its name in the directory.
pub(super) const FILE: &str = "export.json";
/// Form of the list. 3 has proofs of `beta` in it, which name a block, with the payload that they were verified for; without any
/// it is 1. In 2 the block alone said whose payload that is.
const FORMATS: [u32; 3] = [1, 2, 3];
/// Most bytes of a list that are read.
const MAX_BYTES: u64 = 1 << 30;

/// What an export holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: u32,
    pub(super) network: String,
    pub(super) chain_id: u64,
    pub(super) genesis_validators_root: Root,
    /// The newest canonical block.
    pub(super) head: Option<Root>,
    /// What the numbers of the proofs' types stand for, as the database has recorded it. Not in lists of earlier versions; those
    /// refuse one that has it, so it needs no form of its own.
    #[serde(default, skip_serializing_if = "ProofTypeRecords::is_empty")]
    pub(super) proof_types: ProofTypeRecords,
    pub(super) blocks: Vec<Block>,
    pub(super) proofs: Vec<Proof>,
}

/// A block of the index.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Block {
    pub(super) slot: u64,
    pub(super) block_root: Root,
    pub(super) parent_root: Root,
    pub(super) new_payload_request_root: Option<Root>,
}

/// A proof and the file it is in.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proof {
    pub(super) file: String,
    pub(super) slot: u64,
    /// What a proof of `alpha` names, and one of `beta` was verified for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) new_payload_request_root: Option<Root>,
    /// What a proof of `beta` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) beacon_block_root: Option<Root>,
    pub(super) proof_type: ProofType,
    pub(super) validator_index: ValidatorIndex,
    /// Of the SSZ, unpacked.
    pub(super) bytes: u64,
    /// Of the SSZ, unpacked; hex.
    pub(super) sha256: String,
}

impl Manifest {
    pub(super) fn of(identity: &ChainIdentity) -> Self {
        Self {
            format: FORMATS[0],
            network: identity.config_name.clone(),
            chain_id: identity.chain_id,
            genesis_validators_root: identity.genesis_validators_root,
            head: None,
            proof_types: ProofTypeRecords::default(),
            blocks: Vec::new(),
            proofs: Vec::new(),
        }
    }

    pub(super) fn identity(&self) -> ChainIdentity {
        ChainIdentity {
            genesis_validators_root: self.genesis_validators_root,
            chain_id: self.chain_id,
            config_name: self.network.clone(),
        }
    }

    /// The list of an export.
    pub(super) fn read(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let shown = path.display().to_string();
        let file = std::fs::File::open(&path)
            .with_context(|| format!("{shown}: not an export, or one that was cut short"))?;
        let mut text = Vec::new();
        file.take(MAX_BYTES)
            .read_to_end(&mut text)
            .with_context(|| shown.clone())?;
        let read: Self = serde_json::from_slice(&text).with_context(|| shown.clone())?;
        ensure!(
            FORMATS.contains(&read.format),
            "{shown} has format {}, this program reads {FORMATS:?}: use the version that wrote it",
            read.format
        );
        Ok(read)
    }

    /// Writes it, whole or not at all.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let (path, draft) = (directory.join(FILE), directory.join(format!("{FILE}.new")));
        let write = || -> std::io::Result<()> {
            std::fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
            std::fs::File::open(&draft)?.sync_all()?;
            std::fs::rename(&draft, &path)
        };
        write().with_context(|| path.display().to_string())
    }
}

impl Manifest {
    /// Whether the list agrees with itself: each block once and after its parent, the head among them, no proof in another slot
    /// than the block it is of. A proof whose block is not listed may be one whose block was never seen.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let mut slots: HashMap<Root, u64> = HashMap::new();
        for block in &self.blocks {
            let root = block.block_root;
            ensure!(
                slots.insert(root, block.slot).is_none(),
                "{FILE} has block {root} twice"
            );
        }
        for block in &self.blocks {
            let parent = slots.get(&block.parent_root);
            ensure!(
                parent.is_none_or(|parent| *parent < block.slot),
                "{FILE} has block {} at slot {}, not after its parent",
                block.block_root,
                block.slot
            );
        }
        if let Some(head) = self.head {
            ensure!(
                slots.contains_key(&head),
                "{FILE} names {head} as head, which is none of its blocks"
            );
        }
        // One payload may be of several blocks.
        let mut payloads: HashMap<Root, HashSet<u64>> = HashMap::new();
        for block in &self.blocks {
            if let Some(payload) = block.new_payload_request_root {
                payloads.entry(payload).or_default().insert(block.slot);
            }
        }
        for proof in &self.proofs {
            let name = proof.name()?;
            let elsewhere = match name.revision {
                Revision::Alpha => payloads
                    .get(&name.root)
                    .is_some_and(|of| !of.contains(&proof.slot)),
                Revision::Beta => slots.get(&name.root).is_some_and(|slot| *slot != proof.slot),
            };
            ensure!(
                !elsewhere,
                "{FILE} has {} at slot {}, and its block at another",
                proof.file,
                proof.slot
            );
        }
        Ok(())
    }

    /// What the numbers of the types stand for that there are proofs of.
    pub(super) fn entries(&self) -> ProofTypeRecords {
        let types: HashSet<ProofType> = self.proofs.iter().map(|proof| proof.proof_type).collect();
        let mut entries = self.proof_types.clone();
        entries.0.retain(|proof_type, _| types.contains(proof_type));
        entries
    }

    /// Takes a proof into the list.
    pub(super) fn push(&mut self, proof: Proof) {
        if proof.beacon_block_root.is_some() {
            self.format = FORMATS[2];
        }
        self.proofs.push(proof);
    }
}

/// The payloads of blocks.
pub(super) type Payloads = HashMap<Root, Root>;

impl Manifest {
    /// What the index says of the blocks' payloads.
    pub(super) fn payloads(&self) -> Payloads {
        let of = |block: &Block| Some((block.block_root, block.new_payload_request_root?));
        self.blocks.iter().filter_map(of).collect()
    }
}

impl Block {
    /// Whether a database has the same block: its payload may be known on one side alone.
    pub(super) fn agrees_with(&self, known: &StoredBlock) -> bool {
        let payloads = self.new_payload_request_root.zip(known.new_payload_request_root);
        (self.slot, self.parent_root) == (known.slot.0, known.parent_root)
            && payloads.is_none_or(|(listed, known)| listed == known)
    }

    pub(super) fn update(&self) -> BlockUpdate {
        BlockUpdate {
            block_root: self.block_root,
            parent_root: self.parent_root,
            slot: Slot(self.slot),
            new_payload_request_root: self.new_payload_request_root,
        }
    }
}

impl Proof {
    /// `payload`: its request root.
    pub(super) fn of(key: &RecordKey, revision: Revision, payload: Option<Root>, ssz: &[u8]) -> Self {
        let root = key.root.to_string();
        let root = root.get(2..18).unwrap_or_default();
        Self {
            file: format!(
                "{:010}-{root}-{}-{}.ssz_snappy",
                key.slot.0, key.proof_type, key.validator_index
            ),
            slot: key.slot.0,
            new_payload_request_root: payload,
            beacon_block_root: (revision == Revision::Beta).then_some(key.root),
            proof_type: key.proof_type,
            validator_index: key.validator_index,
            bytes: ssz.len() as u64,
            sha256: hex::encode(Sha256::digest(ssz)),
        }
    }

    /// What it names; an error where the list does not say.
    pub(super) fn name(&self) -> anyhow::Result<ProofName> {
        let (revision, root) = match (self.new_payload_request_root, self.beacon_block_root) {
            (_, Some(root)) => (Revision::Beta, root),
            (Some(root), None) => (Revision::Alpha, root),
            (None, None) => bail!("{FILE} does not say what {} is a proof of", self.file),
        };
        Ok(ProofName {
            revision,
            root,
            proof_type: self.proof_type,
        })
    }

    /// As what a database keeps it; an error where nothing says what an envelope was verified for.
    pub(super) fn kept_as(&self, name: &ProofName, blocks: &Payloads) -> anyhow::Result<KeptAs> {
        if name.revision == Revision::Alpha {
            return Ok(KeptAs::Alpha);
        }
        let payload = self.new_payload_request_root.or(blocks.get(&name.root).copied());
        let new_payload_request_root = payload
            .with_context(|| format!("{FILE} does not say of which payload {} is a proof", self.file))?;
        Ok(KeptAs::Beta {
            new_payload_request_root,
        })
    }

    pub(super) fn key(&self, name: &ProofName) -> RecordKey {
        RecordKey {
            slot: Slot(self.slot),
            root: name.root,
            proof_type: self.proof_type,
            validator_index: self.validator_index,
        }
    }

    /// What it is known by and its SSZ, if the file is what the list says.
    pub(super) fn read(&self, directory: &Path) -> anyhow::Result<(ProofName, Bytes)> {
        let name = self.name()?;
        let path = directory.join(&self.file);
        let shown = path.display().to_string();
        let mut parts = Path::new(&self.file).components();
        // A list from elsewhere must not lead anywhere else.
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            bail!("{FILE} names {:?}, which is no file of the directory", self.file);
        }
        ensure!(
            self.bytes <= MAX_RECORD_BYTES as u64,
            "{shown}: {} bytes are more than a proof can have",
            self.bytes
        );
        let (_, ssz) = crate::commands::files::read(&path)?;
        let ssz = Bytes::from(ssz);
        let is_it = ssz.len() as u64 == self.bytes && hex::encode(Sha256::digest(&ssz)) == self.sha256;
        ensure!(
            is_it,
            "{shown} is not what {FILE} says: it was changed or damaged"
        );
        let signed = SignedProof::from_ssz_bytes(&ssz, name.revision).with_context(|| shown.clone())?;
        let same = signed.name() == name && signed.validator_index == self.validator_index;
        ensure!(same, "{shown} is a proof of something else than {FILE} says");
        Ok((name, ssz))
    }
}
