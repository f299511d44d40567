//! The first look at a candidate: size, container, rule 7. Costs nothing and copies nothing.

use crate::{Candidate, RejectReason};
use assay_types::{ProofKey, SignedExecutionProof, Spec, ValidatorIndex, proof::SIGNED_PROOF_OVERHEAD};
use bytes::Bytes;

/// A candidate that decoded and whose proof is neither empty nor too large.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    /// The value; its `proof_data` is a slice of `ssz` where that is there.
    pub(crate) signed: SignedExecutionProof,
    /// The bytes it came as; a value that came as JSON has none until it is hashed.
    pub(crate) ssz: Option<Bytes>,
    /// Its way, for whoever traces it.
    pub(crate) span: tracing::Span,
}

impl Parsed {
    /// Rule 7 and the container's shape, size first: what is too long is not even decoded.
    pub(crate) fn new(candidate: Candidate, spec: &Spec) -> Result<Self, RejectReason> {
        let parsed = match candidate {
            Candidate::Ssz(ssz) => {
                if ssz.len() > spec.max_signed_proof_size() {
                    return Err(RejectReason::OversizeProof);
                }
                let signed =
                    SignedExecutionProof::from_ssz_bytes(&ssz).map_err(|_| RejectReason::Malformed)?;
                Self {
                    signed,
                    ssz: Some(ssz),
                    span: tracing::Span::none(),
                }
            }
            Candidate::Signed(signed) => Self {
                signed,
                ssz: None,
                span: tracing::Span::none(),
            },
        };
        let len = parsed.signed.message.proof_data.len();
        if len == 0 {
            return Err(RejectReason::EmptyProof);
        }
        if len as u64 > spec.max_proof_size {
            return Err(RejectReason::OversizeProof);
        }
        Ok(parsed)
    }

    /// Makes sure the bytes are there, once, and that the value's proof is a slice of them.
    pub(crate) fn with_ssz(self) -> Self {
        if self.ssz.is_some() {
            return self;
        }
        let ssz = self.signed.to_ssz_bytes();
        // What was encoded here decodes; were it not so, the value itself is still right.
        let signed = SignedExecutionProof::from_ssz_bytes(&ssz).unwrap_or(self.signed);
        Self {
            signed,
            ssz: Some(ssz),
            span: self.span,
        }
    }

    pub(crate) fn key(&self) -> ProofKey {
        self.signed.key()
    }

    pub(crate) fn validator_index(&self) -> ValidatorIndex {
        self.signed.validator_index
    }

    /// SSZ length in bytes.
    pub(crate) fn ssz_len(&self) -> usize {
        SIGNED_PROOF_OVERHEAD + self.signed.message.proof_data.len()
    }

    /// Whether both are the same message with the same signature, byte for byte; cheap where they differ.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (a, b) = (&self.signed, &other.signed);
        a.validator_index == b.validator_index
            && a.signature == b.signature
            && a.key() == b.key()
            && (std::ptr::eq(a.message.proof_data.as_ptr(), b.message.proof_data.as_ptr())
                && a.message.proof_data.len() == b.message.proof_data.len()
                || a.message.proof_data == b.message.proof_data)
    }
}
