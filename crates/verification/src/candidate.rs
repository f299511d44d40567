//! The first look at a candidate: size, container, rule 7, in `beta` the type. Costs nothing and copies nothing.

use crate::{Candidate, RejectReason};
use assay_types::{ProofName, Revision, SignedProof, Spec, ValidatorIndex, proof::SIGNED_PROOF_OVERHEAD};
use bytes::Bytes;

/// A candidate that decoded and whose proof is neither empty nor too large.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    /// The value; its `proof_data` is a slice of `ssz` where that is there.
    pub(crate) signed: SignedProof,
    /// The bytes it came as; a value that came as JSON has none until it is hashed.
    pub(crate) ssz: Option<Bytes>,
    /// Its way, for whoever traces it.
    pub(crate) span: tracing::Span,
}

impl Parsed {
    /// Rule 7 and the container's shape, size first: what is too long is not even decoded.
    pub(crate) fn new(candidate: Candidate, spec: &Spec) -> Result<Self, RejectReason> {
        let from_ssz = |ssz: Bytes, revision| {
            if ssz.len() > spec.max_signed_proof_size() {
                return Err(RejectReason::OversizeProof);
            }
            let signed = SignedProof::from_ssz_bytes(&ssz, revision).map_err(|_| RejectReason::Malformed)?;
            Ok(Self {
                signed,
                ssz: Some(ssz),
                span: tracing::Span::none(),
            })
        };
        let parsed = match candidate {
            Candidate::Ssz(ssz) => from_ssz(ssz, Revision::Alpha)?,
            Candidate::Envelope(ssz) => from_ssz(ssz, Revision::Beta)?,
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
        // `beta` rejects it before any look-up; in `alpha` every type is defined.
        if !spec.defines_proof_type(parsed.signed.revision, parsed.signed.message.proof_type) {
            return Err(RejectReason::UnsupportedType);
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
        let signed = SignedProof::from_ssz_bytes(&ssz, self.signed.revision).unwrap_or(self.signed);
        Self {
            signed,
            ssz: Some(ssz),
            span: self.span,
        }
    }

    pub(crate) fn name(&self) -> ProofName {
        self.signed.name()
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
            && a.name() == b.name()
            && (std::ptr::eq(a.message.proof_data.as_ptr(), b.message.proof_data.as_ptr())
                && a.message.proof_data.len() == b.message.proof_data.len()
                || a.message.proof_data == b.message.proof_data)
    }
}
