//! SSZ shapes as data: strict checking, roots straight from bytes, JSON both ways.
//!
//! Which limits and which fields a container has is known only at run time: the fork, the preset, the revision of the
//! EIP-8025 texts and the form of a Gloas request come from the beacon node's config and from flags, and `assay ssz`
//! decodes, prints and hashes any container by its name. So a shape is a value ([`Schema`]), and three walks over it do
//! everything:
//!
//! | file | what it does |
//! |---|---|
//! | `check` | decides whether bytes are a value of the shape, and says where they are not |
//! | `view` | what has passed the check: fields and items as slices of the same bytes, nothing copied |
//! | `root` | `hash_tree_root` of a view, bulk-hashed from the serialised bytes |
//! | `json` | the Beacon API's JSON form of a view, and back to bytes |
//!
//! Recursion follows the shape, never the data, and nothing is allocated by what a length or offset claims. The rules
//! are those of consensus-specs ssz/simple-serialize.md, EIP-7916 (progressive lists) and EIP-7495 (progressive
//! containers), read strictly: exactly one byte string is accepted for a value (protocol.md section 2).

#[cfg(test)]
pub(crate) mod arbitrary;
mod check;
mod json;
pub(crate) mod read;
mod root;
#[cfg(test)]
mod tests;
mod view;
pub(crate) mod write;

pub use view::View;

use crate::proof::SszError;

/// Bytes of an SSZ offset.
pub(crate) const OFFSET_LEN: usize = 4;

/// The shape of an SSZ value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Schema {
    /// `uintN`; the number is of bytes: 1, 2, 4, 8, 16 or 32.
    Uint(usize),
    /// `boolean`: one byte, 0 or 1.
    Boolean,
    /// `ByteVector[N]` (`Bytes32` and its like).
    Bytes(usize),
    /// `ByteList[limit]`.
    ByteList(u64),
    /// `ProgressiveByteList` (EIP-7916): no limit of its own.
    ProgressiveByteList,
    /// `Bitvector[N]`, N in bits.
    Bitvector(usize),
    /// `Bitlist[limit]`, the limit in bits.
    Bitlist(u64),
    /// `ProgressiveBitlist` (EIP-7916).
    ProgressiveBitlist,
    /// `Vector[element, length]`.
    Vector(Box<Schema>, usize),
    /// `List[element, limit]`.
    List(Box<Schema>, u64),
    /// `ProgressiveList[element]` (EIP-7916).
    ProgressiveList(Box<Schema>),
    /// `Container`.
    Container {
        /// The specification's name, for error messages.
        name: &'static str,
        /// Its fields, in order.
        fields: Vec<Field>,
    },
    /// `ProgressiveContainer(active_fields)` (EIP-7495): serialised as a container of the active fields.
    ProgressiveContainer {
        /// The specification's name, for error messages.
        name: &'static str,
        /// Which places of the tree are taken; as many are true as there are fields.
        active_fields: Vec<bool>,
        /// The active fields, in order.
        fields: Vec<Field>,
    },
}

/// A field of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Field {
    /// The specification's name of it; also its key in JSON.
    pub name: &'static str,
    /// Its shape.
    pub schema: Schema,
}

