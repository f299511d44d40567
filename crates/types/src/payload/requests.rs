//! `ExecutionRequests` (Electra and later): SSZ, and the typed byte lists by which the Engine API carries them.

use super::Address;
use crate::{
    containers::shape,
    fork::ForkName,
    primitives::{Hash256, PublicKeyBytes, SignatureBytes},
    proof::SszError,
    schema::{
        read::Reader,
        write::{self, Part},
    },
    spec::Spec,
};
use bytes::{Bytes, BytesMut};

const NAME: &str = "ExecutionRequests";

/// EIP-6110 deposit request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's own")]
pub struct DepositRequest {
    pub pubkey: PublicKeyBytes,
    pub withdrawal_credentials: Hash256,
    pub amount: u64,
    pub signature: SignatureBytes,
    pub index: u64,
}

/// EIP-7002 withdrawal request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's own")]
pub struct WithdrawalRequest {
    pub source_address: Address,
    pub validator_pubkey: PublicKeyBytes,
    pub amount: u64,
}

/// EIP-7251 consolidation request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's own")]
pub struct ConsolidationRequest {
    pub source_address: Address,
    pub source_pubkey: PublicKeyBytes,
    pub target_pubkey: PublicKeyBytes,
}

/// EIP-8282 builder deposit request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's own")]
pub struct BuilderDepositRequest {
    pub pubkey: PublicKeyBytes,
    pub withdrawal_credentials: Hash256,
    pub amount: u64,
    pub signature: SignatureBytes,
}

/// EIP-8282 builder exit request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's own")]
pub struct BuilderExitRequest {
    pub source_address: Address,
    pub pubkey: PublicKeyBytes,
}

/// The requests of a payload (Electra and later).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecutionRequests {
    /// EIP-6110, type byte 0.
    pub deposits: Vec<DepositRequest>,
    /// EIP-7002, type byte 1.
    pub withdrawals: Vec<WithdrawalRequest>,
    /// EIP-7251, type byte 2.
    pub consolidations: Vec<ConsolidationRequest>,
    /// EIP-8282, type byte 3; empty before Gloas.
    pub builder_deposits: Vec<BuilderDepositRequest>,
    /// EIP-8282, type byte 4; empty before Gloas.
    pub builder_exits: Vec<BuilderExitRequest>,
}

/// The fields of `ExecutionRequests` by their EIP-7685 type byte.
const FIELD_BY_TYPE: [&str; 5] = [
    "deposits",
    "withdrawals",
    "consolidations",
    "builder_deposits",
    "builder_exits",
];

/// How many request types a fork has.
fn types_of(fork: ForkName) -> usize {
    if fork >= ForkName::Gloas {
        5
    } else if fork >= ForkName::Electra {
        3
    } else {
        0
    }
}

impl DepositRequest {
    fn read(reader: Reader<'_>) -> Result<Self, SszError> {
        Ok(Self {
            pubkey: reader.array("pubkey")?,
            withdrawal_credentials: reader.array("withdrawal_credentials")?,
            amount: reader.u64("amount")?,
            signature: reader.array("signature")?,
            index: reader.u64("index")?,
        })
    }

    fn write(&self) -> Vec<u8> {
        write::container(&[
            Part::fixed(&self.pubkey),
            Part::fixed(&self.withdrawal_credentials),
            Part::u64(self.amount),
            Part::fixed(&self.signature),
            Part::u64(self.index),
        ])
    }
}

impl WithdrawalRequest {
    fn read(reader: Reader<'_>) -> Result<Self, SszError> {
        Ok(Self {
            source_address: reader.array("source_address")?,
            validator_pubkey: reader.array("validator_pubkey")?,
            amount: reader.u64("amount")?,
        })
    }

    fn write(&self) -> Vec<u8> {
        write::container(&[
            Part::fixed(&self.source_address),
            Part::fixed(&self.validator_pubkey),
            Part::u64(self.amount),
        ])
    }
}

impl ConsolidationRequest {
    fn read(reader: Reader<'_>) -> Result<Self, SszError> {
        Ok(Self {
            source_address: reader.array("source_address")?,
            source_pubkey: reader.array("source_pubkey")?,
            target_pubkey: reader.array("target_pubkey")?,
        })
    }

    fn write(&self) -> Vec<u8> {
        write::container(&[
            Part::fixed(&self.source_address),
            Part::fixed(&self.source_pubkey),
            Part::fixed(&self.target_pubkey),
        ])
    }
}

impl BuilderDepositRequest {
    fn read(reader: Reader<'_>) -> Result<Self, SszError> {
        Ok(Self {
            pubkey: reader.array("pubkey")?,
            withdrawal_credentials: reader.array("withdrawal_credentials")?,
            amount: reader.u64("amount")?,
            signature: reader.array("signature")?,
        })
    }

    fn write(&self) -> Vec<u8> {
        write::container(&[
            Part::fixed(&self.pubkey),
            Part::fixed(&self.withdrawal_credentials),
            Part::u64(self.amount),
            Part::fixed(&self.signature),
        ])
    }
}

impl BuilderExitRequest {
    fn read(reader: Reader<'_>) -> Result<Self, SszError> {
        Ok(Self {
            source_address: reader.array("source_address")?,
            pubkey: reader.array("pubkey")?,
        })
    }

