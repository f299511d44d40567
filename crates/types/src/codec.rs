//! SSZ and roots of what the proof containers of all revisions have in common.
//!
//! `alpha` and `beta` write the same frame: a message { offset of proof_data, proof_type, tail of fixed length } whose
//! bytes end with the proof, in a signed container { offset of the message, validator_index, signature }. Offsets are
//! checked by `ethereum_ssz`; what is found is handed on as slices of the buffer it came in.

use crate::{
    fork::ProofDataForm,
    merkle,
    primitives::{ProofType, Root, SignatureBytes, ValidatorIndex},
    spec::Spec,
};
use bytes::Bytes;
use ssz::{BYTES_PER_LENGTH_OFFSET, Decode, DecodeError, SszDecoderBuilder};

/// Why bytes are not the container asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid SSZ {container}: {why}")]
pub struct SszError {
    /// The container's name.
    pub container: &'static str,
    /// What is wrong with the bytes.
    pub why: String,
}

impl SszError {
    pub(crate) fn from_decode_error(container: &'static str, error: DecodeError) -> Self {
        let why = match error {
            DecodeError::InvalidByteLength { len, expected } => {
                format!("{len} bytes, {expected} expected")
            }
            DecodeError::InvalidLengthPrefix { len, expected } => {
                format!("{len} bytes left, {expected} needed for an offset")
            }
            DecodeError::OutOfBoundsByte { i } => format!("byte {i} is beyond the end"),
            DecodeError::OffsetIntoFixedPortion(offset) => {
                format!("offset {offset} points into the fixed part")
            }
            DecodeError::OffsetSkipsVariableBytes(offset) => {
                format!("the first offset, {offset}, leaves a gap behind the fixed part")
            }
            DecodeError::OffsetsAreDecreasing(offset) => {
                format!("offset {offset} lies before the one ahead of it")
            }
            DecodeError::OffsetOutOfBounds(offset) => format!("offset {offset} is beyond the end"),
            DecodeError::InvalidListFixedBytesLen(offset) => {
                format!("the first offset, {offset}, is no number of whole offsets")
            }
            DecodeError::BytesInvalid(why) => why,
            other => format!("{other:?}"),
        };
        Self { container, why }
    }
}

/// Decodes a value whose type `ethereum_ssz` knows.
pub(crate) fn decode<T: Decode>(container: &'static str, bytes: &[u8]) -> Result<T, SszError> {
    T::from_ssz_bytes(bytes).map_err(|e| SszError::from_decode_error(container, e))
}

/// Where `proof_data` is a byte list, its limit is part of decoding; the progressive form has none.
pub(crate) fn check_form(
    container: &'static str,
    proof_data: &[u8],
    spec: &Spec,
    form: ProofDataForm,
) -> Result<(), SszError> {
    let limit = usize::try_from(spec.max_proof_size).unwrap_or(usize::MAX);
    if form == ProofDataForm::Progressive || proof_data.len() <= limit {
        return Ok(());
    }
    Err(SszError {
        container,
        why: format!(
            "{} bytes of proof data, at most {limit} allowed",
            proof_data.len()
        ),
    })
}

/// The parts of a signed container; `message` is a slice of the buffer.
pub(crate) struct SignedParts {
    pub(crate) message: Bytes,
    pub(crate) validator_index: ValidatorIndex,
    pub(crate) signature: SignatureBytes,
}

impl SignedParts {
    pub(crate) fn from_ssz_bytes(container: &'static str, bytes: &Bytes) -> Result<Self, SszError> {
        let read = || {
            let mut builder = SszDecoderBuilder::new(bytes);
            builder.register_anonymous_variable_length_item()?;
            builder.register_type::<ValidatorIndex>()?;
            builder.register_type::<SignatureBytes>()?;
            let mut decoder = builder.build()?;
            Ok(Self {
                message: decoder.decode_next_with(|slice| Ok(bytes.slice_ref(slice)))?,
                validator_index: decoder.decode_next()?,
                signature: decoder.decode_next()?,
            })
        };
        read().map_err(|e| SszError::from_decode_error(container, e))
    }
}

