//! What a system says of bytes, apart from the engine around it.

use assay_native_verifiers::ProofSystem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a system says of bytes, whatever they state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Refused(String),
    Panicked,
    /// It verifies, with these public values.
    Holds(Vec<u8>),
}

pub(crate) fn outcome(system: &dyn ProofSystem, proof: &[u8]) -> Outcome {
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let opened = system.open(proof).map_err(|refusal| refusal.to_string())?;
        opened.verify().map_err(|refusal| refusal.to_string())?;
        Ok(opened.public_values().to_vec())
    }));
    match judged {
        Ok(Ok(public_values)) => Outcome::Holds(public_values),
        Ok(Err(why)) => Outcome::Refused(why),
        Err(_) => Outcome::Panicked,
    }
}
