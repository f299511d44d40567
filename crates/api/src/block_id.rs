//! Block ids as the Beacon API writes them: `head`, `genesis`, `finalized`, a slot, a root.
//!
//! The chain view begins at, or some epochs before, the finalized block. What is kept behind that (`--retention-epochs`)
//! is in the store's index.

use crate::ApiError;
use assay_chain::{BlockInfo, Chain};
use assay_store::{Store, StoreError, StoredBlock};
use assay_types::{Root, Slot};

/// A block that an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NamedBlock {
    pub(crate) slot: Slot,
    pub(crate) new_payload_request_root: Option<Root>,
    pub(crate) execution_optimistic: bool,
    pub(crate) finalized: bool,
}

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
            slot: block.slot,
            new_payload_request_root: block.new_payload_request_root,
            execution_optimistic: block.execution_optimistic,
            finalized: behind(block.slot) && canonical(),
        });
    }
    let kept = kept(store, parsed)
        .await
        .map_err(|e| ApiError::internal(e.to_string()))?
        // From the finalized block on the view knows better, once it has a head.
        .filter(|block| chain.head().is_none() || behind(block.slot))
        .ok_or_else(|| ApiError::not_found(format!("block {id} is not known")))?;
    Ok(NamedBlock {
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
}
