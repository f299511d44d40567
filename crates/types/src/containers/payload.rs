//! Execution payloads, their headers and requests, and `NewPayloadRequest` in its forms (protocol.md section 2).

use super::{ContainerContext, Row, container, count, field, list};
use crate::{
    fork::{ForkName, NewPayloadRequestForm},
    schema::{Field, Schema},
};

pub(super) const ROWS: &[Row] = &[
    ("Withdrawal", |c| (c.fork >= ForkName::Capella).then(withdrawal)),
    ("DepositRequest", |c| {
        (c.fork >= ForkName::Electra).then(deposit_request)
    }),
    ("WithdrawalRequest", |c| {
        (c.fork >= ForkName::Electra).then(withdrawal_request)
    }),
    ("ConsolidationRequest", |c| {
        (c.fork >= ForkName::Electra).then(consolidation_request)
    }),
    ("BuilderDepositRequest", |c| {
        (c.fork >= ForkName::Gloas).then(builder_deposit_request)
    }),
    ("BuilderExitRequest", |c| {
        (c.fork >= ForkName::Gloas).then(builder_exit_request)
    }),
    ("ExecutionPayload", |c| {
        c.fork.has_payload().then(|| execution_payload(c))
    }),
    ("ExecutionPayloadHeader", |c| {
        has_header(c).then(|| execution_payload_header(c))
    }),
    ("ExecutionRequests", |c| {
        (c.fork >= ForkName::Electra).then(|| execution_requests(c))
    }),
    ("NewPayloadRequest", |c| {
        c.fork.has_payload().then(|| new_payload_request(c))
    }),
    ("NewPayloadRequestHeader", |c| {
        has_header(c).then(|| new_payload_request_header(c))
    }),
];

/// Payloads have headers from Bellatrix to Fulu; in Gloas the bid took their place.
fn has_header(context: &ContainerContext) -> bool {
    context.fork.has_payload() && context.fork < ForkName::Gloas
}

fn withdrawal() -> Schema {
    Schema::container(
        "Withdrawal",
        vec![
            field("index", Schema::U64),
            field("validator_index", Schema::U64),
            field("address", Schema::BYTES20),
            field("amount", Schema::U64),
        ],
    )
}

/// EIP-6110.
fn deposit_request() -> Schema {
    Schema::container(
        "DepositRequest",
        vec![
            field("pubkey", Schema::BYTES48),
            field("withdrawal_credentials", Schema::BYTES32),
            field("amount", Schema::U64),
            field("signature", Schema::BYTES96),
            field("index", Schema::U64),
        ],
    )
}

/// EIP-7002.
fn withdrawal_request() -> Schema {
    Schema::container(
        "WithdrawalRequest",
        vec![
            field("source_address", Schema::BYTES20),
            field("validator_pubkey", Schema::BYTES48),
            field("amount", Schema::U64),
        ],
    )
}

/// EIP-7251.
fn consolidation_request() -> Schema {
    Schema::container(
        "ConsolidationRequest",
        vec![
            field("source_address", Schema::BYTES20),
            field("source_pubkey", Schema::BYTES48),
            field("target_pubkey", Schema::BYTES48),
        ],
    )
}

/// EIP-8282.
fn builder_deposit_request() -> Schema {
    Schema::container(
        "BuilderDepositRequest",
        vec![
            field("pubkey", Schema::BYTES48),
            field("withdrawal_credentials", Schema::BYTES32),
            field("amount", Schema::U64),
            field("signature", Schema::BYTES96),
        ],
    )
}

/// EIP-8282.
fn builder_exit_request() -> Schema {
    Schema::container(
        "BuilderExitRequest",
        vec![
            field("source_address", Schema::BYTES20),
            field("pubkey", Schema::BYTES48),
        ],
    )
}

/// The fields that payload and header share, up to `block_hash`.
fn common_fields(context: &ContainerContext) -> Vec<Field> {
    let limits = &context.limits;
    vec![
        field("parent_hash", Schema::BYTES32),
        field("fee_recipient", Schema::BYTES20),
        field("state_root", Schema::BYTES32),
        field("receipts_root", Schema::BYTES32),
        field("logs_bloom", Schema::Bytes(count(limits.bytes_per_logs_bloom))),
        field("prev_randao", Schema::BYTES32),
        field("block_number", Schema::U64),
        field("gas_limit", Schema::U64),
        field("gas_used", Schema::U64),
        field("timestamp", Schema::U64),
        field("extra_data", Schema::ByteList(limits.max_extra_data_bytes)),
        field("base_fee_per_gas", Schema::U256),
        field("block_hash", Schema::BYTES32),
    ]
}

