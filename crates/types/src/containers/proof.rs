//! The EIP-8025 containers of both revisions (protocol.md section 2). They do not depend on the fork.

use super::{ContainerContext, Row, field};
use crate::{fork::Revision, schema::Schema, spec::ProofDataForm};

pub(super) const ROWS: &[Row] = &[
    ("PublicInput", |c| Some(public_input(c))),
    ("ExecutionProof", |c| Some(execution_proof(c))),
    ("SignedExecutionProof", |c| {
        (c.revision == Revision::Alpha).then(|| signed("SignedExecutionProof", execution_proof(c)))
    }),
    ("ExecutionProofEnvelope", |c| {
        (c.revision == Revision::Beta).then(|| execution_proof_envelope(c))
    }),
    ("SignedExecutionProofEnvelope", |c| {
        (c.revision == Revision::Beta)
            .then(|| signed("SignedExecutionProofEnvelope", execution_proof_envelope(c)))
    }),
    ("ProofTypes", |c| {
        (c.revision == Revision::Alpha).then(|| proof_types(c))
    }),
    ("ProofByRootIdentifier", |c| {
        (c.revision == Revision::Alpha).then(|| proof_by_root_identifier(c))
    }),
    ("ProofByRootIdentifiers", |c| {
        (c.revision == Revision::Alpha)
            .then(|| Schema::list(proof_by_root_identifier(c), c.max_request_blocks_deneb))
    }),
    ("ExecutionProofsByRange", |c| {
        (c.revision == Revision::Alpha).then(|| {
            Schema::container(
                "ExecutionProofsByRange",
                vec![
                    field("start_slot", Schema::U64),
                    field("count", Schema::U64),
                    field("proof_types", proof_types(c)),
                ],
            )
        })
    }),
    ("ExecutionProofStatus", |c| {
        (c.revision == Revision::Alpha).then(|| {
            Schema::container(
                "ExecutionProofStatus",
                vec![
                    field("block_root", Schema::BYTES32),
                    field("slot", Schema::U64),
                    field("proof_types", proof_types(c)),
                ],
            )
        })
    }),
];

/// `{ message, validator_index, signature }`.
fn signed(name: &'static str, message: Schema) -> Schema {
    Schema::container(
        name,
        vec![
            field("message", message),
            field("validator_index", Schema::U64),
            field("signature", Schema::BYTES96),
        ],
    )
}

fn proof_data(context: &ContainerContext) -> Schema {
    match context.proof_data_form {
        ProofDataForm::Progressive => Schema::ProgressiveByteList,
        ProofDataForm::ByteList => Schema::ByteList(context.max_proof_size),
    }
}

fn public_input(context: &ContainerContext) -> Schema {
    let root = field("new_payload_request_root", Schema::BYTES32);
    match context.revision {
        Revision::Alpha => Schema::container("PublicInput", vec![root]),
        Revision::Beta => Schema::progressive_container(
            "PublicInput",
            vec![
                root,
                field("successful_validation", Schema::Boolean),
                field("chain_id", Schema::U64),
                field("schema_id", Schema::U16),
            ],
        ),
    }
}

fn execution_proof(context: &ContainerContext) -> Schema {
    Schema::container(
        "ExecutionProof",
        vec![
            field("proof_data", proof_data(context)),
            field("proof_type", Schema::U8),
            field("public_input", public_input(context)),
        ],
    )
}

fn execution_proof_envelope(context: &ContainerContext) -> Schema {
    Schema::container(
        "ExecutionProofEnvelope",
        vec![
            field("proof_data", proof_data(context)),
            field("proof_type", Schema::U8),
            field("beacon_block_root", Schema::BYTES32),
        ],
    )
}

fn proof_types(context: &ContainerContext) -> Schema {
    Schema::list(Schema::U8, context.max_execution_proofs_per_payload)
}

fn proof_by_root_identifier(context: &ContainerContext) -> Schema {
    Schema::container(
        "ProofByRootIdentifier",
        vec![
            field("block_root", Schema::BYTES32),
            field("proof_types", proof_types(context)),
        ],
    )
}
