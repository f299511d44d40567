//! Execution proofs on disk, as data-column sidecars are kept