/// Writes the fixed part of a signed container; the message's bytes follow it.
pub(crate) fn append_signed(out: &mut Vec<u8>, validator_index: ValidatorIndex, signature: &SignatureBytes) {
    let fixed = BYTES_PER_LENGTH_OFFSET + size_of::<ValidatorIndex>() + SignatureBytes::LEN;
    out.extend_from_slice(&ssz::encode_length(fixed));
    out.extend_from_slice(&validator_index.to_le_bytes());
    out.extend_from_slice(&signature.0);
}

/// `hash_tree_root` of a signed container { message, validator_index, signature }.
pub(crate) fn signed_root(
    message_root: &Root,
    validator_index: ValidatorIndex,
    signature: &SignatureBytes,
) -> Root {
    let signature_root = merkle::merkleize_bytes(&signature.0, SignatureBytes::LEN / 32);
    merkle::merkleize(
        &[message_root.0, uint64_chunk(validator_index), signature_root.0],
        3,
    )
}

/// A uint64 as a chunk.
pub(crate) fn uint64_chunk(n: u64) -> [u8; 32] {
    let mut chunk = [0; 32];
    chunk[..8].copy_from_slice(&n.to_le_bytes());
    chunk
}

/// Splits a message into its proof data, a slice of `bytes`, its type, and the value of fixed length behind it.
pub(crate) fn split_message<T: Decode>(
    container: &'static str,
    bytes: &Bytes,
) -> Result<(Bytes, ProofType, T), SszError> {
    let read = || {
        let mut builder = SszDecoderBuilder::new(bytes);
        builder.register_anonymous_variable_length_item()?;
        builder.register_type::<ProofType>()?;
        builder.register_type::<T>()?;
        let mut decoder = builder.build()?;
        Ok((
            decoder.decode_next_with(|slice| Ok(bytes.slice_ref(slice)))?,
            decoder.decode_next()?,
            decoder.decode_next()?,
        ))
    };
    read().map_err(|e| SszError::from_decode_error(container, e))
}

/// A message's parts, to be encoded or hashed; `tail` is the SSZ form of the last field.
pub(crate) struct MessageParts<'a> {
    pub(crate) proof_data: &'a [u8],
    pub(crate) proof_type: ProofType,
    pub(crate) tail: &'a [u8],
}

impl MessageParts<'_> {
    fn fixed_len(&self) -> usize {
        BYTES_PER_LENGTH_OFFSET + size_of::<ProofType>() + self.tail.len()
    }

    pub(crate) fn ssz_len(&self) -> usize {
        self.fixed_len() + self.proof_data.len()
    }

    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&ssz::encode_length(self.fixed_len()));
        out.push(self.proof_type);
        out.extend_from_slice(self.tail);
        out.extend_from_slice(self.proof_data);
    }

    pub(crate) fn to_ssz_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.ssz_len());
        self.append(&mut out);
        out.into()
    }

    /// `hash_tree_root` of { proof_data, proof_type, tail }, given the tail's root.
    pub(crate) fn hash_tree_root(&self, spec: &Spec, form: ProofDataForm, tail_root: &Root) -> Root {
        let data = match form {
            ProofDataForm::Progressive => merkle::merkleize_progressive_bytes(self.proof_data),
            ProofDataForm::ByteList => {
                let limit = usize::try_from(spec.max_proof_size).unwrap_or(usize::MAX);
                merkle::merkleize_bytes(self.proof_data, limit.div_ceil(merkle::BYTES_PER_CHUNK))
            }
        };
        let data = merkle::mix_in_length(&data, self.proof_data.len());
        merkle::merkleize(&[data.0, uint64_chunk(self.proof_type.into()), tail_root.0], 3)
    }
}
