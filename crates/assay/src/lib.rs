//! Execution proofs (EIP-8025) beside any beacon node: the binary and the facade
