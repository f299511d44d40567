//! A value that has passed the check: its fields and items are slices of the bytes it came in.

use super::{Field, OFFSET_LEN, Schema, json, root};
use crate::Root;

/// Checked bytes and their shape. Only [`Schema::view`] makes the outermost one, so nothing here can fail on the bytes.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    schema: &'a Schema,
    bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// The caller has checked `bytes`.
    pub(super) fn of_checked(schema: &'a Schema, bytes: &'a [u8]) -> Self {
        Self { schema, bytes }
    }

    /// The shape.
    pub fn schema(&self) -> &'a Schema {
        self.schema
    }

    /// The serialised value: a slice of the bytes that were checked.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The fields of a container, in order; none of anything else.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, View<'a>)> + use<'a> {
        container_parts(self.schema.fields(), self.bytes)
            .map(|(field, bytes)| (field.name, View::of_checked(&field.schema, bytes)))
    }

    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<View<'a>> {
        self.fields().find(|(n, _)| *n == name).map(|(_, view)| view)
    }

    /// A field by the names that lead to it: `message.body.execution_payload`.
    pub fn at(&self, path: &str) -> Option<View<'a>> {
        path.split('.').try_fold(*self, |view, name| view.field(name))
    }

    /// The elements of a list or vector, in order; none of anything else.
    pub fn items(&self) -> impl Iterator<Item = View<'a>> + use<'a> {
        let element = match self.schema {
            Schema::Vector(element, _) | Schema::List(element, _) | Schema::ProgressiveList(element) => {
                Some(element.as_ref())
            }
            _ => None,
        };
        let bytes = self.bytes;
        element.into_iter().flat_map(move |element| {
            list_items(element, bytes).map(move |item| View::of_checked(element, item))
        })
    }

    /// A `uint` of at most 8 bytes.
    pub fn as_u64(&self) -> Option<u64> {
        match self.schema {
            Schema::Uint(size) if *size <= 8 => {
                let mut le = [0; 8];
                le.get_mut(..*size)?.copy_from_slice(self.bytes);
                Some(u64::from_le_bytes(le))
            }
            _ => None,
        }
    }

    /// Exactly `N` bytes.
    pub fn as_array<const N: usize>(&self) -> Option<[u8; N]> {
        self.bytes.try_into().ok()
    }

    /// `hash_tree_root`.
    pub fn hash_tree_root(&self) -> Root {
        root::hash_tree_root(self)
    }

    /// The Beacon API's JSON: integers as decimal strings, bytes and bits as hex.
    pub fn to_json(&self) -> serde_json::Value {
        json::decode(self)
    }
}

/// The little-endian offset at `at`.
pub(super) fn read_offset(bytes: &[u8], at: usize) -> Option<usize> {
    let le = bytes.get(at..at.checked_add(OFFSET_LEN)?)?;
    usize::try_from(u32::from_le_bytes(le.try_into().ok()?)).ok()
}

/// A container's fields and their bytes. The offsets have been checked; where they have not, a part may come out empty.
pub(super) fn container_parts<'a>(
    fields: &'a [Field],
    bytes: &'a [u8],
) -> impl Iterator<Item = (&'a Field, &'a [u8])> + use<'a> {
    let mut at = 0usize;
    fields.iter().enumerate().map(move |(index, field)| {
        let place = at;
        at += field.schema.inline_size();
        let part = match field.schema.fixed_size() {
            Some(size) => bytes.get(place..place + size),
            None => {
                let mut next = at;
                let mut end = bytes.len();
                for later in fields.get(index + 1..).unwrap_or_default() {
                    if later.schema.fixed_size().is_none() {
                        end = read_offset(bytes, next).unwrap_or(end);
                        break;
                    }
                    next += later.schema.inline_size();
                }
                read_offset(bytes, place).and_then(|start| bytes.get(start..end))
            }
        };
        (field, part.unwrap_or_default())
    })
}

/// The elements of a list or vector and their bytes; checked as `container_parts`.
pub(super) fn list_items<'a>(element: &Schema, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let size = element.fixed_size();
    let count = match size {
        Some(size) => bytes.len().checked_div(size).unwrap_or(0),
        None => read_offset(bytes, 0).unwrap_or(0) / OFFSET_LEN,
    };
    (0..count).map(move |index| {
        let part = match size {
            Some(size) => bytes.get(index * size..(index + 1) * size),
            None => {
                let end = if index + 1 < count {
                    read_offset(bytes, (index + 1) * OFFSET_LEN)
                } else {
                    Some(bytes.len())
                };
                read_offset(bytes, index * OFFSET_LEN).and_then(|start| bytes.get(start..end?))
            }
        };
        part.unwrap_or_default()
    })
}
