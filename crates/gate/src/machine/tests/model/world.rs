//! The worlds a model lives in, and what may happen there.

use super::{super::*, BEFORE, PAYLOADS};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    Null,
    Zero,
    Parent,
    Payload(u8),
    Unknown,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum El {
    Valid,
    ValidNaming(Named),
    Syncing(Named),
    Accepted,
    Invalid(Named),
    Error,
    Unavailable,
    Unreadable,
}

/// How a request stands to the payload its hash belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Request {
    Checked,
    Unchecked,
    OtherUnchecked,
    OtherMismatch,
    /// Its hashes alone can be read.
    Named,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    Receive(u8, Request),
    Import(u8, Request, El),
    Head(u8, Option<u8>, El),
    /// A beacon node that is not the primary names its head.
    OtherHead(u8),
    Seen(u8, Request),
    Prove(u8, ProofType, bool),
    Finalized(u8),
    SlotStarted(u8),
    Config(GateConfig),
    /// The oldest call that waits is judged anew.
    Again,
    Anchor(u8),
    Resolve(u8, bool),
    Restart,
    Crash {
        lost: usize,
    },
}

/// Any policy with any of its settings.
pub(super) fn any_config() -> impl Strategy<Value = GateConfig> {
    let policy = prop_oneof![
        1 => Just(ImportPolicy::Observe),
        4 => Just(ImportPolicy::RequireProofs),
        3 => Just(ImportPolicy::AcceptProofs),
        3 => Just(ImportPolicy::ProofsOnly),
    ];
    let lag = prop_oneof![3 => Just(0_u32), 2 => 1_u32..4];
    let missing = prop_oneof![
        2 => Just(OnMissingProofs::Wait),
        1 => (1_u64..20).prop_map(|grace_slots| OnMissingProofs::TrustExecution { grace_slots }),
    ];
    let counted = prop_oneof![
        2 => Just(ProofTypeSet::ALL),
        1 => Just([1, 2].into_iter().collect::<ProofTypeSet>()),
    ];
    (policy, 1_u8..3, lag, missing, counted, any::<bool>()).prop_map(
        |(policy, k, lag, missing, counted, waits)| GateConfig {
            policy,
            proof_lag: lag,
            on_missing_proofs: missing,
            counted_types: counted,
            wait_for_proofs_ms: if waits { 500 } else { 0 },
            ..require(k)
        },
    )
}

pub(super) fn any_payload() -> impl Strategy<Value = u8> {
    1..=PAYLOADS
}

pub(super) fn any_named() -> impl Strategy<Value = Named> {
    prop_oneof![
        2 => Just(Named::Null),
        1 => Just(Named::Zero),
        4 => Just(Named::Parent),
        3 => any_payload().prop_map(Named::Payload),
        1 => Just(Named::Unknown),
    ]
}

pub(super) fn any_el() -> impl Strategy<Value = El> {
    prop_oneof![
        16 => Just(El::Valid),
        1 => any_named().prop_map(El::ValidNaming),
        4 => Just(El::Syncing(Named::Null)),
        1 => any_named().prop_map(El::Syncing),
        1 => Just(El::Accepted),
        4 => any_named().prop_map(El::Invalid),
        1 => Just(El::Error),
        1 => Just(El::Unavailable),
        1 => Just(El::Unreadable),
    ]
}

pub(super) fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        8 => Just(Request::Checked),
        3 => Just(Request::Unchecked),
        1 => Just(Request::OtherUnchecked),
        1 => Just(Request::OtherMismatch),
        1 => Just(Request::Named),
    ]
}

