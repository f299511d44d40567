//! One SSZ `SignedExecutionProof`, or a list of them, taken apart while it comes: each proof's bytes go straight into a
//! buffer of its own, so a body of 4 MiB proofs is in memory once, and a proof that waits keeps nothing but itself.
//!
//! The first offset tells which it is: a list's is four bytes an element, one container's is that of its first field
//! (108, the fixed part). A list of 27 has this first offset too; then its first element begins at 108, with its own
//! first offset (108), where one container has its message, with the message's (37).

use assay_types::proof::SIGNED_PROOF_OVERHEAD;
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of an SSZ offset.
const OFFSET_BYTES: usize = 4;
/// The fixed part of `SignedExecutionProof`: offset, validator index, signature.
const SIGNED_FIXED_PART: usize = OFFSET_BYTES + 8 + 96;
/// The fixed part of `ExecutionProof`: offset, type, public input.
const MESSAGE_FIXED_PART: usize = OFFSET_BYTES + 1 + 32;

/// What a body turns out to be.
enum Shape {
    /// Not enough bytes yet; they are few.
    Unknown(BytesMut),
    /// One proof.
    One(BytesMut),
    /// A list: where its elements end (the last with the body), and the one that is being filled.
    List {
        ends: std::vec::IntoIter<Option<usize>>,
        end: Option<usize>,
        buffer: BytesMut,
        done: Vec<Bytes>,
    },
}

/// Takes a body apart. Feed it every chunk, then `finish`.
pub(crate) struct SszSplit {
    most: usize,
    /// What there may be so many of.
    of: &'static str,
    /// Length of the body, where it is known.
    length: Option<usize>,
    taken: usize,
    shape: Shape,
}

fn offset(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; OFFSET_BYTES] = bytes.get(at..at + OFFSET_BYTES)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

fn no_room(index: usize) -> String {
    format!("proof {index} has no room between its offsets")
}

impl SszSplit {
    /// A body of at most `most` proofs, which the error calls `of`; `length` where it is declared (the caller holds it
    /// against its limit).
    pub(crate) fn new(most: usize, of: &'static str, length: Option<usize>) -> Self {
        Self {
            most,
            of,
            length,
            taken: 0,
            shape: Shape::Unknown(BytesMut::new()),
        }
    }

    /// The next bytes. An error is the last word on the body.
    pub(crate) fn feed(&mut self, mut chunk: &[u8]) -> Result<(), String> {
        self.taken += chunk.len();
        if let Shape::Unknown(head) = &mut self.shape {
            head.extend_from_slice(chunk);
            let head = std::mem::take(head);
            let Some(shape) = self.shape_of(&head)? else {
                self.shape = Shape::Unknown(head);
                return Ok(());
            };
            self.shape = shape;
            // The table of a list's offsets is no part of its elements.
            let skipped = match &self.shape {
                Shape::List { .. } => offset(&head, 0).unwrap_or(0),
                _ => 0,
            };
            self.place(&head[skipped..], self.taken - head.len() + skipped)?;
            chunk = &[];
        }
        self.place(chunk, self.taken - chunk.len())
    }

    /// `None`: more bytes are needed.
    fn shape_of(&self, head: &[u8]) -> Result<Option<Shape>, String> {
        let Some(first) = offset(head, 0) else {
            return Ok(None);
        };
        if first == 0 || first % OFFSET_BYTES != 0 {
            return Err("neither one proof nor a list".to_owned());
        }
        if first / OFFSET_BYTES > self.most {
            return Err(format!("more than {} {}", self.most, self.of));
        }
        if first == SIGNED_FIXED_PART {
            let Some(inner) = offset(head, SIGNED_FIXED_PART) else {
                return Ok(None);
            };
            if inner == MESSAGE_FIXED_PART {
                return Ok(Some(Shape::One(self.buffer(0, self.length))));
            }
        }
        if head.len() < first {
            return Ok(None);
        }
        let mut ends: Vec<Option<usize>> = Vec::with_capacity(first / OFFSET_BYTES);
        let mut start = first;
        for index in 1..first / OFFSET_BYTES {
            let end = offset(head, index * OFFSET_BYTES).unwrap_or(0);
            if end < start.saturating_add(SIGNED_PROOF_OVERHEAD) || self.length.is_some_and(|all| end > all) {
                return Err(no_room(index - 1));
            }
            ends.push(Some(end));
            start = end;
        }
        ends.push(self.length);
        let mut ends = ends.into_iter();
        let end = ends.next().flatten();
        Ok(Some(Shape::List {
            ends,
            end,
            buffer: self.buffer(first, end),
            done: Vec::new(),
        }))
    }

    /// Room for what lies between two places, where both are known to be in the body.
    fn buffer(&self, start: usize, end: Option<usize>) -> BytesMut {
        let known = self.length.and(end);
        BytesMut::with_capacity(known.map_or(0, |end| end.saturating_sub(start)))
    }

    /// Puts bytes that stand at `at` in the body where they belong.
    fn place(&mut self, mut bytes: &[u8], mut at: usize) -> Result<(), String> {
        loop {
            let next = match &mut self.shape {
                Shape::Unknown(_) => return Ok(()),
                Shape::One(buffer) => {
                    buffer.extend_from_slice(bytes);
                    return Ok(());
                }
                Shape::List {
                    ends,
                    end,
                    buffer,
                    done,
                } => {
                    let here = end.map_or(bytes.len(), |end| end.saturating_sub(at).min(bytes.len()));
                    buffer.extend_from_slice(&bytes[..here]);
                    bytes.advance(here);
                    at += here;
                    // The last one ends with the body.
                    if *end != Some(at) || ends.len() == 0 {
                        return if bytes.is_empty() {
                            Ok(())
                        } else {
                            Err("bytes after the last proof".to_owned())
                        };
                    }
                    done.push(own(std::mem::take(buffer)));
                    *end = ends.next().flatten();
                    *end
                }
            };
            let room = self.buffer(at, next);
            if let Shape::List { buffer, .. } = &mut self.shape {
                *buffer = room;
            }
        }
    }