/// What is wrong with bytes or JSON, by the shape they were read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// A fixed-size value of another length.
    #[error("{actual} bytes, {expected} expected")]
    Length {
        /// Bytes the shape has.
        expected: usize,
        /// Bytes there are.
        actual: usize,
    },
    /// Fewer bytes than the fixed part takes.
    #[error("{actual} bytes do not hold the fixed part of {needed}")]
    TooShort {
        /// Bytes of the fixed part.
        needed: usize,
        /// Bytes there are.
        actual: usize,
    },
    /// A first offset that leaves a hole, points into the fixed part or splits an offset.
    #[error("the first offset is {actual}, the fixed part ends at {expected}")]
    FirstOffset {
        /// Where the fixed part ends.
        expected: usize,
        /// What the offset says.
        actual: usize,
    },
    /// A first offset of a list that names no whole number of elements inside the bytes.
    #[error("the first offset of the list is {actual}: not a whole number of offsets within {len} bytes")]
    ListOffset {
        /// What the offset says.
        actual: usize,
        /// Bytes there are.
        len: usize,
    },
    /// An offset below the one before it or past the end.
    #[error("offset {actual} lies outside {lowest} to {highest}")]
    Offset {
        /// The offset before it.
        lowest: usize,
        /// The end of the bytes.
        highest: usize,
        /// What the offset says.
        actual: usize,
    },
    /// A list of fixed-size elements that ends within one.
    #[error("{len} bytes are no whole number of elements of {element} bytes")]
    PartialElement {
        /// Bytes there are.
        len: usize,
        /// Bytes of an element.
        element: usize,
    },
    /// More elements than the list's limit.
    #[error("{len} elements, at most {limit} are allowed")]
    Limit {
        /// Elements (bits, bytes) there are.
        len: usize,
        /// The limit.
        limit: u64,
    },
    /// A vector with another number of elements.
    #[error("{actual} elements, {expected} expected")]
    VectorLength {
        /// Elements the shape has.
        expected: usize,
        /// Elements there are.
        actual: usize,
    },
    /// A bit list whose last byte is zero or absent.
    #[error("the bit list has no end bit")]
    NoEndBit,
    /// Bits set beyond a bit vector's length.
    #[error("bits beyond the bit vector's {0} are set")]
    PaddingBits(usize),
    /// A boolean byte other than 0 and 1.
    #[error("{0} is no boolean")]
    NotBoolean(u8),
    /// The shape itself has no values: a vector, container or element of no bytes.
    #[error("the shape has no legal value")]
    EmptyShape,
    /// A value whose parts do not fit 32-bit offsets.
    #[error("{0} bytes do not fit a 32-bit offset")]
    TooLarge(usize),
    /// JSON of another kind than the shape asks for.
    #[error("{0}")]
    Json(String),
    /// A JSON object without a field.
    #[error("the field is missing")]
    MissingField,
}

/// A fault and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    /// Field names and indices from the outermost value inwards, e.g. `message.body.attestations[3].data`; empty at the
    /// top.
    pub path: String,
    /// What is wrong there.
    pub fault: SchemaFault,
}

impl std::error::Error for SchemaError {}

impl std::fmt::Display for SchemaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            self.fault.fmt(f)
        } else {
            write!(f, "{}: {}", self.path, self.fault)
        }
    }
}

impl From<SchemaFault> for SchemaError {
    fn from(fault: SchemaFault) -> Self {
        Self {
            path: String::new(),
            fault,
        }
    }
}

impl SchemaError {
    /// The same fault, one level further out: `step` is a field's name or `[index]`.
    fn within(mut self, step: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{step}{dot}{}", self.path);
        self
    }

    /// As the error of a named container.
    pub fn in_container(self, container: &'static str) -> SszError {
        SszError {
            container,
            why: self.to_string(),
        }
    }
}

impl Field {
    /// A field.
    pub fn new(name: &'static str, schema: Schema) -> Self {
        Self { name, schema }
    }
}

impl Schema {
    /// `uint8`.
    pub const U8: Self = Self::Uint(1);
    /// `uint16`.
    pub const U16: Self = Self::Uint(2);
    /// `uint64`.
    pub const U64: Self = Self::Uint(8);
    /// `uint256`.
    pub const U256: Self = Self::Uint(32);
    /// `Bytes20`: an execution address.
    pub const BYTES20: Self = Self::Bytes(20);
    /// `Bytes32`: a root or hash.
    pub const BYTES32: Self = Self::Bytes(32);
    /// `Bytes48`: a public key or commitment.
    pub const BYTES48: Self = Self::Bytes(48);
    /// `Bytes96`: a signature.
    pub const BYTES96: Self = Self::Bytes(96);

    /// `Vector[element, length]`.
    pub fn vector(element: Self, length: usize) -> Self {
        Self::Vector(Box::new(element), length)
    }

    /// `List[element, limit]`.
    pub fn list(element: Self, limit: u64) -> Self {
        Self::List(Box::new(element), limit)
    }