    fn write(&self) -> Vec<u8> {
        write::container(&[Part::fixed(&self.source_address), Part::fixed(&self.pubkey)])
    }
}

impl ExecutionRequests {
    /// From a checked value of the fork's shape.
    pub(crate) fn read(fork: ForkName, reader: Reader<'_>) -> Result<Self, SszError> {
        let mut requests = Self {
            deposits: reader.items("deposits", DepositRequest::read)?,
            withdrawals: reader.items("withdrawals", WithdrawalRequest::read)?,
            consolidations: reader.items("consolidations", ConsolidationRequest::read)?,
            ..Self::default()
        };
        if fork >= ForkName::Gloas {
            requests.builder_deposits = reader.items("builder_deposits", BuilderDepositRequest::read)?;
            requests.builder_exits = reader.items("builder_exits", BuilderExitRequest::read)?;
        }
        Ok(requests)
    }

    /// The SSZ bytes in the fork's shape.
    pub(crate) fn write(&self, fork: ForkName) -> Vec<u8> {
        let lists = self.lists();
        let parts: Vec<Part<'_>> = lists
            .iter()
            .take(types_of(fork))
            .map(|list| Part::variable(list.as_slice()))
            .collect();
        write::container(&parts)
    }

    /// The SSZ bytes of every list, by type byte.
    fn lists(&self) -> [Vec<u8>; 5] {
        [
            self.deposits.iter().flat_map(DepositRequest::write).collect(),
            self.withdrawals
                .iter()
                .flat_map(WithdrawalRequest::write)
                .collect(),
            self.consolidations
                .iter()
                .flat_map(ConsolidationRequest::write)
                .collect(),
            self.builder_deposits
                .iter()
                .flat_map(BuilderDepositRequest::write)
                .collect(),
            self.builder_exits
                .iter()
                .flat_map(BuilderExitRequest::write)
                .collect(),
        ]
    }

    /// Strict decoding of the SSZ form of `fork`.
    pub fn from_ssz_bytes(fork: ForkName, spec: &Spec, bytes: &Bytes) -> Result<Self, SszError> {
        let schema = shape(NAME, fork, spec)?;
        let view = schema.view(bytes).map_err(|e| e.in_container(NAME))?;
        Self::read(fork, Reader::new(view, bytes))
    }

    /// The SSZ form of `fork`.
    pub fn to_ssz_bytes(&self, fork: ForkName) -> Bytes {
        self.write(fork).into()
    }

    /// `hash_tree_root` in the shape of `fork`; an error where a list is over its limit.
    pub fn hash_tree_root(&self, fork: ForkName, spec: &Spec) -> Result<crate::Root, SszError> {
        shape(NAME, fork, spec)?
            .hash_tree_root(&self.write(fork))
            .map_err(|e| e.in_container(NAME))
    }

    /// From the Engine API's `executionRequests`: byte lists of one type byte and the SSZ list of that type's requests
    /// (EIP-7685; consensus-specs `get_execution_requests`). Types ascend, none comes twice, none is empty, limits are
    /// kept.
    pub fn from_typed_lists(fork: ForkName, spec: &Spec, lists: &[Bytes]) -> Result<Self, SszError> {
        let refuse = |why: String| SszError { container: NAME, why };
        let mut parts: [&[u8]; 5] = Default::default();
        let mut lowest = 0;
        for (index, list) in lists.iter().enumerate() {
            let (request_type, data) = list
                .split_first()
                .ok_or_else(|| refuse(format!("element {index} is empty")))?;
            let place = usize::from(*request_type);
            if place >= types_of(fork) {
                return Err(refuse(format!(
                    "element {index} has request type {place}, unknown in {fork}"
                )));
            }
            if place < lowest {
                return Err(refuse(format!(
                    "element {index} has request type {place}: types must ascend, each at most once"
                )));
            }
            if data.is_empty() {
                return Err(refuse(format!(
                    "element {index} of request type {place} has no requests"
                )));
            }
            lowest = place + 1;
            if let Some(part) = parts.get_mut(place) {
                *part = data;
            }
        }
        let fields: Vec<Part<'_>> = parts
            .iter()
            .take(types_of(fork))
            .map(|part| Part::variable(*part))
            .collect();
        Self::from_ssz_bytes(fork, spec, &write::container(&fields).into())
    }

    /// The Engine API's `executionRequests` (consensus-specs `get_execution_requests_list`): empty types are left out.
    pub fn to_typed_lists(&self, fork: ForkName) -> Vec<Bytes> {
        (0u8..)
            .zip(self.lists())
            .take(types_of(fork))
            .filter(|(_, list)| !list.is_empty())
            .map(|(request_type, list)| {
                let mut typed = BytesMut::with_capacity(1 + list.len());
                typed.extend_from_slice(&[request_type]);
                typed.extend_from_slice(&list);
                typed.freeze()
            })
            .collect()
    }

    /// Requests that the fork does not have would be lost on the way to bytes: their field's name.
    pub(super) fn foreign_field(&self, fork: ForkName) -> Option<&'static str> {
        FIELD_BY_TYPE
            .iter()
            .zip([
                self.deposits.is_empty(),
                self.withdrawals.is_empty(),
                self.consolidations.is_empty(),
                self.builder_deposits.is_empty(),
                self.builder_exits.is_empty(),
            ])
            .skip(types_of(fork))
            .find(|(_, empty)| !empty)
            .map(|(name, _)| *name)
    }
}