    /// The proofs, once the body has ended.
    pub(crate) fn finish(self) -> Result<Vec<Bytes>, String> {
        match self.shape {
            Shape::Unknown(head) if head.len() < OFFSET_BYTES => Err("shorter than an offset".to_owned()),
            Shape::Unknown(_) => Err("offsets end early".to_owned()),
            Shape::One(buffer) if buffer.len() < SIGNED_PROOF_OVERHEAD => Err(no_room(0)),
            Shape::One(buffer) => Ok(vec![own(buffer)]),
            Shape::List {
                ends,
                buffer,
                mut done,
                ..
            } => {
                if ends.len() > 0 || buffer.len() < SIGNED_PROOF_OVERHEAD {
                    return Err(no_room(done.len()));
                }
                done.push(own(buffer));
                Ok(done)
            }
        }
    }
}

/// The bytes in a buffer hardly larger than they are: it may be kept for long.
fn own(buffer: BytesMut) -> Bytes {
    if buffer.capacity() > buffer.len() + buffer.len() / 4 + 64 {
        Bytes::copy_from_slice(&buffer)
    } else {
        buffer.freeze()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::proof_body::ssz_list;
    use super::*;
    use assay_types::{ExecutionProof, PublicInput, Root, SignatureBytes, SignedExecutionProof};

    fn proof(size: usize) -> Bytes {
        let signed = SignedExecutionProof {
            message: ExecutionProof {
                proof_data: vec![7; size].into(),
                proof_type: 1,
                public_input: PublicInput {
                    new_payload_request_root: Root::from([3; 32]),
                },
            },
            validator_index: 5,
            signature: SignatureBytes::ZERO,
        };
        signed.to_ssz_bytes()
    }

    fn split(body: &[u8], length: Option<usize>, chunk: usize) -> Result<Vec<Bytes>, String> {
        let mut split = SszSplit::new(64, "proofs", length);
        for chunk in body.chunks(chunk) {
            split.feed(chunk)?;
        }
        split.finish()
    }

    #[test]
    fn any_chunks_give_the_same_proofs() {
        for sizes in [
            vec![0],
            vec![1000],
            vec![5, 0, 300, 1],
            vec![3; 26],
            vec![9; 27],
            vec![1; 64],
        ] {
            let proofs: Vec<Bytes> = sizes.into_iter().map(proof).collect();
            let list = ssz_list(&proofs).unwrap();
            for chunk in [1, 2, 3, 107, 108, 109, 145, 146, 1000, list.len()] {
                for length in [None, Some(list.len())] {
                    let found = split(&list, length, chunk);
                    assert_eq!(found.as_ref(), Ok(&proofs), "{} by {chunk}", proofs.len());
                }
            }
        }
        let one = proof(700);
        for chunk in [1, 4, 100, 108, 111, 112, 113, 1000] {
            for length in [None, Some(one.len())] {
                assert_eq!(split(&one, length, chunk), Ok(vec![one.clone()]), "by {chunk}");
            }
        }
    }

    #[test]
    fn each_has_a_buffer_of_its_own_size() {
        let proofs = [proof(100_000), proof(10), proof(50_000)];
        let list = ssz_list(&proofs).unwrap();
        for length in [None, Some(list.len())] {
            for bytes in split(&list, length, 1448).unwrap() {
                let len = bytes.len();
                let capacity = bytes.try_into_mut().unwrap().capacity();
                assert!(capacity <= len + len / 4 + 64, "{capacity} for {len}");
            }
        }
        // What is claimed takes no memory before it is there.
        let mut claims = SszSplit::new(64, "proofs", None);
        claims.feed(&[8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).unwrap();
        let Shape::List { buffer, .. } = &claims.shape else {
            unreachable!("two offsets make a list");
        };
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn what_is_wrong_ends_the_body() {
        let good = ssz_list(&[proof(5), proof(6)]).unwrap();
        let one = proof(10);
        let with = |at: usize, value: u32| {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            bad
        };
        for (what, body, length, says) in [
            ("nothing", vec![], Some(0), "shorter than an offset"),
            ("cut in the table", good[..6].to_vec(), None, "offsets end early"),
            ("zero", vec![0; 300], None, "neither"),
            ("odd", with(0, 9), None, "neither"),
            ("many", with(0, 65 * 4), None, "more than 64"),
            ("falling", with(4, 5), None, "proof 0"),
            ("beyond", with(4, u32::MAX), Some(good.len()), "proof 0"),
            ("beyond, length unknown", with(4, u32::MAX), None, "proof 0"),
            ("cut", good[..good.len() - 10].to_vec(), None, "proof 1"),
            ("cut in the first", good[..100].to_vec(), Some(100), "proof 0"),
            ("one, cut", one[..120].to_vec(), None, "proof 0"),
            (
                "one, cut in the fixed part",
                one[..110].to_vec(),
                None,
                "offsets end early",
            ),
        ] {
            for chunk in [1, 50, 1000] {
                let error = split(&body, length, chunk).unwrap_err();
                assert!(error.contains(says), "{what} by {chunk}: {error}");
            }
        }
    }
}
