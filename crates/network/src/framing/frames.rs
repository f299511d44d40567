//! Snappy's frames, one at a time.
//!
//! Not by snap's own readers and writers of frames: proofs hardly compress, and nearly all of what those cost is their
//! checksum. snap packs and unpacks; the frames around it are put together here.

use super::FramingError;

/// The frame that begins every snappy stream.
pub(super) const STREAM_IDENTIFIER: &[u8; 10] = b"\xff\x06\x00\x00sNaPpY";
/// Kind byte and three length bytes in front of every frame.
pub(super) const FRAME_HEADER_LEN: usize = 4;
/// Checksum bytes at the start of a data frame's body.
const CHECKSUM_LEN: usize = 4;
/// What a frame has beside its data.
pub(super) const DATA_FRAME_EXTRA: usize = FRAME_HEADER_LEN + CHECKSUM_LEN;
/// Most bytes that a frame unpacks to.
pub(super) const MAX_FRAME_DATA: usize = 65_536;
/// Most bytes that a compressed frame's body has: `32 + n + n/6` for `n` bytes of data, and the checksum.
const MAX_COMPRESSED_BODY: usize = CHECKSUM_LEN + 32 + MAX_FRAME_DATA + MAX_FRAME_DATA / 6;

/// Kinds of frames.
pub(super) const COMPRESSED: u8 = 0x00;
pub(super) const PLAIN: u8 = 0x01;
pub(super) const IDENTIFIER: u8 = 0xff;

/// Writes frames of data.
pub(super) struct Packer {
    snap: snap::raw::Encoder,
    packed: Vec<u8>,
}

impl Default for Packer {
    fn default() -> Self {
        Self {
            snap: snap::raw::Encoder::new(),
            packed: Vec::new(),
        }
    }
}

impl Packer {
    /// The frames of `data` go to the end of `out`; as they are where compressing saves less than an eighth.
    pub(super) fn append(&mut self, data: &[u8], out: &mut Vec<u8>) {
        for block in data.chunks(MAX_FRAME_DATA) {
            let room = snap::raw::max_compress_len(block.len());
            if self.packed.len() < room {
                self.packed.resize(room, 0);
            }
            let packed = self.snap.compress(block, &mut self.packed).ok();
            let worth = block.len() - block.len() / 8;
            let (kind, body) = match packed.and_then(|len| self.packed.get(..len)) {
                Some(packed) if packed.len() < worth => (COMPRESSED, packed),
                _ => (PLAIN, block),
            };
            // At most `MAX_COMPRESSED_BODY`: three bytes hold it.
            let [a, b, c, ..] = ((CHECKSUM_LEN + body.len()) as u32).to_le_bytes();
            out.extend_from_slice(&[kind, a, b, c]);
            out.extend_from_slice(&checksum(block).to_le_bytes());
            out.extend_from_slice(body);
        }
    }
}

