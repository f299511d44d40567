//! Merkleising over hashtree-rs, layer by layer: many hashes a call instead of node by node.
//!
//! The rules are those of the consensus specs' `ssz/simple-serialize.md`: plain trees with virtual zero padding, and
//! the progressive shape of EIP-7916 / EIP-7495. The caller's bytes are hashed where they lie; what is written besides
//! is one block of scratch memory a thread ([`BLOCK_CHUNKS`]), whatever the size of the input.

use crate::primitives::Root;
use std::{cell::RefCell, sync::OnceLock};

/// Bytes of a chunk, and of every node of a tree.
pub const BYTES_PER_CHUNK: usize = 32;

/// Chunks that are merkleised in one go: 32 KiB of input, so that a block and its layers stay in the first cache.
const BLOCK_CHUNKS: usize = 1 << BLOCK_DEPTH;
const BLOCK_DEPTH: usize = 10;
const BLOCK_BYTES: usize = BLOCK_CHUNKS * BYTES_PER_CHUNK;

/// Deepest tree: a limit is a `usize`, so no tree has more than 2^64 leaves.
const MAX_DEPTH: usize = 64;

type Node = [u8; BYTES_PER_CHUNK];

/// Roots of all-zero trees by depth. Filling it is also where hashtree chooses its implementation for this CPU.
fn zero_hashes() -> &'static [Node; MAX_DEPTH + 1] {
    static ZERO_HASHES: OnceLock<[Node; MAX_DEPTH + 1]> = OnceLock::new();
    ZERO_HASHES.get_or_init(|| {
        hashtree_rs::init();
        let mut table = [[0; BYTES_PER_CHUNK]; MAX_DEPTH + 1];
        for depth in 1..=MAX_DEPTH {
            table[depth] = hash_two(&table[depth - 1], &table[depth - 1]);
        }
        table
    })
}

/// Hashes `input`, pairs of nodes, into `out`, one node a pair. hashtree checks no bounds: the slicing here does.
fn hash_layer(out: &mut [u8], input: &[u8]) {
    let pairs = input.len() / (2 * BYTES_PER_CHUNK);
    if pairs > 0 {
        hashtree_rs::hash(
            &mut out[..pairs * BYTES_PER_CHUNK],
            &input[..pairs * 2 * BYTES_PER_CHUNK],
            pairs,
        );
    }
}

fn hash_two(left: &Node, right: &Node) -> Node {
    let mut input = [0; 2 * BYTES_PER_CHUNK];
    input[..BYTES_PER_CHUNK].copy_from_slice(left);
    input[BYTES_PER_CHUNK..].copy_from_slice(right);
    let mut out = [0; BYTES_PER_CHUNK];
    hash_layer(&mut out, &input);
    out
}

/// Two layers of a block in turn, and the roots of the blocks of one tree.
struct Scratch {
    layer: Vec<u8>,
    next: Vec<u8>,
    block_roots: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch { layer: Vec::new(), next: Vec::new(), block_roots: Vec::new() })
    };
}

