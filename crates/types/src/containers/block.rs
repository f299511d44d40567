//! Beacon blocks with whole bodies, and what Gloas has in the payload's place (EIP-7732): bid and envelope.

use super::{
    ContainerContext, Row, container, field, list,
    operations::{
        attestation, attester_slashing, deposit, eth1_data, payload_attestation, proposer_slashing, signed,
        signed_bls_to_execution_change, signed_voluntary_exit, sync_aggregate,
    },
    payload::{execution_payload, execution_requests},
};
use crate::{fork::ForkName, schema::Schema};

pub(super) const ROWS: &[Row] = &[
    ("SignedBeaconBlock", |c| {
        Some(signed("SignedBeaconBlock", beacon_block(c)))
    }),
    ("BeaconBlock", |c| Some(beacon_block(c))),
    ("BeaconBlockBody", |c| Some(beacon_block_body(c))),
    ("ExecutionPayloadBid", |c| {
        c.fork.has_envelope().then(|| execution_payload_bid(c))
    }),
    ("SignedExecutionPayloadBid", |c| {
        c.fork.has_envelope().then(|| signed_execution_payload_bid(c))
    }),
    ("ExecutionPayloadEnvelope", |c| {
        c.fork.has_envelope().then(|| execution_payload_envelope(c))
    }),
    ("SignedExecutionPayloadEnvelope", |c| {
        c.fork
            .has_envelope()
            .then(|| signed("SignedExecutionPayloadEnvelope", execution_payload_envelope(c)))
    }),
];

fn beacon_block(context: &ContainerContext) -> Schema {
    Schema::container(
        "BeaconBlock",
        vec![
            field("slot", Schema::U64),
            field("proposer_index", Schema::U64),
            field("parent_root", Schema::BYTES32),
            field("state_root", Schema::BYTES32),
            field("body", beacon_block_body(context)),
        ],
    )
}

fn beacon_block_body(context: &ContainerContext) -> Schema {
    let (fork, limits) = (context.fork, &context.limits);
    let electra = fork >= ForkName::Electra;
    let max_attester_slashings = if electra {
        limits.max_attester_slashings_electra
    } else {
        limits.max_attester_slashings
    };
    let max_attestations = if electra {
        limits.max_attestations_electra
    } else {
        limits.max_attestations
    };
    let mut fields = vec![
        field("randao_reveal", Schema::BYTES96),
        field("eth1_data", eth1_data()),
        field("graffiti", Schema::BYTES32),
        field(
            "proposer_slashings",
            list(context, proposer_slashing(), limits.max_proposer_slashings),
        ),
        field(
            "attester_slashings",
            list(context, attester_slashing(context), max_attester_slashings),
        ),
        field(
            "attestations",
            list(context, attestation(context), max_attestations),
        ),
        field("deposits", list(context, deposit(), limits.max_deposits)),
        field(
            "voluntary_exits",
            list(context, signed_voluntary_exit(), limits.max_voluntary_exits),
        ),
    ];
    if fork >= ForkName::Altair {
        fields.push(field("sync_aggregate", sync_aggregate(context)));
    }
    if fork.has_payload() && !fork.has_envelope() {
        fields.push(field("execution_payload", execution_payload(context)));
    }
    if fork >= ForkName::Capella {
        fields.push(field(
            "bls_to_execution_changes",
            list(
                context,
                signed_bls_to_execution_change(),
                limits.max_bls_to_execution_changes,
            ),
        ));
    }
    if fork.has_envelope() {
        fields.push(field(
            "signed_execution_payload_bid",
            signed_execution_payload_bid(context),
        ));
        fields.push(field(
            "payload_attestations",
            Schema::progressive_list(payload_attestation(context)),
        ));
        fields.push(field("parent_execution_requests", execution_requests(context)));
    } else {
        if fork >= ForkName::Deneb {
            fields.push(field("blob_kzg_commitments", blob_kzg_commitments(context)));
        }
        if electra {
            fields.push(field("execution_requests", execution_requests(context)));
        }
    }
    container(context, "BeaconBlockBody", fields)
}

fn blob_kzg_commitments(context: &ContainerContext) -> Schema {
    list(
        context,
        Schema::BYTES48,
        context.limits.max_blob_commitments_per_block,
    )
}

fn execution_payload_bid(context: &ContainerContext) -> Schema {
    container(
        context,
        "ExecutionPayloadBid",
        vec![
            field("parent_block_hash", Schema::BYTES32),
            field("parent_block_root", Schema::BYTES32),
            field("block_hash", Schema::BYTES32),
            field("prev_randao", Schema::BYTES32),
            field("fee_recipient", Schema::BYTES20),
            field("gas_limit", Schema::U64),
            field("builder_index", Schema::U64),
            field("slot", Schema::U64),
            field("value", Schema::U64),
            field("execution_payment", Schema::U64),
            field("blob_kzg_commitments", blob_kzg_commitments(context)),
            field("execution_requests_root", Schema::BYTES32),
        ],
    )
}

fn signed_execution_payload_bid(context: &ContainerContext) -> Schema {
    signed("SignedExecutionPayloadBid", execution_payload_bid(context))
}

fn execution_payload_envelope(context: &ContainerContext) -> Schema {
    container(
        context,
        "ExecutionPayloadEnvelope",
        vec![
            field("payload", execution_payload(context)),
            field("execution_requests", execution_requests(context)),
            field("builder_index", Schema::U64),
            field("beacon_block_root", Schema::BYTES32),
            field("parent_beacon_block_root", Schema::BYTES32),
        ],
    )
}
