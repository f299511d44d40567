//! Settings of the store, and the chain a database belongs to.

use assay_types::{Epoch, NewPayloadRequestForm, Root, Slot, Spec};

/// Which chain a database holds proofs of. Checked at every opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainIdentity {
    /// Genesis validators root: tells beacon chains apart.
    pub genesis_validators_root: Root,
    /// `DEPOSIT_CHAIN_ID`.
    pub chain_id: u64,
    /// `CONFIG_NAME`, for messages alone.
    pub config_name: String,
}

impl std::fmt::Display for ChainIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            genesis_validators_root,
            chain_id,
            config_name,
        } = self;
        write!(
            f,
            "{config_name} (chain id {chain_id}, genesis validators root {genesis_validators_root})"
        )
    }
}

/// Settings of the store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The chain this node is on.
    pub identity: ChainIdentity,
    /// How a `NewPayloadRequest` of Gloas is hashed: what is recorded under another form's roots is told apart.
    pub request_form: NewPayloadRequestForm,
    /// `SLOTS_PER_EPOCH`.
    pub slots_per_epoch: u64,
    /// `--retention-epochs`: epochs kept before the finalized one.
    pub retention_epochs: u64,
    /// `--max-db-size` in bytes of proofs; `None`: no limit. The proof serve range is kept even beyond it.
    pub max_db_size: Option<u64>,
    /// Memory for database pages, in bytes. What serving a range reads is read once: in little memory it stays in the
    /// processor's caches, and the system keeps the file's pages.
    pub cache_bytes: usize,
}

impl StoreConfig {
    /// Keeps what the specification asks for and no more, without a size limit, with 2 MiB of page cache.
    pub fn new(spec: &Spec, genesis_validators_root: Root) -> Self {
        Self {
            identity: ChainIdentity {
                genesis_validators_root,
                chain_id: spec.chain_id,
                config_name: spec.config_name.clone(),
            },
            request_form: spec.new_payload_request_form,
            slots_per_epoch: spec.slots_per_epoch,
            retention_epochs: 0,
            max_db_size: None,
            cache_bytes: 2 * 1024 * 1024,
        }
    }

    /// The first slot of an epoch.
    pub(crate) fn start_slot(&self, epoch: Epoch) -> Slot {
        Slot(epoch.0.saturating_mul(self.slots_per_epoch))
    }
}
