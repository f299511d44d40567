//! Raw (block) snappy, bounded before anything is allocated.

/// Why gossip data was not unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnappyError {
    /// The frame declares more than the caller allows; nothing was allocated.
    #[error("declares {declared} bytes, at most {limit} allowed")]
    TooLong {
        /// Bytes declared.
        declared: u64,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not snappy.
    #[error("not valid snappy: {0}")]
    Invalid(String),
}

/// Most bytes that an element of the snappy format yields, and fewest bytes that such an element takes: a copy with a
/// two-byte offset. Data that declares more than this ratio allows cannot be valid.
const LONGEST_COPY: u64 = 64;
const LONGEST_COPY_ENCODED: u64 = 3;

/// Unpacks raw snappy of at most `limit` bytes.
///
/// What the data declares is held against `limit`, and against what so many bytes could unpack to at best, before
/// memory is taken for it.
pub fn decompress(data: &[u8], limit: usize) -> Result<Vec<u8>, SnappyError> {
    let declared = match snap::raw::decompress_len(data) {
        Ok(len) => len,
        Err(snap::Error::TooBig { given, .. }) => {
            return Err(SnappyError::TooLong {
                declared: given,
                limit,
            });
        }
        Err(e) => return Err(SnappyError::Invalid(e.to_string())),
    };
    if declared > limit {
        return Err(SnappyError::TooLong {
            declared: declared as u64,
            limit,
        });
    }
    if (declared as u64).saturating_mul(LONGEST_COPY_ENCODED)
        > (data.len() as u64).saturating_mul(LONGEST_COPY)
    {
        return Err(SnappyError::Invalid(format!(
            "{} bytes cannot unpack to the {declared} they declare",
            data.len()
        )));
    }
    let mut out = vec![0; declared];
    match snap::raw::Decoder::new().decompress(data, &mut out) {
        Ok(_) => Ok(out),
        Err(e) => Err(SnappyError::Invalid(e.to_string())),
    }
}

/// Packs as one raw snappy block. The format has no form for 4 GiB and more: that gives no bytes, which no peer takes.
pub fn compress(data: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(data).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A block's preamble: the length as a varint.
    fn declaring(mut len: u64, rest: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend_from_slice(rest);
        out
    }

    #[test]
    fn a_bomb_is_refused_by_what_it_declares() {
        let gigabytes = declaring(3 << 30, &[0, 0]);
        assert_eq!(
            decompress(&gigabytes, 1000),
            Err(SnappyError::TooLong {
                declared: 3 << 30,
                limit: 1000
            })
        );
        // Beyond what the format knows.
        assert_eq!(
            decompress(&declaring(1 << 33, &[0, 0]), 1000),
            Err(SnappyError::TooLong {
                declared: 1 << 33,
                limit: 1000
            })
        );
        // Within the limit, but more than so few bytes can hold.
        assert!(matches!(
            decompress(&declaring(1000, &[0, 0]), 1000),
            Err(SnappyError::Invalid(_))
        ));
    }

    #[test]
    fn the_limit_is_inclusive() {
        let packed = compress(&[7; 1000]);
        assert_eq!(decompress(&packed, 1000), Ok(vec![7; 1000]));
        assert!(matches!(
            decompress(&packed, 999),
            Err(SnappyError::TooLong {
                declared: 1000,
                limit: 999
            })
        ));
    }

    #[test]
    fn what_is_not_snappy_is_refused() {
        for data in [&[][..], &[0xff; 40], &[5, 0], &declaring(4, &[0b0001_0010, 1])] {
            assert!(
                matches!(decompress(data, 1 << 20), Err(SnappyError::Invalid(_))),
                "{data:?}"
            );
        }
        assert_eq!(decompress(&compress(&[]), 0), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn round_trip(data in prop::collection::vec(0u8..4, 0..10_000)) {
            prop_assert_eq!(decompress(&compress(&data), data.len()), Ok(data));
        }

        #[test]
        fn any_bytes_end_in_an_answer_within_the_limit(data in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(out) = decompress(&data, 4096) {
                prop_assert!(out.len() <= 4096);
            }
        }
    }
}
