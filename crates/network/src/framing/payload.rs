//! One payload: length prefix, then snappy frames.

use super::{FramingError, decode_length, encode_length};
use snap::{read::FrameDecoder, write::FrameEncoder};
use std::io::{Read, Write};

/// The frame that begins every snappy stream.
const STREAM_IDENTIFIER: &[u8; 10] = b"\xff\x06\x00\x00sNaPpY";
/// Kind byte and three length bytes in front of every frame.
const FRAME_HEADER_LEN: usize = 4;
/// Checksum bytes at the start of a data frame's body.
const CHECKSUM_LEN: usize = 4;
/// Most bytes that a frame unpacks to.
const MAX_FRAME_DATA: usize = 65_536;
/// Most bytes that a compressed frame's body has: `32 + n + n/6` for `n` bytes of data, and the checksum.
const MAX_COMPRESSED_BODY: usize = CHECKSUM_LEN + 32 + MAX_FRAME_DATA + MAX_FRAME_DATA / 6;
/// Room set aside before the first frame came, and what must have come before room for all that was declared is.
const INITIAL_CAPACITY: usize = 64 * 1024;

/// Fewest and most SSZ bytes that a payload of the expected type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LengthBounds {
    /// Fewest.
    pub min: usize,
    /// Most.
    pub max: usize,
}

impl LengthBounds {
    /// Bounds of a container that knows its own (`SszContainer::ssz_len_bounds`).
    pub const fn new(min: usize, max: usize) -> Self {
        Self { min, max }
    }
}

/// Most bytes of frames that `ssz_len` bytes may take (phase0 p2p, `max_encoded_len`): `32 + n + n/6`.
pub const fn max_frames_len(ssz_len: usize) -> usize {
    32usize.saturating_add(ssz_len).saturating_add(ssz_len / 6)
}

/// Length prefix and frames of `ssz`. An empty payload has no frames at all.
pub fn encode_payload(ssz: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(max_frames_len(ssz.len()).min(ssz.len() + INITIAL_CAPACITY));
    append_payload(ssz, &mut out);
    out
}

/// As `encode_payload`, behind what `out` already holds.
pub(super) fn append_payload(ssz: &[u8], out: &mut Vec<u8>) {
    encode_length(ssz.len() as u64, out);
    let mut frames = FrameEncoder::new(&mut *out);
    // Writing to a Vec cannot fail, and the encoder has no other error.
    let written = frames.write_all(ssz).and_then(|()| frames.flush());
    debug_assert!(written.is_ok());
}

/// Writes payloads piece by piece, for values that are too large to hold beside their frames. One packer, with its
/// buffers, serves all of them.
pub struct PayloadEncoder {
    frames: FrameEncoder<Vec<u8>>,
    /// Whether the packer has written the stream identifier: it does so once, before its first frame.
    has_begun: bool,
}

impl Default for PayloadEncoder {
    fn default() -> Self {
        Self {
            frames: FrameEncoder::new(Vec::new()),
            has_begun: false,
        }
    }
}

impl PayloadEncoder {
    /// Bytes of a piece but the last. More than a frame's, so that the packer need not copy them together first.
    pub const PIECE_LEN: usize = 2 * MAX_FRAME_DATA;

    /// Begins a payload of `ssz_len` bytes: its length prefix goes to the end of `out`.
    pub fn begin(&mut self, ssz_len: usize, out: &mut Vec<u8>) {
        encode_length(ssz_len as u64, out);
        if self.has_begun && ssz_len > 0 {
            out.extend_from_slice(STREAM_IDENTIFIER);
        }
    }

    /// The frames of the next piece go to the end of `out`. All pieces but the last have `PIECE_LEN` bytes.
    pub fn append(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.has_begun |= !piece.is_empty();
        std::mem::swap(self.frames.get_mut(), out);
        // As in `append_payload`.
        let written = self.frames.write_all(piece).and_then(|()| self.frames.flush());
        debug_assert!(written.is_ok());
        std::mem::swap(self.frames.get_mut(), out);
    }
}