pub(super) fn execution_payload(context: &ContainerContext) -> Schema {
    let limits = &context.limits;
    let transaction = if context.fork >= ForkName::Gloas {
        Schema::ProgressiveByteList
    } else {
        Schema::ByteList(limits.max_bytes_per_transaction)
    };
    let mut fields = common_fields(context);
    fields.push(field(
        "transactions",
        list(context, transaction, limits.max_transactions_per_payload),
    ));
    if context.fork >= ForkName::Capella {
        fields.push(field(
            "withdrawals",
            list(context, withdrawal(), limits.max_withdrawals_per_payload),
        ));
    }
    if context.fork >= ForkName::Deneb {
        fields.push(field("blob_gas_used", Schema::U64));
        fields.push(field("excess_blob_gas", Schema::U64));
    }
    if context.fork >= ForkName::Gloas {
        // EIP-7928, EIP-7843
        fields.push(field("block_access_list", Schema::ProgressiveByteList));
        fields.push(field("slot_number", Schema::U64));
    }
    container(context, "ExecutionPayload", fields)
}

fn execution_payload_header(context: &ContainerContext) -> Schema {
    let mut fields = common_fields(context);
    fields.push(field("transactions_root", Schema::BYTES32));
    if context.fork >= ForkName::Capella {
        fields.push(field("withdrawals_root", Schema::BYTES32));
    }
    if context.fork >= ForkName::Deneb {
        fields.push(field("blob_gas_used", Schema::U64));
        fields.push(field("excess_blob_gas", Schema::U64));
    }
    Schema::container("ExecutionPayloadHeader", fields)
}

pub(super) fn execution_requests(context: &ContainerContext) -> Schema {
    let limits = &context.limits;
    let mut fields = vec![
        field(
            "deposits",
            list(
                context,
                deposit_request(),
                limits.max_deposit_requests_per_payload,
            ),
        ),
        field(
            "withdrawals",
            list(
                context,
                withdrawal_request(),
                limits.max_withdrawal_requests_per_payload,
            ),
        ),
        field(
            "consolidations",
            list(
                context,
                consolidation_request(),
                limits.max_consolidation_requests_per_payload,
            ),
        ),
    ];
    if context.fork >= ForkName::Gloas {
        fields.push(field(
            "builder_deposits",
            Schema::progressive_list(builder_deposit_request()),
        ));
        fields.push(field(
            "builder_exits",
            Schema::progressive_list(builder_exit_request()),
        ));
    }
    container(context, "ExecutionRequests", fields)
}

/// What follows the payload or its header in a request of the fork.
fn request_fields(context: &ContainerContext, first: Field) -> Vec<Field> {
    let mut fields = vec![first];
    if context.fork >= ForkName::Deneb {
        let progressive = context.fork >= ForkName::Gloas && context.form == NewPayloadRequestForm::A;
        fields.push(field(
            "versioned_hashes",
            if progressive {
                Schema::progressive_list(Schema::BYTES32)
            } else {
                Schema::list(Schema::BYTES32, context.limits.max_blob_commitments_per_block)
            },
        ));
        fields.push(field("parent_beacon_block_root", Schema::BYTES32));
    }
    if context.fork >= ForkName::Electra {
        fields.push(field("execution_requests", execution_requests(context)));
    }
    fields
}

fn new_payload_request(context: &ContainerContext) -> Schema {
    let fields = request_fields(context, field("execution_payload", execution_payload(context)));
    if context.fork >= ForkName::Gloas && context.form == NewPayloadRequestForm::C {
        Schema::progressive_container("NewPayloadRequest", fields)
    } else {
        Schema::container("NewPayloadRequest", fields)
    }
}

fn new_payload_request_header(context: &ContainerContext) -> Schema {
    Schema::container(
        "NewPayloadRequestHeader",
        request_fields(
            context,
            field("execution_payload_header", execution_payload_header(context)),
        ),
    )
}
