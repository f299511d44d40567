//! The honest prover's duty and its signers