/// Takes a payload's bytes as they come.
pub struct PayloadDecoder {
    bounds: LengthBounds,
    stage: Stage,
}

enum Stage {
    /// The length prefix's bytes so far.
    Length(Vec<u8>),
    Frames(Box<Frames>),
    /// The payload was handed out.
    Done,
}

struct Frames {
    /// The SSZ length declared.
    declared: usize,
    /// Frame bytes that may still come.
    budget: usize,
    /// How much of the stream identifier has come.
    identifier_seen: usize,
    /// Bytes of a frame to pass over.
    skip: usize,
    /// The frame that is arriving: header and body so far.
    frame: Vec<u8>,
    unpacker: FrameDecoder<Feed>,
    out: Vec<u8>,
}

impl PayloadDecoder {
    /// For a payload whose length must be within `bounds`.
    pub fn new(bounds: LengthBounds) -> Self {
        Self {
            bounds,
            stage: Stage::Length(Vec::new()),
        }
    }

    /// Takes from the front of `input` what belongs to this payload and moves `input` behind it. The payload, once it
    /// is whole; what `input` then still holds belongs to whatever follows. `None`: all was taken, more is needed.
    ///
    /// Errors as soon as the bytes so far cannot become a payload. After an error or a payload, only errors follow.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, FramingError> {
        let result = self.advance(input);
        if !matches!(result, Ok(None)) {
            self.stage = Stage::Done;
        }
        result
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, FramingError> {
        if let Stage::Length(prefix) = &mut self.stage {
            let Some(declared) = read_length(prefix, input, self.bounds)? else {
                return Ok(None);
            };
            if declared == 0 {
                return Ok(Some(Vec::new()));
            }
            self.stage = Stage::Frames(Box::new(Frames::new(declared)));
        }
        match &mut self.stage {
            Stage::Frames(frames) => frames.advance(input),
            Stage::Length(_) | Stage::Done => Err(FramingError::Trailing("payload")),
        }
    }
}

fn read_length(
    prefix: &mut Vec<u8>,
    input: &mut &[u8],
    bounds: LengthBounds,
) -> Result<Option<usize>, FramingError> {
    while let Some((byte, rest)) = input.split_first() {
        prefix.push(*byte);
        *input = rest;
        if let Some((declared, _)) = decode_length(prefix)? {
            return match usize::try_from(declared) {
                Ok(len) if (bounds.min..=bounds.max).contains(&len) => Ok(Some(len)),
                _ => Err(FramingError::LengthOutOfBounds {
                    declared,
                    min: bounds.min,
                    max: bounds.max,
                }),
            };
        }
    }
    Ok(None)
}

