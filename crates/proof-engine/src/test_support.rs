//! What the tests of this crate share.

use assay_types::{ExecutionPayload, ExecutionRequests, ForkName, NewPayloadRequest, Root};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// Longest a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A payload request; its content means nothing to the backends tested here.
pub(crate) fn payload_request() -> Arc<NewPayloadRequest> {
    let execution_payload = ExecutionPayload {
        parent_hash: Root::ZERO,
        fee_recipient: [0; 20],
        state_root: Root::ZERO,
        receipts_root: Root::ZERO,
        logs_bloom: Bytes::from_static(&[0; 256]),
        prev_randao: Root::ZERO,
        block_number: 1,
        gas_limit: 0,
        gas_used: 0,
        timestamp: 12,
        extra_data: Bytes::new(),
        base_fee_per_gas: Default::default(),
        block_hash: Root::from([1; 32]),
        transactions: Vec::new(),
        withdrawals: Vec::new(),
        blob_gas_used: 0,
        excess_blob_gas: 0,
        block_access_list: Bytes::new(),
        slot_number: 0,
    };
    Arc::new(NewPayloadRequest {
        fork: ForkName::Fulu,
        execution_payload,
        versioned_hashes: Vec::new(),
        parent_beacon_block_root: Root::ZERO,
        execution_requests: ExecutionRequests::default(),
    })
}
