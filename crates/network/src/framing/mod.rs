//! The bytes of a req/resp stream (protocol.md section 5), as pure functions and state machines without I/O.
//!
//! A payload is an unsigned varint of its SSZ length, then snappy frames. A request is one payload. A response is
//! chunks: a result byte, NO context bytes, a payload. Decoders take bytes as they come and say at the first byte that
//! cannot be right that it is wrong; they never wait for more to find out. Lengths are checked before anything is
//! allocated for them.
//!
//! | file | what it holds |
//! |---|---|
//! | `varint` | the length prefix |
//! | `payload` | length prefix and snappy frames, both ways |
//! | `frames` | one snappy frame, both ways |
//! | `chunk` | response chunks, both ways |

mod chunk;
mod frames;
mod payload;
#[cfg(test)]
mod tests;
mod varint;

pub use chunk::{
    ErrorCode, MAX_ERROR_MESSAGE_BYTES, ResponseChunk, ResponseDecoder, encode_error_chunk,
    encode_success_chunk,
};
pub(crate) use payload::plain_payload_len;
pub use payload::{LengthBounds, PayloadDecoder, PayloadEncoder, encode_payload, max_frames_len};
pub use varint::{decode_length, encode_length};

/// Why bytes of a stream were refused. Whoever sent them broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The length prefix does not end within ten bytes, or does not fit 64 bits.
    #[error("the length prefix is longer than a 64-bit varint")]
    LengthOverflow,
    /// The length prefix has bytes that add nothing.
    #[error("the length prefix is not minimal")]
    LengthNotMinimal,
    /// No value of the type asked for has this length.
    #[error("the length prefix says {declared} bytes, {min} to {max} are possible")]
    LengthOutOfBounds {
        /// Bytes declared.
        declared: u64,
        /// Fewest possible.
        min: usize,
        /// Most possible.
        max: usize,
    },
    /// What follows the length prefix is not snappy's stream identifier.
    #[error("the snappy stream identifier is missing")]
    NoStreamIdentifier,
    /// A frame of a kind that must not be skipped, or with a length that no such frame has.
    #[error("snappy frame of kind {kind:#04x} with {len} bytes")]
    BadFrame {
        /// The frame's first byte.
        kind: u8,
        /// The length it declares; 0 where the kind alone is wrong.
        len: usize,
    },
    /// More frame bytes than any encoding of the declared length has.
    #[error("more than {max} bytes of frames")]
    TooManyFrameBytes {
        /// Most possible.
        max: usize,
    },
    /// A frame does not unpack, or its checksum is wrong.
    #[error("snappy frame: {0}")]
    Snappy(String),
    /// The frames hold more than the length prefix said.
    #[error("the frames hold more than the {declared} bytes declared")]
    MoreThanDeclared {
        /// Bytes declared.
        declared: usize,
    },
    /// The stream ended inside a payload or chunk.
    #[error("the stream ended early")]
    Truncated,
    /// Bytes follow where nothing may.
    #[error("bytes follow the end of the {0}")]
    Trailing(&'static str),
    /// More chunks than were asked for.
    #[error("more than {max} chunks")]
    TooManyChunks {
        /// Most that were allowed.
        max: u64,
    },
}

/// The bytes of a request.
pub fn encode_request(ssz: &[u8]) -> Vec<u8> {
    encode_payload(ssz)
}

/// The SSZ bytes of a request that was read to its end. Nothing may follow.
pub fn decode_request(wire: &[u8], bounds: LengthBounds) -> Result<Vec<u8>, FramingError> {
    let mut rest = wire;
    match PayloadDecoder::new(bounds).push(&mut rest)? {
        Some(_) if !rest.is_empty() => Err(FramingError::Trailing("request")),
        Some(ssz) => Ok(ssz),
        None => Err(FramingError::Truncated),
    }
}