impl Scratch {
    /// Root, at height `top`, of up to [`BLOCK_CHUNKS`] nodes of height `height`, padded with zero subtrees. The last
    /// node may be short at height 0: it is a chunk to be padded.
    fn reduce_block(&mut self, nodes: &[u8], height: usize, top: usize) -> Node {
        let zero = zero_hashes();
        if nodes.is_empty() {
            return zero[top];
        }
        if height == top {
            let mut chunk = [0; BYTES_PER_CHUNK];
            let len = nodes.len().min(BYTES_PER_CHUNK);
            chunk[..len].copy_from_slice(&nodes[..len]);
            return chunk;
        }
        if self.layer.is_empty() {
            // One node beyond half a block: where an odd layer's zero subtree is written.
            self.layer.resize(BLOCK_BYTES / 2 + BYTES_PER_CHUNK, 0);
            self.next.resize(BLOCK_BYTES / 2 + BYTES_PER_CHUNK, 0);
        }

        // The first layer, straight from the caller's bytes; only an incomplete last pair is copied.
        let whole = nodes.len() / (2 * BYTES_PER_CHUNK) * (2 * BYTES_PER_CHUNK);
        hash_layer(&mut self.layer, &nodes[..whole]);
        let mut count = whole / (2 * BYTES_PER_CHUNK);
        let rest = &nodes[whole..];
        if !rest.is_empty() {
            let mut pair = [0; 2 * BYTES_PER_CHUNK];
            if rest.len() <= BYTES_PER_CHUNK {
                pair[BYTES_PER_CHUNK..].copy_from_slice(&zero[height]);
            }
            pair[..rest.len()].copy_from_slice(rest);
            hash_layer(&mut self.layer[count * BYTES_PER_CHUNK..], &pair);
            count += 1;
        }

        let mut height = height + 1;
        while height < top && count > 1 {
            if count % 2 == 1 {
                self.layer[count * BYTES_PER_CHUNK..(count + 1) * BYTES_PER_CHUNK]
                    .copy_from_slice(&zero[height]);
                count += 1;
            }
            hash_layer(&mut self.next, &self.layer[..count * BYTES_PER_CHUNK]);
            std::mem::swap(&mut self.layer, &mut self.next);
            count /= 2;
            height += 1;
        }
        let mut node = [0; BYTES_PER_CHUNK];
        node.copy_from_slice(&self.layer[..BYTES_PER_CHUNK]);
        for sibling in &zero[height..top] {
            node = hash_two(&node, sibling);
        }
        node
    }

    /// Root of a tree of the given depth over `bytes`; deeper where the bytes need it.
    fn reduce(&mut self, bytes: &[u8], depth: usize) -> Node {
        let depth = depth.max(depth_of(bytes.len().div_ceil(BYTES_PER_CHUNK)));
        if bytes.len() <= BLOCK_BYTES {
            return self.reduce_block(bytes, 0, depth);
        }
        let mut roots = std::mem::take(&mut self.block_roots);
        roots.clear();
        for block in bytes.chunks(BLOCK_BYTES) {
            roots.extend_from_slice(&self.reduce_block(block, 0, BLOCK_DEPTH));
        }
        // 32 MiB of input give one block of block roots; beyond, blocks of blocks.
        let mut height = BLOCK_DEPTH;
        while roots.len() > BLOCK_BYTES {
            let blocks = roots.len().div_ceil(BLOCK_BYTES);
            for block in 0..blocks {
                let start = block * BLOCK_BYTES;
                let end = roots.len().min(start + BLOCK_BYTES);
                let root = self.reduce_block(&roots[start..end], height, height + BLOCK_DEPTH);
                // Never ahead of what is read: block `n` is written as node `n`.
                roots[block * BYTES_PER_CHUNK..(block + 1) * BYTES_PER_CHUNK].copy_from_slice(&root);
            }
            roots.truncate(blocks * BYTES_PER_CHUNK);
            height += BLOCK_DEPTH;
        }
        let root = self.reduce_block(&roots, height, depth);
        self.block_roots = roots;
        root
    }

    /// `merkleize_progressive`: subtrees of 1, 4, 16, ... chunks, each hashed with all that follows it:
    /// hash(subtree, rest).
    fn reduce_progressive(&mut self, mut bytes: &[u8]) -> Node {
        // 32 subtrees hold 4^32 chunks: more than any address space.
        let mut subtrees = [[0; BYTES_PER_CHUNK]; 32];
        let mut count = 0;
        let mut depth = 0;
        while !bytes.is_empty() && count < subtrees.len() {
            let leaves = 1usize.checked_shl(depth as u32).unwrap_or(usize::MAX);
            let (subtree, rest) = bytes.split_at(leaves.saturating_mul(BYTES_PER_CHUNK).min(bytes.len()));
            subtrees[count] = self.reduce(subtree, depth);
            bytes = rest;
            count += 1;
            depth += 2;
        }
        subtrees[..count]
            .iter()
            .rev()
            .fold([0; BYTES_PER_CHUNK], |rest, subtree| hash_two(subtree, &rest))
    }
}

/// Depth of the smallest full tree with that many leaves; none count as one.
fn depth_of(leaves: usize) -> usize {
    leaves
        .checked_sub(1)
        .map_or(0, |last| (usize::BITS - last.leading_zeros()) as usize)
}

fn with_scratch<T>(run: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(run)
}

