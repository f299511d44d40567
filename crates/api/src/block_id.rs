//! Block ids as the Beacon API writes them: `head`, `genesis`, `finalized`, a slot, a root.

use crate::ApiError;
use assay_chain::{BlockInfo, Chain};
use assay_types::{Root, Slot};

/// The block an id names; 400 where it is no id, 404 where there is no such block.
pub(crate) fn resolve(chain: &dyn Chain, id: &str) -> Result<BlockInfo, ApiError> {
    let found = match id {
        "head" => chain.head(),
        "genesis" => chain.canonical_block_at(Slot(0)),
        "finalized" => chain.block(&chain.finalized().root),
        id if id.starts_with("0x") => {
            let root: Root = id
                .parse()
                .map_err(|e| ApiError::bad_request(format!("block id {id:?}: {e}")))?;
            chain.block(&root)
        }
        id => {
            let digits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
            let slot = id.parse().ok().filter(|_| digits);
            let slot = slot.ok_or_else(|| {
                ApiError::bad_request(format!(
                    "block id {id:?}: head, genesis, finalized, a slot or a root expected"
                ))
            })?;
            chain.canonical_block_at(Slot(slot))
        }
    };
    found.ok_or_else(|| ApiError::not_found(format!("block {id} is not known")))
}
