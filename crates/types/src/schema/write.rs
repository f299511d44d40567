//! Serialising typed values: the counterpart of `read`.

use std::borrow::Cow;

/// One field's serialised value.
pub(crate) enum Part<'a> {
    /// A fixed-size value, written in place.
    Fixed(Cow<'a, [u8]>),
    /// A variable-size value, written behind the fixed part.
    Variable(Cow<'a, [u8]>),
}

impl<'a> Part<'a> {
    /// A byte vector.
    pub(crate) fn fixed(bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self::Fixed(Cow::Borrowed(bytes.as_ref()))
    }

    /// A uint64.
    pub(crate) fn u64(n: u64) -> Self {
        Self::Fixed(Cow::Owned(n.to_le_bytes().to_vec()))
    }

    /// A variable-size value already serialised.
    pub(crate) fn variable(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::Variable(bytes.into())
    }
}

/// A container's bytes from its fields' in order.
pub(crate) fn container(parts: &[Part<'_>]) -> Vec<u8> {
    let fixed_part = parts
        .iter()
        .map(|part| match part {
            Part::Fixed(bytes) => bytes.len(),
            Part::Variable(_) => super::OFFSET_LEN,
        })
        .sum();
    let mut out = Vec::new();
    let mut encoder = ssz::SszEncoder::container(&mut out, fixed_part);
    for part in parts {
        let (fixed, bytes) = match part {
            Part::Fixed(bytes) => (true, bytes),
            Part::Variable(bytes) => (false, bytes),
        };
        encoder.append_parameterized(fixed, |buffer| buffer.extend_from_slice(bytes));
    }
    encoder.finalize();
    out
}

/// A list's bytes from its variable-size elements'.
pub(crate) fn list<'a>(items: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = ssz::SszEncoder::container(&mut out, items.len() * super::OFFSET_LEN);
    for item in items {
        encoder.append_parameterized(false, |buffer| buffer.extend_from_slice(item));
    }
    encoder.finalize();
    out
}
