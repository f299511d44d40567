//! Whether bytes are a value of a shape. Strict: for every value exactly one byte string passes.

use super::{
    Field, OFFSET_LEN, Schema, SchemaError, SchemaFault,
    view::{container_parts, list_items, read_offset},
};

/// Checks `bytes` against `schema`. Reads every offset once, allocates nothing unless something is wrong.
pub(super) fn check(schema: &Schema, bytes: &[u8]) -> Result<(), SchemaError> {
    match schema {
        Schema::Uint(size) | Schema::Bytes(size) => length(*size, bytes),
        Schema::Boolean => {
            length(1, bytes)?;
            match bytes {
                [0 | 1] => Ok(()),
                [other, ..] => Err(SchemaFault::NotBoolean(*other).into()),
                [] => Ok(()),
            }
        }
        Schema::ByteList(limit) => within_limit(bytes.len(), *limit),
        Schema::ProgressiveByteList => Ok(()),
        Schema::Bitvector(bits) => bitvector(*bits, bytes),
        Schema::Bitlist(limit) => within_limit(bitlist_len(bytes)?, *limit),
        Schema::ProgressiveBitlist => Ok(bitlist_len(bytes).map(drop)?),
        Schema::Vector(element, count) => {
            let actual = check_items(element, bytes, None)?;
            if actual == *count && actual > 0 {
                Ok(())
            } else {
                Err(SchemaFault::VectorLength {
                    expected: *count,
                    actual,
                }
                .into())
            }
        }
        Schema::List(element, limit) => check_items(element, bytes, Some(*limit)).map(drop),
        Schema::ProgressiveList(element) => check_items(element, bytes, None).map(drop),
        Schema::Container { fields, .. } => check_container(fields, bytes),
        Schema::ProgressiveContainer {
            fields,
            active_fields,
            ..
        } => {
            if active_fields.iter().filter(|active| **active).count() != fields.len() {
                return Err(SchemaFault::EmptyShape.into());
            }
            check_container(fields, bytes)
        }
    }
}

fn length(expected: usize, bytes: &[u8]) -> Result<(), SchemaError> {
    if bytes.len() == expected {
        Ok(())
    } else {
        Err(SchemaFault::Length {
            expected,
            actual: bytes.len(),
        }
        .into())
    }
}

fn within_limit(len: usize, limit: u64) -> Result<(), SchemaError> {
    if u64::try_from(len).is_ok_and(|n| n <= limit) {
        Ok(())
    } else {
        Err(SchemaFault::Limit { len, limit }.into())
    }
}

fn bitvector(bits: usize, bytes: &[u8]) -> Result<(), SchemaError> {
    length(bits.div_ceil(8), bytes)?;
    let used = bits % 8;
    match bytes.last() {
        Some(last) if used != 0 && last >> used != 0 => Err(SchemaFault::PaddingBits(bits).into()),
        Some(_) => Ok(()),
        None => Err(SchemaFault::EmptyShape.into()),
    }
}

/// The number of bits before the end bit.
pub(super) fn bitlist_len(bytes: &[u8]) -> Result<usize, SchemaFault> {
    match bytes.split_last() {
        Some((last, rest)) if *last != 0 => Ok(rest.len() * 8 + last.ilog2() as usize),
        _ => Err(SchemaFault::NoEndBit),
    }
}

/// Checks the elements of a list or vector; the number of them. `limit` is applied before any element is looked at.
fn check_items(element: &Schema, bytes: &[u8], limit: Option<u64>) -> Result<usize, SchemaError> {
    let count = match element.fixed_size() {
        Some(0) => return Err(SchemaFault::EmptyShape.into()),
        Some(size) if bytes.len().is_multiple_of(size) => bytes.len() / size,
        Some(size) => {
            return Err(SchemaFault::PartialElement {
                len: bytes.len(),
                element: size,
            }
            .into());
        }
        None => offsets_of_list(bytes)?,
    };
    if let Some(limit) = limit {
        within_limit(count, limit)?;
    }
    // Elements that any bytes of their length are a value of need no look.
    if !matches!(element, Schema::Uint(_) | Schema::Bytes(_)) {
        for (index, item) in list_items(element, bytes).enumerate() {
            check(element, item).map_err(|e| e.within(&format!("[{index}]")))?;
        }
    }
    Ok(count)
}

/// Checks the offsets in front of a list of variable-size elements; the number of them.
fn offsets_of_list(bytes: &[u8]) -> Result<usize, SchemaError> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let len = bytes.len();
    let first = read_offset(bytes, 0).ok_or(SchemaFault::TooShort {
        needed: OFFSET_LEN,
        actual: len,
    })?;
    if first == 0 || first % OFFSET_LEN != 0 || first > len {
        return Err(SchemaFault::ListOffset { actual: first, len }.into());
    }
    let count = first / OFFSET_LEN;
    let mut lowest = first;
    for index in 1..count {
        lowest = next_offset(bytes, index * OFFSET_LEN, lowest)
            .map_err(|fault| SchemaError::from(fault).within(&format!("[{index}]")))?;
    }
    Ok(count)
}

/// The offset at `at`, which may not lie below `lowest` or past the end.
fn next_offset(bytes: &[u8], at: usize, lowest: usize) -> Result<usize, SchemaFault> {
    let highest = bytes.len();
    let actual = read_offset(bytes, at).ok_or(SchemaFault::TooShort {
        needed: at + OFFSET_LEN,
        actual: highest,
    })?;
    if (lowest..=highest).contains(&actual) {
        Ok(actual)
    } else {
        Err(SchemaFault::Offset {
            lowest,
            highest,
            actual,
        })
    }
}

fn check_container(fields: &[Field], bytes: &[u8]) -> Result<(), SchemaError> {
    let fixed_part = fields
        .iter()
        .fold(0usize, |sum, f| sum.saturating_add(f.schema.inline_size()));
    if fixed_part == 0 {
        return Err(SchemaFault::EmptyShape.into());
    }
    if bytes.len() < fixed_part {
        return Err(SchemaFault::TooShort {
            needed: fixed_part,
            actual: bytes.len(),
        }
        .into());
    }
    let mut at = 0;
    let mut lowest = None;
    for field in fields {
        if field.schema.fixed_size().is_none() {
            let offset = next_offset(bytes, at, lowest.unwrap_or(0));
            let offset = match (lowest, offset) {
                (None, Ok(actual)) if actual != fixed_part => Err(SchemaFault::FirstOffset {
                    expected: fixed_part,
                    actual,
                }),
                (_, offset) => offset,
            }
            .map_err(|fault| SchemaError::from(fault).within(field.name))?;
            lowest = Some(offset);
        }
        at += field.schema.inline_size();
    }
    if lowest.is_none() && bytes.len() != fixed_part {
        return Err(SchemaFault::Length {
            expected: fixed_part,
            actual: bytes.len(),
        }
        .into());
    }
    for (field, part) in container_parts(fields, bytes) {
        check(&field.schema, part).map_err(|e| e.within(field.name))?;
    }
    Ok(())
}
