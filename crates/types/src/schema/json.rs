//! The Beacon API's JSON form of a value, both ways: integers as decimal strings, bytes and bits as 0x-prefixed hex,
//! booleans as booleans, lists as arrays, containers as objects with the specification's field names.

use super::{Field, OFFSET_LEN, Schema, SchemaError, SchemaFault, check, view::View};
use crate::primitives::{parse_hex, to_hex};
use ruint::aliases::U256;
use serde_json::Value;

/// A checked value as JSON.
pub(super) fn decode(view: &View<'_>) -> Value {
    match view.schema() {
        Schema::Uint(_) => Value::String(
            U256::try_from_le_slice(view.bytes())
                .unwrap_or_default()
                .to_string(),
        ),
        Schema::Boolean => Value::Bool(view.bytes() == [1]),
        Schema::Bytes(_)
        | Schema::ByteList(_)
        | Schema::ProgressiveByteList
        | Schema::Bitvector(_)
        | Schema::Bitlist(_)
        | Schema::ProgressiveBitlist => Value::String(to_hex(view.bytes())),
        Schema::Vector(..) | Schema::List(..) | Schema::ProgressiveList(_) => {
            Value::Array(view.items().map(|item| decode(&item)).collect())
        }
        Schema::Container { .. } | Schema::ProgressiveContainer { .. } => Value::Object(
            view.fields()
                .map(|(name, part)| (name.to_owned(), decode(&part)))
                .collect(),
        ),
    }
}

/// The SSZ bytes of a JSON value; what they hold has passed the check.
pub(super) fn encode(schema: &Schema, value: &Value) -> Result<Vec<u8>, SchemaError> {
    let mut out = Vec::new();
    append(schema, value, &mut out)?;
    check::check(schema, &out)?;
    Ok(out)
}

fn append(schema: &Schema, value: &Value, out: &mut Vec<u8>) -> Result<(), SchemaError> {
    match schema {
        Schema::Uint(size) => out.extend_from_slice(&uint(*size, value)?),
        Schema::Boolean => out.push(u8::from(
            value
                .as_bool()
                .ok_or_else(|| wrong_kind("true or false", value))?,
        )),
        // A wrong length is the check's to name; here it must not move what comes after it.
        Schema::Bytes(_) | Schema::Bitvector(_) => {
            let bytes = hex(value)?;
            check::check(schema, &bytes)?;
            out.extend_from_slice(&bytes);
        }
        Schema::ByteList(_)
        | Schema::ProgressiveByteList
        | Schema::Bitlist(_)
        | Schema::ProgressiveBitlist => out.extend_from_slice(&hex(value)?),
        Schema::Vector(element, count) => {
            let items = array(value)?;
            if items.len() != *count {
                return Err(SchemaFault::VectorLength {
                    expected: *count,
                    actual: items.len(),
                }
                .into());
            }
            append_items(element, items, out)?;
        }
        Schema::List(element, _) | Schema::ProgressiveList(element) => {
            append_items(element, array(value)?, out)?
        }
        Schema::Container { fields, .. } | Schema::ProgressiveContainer { fields, .. } => {
            append_container(fields, value, out)?;
        }
    }
    Ok(())
}

fn append_items(element: &Schema, items: &[Value], out: &mut Vec<u8>) -> Result<(), SchemaError> {
    let at_index = |index: usize, e: SchemaError| e.within(&format!("[{index}]"));
    let start = out.len();
    if element.fixed_size().is_none() {
        out.resize(start + items.len() * OFFSET_LEN, 0);
    }
    for (index, item) in items.iter().enumerate() {
        if element.fixed_size().is_none() {
            write_offset(out, start, start + index * OFFSET_LEN)?;
        }
        append(element, item, out).map_err(|e| at_index(index, e))?;
    }
    Ok(())
}

fn append_container(fields: &[Field], value: &Value, out: &mut Vec<u8>) -> Result<(), SchemaError> {
    let object = value.as_object().ok_or_else(|| wrong_kind("an object", value))?;
    let start = out.len();
    let mut later = Vec::new();
    for field in fields {
        let member = object
            .get(field.name)
            .ok_or_else(|| SchemaError::from(SchemaFault::MissingField).within(field.name))?;
        if field.schema.fixed_size().is_some() {
            append(&field.schema, member, out).map_err(|e| e.within(field.name))?;
        } else {
            later.push((out.len(), field, member));
            out.extend_from_slice(&[0; OFFSET_LEN]);
        }
    }
    for (place, field, member) in later {
        write_offset(out, start, place)?;
        append(&field.schema, member, out).map_err(|e| e.within(field.name))?;
    }
    Ok(())
}

/// Writes, at `place`, how far `out` has grown since `start`.
fn write_offset(out: &mut [u8], start: usize, place: usize) -> Result<(), SchemaFault> {
    let offset = out.len() - start;
    let le = u32::try_from(offset)
        .map_err(|_| SchemaFault::TooLarge(offset))?
        .to_le_bytes();
    if let Some(slot) = out.get_mut(place..place + OFFSET_LEN) {
        slot.copy_from_slice(&le);
    }
    Ok(())
}

fn uint(size: usize, value: &Value) -> Result<Vec<u8>, SchemaFault> {
    let text = value
        .as_str()
        .ok_or_else(|| wrong_kind("a decimal string", value))?;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SchemaFault::Json(format!(
            "a decimal string expected, got {}",
            excerpt(text)
        )));
    }
    let too_large = || SchemaFault::Json(format!("{} does not fit {} bits", excerpt(text), size * 8));
    let le = U256::from_str_radix(text, 10)
        .map_err(|_| too_large())?
        .to_le_bytes::<32>();
    let (low, high) = le.split_at_checked(size).ok_or_else(too_large)?;
    if high.iter().any(|b| *b != 0) {
        return Err(too_large());
    }
    Ok(low.to_vec())
}

fn hex(value: &Value) -> Result<Vec<u8>, SchemaFault> {
    let text = value.as_str().ok_or_else(|| wrong_kind("a hex string", value))?;
    parse_hex(text).map_err(|e| SchemaFault::Json(e.to_string()))
}

fn array(value: &Value) -> Result<&[Value], SchemaFault> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| wrong_kind("an array", value))
}

fn wrong_kind(expected: &str, value: &Value) -> SchemaFault {
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    SchemaFault::Json(format!("{expected} expected, got {actual}"))
}

/// The beginning of a text, so that an error about a long one stays readable.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
