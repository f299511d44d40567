//! `hash_tree_root` straight from serialised bytes.
//!
//! Basic values, byte strings, and lists of 32-byte values hash from the bytes as they lie: a 1 MB transaction or a
//! 4 MiB proof is merkleised in bulk, never turned into a tree of values.

use super::{
    Schema,
    check::bitlist_len,
    view::{View, container_parts, list_items},
};
use crate::{Root, merkle};
use std::borrow::Cow;

/// Bytes of a chunk, the leaf of every tree.
const CHUNK: usize = 32;
/// Bits of a chunk.
const CHUNK_BITS: usize = 256;

/// The root of a checked value.
pub(super) fn hash_tree_root(view: &View<'_>) -> Root {
    root(view.schema(), view.bytes())
}

fn root(schema: &Schema, bytes: &[u8]) -> Root {
    match schema {
        Schema::Uint(size) | Schema::Bytes(size) => merkle::merkleize_bytes(bytes, size.div_ceil(CHUNK)),
        Schema::Boolean => merkle::merkleize_bytes(bytes, 1),
        Schema::ByteList(limit) => merkle::mix_in_length(
            &merkle::merkleize_bytes(bytes, whole(*limit).div_ceil(CHUNK)),
            bytes.len(),
        ),
        Schema::ProgressiveByteList => {
            merkle::mix_in_length(&merkle::merkleize_progressive_bytes(bytes), bytes.len())
        }
        Schema::Bitvector(bits) => merkle::merkleize_bytes(bytes, bits.div_ceil(CHUNK_BITS)),
        Schema::Bitlist(limit) => {
            let (bits, len) = without_end_bit(bytes);
            merkle::mix_in_length(
                &merkle::merkleize_bytes(&bits, whole(*limit).div_ceil(CHUNK_BITS)),
                len,
            )
        }
        Schema::ProgressiveBitlist => {
            let (bits, len) = without_end_bit(bytes);
            merkle::mix_in_length(&merkle::merkleize_progressive_bytes(&bits), len)
        }
        Schema::Vector(element, count) => items_root(element, bytes, Some(*count)).0,
        Schema::List(element, limit) => {
            let (root, len) = items_root(element, bytes, Some(whole(*limit)));
            merkle::mix_in_length(&root, len)
        }
        Schema::ProgressiveList(element) => {
            let (root, len) = items_root(element, bytes, None);
            merkle::mix_in_length(&root, len)
        }
        Schema::Container { fields, .. } => {
            let roots: Vec<[u8; 32]> = container_parts(fields, bytes)
                .map(|(field, part)| root(&field.schema, part).0)
                .collect();
            merkle::merkleize(&roots, roots.len())
        }
        Schema::ProgressiveContainer {
            fields,
            active_fields,
            ..
        } => {
            let mut parts = container_parts(fields, bytes);
            let roots: Vec<[u8; 32]> = active_fields
                .iter()
                .map(|active| match active.then(|| parts.next()).flatten() {
                    Some((field, part)) => root(&field.schema, part).0,
                    None => [0; 32],
                })
                .collect();
            merkle::mix_in_active_fields(&merkle::merkleize_progressive(&roots), active_fields)
        }
    }
}

/// The root of a list's or vector's elements before any length is mixed in, and their number. Progressive where there is
/// no `limit`.
fn items_root(element: &Schema, bytes: &[u8], limit: Option<usize>) -> (Root, usize) {
    // Bytes32 and uint256 elements are their own chunks, smaller basic ones share them.
    let packed = element.packed_size().or(match element {
        Schema::Bytes(32) => Some(32),
        _ => None,
    });
    if let Some(size) = packed {
        let len = bytes.len().checked_div(size).unwrap_or(0);
        let root = match limit {
            Some(limit) => merkle::merkleize_bytes(bytes, limit.saturating_mul(size).div_ceil(CHUNK)),
            None => merkle::merkleize_progressive_bytes(bytes),
        };
        return (root, len);
    }
    let roots: Vec<[u8; 32]> = list_items(element, bytes)
        .map(|item| root(element, item).0)
        .collect();
    let root = match limit {
        Some(limit) => merkle::merkleize(&roots, limit),
        None => merkle::merkleize_progressive(&roots),
    };
    (root, roots.len())
}

/// The bits of a checked bit list without the bit that ends it, and their number.
fn without_end_bit(bytes: &[u8]) -> (Cow<'_, [u8]>, usize) {
    let len = bitlist_len(bytes).unwrap_or(0);
    if len.is_multiple_of(8) {
        return (Cow::Borrowed(bytes.get(..len / 8).unwrap_or_default()), len);
    }
    let mut bits = bytes.to_vec();
    if let Some(last) = bits.last_mut() {
        *last &= (1 << (len % 8)) - 1;
    }
    (Cow::Owned(bits), len)
}

/// A limit as the tree's; on 32-bit machines no bytes come near the ones that do not fit.
fn whole(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
