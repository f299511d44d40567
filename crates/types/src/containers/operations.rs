//! What blocks carry besides a payload, and the small containers of signing: in their form at each fork.
//!
//! Electra widened attestations to a slot's committees (EIP-7549); Gloas made lists and some containers progressive
//! (EIP-7688).

use super::{ContainerContext, Row, container, count, field, limits::DEPOSIT_PROOF_LEN, list};
use crate::{fork::ForkName, schema::Schema};

pub(super) const ROWS: &[Row] = &[
    ("Fork", |_| Some(fork())),
    ("ForkData", |_| Some(fork_data())),
    ("SigningData", |_| Some(signing_data())),
    ("Checkpoint", |_| Some(checkpoint())),
    ("BeaconBlockHeader", |_| Some(beacon_block_header())),
    ("SignedBeaconBlockHeader", |_| {
        Some(signed("SignedBeaconBlockHeader", beacon_block_header()))
    }),
    ("Eth1Data", |_| Some(eth1_data())),
    ("AttestationData", |_| Some(attestation_data())),
    ("Attestation", |c| Some(attestation(c))),
    ("IndexedAttestation", |c| Some(indexed_attestation(c))),
    ("ProposerSlashing", |_| Some(proposer_slashing())),
    ("AttesterSlashing", |c| Some(attester_slashing(c))),
    ("DepositData", |_| Some(deposit_data())),
    ("Deposit", |_| Some(deposit())),
    ("VoluntaryExit", |_| Some(voluntary_exit())),
    ("SignedVoluntaryExit", |_| {
        Some(signed("SignedVoluntaryExit", voluntary_exit()))
    }),
    ("SyncAggregate", |c| {
        (c.fork >= ForkName::Altair).then(|| sync_aggregate(c))
    }),
    ("BLSToExecutionChange", |c| {
        (c.fork >= ForkName::Capella).then(bls_to_execution_change)
    }),
    ("SignedBLSToExecutionChange", |c| {
        (c.fork >= ForkName::Capella).then(signed_bls_to_execution_change)
    }),
    ("PayloadAttestationData", |c| {
        (c.fork >= ForkName::Gloas).then(payload_attestation_data)
    }),
    ("PayloadAttestation", |c| {
        (c.fork >= ForkName::Gloas).then(|| payload_attestation(c))
    }),
];

/// `{ message, signature }`.
pub(super) fn signed(name: &'static str, message: Schema) -> Schema {
    Schema::container(
        name,
        vec![field("message", message), field("signature", Schema::BYTES96)],
    )
}

fn fork() -> Schema {
    Schema::container(
        "Fork",
        vec![
            field("previous_version", Schema::Bytes(4)),
            field("current_version", Schema::Bytes(4)),
            field("epoch", Schema::U64),
        ],
    )
}

fn fork_data() -> Schema {
    Schema::container(
        "ForkData",
        vec![
            field("current_version", Schema::Bytes(4)),
            field("genesis_validators_root", Schema::BYTES32),
        ],
    )
}

fn signing_data() -> Schema {
    Schema::container(
        "SigningData",
        vec![
            field("object_root", Schema::BYTES32),
            field("domain", Schema::BYTES32),
        ],
    )
}

fn checkpoint() -> Schema {
    Schema::container(
        "Checkpoint",
        vec![field("epoch", Schema::U64), field("root", Schema::BYTES32)],
    )
}

fn beacon_block_header() -> Schema {
    Schema::container(
        "BeaconBlockHeader",
        vec![
            field("slot", Schema::U64),
            field("proposer_index", Schema::U64),
            field("parent_root", Schema::BYTES32),
            field("state_root", Schema::BYTES32),
            field("body_root", Schema::BYTES32),
        ],
    )
}

pub(super) fn eth1_data() -> Schema {
    Schema::container(
        "Eth1Data",
        vec![
            field("deposit_root", Schema::BYTES32),
            field("deposit_count", Schema::U64),
            field("block_hash", Schema::BYTES32),
        ],
    )
}

fn attestation_data() -> Schema {
    Schema::container(
        "AttestationData",
        vec![
            field("slot", Schema::U64),
            field("index", Schema::U64),
            field("beacon_block_root", Schema::BYTES32),
            field("source", checkpoint()),
            field("target", checkpoint()),
        ],
    )
}

