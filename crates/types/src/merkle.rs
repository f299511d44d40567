//! Merkleising over hashtree-rs, layer by layer: many hashes a call instead of node by node.
