//! The protocols spoken over streams: ids, sizes, context bytes, in one table.

use crate::framing::LengthBounds;
use assay_types::{
    Epoch, ExecutionProofStatus, ExecutionProofsByRange, ForkName, ProofByRootIdentifiers, Spec,
    SszContainer, proof::SIGNED_PROOF_OVERHEAD,
};

/// Most blocks of a range request before Deneb (phase0 p2p, `MAX_REQUEST_BLOCKS`).
pub(crate) const MAX_REQUEST_BLOCKS: u64 = 1024;
/// Most envelopes asked for by root (Gloas p2p, `MAX_REQUEST_PAYLOADS`).
pub(crate) const MAX_REQUEST_PAYLOADS: u64 = 128;
/// Bytes of a root.
const ROOT_LEN: usize = 32;

/// A request/response protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// `status/1` (phase0).
    StatusV1,
    /// `status/2` (fulu): with `earliest_available_slot`.
    StatusV2,
    /// `ping/1` (phase0).
    Ping,
    /// `metadata/1` (phase0).
    MetadataV1,
    /// `metadata/2` (altair): with `syncnets`.
    MetadataV2,
    /// `metadata/3` (fulu): with `custody_group_count`.
    MetadataV3,
    /// `goodbye/1` (phase0).
    Goodbye,
    /// `beacon_blocks_by_range/2` (altair).
    BlocksByRangeV2,
    /// `beacon_blocks_by_root/2` (altair).
    BlocksByRootV2,
    /// `beacon_blocks_by_head/1` (fulu).
    BlocksByHead,
    /// `execution_payload_envelopes_by_range/1` (gloas).
    EnvelopesByRange,
    /// `execution_payload_envelopes_by_root/1` (gloas).
    EnvelopesByRoot,
    /// `execution_proofs_by_range/1` (protocol.md section 5).
    ExecutionProofsByRange,
    /// `execution_proofs_by_root/1` (protocol.md section 5).
    ExecutionProofsByRoot,
    /// `execution_proof_status/1` (protocol.md section 5).
    ExecutionProofStatus,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 15] = [
        Self::StatusV1,
        Self::StatusV2,
        Self::Ping,
        Self::MetadataV1,
        Self::MetadataV2,
        Self::MetadataV3,
        Self::Goodbye,
        Self::BlocksByRangeV2,
        Self::BlocksByRootV2,
        Self::BlocksByHead,
        Self::EnvelopesByRange,
        Self::EnvelopesByRoot,
        Self::ExecutionProofsByRange,
        Self::ExecutionProofsByRoot,
        Self::ExecutionProofStatus,
    ];

    /// The id that streams are negotiated by.
    pub const fn id(self) -> &'static str {
        match self {
            Self::StatusV1 => "/eth2/beacon_chain/req/status/1/ssz_snappy",
            Self::StatusV2 => "/eth2/beacon_chain/req/status/2/ssz_snappy",
            Self::Ping => "/eth2/beacon_chain/req/ping/1/ssz_snappy",
            Self::MetadataV1 => "/eth2/beacon_chain/req/metadata/1/ssz_snappy",
            Self::MetadataV2 => "/eth2/beacon_chain/req/metadata/2/ssz_snappy",
            Self::MetadataV3 => "/eth2/beacon_chain/req/metadata/3/ssz_snappy",
            Self::Goodbye => "/eth2/beacon_chain/req/goodbye/1/ssz_snappy",
            Self::BlocksByRangeV2 => "/eth2/beacon_chain/req/beacon_blocks_by_range/2/ssz_snappy",
            Self::BlocksByRootV2 => "/eth2/beacon_chain/req/beacon_blocks_by_root/2/ssz_snappy",
            Self::BlocksByHead => "/eth2/beacon_chain/req/beacon_blocks_by_head/1/ssz_snappy",
            Self::EnvelopesByRange => {
                "/eth2/beacon_chain/req/execution_payload_envelopes_by_range/1/ssz_snappy"
            }
            Self::EnvelopesByRoot => {
                "/eth2/beacon_chain/req/execution_payload_envelopes_by_root/1/ssz_snappy"
            }
            Self::ExecutionProofsByRange => "/eth2/beacon_chain/req/execution_proofs_by_range/1/ssz_snappy",
            Self::ExecutionProofsByRoot => "/eth2/beacon_chain/req/execution_proofs_by_root/1/ssz_snappy",
            Self::ExecutionProofStatus => "/eth2/beacon_chain/req/execution_proof_status/1/ssz_snappy",
        }
    }

    /// Its name in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::StatusV1 => "status/1",
            Self::StatusV2 => "status/2",
            Self::Ping => "ping/1",
            Self::MetadataV1 => "metadata/1",
            Self::MetadataV2 => "metadata/2",
            Self::MetadataV3 => "metadata/3",
            Self::Goodbye => "goodbye/1",
            Self::BlocksByRangeV2 => "beacon_blocks_by_range/2",
            Self::BlocksByRootV2 => "beacon_blocks_by_root/2",
            Self::BlocksByHead => "beacon_blocks_by_head/1",
            Self::EnvelopesByRange => "execution_payload_envelopes_by_range/1",
            Self::EnvelopesByRoot => "execution_payload_envelopes_by_root/1",
            Self::ExecutionProofsByRange => "execution_proofs_by_range/1",
            Self::ExecutionProofsByRoot => "execution_proofs_by_root/1",
            Self::ExecutionProofStatus => "execution_proof_status/1",
        }
    }

    /// The protocols this node answers on a network: envelopes only where Gloas is scheduled.
    pub fn served(spec: &Spec) -> Vec<Self> {
        let has_gloas = spec
            .fork_epoch(ForkName::Gloas)
            .is_some_and(|epoch| epoch != Epoch::FAR_FUTURE);
        Self::ALL
            .into_iter()
            .filter(|p| has_gloas || !matches!(p, Self::EnvelopesByRange | Self::EnvelopesByRoot))
            .collect()
    }

    /// Whether it says something of a node, in one small chunk: what every peer asks of every other. Else it serves proofs
    /// or blocks.
    pub const fn is_base(self) -> bool {
        matches!(
            self,
            Self::StatusV1
                | Self::StatusV2
                | Self::Ping
                | Self::MetadataV1
                | Self::MetadataV2
                | Self::MetadataV3
                | Self::Goodbye
                | Self::ExecutionProofStatus
        )
    }

    /// Whether a request has a body. Where it has none, nothing is waited for.
    pub const fn has_request(self) -> bool {
        !matches!(self, Self::MetadataV1 | Self::MetadataV2 | Self::MetadataV3)
    }

    /// Whether success chunks carry the fork digest of what they hold.
    pub const fn has_context(self) -> bool {
        matches!(
            self,
            Self::BlocksByRangeV2
                | Self::BlocksByRootV2
                | Self::BlocksByHead
                | Self::EnvelopesByRange
                | Self::EnvelopesByRoot
        )
    }

    /// Fewest and most SSZ bytes of a request.
    pub fn request_bounds(self, spec: &Spec) -> LengthBounds {
        let exactly = |len| LengthBounds::new(len, len);
        let roots = |most: u64| LengthBounds::new(0, as_usize(most).saturating_mul(ROOT_LEN));
        let container = |(min, max)| LengthBounds::new(min, max);
        let limits = spec.list_limits();
        match self {
            Self::MetadataV1 | Self::MetadataV2 | Self::MetadataV3 => exactly(0),
            Self::BlocksByRangeV2 => exactly(24),
            Self::BlocksByHead => exactly(ROOT_LEN + 8),
            Self::EnvelopesByRange => exactly(16),
            // Before Deneb a request may name more; what is too much then is said by the server.
            Self::BlocksByRootV2 => roots(MAX_REQUEST_BLOCKS.max(spec.max_request_blocks_deneb)),
            Self::EnvelopesByRoot => roots(MAX_REQUEST_PAYLOADS),
            Self::ExecutionProofsByRange => container(ExecutionProofsByRange::ssz_len_bounds_within(&limits)),
            Self::ExecutionProofsByRoot => container(ProofByRootIdentifiers::ssz_len_bounds_within(&limits)),
            Self::StatusV1 | Self::StatusV2 | Self::Ping | Self::Goodbye | Self::ExecutionProofStatus => {
                self.response_bounds(spec)
            }
        }
    }

    /// Fewest and most SSZ bytes of a success chunk.
    pub fn response_bounds(self, spec: &Spec) -> LengthBounds {
        let exactly = |len| LengthBounds::new(len, len);
        match self {
            Self::StatusV1 => exactly(84),
            Self::StatusV2 => exactly(92),
            Self::Ping | Self::Goodbye => exactly(8),
            Self::MetadataV1 => exactly(16),
            Self::MetadataV2 => exactly(17),
            Self::MetadataV3 => exactly(25),
            Self::BlocksByRangeV2
            | Self::BlocksByRootV2
            | Self::BlocksByHead
            | Self::EnvelopesByRange
            | Self::EnvelopesByRoot => LengthBounds::new(1, as_usize(spec.max_payload_size)),
            Self::ExecutionProofsByRange | Self::ExecutionProofsByRoot => {
                LengthBounds::new(SIGNED_PROOF_OVERHEAD, spec.max_signed_proof_size())
            }
            Self::ExecutionProofStatus => {
                let (min, max) = ExecutionProofStatus::ssz_len_bounds_within(&spec.list_limits());
                LengthBounds::new(min, max)
            }
        }
    }
}

