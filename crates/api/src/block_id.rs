//! Block ids as the Beacon API writes them: `head`, `genesis`, `finalized`, a slot, a root.
//!
//! The chain view begins at, or some epochs before, the finalized block. What is kept behind that (`--retention-epochs`)
//! is in the store's index.

use crate::ApiError;
use assay_chain::{BlockInfo, Chain, Checkpoint};
use assay_store::{Store, StoreError, StoredBlock};
use assay_types::{Root, Slot};

/// A block that an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NamedBlock {
    /// The zero root of the genesis block, which brings no payload.
    pub(crate) block_root: Root,
    pub(crate) slot: Slot,
    pub(crate) new_payload_request_root: Option<Root>,
    pub(crate) execution_optimistic: bool,
    pub(crate) finalized: bool,
}

const GENESIS: NamedBlock = NamedBlock {
    block_root: Root::ZERO,
    slot: Slot(0),
    new_payload_request_root: None,
    execution_optimistic: false,
    finalized: true,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockId {
    Head,
    Genesis,
    Finalized,
    Slot(Slot),
    Root(Root),
}

/// The block an id names; 400 where it is no id, 404 where there is no such block.
pub(crate) async fn resolve(chain: &dyn Chain, store: &Store, id: &str) -> Result<NamedBlock, ApiError> {
    let parsed = parse(id)?;
    // The block of the finalized checkpoint, once the view has it.
    let finalized = chain.block(&chain.finalized().root);
    let behind = |slot: Slot| finalized.as_ref().is_some_and(|f| slot <= f.slot);
    if let Some(block) = in_view(chain, parsed) {
        let canonical = || {
            chain
                .canonical_block_at(block.slot)
                .is_some_and(|b| b.block_root == block.block_root)
        };
        return Ok(NamedBlock {
            block_root: block.block_root,
            slot: block.slot,
            new_payload_request_root: block.new_payload_request_root,
            execution_optimistic: block.execution_optimistic,
            finalized: block.slot == Slot(0) || (behind(block.slot) && canonical()),
        });
    }
    // The genesis block is canonical and finalized on every chain, brings no payload, and is what `finalized` names before
    // there is any finality; the view need not have it.
    let is_genesis = match parsed {
        BlockId::Genesis | BlockId::Slot(Slot(0)) => true,
        BlockId::Finalized => chain.finalized() == Checkpoint::default(),
        _ => false,
    };
    if is_genesis {
        return Ok(GENESIS);
    }
    let kept = kept(store, parsed)
        .await
        .map_err(|e| ApiError::internal(e.to_string()))?
        // From the finalized block on the view knows better, once it has a head.
        .filter(|block| chain.head().is_none() || behind(block.slot))
        .ok_or_else(|| ApiError::not_found(format!("block {id} is not known")))?;
    Ok(NamedBlock {
        block_root: kept.block_root,
        slot: kept.slot,
        new_payload_request_root: kept.new_payload_request_root,
        // No better than what is built on it; while nothing of that is known, not good at all.
        execution_optimistic: finalized.as_ref().is_none_or(|f| f.execution_optimistic),
        finalized: behind(kept.slot) && kept.is_canonical,
    })
}

fn parse(id: &str) -> Result<BlockId, ApiError> {
    Ok(match id {
        "head" => BlockId::Head,
        "genesis" => BlockId::Genesis,
        "finalized" => BlockId::Finalized,
        id if id.starts_with("0x") => BlockId::Root(
            id.parse()
                .map_err(|e| ApiError::bad_request(format!("block id {id:?}: {e}")))?,
        ),
        id => {
            let digits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
            let slot = id.parse().ok().filter(|_| digits);
            BlockId::Slot(Slot(slot.ok_or_else(|| {
                ApiError::bad_request(format!(
                    "block id {id:?}: head, genesis, finalized, a slot or a root expected"
                ))
            })?))
        }
    })
}

fn in_view(chain: &dyn Chain, id: BlockId) -> Option<BlockInfo> {
    match id {
        BlockId::Head => chain.head(),
        BlockId::Genesis => chain.canonical_block_at(Slot(0)),
        BlockId::Finalized => chain.block(&chain.finalized().root),
        BlockId::Slot(slot) => chain.canonical_block_at(slot),
        BlockId::Root(root) => chain.block(&root),
    }
}

async fn kept(store: &Store, id: BlockId) -> Result<Option<StoredBlock>, StoreError> {
    match id {
        BlockId::Head | BlockId::Genesis | BlockId::Finalized => Ok(None),
        BlockId::Slot(slot) => store.canonical_block_at(slot).await,
        BlockId::Root(root) => store.by_block_root(root).await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn ids() {
        let root = Root::from([7; 32]);
        for (text, id) in [
            ("head", Some(BlockId::Head)),
            ("genesis", Some(BlockId::Genesis)),
            ("finalized", Some(BlockId::Finalized)),
            ("0", Some(BlockId::Slot(Slot(0)))),
            ("12", Some(BlockId::Slot(Slot(12)))),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("justified", None),
            ("99999999999999999999", None),
            ("0x07", None),
        ] {
            assert_eq!(parse(text).ok(), id, "{text:?}");
        }
        assert_eq!(parse(&root.to_string()), Ok(BlockId::Root(root)));
    }

    #[tokio::test]
    async fn before_finality_the_genesis_block_is_the_finalized_one() {
        use assay_store::{ChainIdentity, StoreConfig};
        use assay_verification::testing::MemoryChain;
        let spec = std::sync::Arc::new(assay_types::Spec::minimal());
        let chain = MemoryChain::new(spec, Root::from([7; 32]));
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            identity: ChainIdentity {
                genesis_validators_root: Root::from([7; 32]),
                chain_id: 1337,
                config_name: "test".into(),
            },
            request_form: assay_types::NewPayloadRequestForm::C,
            slots_per_epoch: 8,
            retention_epochs: 0,
            max_db_size: None,
            cache_bytes: 1 << 20,
        };
        let store = Store::open(dir.path().join("proofs.redb"), config).unwrap();
        for id in ["finalized", "genesis", "0"] {
            assert_eq!(resolve(&chain, &store, id).await.unwrap(), GENESIS, "{id}");
        }
        assert_eq!(resolve(&chain, &store, "head").await.unwrap_err().code, 404);
        let checkpoint = Checkpoint {
            epoch: assay_types::Epoch(2),
            root: Root::from([9; 32]),
        };
        chain.finalize(checkpoint, Slot(16), Vec::new());
        let unknown = resolve(&chain, &store, "finalized").await.unwrap_err();
        assert_eq!(unknown.code, 404, "finality is there, its block is not known");
    }
}
