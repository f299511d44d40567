//! One proof judged: decoded, its statement held against the request root, verified; whatever panics is contained.

use crate::{engine::NativeVerifier, system::ProofSystem};
use assay_types::StatedInput;
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Why a proof is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no proof of this system.
    #[error("not a proof of this system: {0}")]
    Malformed(String),
    /// A proof of another program.
    #[error("a proof of another program than the configured key's")]
    OtherProgram,
    /// Its public values are not those of a valid payload with this request root.
    #[error("its public values do not state that the payload of this request root is valid")]
    OtherStatement,
    /// The proof does not hold.
    #[error("does not verify: {0}")]
    DoesNotVerify(String),
    /// The verifier panics over these bytes, each time.
    #[error("the verifier cannot take these bytes: {0}")]
    Panics(String),
}

impl Refusal {
    /// For metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::OtherProgram => "other_program",
            Self::OtherStatement => "other_statement",
            Self::DoesNotVerify(_) => "does_not_verify",
            Self::Panics(_) => "panics",
        }
    }
}

/// A proof is refused, or nothing can be said of it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotValid {
    Refused(Refusal),
    /// What keeps this node from judging.
    Undecided(String),
}

impl From<Refusal> for NotValid {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Judges `proof` as one of what is `asked`. Blocks.
///
/// A panic on the way is judged by trying again at once. Systems are pure functions of bytes and key, and take no locks,
/// files or clocks; where memory or stack run out the process ends and nothing unwinds. So bytes that panic twice, with
/// the same words, panic at every node with this verifier: they are refused, lest they be tried for ever. A panic that
/// does not come again was not the proof's (a fault of the machine): nothing is said of the proof.
pub(crate) fn judge(verifier: &NativeVerifier, asked: &StatedInput, proof: &[u8]) -> Result<(), NotValid> {
    match contained(verifier, asked, proof) {
        Ok(judged) => judged,
        Err(first) => match contained(verifier, asked, proof) {
            Err(second) if second == first => Err(Refusal::Panics(first).into()),
            _ => Err(NotValid::Undecided(format!(
                "the verifier panicked, and not again over the same bytes: {first}"
            ))),
        },
    }
}

/// The outer error is what a panic said.
fn contained(
    verifier: &NativeVerifier,
    asked: &StatedInput,
    proof: &[u8],
) -> Result<Result<(), NotValid>, String> {
    // What a panic could leave half done is dropped with the stack; systems have no state that changes.
    catch_unwind(AssertUnwindSafe(|| steps(verifier, asked, proof))).map_err(|panic| words(panic.as_ref()))
}

/// Cheapest first: a proof of another payload costs no verification.
fn steps(verifier: &NativeVerifier, asked: &StatedInput, proof: &[u8]) -> Result<(), NotValid> {
    let system: &dyn ProofSystem = verifier.system.as_ref();
    let opened = system.open(proof)?;
    verifier
        .guest
        .check(asked, opened.public_values(), system.padded_to())?;
    Ok(opened.verify()?)
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    let mut text = text.unwrap_or_else(|| "a panic without words".to_owned());
    // It may hold parts of the proof.
    if let Some((end, _)) = text.char_indices().nth(200) {
        text.truncate(end);
    }
    text
}