impl AsRef<str> for Protocol {
    fn as_ref(&self) -> &str {
        self.id()
    }
}

fn as_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_and_labels_are_distinct_and_agree() {
        let ids: HashSet<_> = Protocol::ALL.iter().map(|p| p.id()).collect();
        assert_eq!(ids.len(), Protocol::ALL.len());
        for protocol in Protocol::ALL {
            assert_eq!(
                protocol.id(),
                format!("/eth2/beacon_chain/req/{}/ssz_snappy", protocol.label())
            );
        }
    }

    #[test]
    fn sizes_are_those_of_the_texts() {
        let spec = Spec::mainnet();
        let table = [
            (Protocol::StatusV1, (84, 84), (84, 84)),
            (Protocol::StatusV2, (92, 92), (92, 92)),
            (Protocol::Ping, (8, 8), (8, 8)),
            (Protocol::MetadataV1, (0, 0), (16, 16)),
            (Protocol::MetadataV2, (0, 0), (17, 17)),
            (Protocol::MetadataV3, (0, 0), (25, 25)),
            (Protocol::Goodbye, (8, 8), (8, 8)),
            (Protocol::BlocksByRangeV2, (24, 24), (1, 10_485_760)),
            (Protocol::BlocksByRootV2, (0, 32_768), (1, 10_485_760)),
            (Protocol::BlocksByHead, (40, 40), (1, 10_485_760)),
            (Protocol::EnvelopesByRange, (16, 16), (1, 10_485_760)),
            (Protocol::EnvelopesByRoot, (0, 4096), (1, 10_485_760)),
            (Protocol::ExecutionProofsByRange, (20, 24), (145, 4_194_449)),
            (Protocol::ExecutionProofsByRoot, (0, 5632), (145, 4_194_449)),
            (Protocol::ExecutionProofStatus, (44, 48), (44, 48)),
        ];
        assert_eq!(table.len(), Protocol::ALL.len());
        for (protocol, request, response) in table {
            let bounds = |(min, max)| LengthBounds::new(min, max);
            assert_eq!(protocol.request_bounds(&spec), bounds(request), "{protocol:?}");
            assert_eq!(protocol.response_bounds(&spec), bounds(response), "{protocol:?}");
        }
    }
}