/// `hash(left, right)`: SHA-256 of two nodes.
pub fn hash_pair(left: &Root, right: &Root) -> Root {
    zero_hashes();
    Root::from(hash_two(&left.0, &right.0))
}

/// The root of a tree of 2^`depth` zero chunks; depths beyond 64, which no `usize` limit gives, count as 64.
pub fn zero_hash(depth: usize) -> Root {
    Root::from(zero_hashes()[depth.min(MAX_DEPTH)])
}

/// `merkleize(pack(bytes), limit)`: the last chunk is padded with zero bytes, the tree with virtual zero chunks up to
/// the next power of two of `limit_chunks`.
///
/// The caller has checked its list's limit. Bytes beyond it give the root of the deeper tree they need, which is the
/// root of no value of the limited type.
pub fn merkleize_bytes(bytes: &[u8], limit_chunks: usize) -> Root {
    Root::from(with_scratch(|s| s.reduce(bytes, depth_of(limit_chunks))))
}

/// `merkleize(chunks, limit)`; see [`merkleize_bytes`].
pub fn merkleize(chunks: &[[u8; BYTES_PER_CHUNK]], limit_chunks: usize) -> Root {
    merkleize_bytes(chunks.as_flattened(), limit_chunks)
}

/// `merkleize_progressive(pack(bytes))` of EIP-7916: the last chunk is padded with zero bytes; empty is the zero root.
pub fn merkleize_progressive_bytes(bytes: &[u8]) -> Root {
    Root::from(with_scratch(|s| s.reduce_progressive(bytes)))
}

/// `merkleize_progressive(chunks)` of EIP-7916.
pub fn merkleize_progressive(chunks: &[[u8; BYTES_PER_CHUNK]]) -> Root {
    merkleize_progressive_bytes(chunks.as_flattened())
}

/// `mix_in_length`: hash of a list's content root and its length in elements.
pub fn mix_in_length(root: &Root, length: usize) -> Root {
    let mut node = [0; BYTES_PER_CHUNK];
    node[..8].copy_from_slice(&(length as u64).to_le_bytes());
    hash_pair(root, &Root::from(node))
}

