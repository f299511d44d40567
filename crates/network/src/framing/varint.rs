//! The length prefix: an unsigned, minimal protobuf varint of at most ten bytes.

use super::FramingError;

/// Most bytes a 64-bit varint has.
pub(super) const MAX_LENGTH_BYTES: usize = 10;

/// Appends `length` as a varint.
pub fn encode_length(length: u64, out: &mut Vec<u8>) {
    let mut buffer = unsigned_varint::encode::u64_buffer();
    out.extend_from_slice(unsigned_varint::encode::u64(length, &mut buffer));
}

/// Reads a varint from the front: the value and the bytes it took, or `None` where it goes on past the end.
///
/// Errors: more than ten bytes, a value above `u64::MAX`, or bytes that add nothing (`0x80 0x00`).
pub fn decode_length(bytes: &[u8]) -> Result<Option<(u64, usize)>, FramingError> {
    use unsigned_varint::decode::Error;
    // The tenth byte holds the 64th bit alone; the crate would drop what is above it.
    if bytes.get(MAX_LENGTH_BYTES - 1).is_some_and(|last| *last > 1)
        && bytes[..MAX_LENGTH_BYTES - 1].iter().all(|b| b & 0x80 != 0)
    {
        return Err(FramingError::LengthOverflow);
    }
    match unsigned_varint::decode::u64(bytes) {
        Ok((value, rest)) => Ok(Some((value, bytes.len() - rest.len()))),
        Err(Error::NotMinimal) => Err(FramingError::LengthNotMinimal),
        Err(Error::Insufficient) if bytes.len() < MAX_LENGTH_BYTES => Ok(None),
        Err(_) => Err(FramingError::LengthOverflow),
    }
}