/// CRC32C, masked as snappy's framing masks it: turned by 15 bits, and a constant added.
fn checksum(data: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// Whether a frame of this kind may have so long a body.
pub(super) fn fits(kind: u8, len: usize) -> bool {
    match kind {
        COMPRESSED => (CHECKSUM_LEN + 1..=MAX_COMPRESSED_BODY).contains(&len),
        PLAIN => (CHECKSUM_LEN..=CHECKSUM_LEN + MAX_FRAME_DATA).contains(&len),
        IDENTIFIER => len == STREAM_IDENTIFIER.len() - FRAME_HEADER_LEN,
        _ => true,
    }
}

/// Bytes of data in a plain frame whose body has `len`.
pub(super) const fn plain_len(len: usize) -> usize {
    len.saturating_sub(CHECKSUM_LEN)
}

/// The body of a frame that is arriving.
pub(super) struct Body {
    kind: u8,
    /// What of it has not come.
    left: usize,
    /// What has come, but a plain frame's data.
    taken: Vec<u8>,
    /// Where in the payload a plain frame's data begins.
    start: usize,
}

impl Body {
    /// `declared` bytes are the payload; the data goes to the end of what it has so far.
    pub(super) fn new(kind: u8, len: usize, payload: &[u8]) -> Self {
        Self {
            kind,
            left: len,
            taken: Vec::new(),
            start: payload.len(),
        }
    }

    /// Takes from the front of `input`, and gives what the frame holds to the payload, which has at most `declared`
    /// bytes. Whether the frame is whole.
    pub(super) fn take(
        &mut self,
        input: &mut &[u8],
        payload: &mut Vec<u8>,
        declared: usize,
    ) -> Result<bool, FramingError> {
        if self.kind == PLAIN {
            self.keep(input, CHECKSUM_LEN.saturating_sub(self.taken.len()));
            payload.extend_from_slice(self.split(input, self.left));
        } else {
            self.keep(input, self.left);
        }
        if self.left > 0 {
            return Ok(false);
        }
        match (self.kind, self.taken.split_first_chunk::<CHECKSUM_LEN>()) {
            (PLAIN, Some((sum, _))) => check(*sum, &payload[self.start..])?,
            (COMPRESSED, Some((sum, packed))) => {
                let len = snap::raw::decompress_len(packed).map_err(snappy)?;
                if len > MAX_FRAME_DATA {
                    return Err(FramingError::Snappy(format!(
                        "a frame that unpacks to {len} bytes"
                    )));
                }
                if len > declared - payload.len() {
                    return Err(FramingError::MoreThanDeclared { declared });
                }
                payload.resize(self.start + len, 0);
                let unpacked = &mut payload[self.start..];
                snap::raw::Decoder::new()
                    .decompress(packed, unpacked)
                    .map_err(snappy)?;
                check(*sum, unpacked)?;
            }
            _ if self.taken != STREAM_IDENTIFIER[FRAME_HEADER_LEN..] => {
                return Err(FramingError::Snappy("another stream's identifier".into()));
            }
            _ => {}
        }
        Ok(true)
    }

    fn keep(&mut self, input: &mut &[u8], most: usize) {
        let part = self.split(input, most);
        self.taken.extend_from_slice(part);
    }

    /// At most so much of the front of `input`, and of the body.
    fn split<'a>(&mut self, input: &mut &'a [u8], most: usize) -> &'a [u8] {
        let (part, rest) = input.split_at(most.min(self.left).min(input.len()));
        *input = rest;
        self.left -= part.len();
        part
    }
}

fn check(expected: [u8; CHECKSUM_LEN], data: &[u8]) -> Result<(), FramingError> {
    if checksum(data) == u32::from_le_bytes(expected) {
        Ok(())
    } else {
        Err(FramingError::Snappy("its checksum does not match".into()))
    }
}

fn snappy(error: snap::Error) -> FramingError {
    FramingError::Snappy(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Write};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// What compresses, what does not, and both by turns.
        #[test]
        fn frames_are_snaps_own_byte_for_byte(
            parts in prop::collection::vec((any::<u8>(), any::<bool>(), 0usize..90_000), 0..5),
        ) {
            let mut data = Vec::new();
            for (seed, plain, len) in parts {
                data.extend((0..len as u64).map(|n| match plain {
                    true => (n.wrapping_add(u64::from(seed)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53) as u8,
                    false => seed,
                }));
            }
            let mut theirs = snap::write::FrameEncoder::new(Vec::new());
            theirs.write_all(&data).unwrap();
            let theirs = theirs.into_inner().unwrap();
            let mut ours = STREAM_IDENTIFIER.to_vec();
            Packer::default().append(&data, &mut ours);
            if data.is_empty() {
                ours.clear();
            }
            prop_assert!(ours == theirs);
            let mut back = Vec::new();
            snap::read::FrameDecoder::new(&ours[..]).read_to_end(&mut back).unwrap();
            prop_assert!(back == data);
        }
    }
}
