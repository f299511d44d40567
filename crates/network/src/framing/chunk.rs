//! Response chunks: a result byte, no context bytes, a payload.

use super::{FramingError, LengthBounds, PayloadDecoder, payload::append_payload};

/// Most bytes of an error chunk's message (`List[byte, 256]`).
pub const MAX_ERROR_MESSAGE_BYTES: usize = 256;

/// A result byte other than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// 1: the request is malformed or asks for too much.
    InvalidRequest,
    /// 2: the answering side failed.
    ServerError,
    /// 3: the answering side cannot answer inside the serve range.
    ResourceUnavailable,
    /// Any other: treated as an error all the same (phase0 p2p).
    Other(u8),
}

impl ErrorCode {
    /// The result byte.
    pub const fn as_byte(self) -> u8 {
        match self {
            Self::InvalidRequest => 1,
            Self::ServerError => 2,
            Self::ResourceUnavailable => 3,
            Self::Other(byte) => byte,
        }
    }

    /// From a result byte; `None` for 0, success.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => None,
            1 => Some(Self::InvalidRequest),
            2 => Some(Self::ServerError),
            3 => Some(Self::ResourceUnavailable),
            other => Some(Self::Other(other)),
        }
    }
}

/// One chunk of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseChunk {
    /// SSZ bytes of what was asked for.
    Success(Vec<u8>),
    /// The last chunk of a response that failed.
    Error {
        /// What kind of failure.
        code: ErrorCode,
        /// The peer's words, at most `MAX_ERROR_MESSAGE_BYTES`; any bytes, not to be trusted as text.
        message: Vec<u8>,
    },
}

/// A chunk with one SSZ value.
pub fn encode_success_chunk(ssz: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ssz.len() + 64);
    out.push(0);
    append_payload(ssz, &mut out);
    out
}

/// A chunk that says what went wrong and ends the response. The message is cut to `MAX_ERROR_MESSAGE_BYTES`.
pub fn encode_error_chunk(code: ErrorCode, message: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = message.as_ref();
    let mut out = vec![code.as_byte()];
    append_payload(&bytes[..bytes.len().min(MAX_ERROR_MESSAGE_BYTES)], &mut out);
    out
}

/// Takes a response stream's bytes as they come and gives its chunks.
pub struct ResponseDecoder {
    bounds: LengthBounds,
    max_chunks: u64,
    chunks: u64,
    current: Option<(Option<ErrorCode>, PayloadDecoder)>,
    ended: bool,
}

impl ResponseDecoder {
    /// `bounds` of a success chunk's payload, and the most success chunks that were asked for.
    pub fn new(bounds: LengthBounds, max_chunks: u64) -> Self {
        Self {
            bounds,
            max_chunks,
            chunks: 0,
            current: None,
            ended: false,
        }
    }

    /// Takes from the front of `input` up to the end of one chunk. `None`: all was taken, more is needed.
    ///
    /// Errors as soon as the bytes cannot become a chunk that was asked for; after one, and after an error chunk,
    /// every further byte is an error.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<ResponseChunk>, FramingError> {
        let result = self.advance(input);
        self.ended |= matches!(result, Err(_) | Ok(Some(ResponseChunk::Error { .. })));
        result
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<ResponseChunk>, FramingError> {
        if input.is_empty() {
            return Ok(None);
        }
        if self.ended {
            return Err(FramingError::Trailing("response"));
        }
        if self.current.is_none() {
            let [result, rest @ ..] = *input else {
                return Ok(None);
            };
            *input = rest;
            let code = ErrorCode::from_byte(*result);
            let bounds = match code {
                Some(_) => LengthBounds::new(0, MAX_ERROR_MESSAGE_BYTES),
                None if self.chunks == self.max_chunks => {
                    return Err(FramingError::TooManyChunks { max: self.max_chunks });
                }
                None => self.bounds,
            };
            self.current = Some((code, PayloadDecoder::new(bounds)));
        }
        let Some((code, decoder)) = &mut self.current else {
            return Ok(None);
        };
        let Some(payload) = decoder.push(input)? else {
            return Ok(None);
        };
        let chunk = match *code {
            Some(code) => ResponseChunk::Error {
                code,
                message: payload,
            },
            None => {
                self.chunks += 1;
                ResponseChunk::Success(payload)
            }
        };
        self.current = None;
        Ok(Some(chunk))
    }

    /// The stream ended. An error where that cuts a chunk off; fewer chunks than asked for are the peer's right.
    pub fn finish(&self) -> Result<(), FramingError> {
        match self.current {
            Some(_) => Err(FramingError::Truncated),
            None => Ok(()),
        }
    }
}
