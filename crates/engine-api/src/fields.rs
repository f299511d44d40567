//! QUANTITY and DATA of the Engine API: strict reading, with the field's name in every error, and writing.
//!
//! QUANTITY: `0x`, then hex digits without leading zeros, `0x0` for zero. DATA: `0x`, then two hex digits a byte.

use bytes::Bytes;
use ruint::aliases::U256;
use serde::{
    Deserializer, Serializer,
    de::{self, DeserializeSeed, Error as _, SeqAccess, Visitor},
};
use std::{fmt, marker::PhantomData};

/// Why a QUANTITY or DATA was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// No `0x`.
    #[error("must begin with 0x")]
    NoPrefix,
    /// A QUANTITY of no digits.
    #[error("a QUANTITY has at least one digit")]
    Empty,
    /// A QUANTITY with a leading zero.
    #[error("a QUANTITY has no leading zeros")]
    LeadingZero,
    /// A QUANTITY that the field cannot hold.
    #[error("too large for {0} bits")]
    TooLarge(usize),
    /// Something that is no hex digit, or half a byte.
    #[error("not hex: {0}")]
    Digits(String),
    /// DATA of another length than the field's.
    #[error("{actual} bytes, {expected} expected")]
    Length {
        /// Bytes the field has.
        expected: usize,
        /// Bytes there were.
        actual: usize,
    },
    /// DATA beyond the field's limit.
    #[error("{actual} bytes, at most {limit} allowed")]
    Limit {
        /// Most bytes the field may have.
        limit: usize,
        /// Bytes there were.
        actual: usize,
    },
}

fn digits(text: &str) -> Result<&[u8], FieldError> {
    text.strip_prefix("0x")
        .map(str::as_bytes)
        .ok_or(FieldError::NoPrefix)
}

/// `out` has half as many bytes as there are digits. const-hex passes over a prefix of its own accord; ours is gone, and
/// a second one leaves too few digits, which is an error.
fn decode_into(digits: &[u8], out: &mut [u8]) -> Result<(), FieldError> {
    const_hex::decode_to_slice(digits, out).map_err(|e| FieldError::Digits(e.to_string()))
}

/// Reads DATA of exactly `N` bytes.
pub fn parse_fixed<const N: usize>(text: &str) -> Result<[u8; N], FieldError> {
    let digits = digits(text)?;
    if digits.len() != 2 * N {
        return Err(FieldError::Length {
            expected: N,
            actual: digits.len() / 2,
        });
    }
    let mut out = [0; N];
    decode_into(digits, &mut out)?;
    Ok(out)
}

/// Reads DATA of at most `limit` bytes.
pub fn parse_data(text: &str, limit: usize) -> Result<Vec<u8>, FieldError> {
    let digits = digits(text)?;
    if digits.len() % 2 != 0 {
        return Err(FieldError::Digits("half a byte".to_owned()));
    }
    let length = digits.len() / 2;
    if length > limit {
        return Err(FieldError::Limit {
            limit,
            actual: length,
        });
    }
    let mut out = vec![0; length];
    decode_into(digits, &mut out)?;
    Ok(out)
}

fn quantity_digits(text: &str) -> Result<&str, FieldError> {
    let digits = text.strip_prefix("0x").ok_or(FieldError::NoPrefix)?;
    match digits.as_bytes() {
        [] => Err(FieldError::Empty),
        [b'0', _, ..] => Err(FieldError::LeadingZero),
        all if all.iter().all(u8::is_ascii_hexdigit) => Ok(digits),
        _ => Err(FieldError::Digits(digits.chars().take(80).collect())),
    }
}

/// Reads a QUANTITY of 64 bits.
pub fn parse_u64(text: &str) -> Result<u64, FieldError> {
    u64::from_str_radix(quantity_digits(text)?, 16).map_err(|_| FieldError::TooLarge(64))
}

/// Reads a QUANTITY of 256 bits.
pub fn parse_u256(text: &str) -> Result<U256, FieldError> {
    U256::from_str_radix(quantity_digits(text)?, 16).map_err(|_| FieldError::TooLarge(256))
}

/// Writes a QUANTITY.
pub fn quantity_text(n: impl fmt::LowerHex) -> String {
    format!("{n:#x}")
}

/// Writes DATA.
pub fn data_text(bytes: impl AsRef<[u8]>) -> String {
    const_hex::encode_prefixed(bytes)
}

/// `#[serde(with = "fields::quantity")]`: a `u64` as QUANTITY.
pub mod quantity {
    use super::*;

    /// Writes a QUANTITY.
    pub fn serialize<S: Serializer>(n: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&quantity_text(*n))
    }

    /// Reads a QUANTITY.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        Text {
            field: "value",
            kind: "a QUANTITY",
            parse: parse_u64,
        }
        .deserialize(d)
    }
}

/// `#[serde(with = "fields::data")]`: bytes as DATA; the length is the type's.
pub mod data {
    use super::*;

    /// Writes DATA.
    pub fn serialize<B: AsRef<[u8]>, S: Serializer>(bytes: &B, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&data_text(bytes))
    }

    /// Reads DATA of exactly the type's length.
    pub fn deserialize<'de, const N: usize, T: From<[u8; N]>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<T, D::Error> {
        Text {
            field: "value",
            kind: "DATA",
            parse: parse_fixed::<N>,
        }
        .deserialize(d)
        .map(T::from)
    }
}

