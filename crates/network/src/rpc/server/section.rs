//! A part of a chunk: whole frames, packed from the pieces of the payload as they come.

use crate::{
    framing::{PayloadEncoder, plain_payload_len},
    rpc::wire::begin_chunk,
};
use assay_types::ForkDigest;

/// Most bytes in front of a chunk's payload: the result, and context bytes.
const CHUNK_FRONT: usize = 5;

/// Most bytes of the chunk of a payload.
pub(super) fn chunk_len(ssz_len: usize) -> usize {
    CHUNK_FRONT + plain_payload_len(ssz_len)
}

/// SSZ bytes of a payload: from one byte on, so many or those there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    from: usize,
    /// Whole frames.
    len: usize,
}

impl Section {
    /// All there is.
    pub(super) const WHOLE: Self = Self {
        from: 0,
        len: usize::MAX,
    };

    /// The first `len` bytes, which make whole frames.
    pub(super) const fn first(len: usize) -> Self {
        Self { from: 0, len }
    }

    /// As many bytes behind this one.
    pub(super) const fn next(self) -> Self {
        Self {
            from: self.from.saturating_add(self.len),
            len: self.len,
        }
    }

    /// Whether a payload of so many bytes goes on behind it.
    pub(super) const fn is_short_of(self, ssz_len: usize) -> bool {
        self.from.saturating_add(self.len) < ssz_len
    }
}

/// Packs sections of chunks, one after the other.
#[derive(Default)]
pub(super) struct Packer {
    encoder: PayloadEncoder,
    /// Bytes of the payload that have come.
    at: usize,
    /// Most bytes that go out.
    most: usize,
}

impl Packer {
    /// A payload of `ssz_len` bytes begins, of which `section` goes to `out`, with all that stands in front of the first.
    pub(super) fn begin(
        &mut self,
        context: Option<ForkDigest>,
        ssz_len: usize,
        section: Section,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        begin_chunk(context, out);
        self.encoder.begin(ssz_len, out);
        if section.from > 0 {
            out.clear();
        }
        self.at = 0;
        let ssz_len = ssz_len.saturating_sub(section.from).min(section.len);
        self.most = chunk_len(ssz_len);
    }

    /// The next piece of the payload.
    pub(super) fn push(&mut self, piece: &[u8], section: Section, out: &mut Vec<u8>) {
        let from = section.from.saturating_sub(self.at).min(piece.len());
        let end = section.from.saturating_add(section.len);
        let to = end.saturating_sub(self.at).min(piece.len());
        self.at += piece.len();
        if let Some(cut) = piece.get(from..to).filter(|cut| !cut.is_empty()) {
            // Now, when there is something: a damaged length alone allocates nothing.
            out.reserve_exact(self.most.saturating_sub(out.len()));
            self.encoder.push(cut, out);
        }
    }

    /// No more pieces come.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.encoder.finish(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::encode_payload;
    use proptest::prelude::*;

    proptest! {
        /// Sections make the chunk, whatever its length and theirs and in whichever pieces it comes.
        #[test]
        fn sections_make_the_chunk(
            ssz in (0usize..300_000, any::<u8>()).prop_map(|(len, seed)| {
                (0..len).map(|n| (n >> 3) as u8 ^ seed).collect::<Vec<u8>>()
            }),
            frames in 1usize..5,
            piece in 1usize..100_000,
            context in any::<Option<[u8; 4]>>(),
        ) {
            let context = context.map(ForkDigest);
            let mut whole = Vec::new();
            begin_chunk(context, &mut whole);
            whole.extend(encode_payload(&ssz));
            let len = frames * PayloadEncoder::FRAME_LEN;
            for (first, most) in [(Section::WHOLE, usize::MAX), (Section::first(len), len + 1024)] {
                let (mut sent, mut out) = (Vec::new(), Vec::new());
                let mut section = first;
                loop {
                    let mut packer = Packer::default();
                    packer.begin(context, ssz.len(), section, &mut out);
                    for piece in ssz.chunks(piece) {
                        packer.push(piece, section, &mut out);
                    }
                    packer.finish(&mut out);
                    prop_assert!(out.capacity() <= most, "{} bytes held", out.capacity());
                    sent.extend_from_slice(&out);
                    if !section.is_short_of(ssz.len()) {
                        break;
                    }
                    section = section.next();
                }
                prop_assert!(sent == whole);
            }
        }
    }
}
