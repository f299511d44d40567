//! The small containers of req/resp and status (protocol.md sections 2 and 5), encoded and decoded whole.
//!
//! Decoding is `ethereum_ssz`'s, which checks every offset; list limits, which it does not know, are checked here.

use crate::{
    codec::{SszError, decode, uint64_chunk},
    merkle,
    primitives::{ProofType, Root, Slot},
};
use serde::{Deserialize, Serialize};
use ssz::Encode as _;
use ssz_derive::{Decode, Encode};

/// Limits of the lists in these containers. They are part of the containers' types: roots depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListLimits {
    /// Proof types in one list: `MAX_EXECUTION_PROOFS_PER_PAYLOAD`.
    pub proof_types: usize,
    /// Identifiers in a by-root request: `MAX_REQUEST_BLOCKS_DENEB`.
    pub identifiers: usize,
}

impl Default for ListLimits {
    /// Those of protocol.md section 2: 4 and 128.
    fn default() -> Self {
        Self {
            proof_types: 4,
            identifiers: 128,
        }
    }
}

/// A small container that is encoded and decoded whole.
pub trait SszContainer: Sized {
    /// The container's name, as errors and vectors give it.
    const NAME: &'static str;

    /// Strict: the first offset equals the fixed part's length, offsets rise, nothing trails, lists keep the limits
    /// given.
    fn from_ssz_bytes_within(bytes: &[u8], limits: &ListLimits) -> Result<Self, SszError>;
    /// The SSZ bytes. Lists are written as they are: who made the value has kept the limits.
    fn to_ssz_bytes(&self) -> Vec<u8>;
    /// Fewest and most bytes that any value within the limits has, for req/resp length checks.
    fn ssz_len_bounds_within(limits: &ListLimits) -> (usize, usize);
    /// `hash_tree_root` with the limits given.
    fn hash_tree_root_within(&self, limits: &ListLimits) -> Root;

    /// `from_ssz_bytes_within` the limits of protocol.md section 2.
    fn from_ssz_bytes(bytes: &[u8]) -> Result<Self, SszError> {
        Self::from_ssz_bytes_within(bytes, &ListLimits::default())
    }
    /// `ssz_len_bounds_within` the limits of protocol.md section 2.
    fn ssz_len_bounds() -> (usize, usize) {
        Self::ssz_len_bounds_within(&ListLimits::default())
    }
    /// `hash_tree_root_within` the limits of protocol.md section 2.
    fn hash_tree_root(&self) -> Root {
        self.hash_tree_root_within(&ListLimits::default())
    }
}

/// Kinds of proof: a list of at most `MAX_EXECUTION_PROOFS_PER_PAYLOAD`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProofTypes(#[serde(with = "quoted_types")] pub Vec<ProofType>);

/// One payload's proofs asked for by block root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct ProofByRootIdentifier {
    /// Root of the beacon block.
    pub block_root: Root,
    /// Kinds asked for; received empty it means all (protocol.md section 5).
    #[serde(with = "quoted_types")]
    pub proof_types: Vec<ProofType>,
}

/// Body of an `execution_proofs_by_root` request: at most `MAX_REQUEST_BLOCKS_DENEB` identifiers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProofByRootIdentifiers(pub Vec<ProofByRootIdentifier>);

/// Body of an `execution_proofs_by_range` request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct ExecutionProofsByRange {
    /// First slot.
    pub start_slot: Slot,
    /// Number of slots.
    #[serde(with = "crate::primitives::quoted")]
    pub count: u64,
    /// Kinds asked for; empty means all.
    #[serde(with = "quoted_types")]
    pub proof_types: Vec<ProofType>,
}

/// What a node has: exchanged on connecting.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, Encode, Decode)]
pub struct ExecutionProofStatus {
    /// Newest block whose payload the sender holds as sufficiently proven; zero before any.
    pub block_root: Root,
    /// Its slot; 0 before any.
    pub slot: Slot,
    /// Kinds the sender verifies, at most 4.
    #[serde(with = "quoted_types")]
    pub proof_types: Vec<ProofType>,
}

fn check_types(container: &'static str, types: &[ProofType], limits: &ListLimits) -> Result<(), SszError> {
    if types.len() <= limits.proof_types {
        return Ok(());
    }
    Err(SszError {
        container,
        why: format!(
            "{} proof types, at most {} allowed",
            types.len(),
            limits.proof_types
        ),
    })
}

fn types_root(types: &[ProofType], limits: &ListLimits) -> Root {
    let root = merkle::merkleize_bytes(types, limits.proof_types.div_ceil(merkle::BYTES_PER_CHUNK));
    merkle::mix_in_length(&root, types.len())
}