/// `mix_in_active_fields` of EIP-7495: hash of a progressive container's content root and its configuration, at most
/// 256 fields (more are no legal type, and are left out).
pub fn mix_in_active_fields(root: &Root, active_fields: &[bool]) -> Root {
    let mut node = [0; BYTES_PER_CHUNK];
    for (i, _) in active_fields
        .iter()
        .take(256)
        .enumerate()
        .filter(|(_, active)| **active)
    {
        node[i / 8] |= 1 << (i % 8);
    }
    hash_pair(root, &Root::from(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    fn sha(left: &Node, right: &Node) -> Node {
        Sha256::new()
            .chain_update(left)
            .chain_update(right)
            .finalize()
            .into()
    }

    fn chunks_of(bytes: &[u8]) -> Vec<Node> {
        bytes
            .chunks(32)
            .map(|c| {
                let mut chunk = [0; 32];
                chunk[..c.len()].copy_from_slice(c);
                chunk
            })
            .collect()
    }

    /// The text's recursion, letter by letter, over sha2.
    fn naive_tree(chunks: &[Node], leaves: usize) -> Node {
        if leaves == 1 {
            return chunks.first().copied().unwrap_or_default();
        }
        let half = leaves / 2;
        let (left, right) = chunks.split_at(half.min(chunks.len()));
        sha(&naive_tree(left, half), &naive_tree(right, half))
    }

    fn naive_progressive(chunks: &[Node], leaves: usize) -> Node {
        if chunks.is_empty() {
            return [0; 32];
        }
        let (subtree, rest) = chunks.split_at(leaves.min(chunks.len()));
        sha(&naive_tree(subtree, leaves), &naive_progressive(rest, leaves * 4))
    }

    fn pattern(len: usize, seed: u8) -> Vec<u8> {
        (0..len)
            .map(|i| {
                (i as u8)
                    .wrapping_mul(31)
                    .wrapping_add((i >> 8) as u8)
                    .wrapping_add(seed)
            })
            .collect()
    }

    #[test]
    fn zero_hashes_are_those_of_zero_trees() {
        assert_eq!(zero_hash(0), Root::ZERO);
        for depth in 0..8 {
            assert_eq!(zero_hash(depth).0, naive_tree(&[], 1 << depth), "depth {depth}");
        }
        assert_eq!(zero_hash(64), zero_hash(1000));
    }

    #[test]
    fn depth_counts_like_next_power_of_two() {
        for (leaves, depth) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 3),
            (131_072, 17),
            (usize::MAX, 64),
        ] {
            assert_eq!(depth_of(leaves), depth, "{leaves} leaves");
        }
    }

    #[test]
    fn agrees_with_tree_hash_at_every_seam() {
        for chunks in [0usize, 1, 2, 3, 5, 1023, 1024, 1025, 2048, 2049, 3000] {
            for len in [(chunks * 32).saturating_sub(1), chunks * 32, chunks * 32 + 1] {
                let bytes = pattern(len, 7);
                for limit in [len.div_ceil(32).max(1), 4096, 131_072] {
                    let expected = tree_hash::merkle_root(&bytes, limit);
                    assert_eq!(
                        merkleize_bytes(&bytes, limit).0,
                        expected.0,
                        "{len} bytes, limit {limit}"
                    );
                }
            }
        }
    }

    #[test]
    fn more_blocks_than_one_block_of_roots() {
        // 33 MiB and a little: the roots of the blocks do not fit one block.
        let bytes = pattern(33 * 1024 * 1024 + 17, 3);
        let expected = tree_hash::merkle_root(&bytes, bytes.len().div_ceil(32));
        assert_eq!(merkleize_bytes(&bytes, bytes.len().div_ceil(32)).0, expected.0);
    }

    #[test]
    fn progressive_agrees_with_the_text_at_every_seam() {
        for chunks in [
            0usize, 1, 2, 4, 5, 6, 20, 21, 22, 84, 85, 86, 341, 1364, 1365, 1366, 5461, 5462, 20_000,
        ] {
            for len in [(chunks * 32).saturating_sub(31), chunks * 32] {
                let bytes = pattern(len, 11);
                let expected = naive_progressive(&chunks_of(&bytes), 1);
                assert_eq!(merkleize_progressive_bytes(&bytes).0, expected, "{len} bytes");
            }
        }
    }

    #[test]
    fn beyond_the_limit_is_the_root_of_no_limited_value() {
        let bytes = pattern(5 * 32, 1);
        assert_eq!(merkleize_bytes(&bytes, 4), merkleize_bytes(&bytes, 8));
    }

    #[test]
    fn active_fields_are_packed_bits() {
        let root = Root::from([9; 32]);
        let mut node = [0; 32];
        node[0] = 0b0000_0101;
        node[1] = 0b0000_0001;
        let fields = [true, false, true, false, false, false, false, false, true];
        assert_eq!(mix_in_active_fields(&root, &fields).0, sha(&root.0, &node));
        // 300 fields are no type; nothing is written out of bounds.
        mix_in_active_fields(&root, &[true; 300]);
    }

    proptest! {
        #[test]
        fn plain_lists_agree_with_tree_hash(bytes in prop::collection::vec(any::<u8>(), 0..5000), extra in 0usize..2000) {
            let limit = bytes.len().div_ceil(32) + extra;
            let expected = tree_hash::mix_in_length(&tree_hash::merkle_root(&bytes, limit), bytes.len());
            prop_assert_eq!(mix_in_length(&merkleize_bytes(&bytes, limit), bytes.len()).0, expected.0);
        }

        #[test]
        fn progressive_lists_agree_with_the_text(bytes in prop::collection::vec(any::<u8>(), 0..5000), skip in 0usize..33) {
            // From any address: a proof lies at no particular alignment in its message.
            let bytes = &bytes[skip.min(bytes.len())..];
            let expected = naive_progressive(&chunks_of(bytes), 1);
            prop_assert_eq!(merkleize_progressive_bytes(bytes).0, expected);
        }

        #[test]
        fn chunks_and_bytes_are_one(chunks in prop::collection::vec(any::<[u8; 32]>(), 0..100)) {
            prop_assert_eq!(merkleize(&chunks, 128).0, naive_tree(&chunks, 128));
            prop_assert_eq!(merkleize_progressive(&chunks).0, naive_progressive(&chunks, 1));
        }
    }
}