    /// `ProgressiveList[element]`.
    pub fn progressive_list(element: Self) -> Self {
        Self::ProgressiveList(Box::new(element))
    }

    /// A plain container.
    pub fn container(name: &'static str, fields: Vec<Field>) -> Self {
        Self::Container { name, fields }
    }

    /// A progressive container whose fields are all active (`active_fields=[1] * n`).
    pub fn progressive_container(name: &'static str, fields: Vec<Field>) -> Self {
        Self::ProgressiveContainer {
            name,
            active_fields: vec![true; fields.len()],
            fields,
        }
    }

    /// What error messages call a value of this shape.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Uint(_) => "uint",
            Self::Boolean => "boolean",
            Self::Bytes(_) => "ByteVector",
            Self::ByteList(_) => "ByteList",
            Self::ProgressiveByteList => "ProgressiveByteList",
            Self::Bitvector(_) => "Bitvector",
            Self::Bitlist(_) => "Bitlist",
            Self::ProgressiveBitlist => "ProgressiveBitlist",
            Self::Vector(..) => "Vector",
            Self::List(..) => "List",
            Self::ProgressiveList(_) => "ProgressiveList",
            Self::Container { name, .. } | Self::ProgressiveContainer { name, .. } => name,
        }
    }

    /// The fields of a container of either kind; none of anything else.
    pub fn fields(&self) -> &[Field] {
        match self {
            Self::Container { fields, .. } | Self::ProgressiveContainer { fields, .. } => fields,
            _ => &[],
        }
    }

    /// The shape of a container's field.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.fields().iter().find(|f| f.name == name).map(|f| &f.schema)
    }

    /// Bytes of every value, if all values have the same number of them.
    pub fn fixed_size(&self) -> Option<usize> {
        match self {
            Self::Uint(n) | Self::Bytes(n) => Some(*n),
            Self::Boolean => Some(1),
            Self::Bitvector(bits) => Some(bits.div_ceil(8)),
            Self::Vector(element, length) => Some(element.fixed_size()?.saturating_mul(*length)),
            Self::Container { fields, .. } | Self::ProgressiveContainer { fields, .. } => fields
                .iter()
                .try_fold(0usize, |sum, f| Some(sum.saturating_add(f.schema.fixed_size()?))),
            Self::ByteList(_)
            | Self::ProgressiveByteList
            | Self::Bitlist(_)
            | Self::ProgressiveBitlist
            | Self::List(..)
            | Self::ProgressiveList(_) => None,
        }
    }

    /// Bytes a value takes in the fixed part of what holds it: its size, or an offset's.
    pub(crate) fn inline_size(&self) -> usize {
        self.fixed_size().unwrap_or(OFFSET_LEN)
    }

    /// Bytes of one element where elements of this shape are packed into shared chunks (basic values).
    pub(crate) fn packed_size(&self) -> Option<usize> {
        match self {
            Self::Uint(n) => Some(*n),
            Self::Boolean => Some(1),
            _ => None,
        }
    }

    /// Checks bytes against the shape and gives the value in them.
    pub fn view<'a>(&'a self, bytes: &'a [u8]) -> Result<View<'a>, SchemaError> {
        check::check(self, bytes)?;
        Ok(View::of_checked(self, bytes))
    }

    /// Whether bytes are a value of this shape; the error says where they are not.
    pub fn check(&self, bytes: &[u8]) -> Result<(), SchemaError> {
        check::check(self, bytes)
    }

    /// `hash_tree_root` of the value in `bytes`, which are checked first.
    pub fn hash_tree_root(&self, bytes: &[u8]) -> Result<crate::Root, SchemaError> {
        Ok(self.view(bytes)?.hash_tree_root())
    }

    /// The SSZ bytes of a value in the Beacon API's JSON form: integers as decimal strings, bytes and bits as hex.
    /// Object members the shape does not know are passed over.
    pub fn encode_json(&self, value: &serde_json::Value) -> Result<Vec<u8>, SchemaError> {
        json::encode(self, value)
    }
}