impl SszContainer for ProofTypes {
    const NAME: &'static str = "ProofTypes";

    fn from_ssz_bytes_within(bytes: &[u8], limits: &ListLimits) -> Result<Self, SszError> {
        check_types(Self::NAME, bytes, limits)?;
        Ok(Self(bytes.to_vec()))
    }

    fn to_ssz_bytes(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn ssz_len_bounds_within(limits: &ListLimits) -> (usize, usize) {
        (0, limits.proof_types)
    }

    fn hash_tree_root_within(&self, limits: &ListLimits) -> Root {
        types_root(&self.0, limits)
    }
}

/// Bytes of the containers with empty proof types: their fixed fields and the offset.
const IDENTIFIER_FIXED_LEN: usize = 32 + 4;
const RANGE_FIXED_LEN: usize = 8 + 8 + 4;
const STATUS_FIXED_LEN: usize = 32 + 8 + 4;

impl SszContainer for ProofByRootIdentifier {
    const NAME: &'static str = "ProofByRootIdentifier";

    fn from_ssz_bytes_within(bytes: &[u8], limits: &ListLimits) -> Result<Self, SszError> {
        let value: Self = decode(Self::NAME, bytes)?;
        check_types(Self::NAME, &value.proof_types, limits)?;
        Ok(value)
    }

    fn to_ssz_bytes(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    fn ssz_len_bounds_within(limits: &ListLimits) -> (usize, usize) {
        (
            IDENTIFIER_FIXED_LEN,
            IDENTIFIER_FIXED_LEN.saturating_add(limits.proof_types),
        )
    }

    fn hash_tree_root_within(&self, limits: &ListLimits) -> Root {
        merkle::hash_pair(&self.block_root, &types_root(&self.proof_types, limits))
    }
}

impl SszContainer for ProofByRootIdentifiers {
    const NAME: &'static str = "ProofByRootIdentifiers";

    fn from_ssz_bytes_within(bytes: &[u8], limits: &ListLimits) -> Result<Self, SszError> {
        let identifiers: Vec<ProofByRootIdentifier> =
            ssz::decode_list_of_variable_length_items(bytes, Some(limits.identifiers))
                .map_err(|e| SszError::from_decode_error(Self::NAME, e))?;
        for identifier in &identifiers {
            check_types(Self::NAME, &identifier.proof_types, limits)?;
        }
        Ok(Self(identifiers))
    }

    fn to_ssz_bytes(&self) -> Vec<u8> {
        self.0.as_ssz_bytes()
    }

    fn ssz_len_bounds_within(limits: &ListLimits) -> (usize, usize) {
        let (_, longest) = ProofByRootIdentifier::ssz_len_bounds_within(limits);
        let entry = longest.saturating_add(ssz::BYTES_PER_LENGTH_OFFSET);
        (0, limits.identifiers.saturating_mul(entry))
    }

    fn hash_tree_root_within(&self, limits: &ListLimits) -> Root {
        let roots: Vec<[u8; 32]> = self
            .0
            .iter()
            .map(|id| id.hash_tree_root_within(limits).0)
            .collect();
        merkle::mix_in_length(&merkle::merkleize(&roots, limits.identifiers), roots.len())
    }
}

impl SszContainer for ExecutionProofsByRange {
    const NAME: &'static str = "ExecutionProofsByRange";

    fn from_ssz_bytes_within(bytes: &[u8], limits: &ListLimits) -> Result<Self, SszError> {
        let value: Self = decode(Self::NAME, bytes)?;
        check_types(Self::NAME, &value.proof_types, limits)?;
        Ok(value)
    }

    fn to_ssz_bytes(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    fn ssz_len_bounds_within(limits: &ListLimits) -> (usize, usize) {
        (
            RANGE_FIXED_LEN,
            RANGE_FIXED_LEN.saturating_add(limits.proof_types),
        )
    }

    fn hash_tree_root_within(&self, limits: &ListLimits) -> Root {
        let types = types_root(&self.proof_types, limits);
        merkle::merkleize(
            &[uint64_chunk(self.start_slot.0), uint64_chunk(self.count), types.0],
            3,
        )
    }
}

impl SszContainer for ExecutionProofStatus {
    const NAME: &'static str = "ExecutionProofStatus";

    fn from_ssz_bytes_within(bytes: &[u8], limits: &ListLimits) -> Result<Self, SszError> {
        let value: Self = decode(Self::NAME, bytes)?;
        check_types(Self::NAME, &value.proof_types, limits)?;
        Ok(value)
    }