pub(super) fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (any_payload(), any_request()).prop_map(|(n, r)| Op::Receive(n, r)),
        12 => (any_payload(), any_request(), any_el()).prop_map(|(n, r, e)| Op::Import(n, r, e)),
        8 => (any_payload(), proptest::option::of(any_payload()), any_el()).prop_map(|(n, f, e)| Op::Head(n, f, e)),
        3 => any_payload().prop_map(Op::OtherHead),
        3 => (any_payload(), any_request()).prop_map(|(n, r)| Op::Seen(n, r)),
        12 => (any_payload(), 1_u8..4, prop::bool::weighted(0.05)).prop_map(|(n, t, o)| Op::Prove(n, t, o)),
        1 => any_payload().prop_map(Op::Finalized),
        1 => (1_u8..60).prop_map(Op::SlotStarted),
        1 => any_config().prop_map(Op::Config),
        4 => Just(Op::Again),
        1 => any_payload().prop_map(Op::Anchor),
        1 => (any_payload(), any::<bool>()).prop_map(|(n, keep)| Op::Resolve(n, keep)),
        1 => Just(Op::Restart),
        1 => (0_usize..8).prop_map(|lost| Op::Crash { lost }),
    ]
}

#[derive(Debug, Clone)]
pub(super) struct World {
    /// Parent of payload `n + 1`.
    pub(super) parents: Vec<u8>,
    pub(super) start: GateConfig,
    pub(super) max_payloads: usize,
}

pub(super) fn any_world() -> impl Strategy<Value = World> {
    // Mostly long chains, with forks.
    let parents =
        proptest::collection::vec((0_u8..3, any::<u8>()), usize::from(PAYLOADS) - 1).prop_map(|picks| {
            let mut parents = vec![BEFORE];
            for (i, (kind, any)) in picks.iter().enumerate() {
                let newest = u8::try_from(i + 1).unwrap();
                parents.push(if *kind > 0 { newest } else { 1 + any % newest });
            }
            parents
        });
    (parents, any_config(), prop_oneof![Just(MAX_PAYLOADS), Just(6)]).prop_map(
        |(parents, start, max_payloads)| World {
            parents,
            start,
            max_payloads,
        },
    )
}

impl World {
    pub(super) fn parent(&self, n: u8) -> Option<u8> {
        self.parents.get(usize::from(n).checked_sub(1)?).copied()
    }

    /// The payload and its ancestors, newest first.
    pub(super) fn chain(&self, n: u8) -> Vec<u8> {
        std::iter::successors(Some(n), |n| self.parent(*n)).collect()
    }

    pub(super) fn facts(&self, n: u8, request: Request) -> PayloadFacts {
        let facts = payload(n, self.parent(n).unwrap());
        match request {
            Request::Checked | Request::Unchecked | Request::Named => facts,
            _ => PayloadFacts {
                new_payload_request_root: other_root(n),
                ..facts
            },
        }
    }

    pub(super) fn asked(&self, n: u8, request: Request) -> AskedPayload {
        let payload = self.facts(n, request);
        match request {
            Request::Named => AskedPayload::Named {
                block_hash: payload.block_hash,
                parent_hash: payload.parent_hash,
            },
            _ => AskedPayload::Read {
                payload,
                check: check_of(request),
            },
        }
    }

    pub(super) fn named(&self, n: u8, named: Named) -> Option<BlockHash> {
        match named {
            Named::Null => None,
            Named::Zero => Some(Hash256::ZERO),
            Named::Parent => self.parent(n).map(hash),
            Named::Payload(n) => Some(hash(n)),
            Named::Unknown => Some(hash(222)),
        }
    }
}

pub(super) fn other_root(n: u8) -> Root {
    let mut bytes = [0xdd; 32];
    bytes[0] = n;
    Hash256(bytes)
}

pub(super) fn number(hash: &BlockHash) -> u8 {
    hash.0[0]
}

pub(super) fn check_of(request: Request) -> RequestCheck {
    match request {
        Request::Checked => RequestCheck::Matches,
        Request::Unchecked | Request::OtherUnchecked | Request::Named => RequestCheck::NotChecked,
        Request::OtherMismatch => RequestCheck::Mismatch,
    }
}