/// Reads a JSON string through `parse`; errors name `field`.
pub(crate) struct Text<P> {
    pub(crate) field: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) parse: P,
}

impl<'de, T, P: FnOnce(&str) -> Result<T, FieldError>> DeserializeSeed<'de> for Text<P> {
    type Value = T;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<T, D::Error> {
        d.deserialize_str(self)
    }
}

impl<T, P: FnOnce(&str) -> Result<T, FieldError>> Visitor<'_> for Text<P> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.kind, self.field)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(|e| E::custom(format_args!("{}: {e}", self.field)))
    }
}

/// DATA of `N` bytes.
pub(crate) fn fixed<'de, const N: usize>(field: &'static str) -> impl DeserializeSeed<'de, Value = [u8; N]> {
    Text {
        field,
        kind: "DATA",
        parse: parse_fixed::<N>,
    }
}

/// DATA of at most `limit` bytes.
pub(crate) fn bytes<'de>(field: &'static str, limit: usize) -> impl DeserializeSeed<'de, Value = Bytes> {
    Text {
        field,
        kind: "DATA",
        parse: move |text: &str| parse_data(text, limit).map(Bytes::from),
    }
}

/// A QUANTITY of 64 bits.
pub(crate) fn number<'de>(field: &'static str) -> impl DeserializeSeed<'de, Value = u64> {
    Text {
        field,
        kind: "a QUANTITY",
        parse: parse_u64,
    }
}

/// `null`, or what `inner` reads.
pub(crate) struct Nullable<S>(pub(crate) S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Nullable<S> {
    type Value = Option<S::Value>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Nullable<S> {
    type Value = Option<S::Value>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }
    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(d).map(Some)
    }
}

/// A JSON array of at most `limit` elements, each read by a fresh seed of `element`.
pub(crate) struct List<F, T> {
    field: &'static str,
    limit: usize,
    element: F,
    of: PhantomData<fn() -> T>,
}

/// An array of at most `limit` elements.
pub(crate) fn list<F, T>(field: &'static str, limit: usize, element: F) -> List<F, T> {
    List {
        field,
        limit,
        element,
        of: PhantomData,
    }
}

impl<'de, T, S, F> DeserializeSeed<'de> for List<F, T>
where
    F: Fn(&'static str) -> S,
    S: DeserializeSeed<'de, Value = T>,
{
    type Value = Vec<T>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<T>, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de, T, S, F> Visitor<'de> for List<F, T>
where
    F: Fn(&'static str) -> S,
    S: DeserializeSeed<'de, Value = T>,
{
    type Value = Vec<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array for {}", self.field)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut out = Vec::new();
        while let Some(element) = seq.next_element_seed((self.element)(self.field))? {
            if out.len() == self.limit {
                return Err(A::Error::custom(format_args!(
                    "{}: more than {} elements",
                    self.field, self.limit
                )));
            }
            out.push(element);
        }
        Ok(out)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_strict() {
        for (text, value) in [
            ("0x0", 0),
            ("0x1", 1),
            ("0xfF", 255),
            ("0xffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(parse_u64(text), Ok(value));
        }
        for (text, error) in [
            ("", FieldError::NoPrefix),
            ("1", FieldError::NoPrefix),
            ("0X1", FieldError::NoPrefix),
            ("0x", FieldError::Empty),
            ("0x00", FieldError::LeadingZero),
            ("0x01", FieldError::LeadingZero),
            ("0x+1", FieldError::Digits("+1".into())),
            ("0xg", FieldError::Digits("g".into())),
            ("0x1_0", FieldError::Digits("1_0".into())),
            ("0x10000000000000000", FieldError::TooLarge(64)),
        ] {
            assert_eq!(parse_u64(text), Err(error), "{text}");
        }
        assert_eq!(parse_u256(&format!("0x{}", "f".repeat(64))), Ok(U256::MAX));
        assert_eq!(
            parse_u256(&format!("0x1{}", "0".repeat(64))),
            Err(FieldError::TooLarge(256))
        );
    }

    #[test]
    fn data_is_strict() {
        assert_eq!(parse_data("0x", 0).unwrap(), Vec::<u8>::new());
        assert_eq!(parse_data("0xaBcD", 2).unwrap(), [0xab, 0xcd]);
        assert_eq!(
            parse_data("0xabcd", 1),
            Err(FieldError::Limit { limit: 1, actual: 2 })
        );
        for bad in ["", "ab", "0xa", "0xzz", "0x0xab", "0x 12", "0xé"] {
            assert!(parse_data(bad, 9).is_err(), "{bad}");
        }
        assert_eq!(parse_fixed::<2>("0x0102").unwrap(), [1, 2]);
        assert_eq!(
            parse_fixed::<2>("0x01"),
            Err(FieldError::Length {
                expected: 2,
                actual: 1
            })
        );
        assert!(parse_fixed::<2>("0x0x01").is_err());
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(n: u64, m: [u64; 4], data: Vec<u8>) {
            prop_assert_eq!(parse_u64(&quantity_text(n)), Ok(n));
            let m = U256::from_limbs(m);
            prop_assert_eq!(parse_u256(&quantity_text(m)), Ok(m));
            prop_assert_eq!(parse_data(&data_text(&data), data.len()), Ok(data));
        }
    }
}