    fn to_ssz_bytes(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    fn ssz_len_bounds_within(limits: &ListLimits) -> (usize, usize) {
        (
            STATUS_FIXED_LEN,
            STATUS_FIXED_LEN.saturating_add(limits.proof_types),
        )
    }

    fn hash_tree_root_within(&self, limits: &ListLimits) -> Root {
        let types = types_root(&self.proof_types, limits);
        merkle::merkleize(&[self.block_root.0, uint64_chunk(self.slot.0), types.0], 3)
    }
}

/// Proof types in JSON: a list of decimal strings.
pub mod quoted_types {
    use super::ProofType;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Writes decimal strings.
    pub fn serialize<S: Serializer>(types: &[ProofType], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(types.iter().map(u8::to_string))
    }

    /// Reads decimal strings.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<ProofType>, D::Error> {
        Vec::<String>::deserialize(d)?
            .into_iter()
            .map(|t| match t.parse() {
                // A sign is no digit, though the parser takes it.
                Ok(n) if t.bytes().all(|b| b.is_ascii_digit()) => Ok(n),
                _ => Err(D::Error::custom(format!(
                    "{t:?} is no proof type: a decimal string from 0 to 255 expected"
                ))),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn identifier(types: usize) -> ProofByRootIdentifier {
        ProofByRootIdentifier {
            block_root: Root::from([types as u8 + 1; 32]),
            proof_types: (0..types as u8).collect(),
        }
    }

    #[test]
    fn bounds_are_what_the_smallest_and_largest_values_take() {
        assert_eq!(ProofTypes::ssz_len_bounds(), (0, 4));
        assert_eq!(
            ProofByRootIdentifier::ssz_len_bounds(),
            (
                identifier(0).to_ssz_bytes().len(),
                identifier(4).to_ssz_bytes().len()
            )
        );
        let most = ProofByRootIdentifiers(vec![identifier(4); 128]).to_ssz_bytes();
        assert_eq!(ProofByRootIdentifiers::ssz_len_bounds(), (0, most.len()));
        assert_eq!(most.len(), 5632);
        let range = ExecutionProofsByRange {
            start_slot: Slot(1),
            count: 2,
            proof_types: vec![1, 2, 3, 4],
        };
        assert_eq!(
            ExecutionProofsByRange::ssz_len_bounds().1,
            range.to_ssz_bytes().len()
        );
        let status = ExecutionProofStatus::default();
        assert_eq!(
            ExecutionProofStatus::ssz_len_bounds().0,
            status.to_ssz_bytes().len()
        );
    }

    #[test]
    fn limits_are_kept_and_can_be_set() {
        let five = identifier(5).to_ssz_bytes();
        let error = ProofByRootIdentifier::from_ssz_bytes(&five).unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a valid SSZ ProofByRootIdentifier: 5 proof types, at most 4 allowed"
        );
        let wider = ListLimits {
            proof_types: 8,
            identifiers: 2,
        };
        assert_eq!(
            ProofByRootIdentifier::from_ssz_bytes_within(&five, &wider),
            Ok(identifier(5))
        );
        let three = ProofByRootIdentifiers(vec![identifier(1); 3]);
        assert!(ProofByRootIdentifiers::from_ssz_bytes_within(&three.to_ssz_bytes(), &wider).is_err());
        assert_eq!(
            ProofByRootIdentifiers::from_ssz_bytes(&three.to_ssz_bytes()),
            Ok(three)
        );
        // 33 types need a second chunk: the limit is part of the root.
        let many = ListLimits {
            proof_types: 33,
            identifiers: 128,
        };
        assert_ne!(
            identifier(2).hash_tree_root_within(&many),
            identifier(2).hash_tree_root()
        );
        assert_eq!(
            identifier(2).hash_tree_root_within(&wider),
            identifier(2).hash_tree_root()
        );
    }

    #[test]
    fn json_writes_types_as_decimal_strings() {
        let json = r#"{"start_slot":"18446744073709551615","count":"7","proof_types":["0","255"]}"#;
        let range: ExecutionProofsByRange = serde_json::from_str(json).unwrap();
        assert_eq!(range.proof_types, [0, 255]);
        assert_eq!(serde_json::to_string(&range).unwrap(), json);
        for bad in [r#"["256"]"#, r#"["+1"]"#, r#"[1]"#, r#"[""]"#] {
            assert!(serde_json::from_str::<ProofTypes>(bad).is_err(), "{bad}");
        }
    }
}