/// Most validators one attestation can name: a committee's before Electra, a slot's from then on.
fn max_attesters(context: &ContainerContext) -> u64 {
    let limits = &context.limits;
    if context.fork >= ForkName::Electra {
        limits.max_validators_per_committee * limits.max_committees_per_slot
    } else {
        limits.max_validators_per_committee
    }
}

pub(super) fn attestation(context: &ContainerContext) -> Schema {
    let aggregation_bits = if context.fork >= ForkName::Gloas {
        Schema::ProgressiveBitlist
    } else {
        Schema::Bitlist(max_attesters(context))
    };
    let mut fields = vec![
        field("aggregation_bits", aggregation_bits),
        field("data", attestation_data()),
        field("signature", Schema::BYTES96),
    ];
    if context.fork >= ForkName::Electra {
        let committees = count(context.limits.max_committees_per_slot);
        fields.push(field("committee_bits", Schema::Bitvector(committees)));
    }
    container(context, "Attestation", fields)
}

fn indexed_attestation(context: &ContainerContext) -> Schema {
    container(
        context,
        "IndexedAttestation",
        vec![
            field(
                "attesting_indices",
                list(context, Schema::U64, max_attesters(context)),
            ),
            field("data", attestation_data()),
            field("signature", Schema::BYTES96),
        ],
    )
}

pub(super) fn proposer_slashing() -> Schema {
    let header = || signed("SignedBeaconBlockHeader", beacon_block_header());
    Schema::container(
        "ProposerSlashing",
        vec![
            field("signed_header_1", header()),
            field("signed_header_2", header()),
        ],
    )
}

pub(super) fn attester_slashing(context: &ContainerContext) -> Schema {
    Schema::container(
        "AttesterSlashing",
        vec![
            field("attestation_1", indexed_attestation(context)),
            field("attestation_2", indexed_attestation(context)),
        ],
    )
}

fn deposit_data() -> Schema {
    Schema::container(
        "DepositData",
        vec![
            field("pubkey", Schema::BYTES48),
            field("withdrawal_credentials", Schema::BYTES32),
            field("amount", Schema::U64),
            field("signature", Schema::BYTES96),
        ],
    )
}

pub(super) fn deposit() -> Schema {
    Schema::container(
        "Deposit",
        vec![
            field("proof", Schema::vector(Schema::BYTES32, DEPOSIT_PROOF_LEN)),
            field("data", deposit_data()),
        ],
    )
}

fn voluntary_exit() -> Schema {
    Schema::container(
        "VoluntaryExit",
        vec![field("epoch", Schema::U64), field("validator_index", Schema::U64)],
    )
}

pub(super) fn signed_voluntary_exit() -> Schema {
    signed("SignedVoluntaryExit", voluntary_exit())
}

pub(super) fn sync_aggregate(context: &ContainerContext) -> Schema {
    Schema::container(
        "SyncAggregate",
        vec![
            field(
                "sync_committee_bits",
                Schema::Bitvector(count(context.limits.sync_committee_size)),
            ),
            field("sync_committee_signature", Schema::BYTES96),
        ],
    )
}

fn bls_to_execution_change() -> Schema {
    Schema::container(
        "BLSToExecutionChange",
        vec![
            field("validator_index", Schema::U64),
            field("from_bls_pubkey", Schema::BYTES48),
            field("to_execution_address", Schema::BYTES20),
        ],
    )
}

pub(super) fn signed_bls_to_execution_change() -> Schema {
    signed("SignedBLSToExecutionChange", bls_to_execution_change())
}

fn payload_attestation_data() -> Schema {
    Schema::container(
        "PayloadAttestationData",
        vec![
            field("beacon_block_root", Schema::BYTES32),
            field("slot", Schema::U64),
            field("payload_present", Schema::Boolean),
            field("blob_data_available", Schema::Boolean),
        ],
    )
}

pub(super) fn payload_attestation(context: &ContainerContext) -> Schema {
    container(
        context,
        "PayloadAttestation",
        vec![
            field(
                "aggregation_bits",
                Schema::Bitvector(count(context.limits.ptc_size)),
            ),
            field("data", payload_attestation_data()),
            field("signature", Schema::BYTES96),
        ],
    )
}
