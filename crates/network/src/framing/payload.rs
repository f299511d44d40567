//! One payload: length prefix, then snappy frames.

use super::{
    FramingError, decode_length, encode_length,
    frames::{self, Body, FRAME_HEADER_LEN, IDENTIFIER, MAX_FRAME_DATA, PLAIN, Packer, STREAM_IDENTIFIER},
};

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

/// Bytes that length prefix and frames of `ssz_len` bytes take where nothing compresses: the most that is ever written.
pub(crate) fn plain_payload_len(ssz_len: usize) -> usize {
    let frames = ssz_len.div_ceil(MAX_FRAME_DATA) * frames::DATA_FRAME_EXTRA;
    super::varint::MAX_LENGTH_BYTES + STREAM_IDENTIFIER.len() + frames + ssz_len
}

/// Length prefix and frames of `ssz`. An empty payload has no frames at all.
pub fn encode_payload(ssz: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(max_frames_len(ssz.len()).min(ssz.len() + INITIAL_CAPACITY));
    append_payload(ssz, &mut out);
    out
}

/// As `encode_payload`, behind what `out` already holds.
pub(super) fn append_payload(ssz: &[u8], out: &mut Vec<u8>) {
    let mut encoder = PayloadEncoder::default();
    encoder.begin(ssz.len(), out);
    encoder.append(ssz, out);
}

/// Writes payloads piece by piece, for values that are too large to hold beside their frames. One packer, with its
/// buffers, serves all of them.
#[derive(Default)]
pub struct PayloadEncoder {
    packer: Packer,
    /// The front of a frame's data, whose rest has not come.
    carried: Vec<u8>,
}

impl PayloadEncoder {
    /// Most bytes of a frame's data.
    pub const FRAME_LEN: usize = MAX_FRAME_DATA;
    /// Bytes of a piece that make whole frames.
    pub const PIECE_LEN: usize = 2 * MAX_FRAME_DATA;

    /// Begins a payload of `ssz_len` bytes: its length prefix goes to the end of `out`, and what begins its frames.
    pub fn begin(&mut self, ssz_len: usize, out: &mut Vec<u8>) {
        self.carried.clear();
        encode_length(ssz_len as u64, out);
        if ssz_len > 0 {
            out.extend_from_slice(STREAM_IDENTIFIER);
        }
    }

    /// The frames of the next piece go to the end of `out`. All pieces but the last have `PIECE_LEN` bytes.
    pub fn append(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.packer.append(piece, out);
    }

    /// The frames that the next piece makes whole go to the end of `out`; a piece may have any length. `finish` belongs
    /// behind the last.
    pub fn push(&mut self, mut piece: &[u8], out: &mut Vec<u8>) {
        if !self.carried.is_empty() {
            let (front, rest) = piece.split_at(piece.len().min(MAX_FRAME_DATA - self.carried.len()));
            self.carried.extend_from_slice(front);
            piece = rest;
            if self.carried.len() == MAX_FRAME_DATA {
                self.finish(out);
            }
        }
        let (whole, rest) = piece.split_at(piece.len() - piece.len() % MAX_FRAME_DATA);
        self.packer.append(whole, out);
        self.carried.extend_from_slice(rest);
    }

    /// The last frame of what was pushed goes to the end of `out`.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.packer.append(&self.carried, out);
        self.carried.clear();
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
    /// The header that is arriving.
    header: [u8; FRAME_HEADER_LEN],
    header_seen: usize,
    /// The frame behind it.
    body: Option<Body>,
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
            header: [0; FRAME_HEADER_LEN],
            header_seen: 0,
            body: None,
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
            } else if let Some(body) = &mut self.body {
                if body.take(input, &mut self.out, self.declared)? {
                    self.body = None;
                    if self.out.len() == self.declared {
                        return Ok(Some(std::mem::take(&mut self.out)));
                    }
                }
            } else {
                self.header(input)?;
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
            self.spend(STREAM_IDENTIFIER.len())?;
        }
        Ok(())
    }

    /// Takes a frame header's bytes and judges the frame by it, before its body comes.
    fn header(&mut self, input: &mut &[u8]) -> Result<(), FramingError> {
        while let (Some(place), Some((byte, rest))) =
            (self.header.get_mut(self.header_seen), input.split_first())
        {
            *place = *byte;
            self.header_seen += 1;
            *input = rest;
        }
        let [kind, a, b, c] = self.header;
        if (0x02..=0x7f).contains(&kind) {
            return Err(FramingError::BadFrame { kind, len: 0 });
        }
        if self.header_seen < FRAME_HEADER_LEN {
            return Ok(());
        }
        let len = u32::from_le_bytes([a, b, c, 0]) as usize;
        if !frames::fits(kind, len) {
            return Err(FramingError::BadFrame { kind, len });
        }
        if kind == PLAIN && frames::plain_len(len) > self.declared - self.out.len() {
            return Err(FramingError::MoreThanDeclared {
                declared: self.declared,
            });
        }
        self.spend(FRAME_HEADER_LEN + len)?;
        self.header_seen = 0;
        if (0x80..IDENTIFIER).contains(&kind) {
            self.skip = len;
            return Ok(());
        }
        // Most of what grows by doubling would be copied and faulted in again and again.
        if self.out.len() >= INITIAL_CAPACITY {
            self.out.reserve_exact(self.declared - self.out.len());
        }
        self.body = Some(Body::new(kind, len, &self.out));
        Ok(())
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