impl Frames {
    fn new(declared: usize) -> Self {
        Self {
            declared,
            budget: max_frames_len(declared),
            identifier_seen: 0,
            skip: 0,
            frame: Vec::new(),
            unpacker: FrameDecoder::new(Feed::default()),
            out: Vec::with_capacity(declared.min(INITIAL_CAPACITY)),
        }
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, FramingError> {
        while !input.is_empty() {
            if self.identifier_seen < STREAM_IDENTIFIER.len() {
                self.identifier(input)?;
            } else if self.skip > 0 {
                let n = self.skip.min(input.len());
                self.skip -= n;
                *input = &input[n..];
            } else if self.frame.len() < FRAME_HEADER_LEN {
                self.header(input)?;
            } else if self.body(input)? {
                return Ok(Some(std::mem::take(&mut self.out)));
            }
        }
        Ok(None)
    }

    /// Each byte of the identifier is checked as it comes, so that a stream with context bytes (or any other start)
    /// is refused by its first wrong byte.
    fn identifier(&mut self, input: &mut &[u8]) -> Result<(), FramingError> {
        while let (Some(expected), Some((byte, rest))) =
            (STREAM_IDENTIFIER.get(self.identifier_seen), input.split_first())
        {
            if byte != expected {
                return Err(FramingError::NoStreamIdentifier);
            }
            self.identifier_seen += 1;
            *input = rest;
        }
        if self.identifier_seen == STREAM_IDENTIFIER.len() {
            self.unpacker.get_mut().refill(STREAM_IDENTIFIER);
            self.spend(STREAM_IDENTIFIER.len())?;
        }
        Ok(())
    }

    /// Takes a frame header's bytes and judges the frame by it, before its body comes.
    fn header(&mut self, input: &mut &[u8]) -> Result<(), FramingError> {
        let n = (FRAME_HEADER_LEN - self.frame.len()).min(input.len());
        self.frame.extend_from_slice(&input[..n]);
        *input = &input[n..];
        let kind = self.frame[0];
        if (0x02..=0x7f).contains(&kind) {
            return Err(FramingError::BadFrame { kind, len: 0 });
        }
        let [_, a, b, c] = self.frame[..] else {
            return Ok(());
        };
        let len = u32::from_le_bytes([a, b, c, 0]) as usize;
        let fits = match kind {
            0x00 => (CHECKSUM_LEN + 1..=MAX_COMPRESSED_BODY).contains(&len),
            0x01 => (CHECKSUM_LEN..=CHECKSUM_LEN + MAX_FRAME_DATA).contains(&len),
            0xff => len == STREAM_IDENTIFIER.len() - FRAME_HEADER_LEN,
            _ => true,
        };
        if !fits {
            return Err(FramingError::BadFrame { kind, len });
        }
        if kind == 0x01 && len - CHECKSUM_LEN > self.declared - self.out.len() {
            return Err(FramingError::MoreThanDeclared {
                declared: self.declared,
            });
        }
        self.spend(FRAME_HEADER_LEN + len)?;
        if (0x80..=0xfe).contains(&kind) {
            self.frame.clear();
            self.skip = len;
        }
        Ok(())
    }

    /// Takes a frame's body; whether the payload is whole with it.
    fn body(&mut self, input: &mut &[u8]) -> Result<bool, FramingError> {
        let len = u32::from_le_bytes([self.frame[1], self.frame[2], self.frame[3], 0]) as usize;
        let missing = (FRAME_HEADER_LEN + len - self.frame.len()).min(input.len());
        self.frame.extend_from_slice(&input[..missing]);
        *input = &input[missing..];
        if self.frame.len() < FRAME_HEADER_LEN + len {
            return Ok(false);
        }
        self.unpacker.get_mut().take_over(&mut self.frame);
        // Most of what grows by doubling would be copied and faulted in again and again.
        if self.out.len() >= INITIAL_CAPACITY {
            self.out.reserve_exact(self.declared - self.out.len());
        }
        let limit = (self.declared - self.out.len()) as u64 + 1;
        (&mut self.unpacker)
            .take(limit)
            .read_to_end(&mut self.out)
            .map_err(|e| FramingError::Snappy(e.to_string()))?;
        if self.out.len() > self.declared {
            return Err(FramingError::MoreThanDeclared {
                declared: self.declared,
            });
        }
        Ok(self.out.len() == self.declared)
    }

    fn spend(&mut self, n: usize) -> Result<(), FramingError> {
        self.budget = self
            .budget
            .checked_sub(n)
            .ok_or(FramingError::TooManyFrameBytes {
                max: max_frames_len(self.declared),
            })?;
        Ok(())
    }
}

/// Whole frames for the unpacker: it reads to the end of what was given, and later goes on with the next.
#[derive(Default)]
struct Feed {
    bytes: Vec<u8>,
    read: usize,
}

impl Feed {
    /// As `refill`, and empties the frame: where all before it was read, the two change places without a copy.
    fn take_over(&mut self, frame: &mut Vec<u8>) {
        if self.read == self.bytes.len() {
            std::mem::swap(&mut self.bytes, frame);
            self.read = 0;
        } else {
            self.refill(frame);
        }
        frame.clear();
    }

    fn refill(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.bytes[self.read..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.read += n;
        Ok(n)
    }
}
