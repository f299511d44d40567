//! The gate's own work on a payload: from the call's bytes to what the payload is and what it is called. It runs on a
//! thread for blocking work, beside the call to the execution client.

use super::{EngineObserver, Network};
use crate::machine::{AskedPayload, PayloadFacts, RequestCheck};
use assay_engine_api::{
    ErrorCode, ErrorObject, NewPayloadParams, PayloadJsonError, block_hash, chain_id::foreign_chain_id,
    methods,
};
use assay_types::{ForkName, NewPayloadRequest, Slot, Spec};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Longest wait for the network's values when a payload comes before the beacon node has told them.
const NETWORK_PATIENCE: Duration = Duration::from_secs(2);

/// What a payload is.
#[derive(Debug, Clone)]
pub(super) struct Examined {
    /// What it says of itself, and its request root.
    pub(super) facts: PayloadFacts,
    /// Whether its hashes are those of its fields (design.md gate rule 5).
    pub(super) check: RequestCheck,
    pub(super) request: Arc<NewPayloadRequest>,
    /// The chain id of its transactions, where they are all of another network.
    pub(super) foreign_chain_id: Option<u64>,
}

/// Why the gate does not know what the payload is. Such a call is never raised, and under `require-proofs` lowered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// Not the parameters of a payload of its fork.
    #[error("{0}")]
    Params(String),
    /// The method's parameters, but not the fields of a payload of its fork: one is missing, or of a later fork.
    #[error("{0}")]
    Fields(String),
    /// The method is not that of the payload's fork.
    #[error("{method} is not for payloads of {fork}")]
    Version {
        /// The call's method.
        method: String,
        /// The fork at the payload's timestamp.
        fork: ForkName,
    },
    /// Its timestamp is that of no slot.
    #[error("no slot begins at its timestamp {0}")]
    Timestamp(u64),
    /// The beacon node has not told its network yet.
    #[error("the beacon node has not told its network's values yet")]
    NetworkUnknown,
    /// The thread that worked on it ended.
    #[error("internal: {0}")]
    Internal(String),
}

impl Unreadable {
    /// What an execution client that checks it says of such a call; `None` where one may know better than this program.
    pub(super) fn as_error(&self) -> Option<ErrorObject> {
        match self {
            Self::Version { .. } => Some(ErrorObject::new(ErrorCode::UnsupportedFork, self.to_string())),
            Self::Fields(_) => Some(ErrorObject::new(ErrorCode::InvalidParams, self.to_string())),
            Self::Params(_) | Self::Timestamp(_) | Self::NetworkUnknown | Self::Internal(_) => None,
        }
    }
}

/// A payload that was not examined: why, and what the machine is told of it instead.
#[derive(Debug, Clone)]
pub(super) struct Unexamined {
    pub(super) why: Unreadable,
    pub(super) asked: AskedPayload,
}

impl Examined {
    /// What the machine is told of it.
    pub(super) fn asked(&self) -> AskedPayload {
        AskedPayload::Read {
            payload: self.facts,
            check: self.check,
        }
    }

    /// Tells the chain view and the proof engines; a payload whose hashes do not fit belongs to no chain.
    pub(super) fn tell(&self, observer: &dyn EngineObserver) {
        if self.check == RequestCheck::Matches {
            observer.on_payload(&self.facts.new_payload_request_root, &self.request);
        }
    }
}

/// Examines the call in `body`.
pub(super) async fn examine(
    method: &str,
    body: Bytes,
    mut network: watch::Receiver<Option<Network>>,
) -> Result<Examined, Unexamined> {
    let params =
        blocking(move || NewPayloadParams::from_call(&body).map_err(|e| Unreadable::Params(e.to_string())))
            .await
            .map_err(|why| Unexamined {
                why,
                asked: AskedPayload::Unread,
            })?;
    let method = method.to_owned();
    let asked = AskedPayload::Named {
        block_hash: params.block_hash(),
        parent_hash: params.parent_hash(),
    };
    let network = match tokio::time::timeout(NETWORK_PATIENCE, network.wait_for(Option::is_some)).await {
        Ok(Ok(network)) => network.clone(),
        _ => None,
    };
    let unexamined = |why| Unexamined { why, asked };
    let network = network.ok_or(unexamined(Unreadable::NetworkUnknown))?;
    let placed = blocking(move || place(&method, params, &network)).await;
    let Placed { slot, request, spec } = placed.map_err(unexamined)?;
    // Each takes as long as the other.
    let (hashed, rooted) = (Arc::clone(&request), Arc::clone(&request));
    let (for_root, chain_id) = (Arc::clone(&spec), spec.chain_id);
    let (root, (check, foreign_chain_id)) = tokio::try_join!(
        blocking(move || rooted
            .hash_tree_root(&for_root)
            .map_err(|e| Unreadable::Params(e.to_string()))),
        blocking(move || {
            let foreign = foreign_chain_id(&hashed.execution_payload, chain_id);
            Ok((check(&hashed, slot), foreign))
        }),
    )
    .map_err(unexamined)?;
    Ok(Examined {
        facts: PayloadFacts {
            block_hash: request.execution_payload.block_hash,
            parent_hash: request.execution_payload.parent_hash,
            new_payload_request_root: root,
            slot,
            fork: request.fork,
        },
        check,
        request,
        foreign_chain_id,
    })
}

/// A payload in its slot.
struct Placed {
    slot: Slot,
    request: Arc<NewPayloadRequest>,
    spec: Arc<Spec>,
}

fn place(method: &str, params: NewPayloadParams, network: &Network) -> Result<Placed, Unreadable> {
    let spec = &network.spec;
    let timestamp = params.timestamp();
    let slot = spec
        .slot_at_timestamp(network.genesis.genesis_time, timestamp)
        .ok_or(Unreadable::Timestamp(timestamp))?;
    let fork = spec.fork_at_epoch(spec.epoch_at_slot(slot));
    if !methods::takes_payload(method, fork) {
        return Err(Unreadable::Version {
            method: method.to_owned(),
            fork,
        });
    }
    let request = params.into_request(fork, spec).map_err(|e| match e {
        PayloadJsonError::Missing { .. } | PayloadJsonError::Unexpected { .. } => {
            Unreadable::Fields(e.to_string())
        }
        _ => Unreadable::Params(e.to_string()),
    })?;
    Ok(Placed {
        slot,
        request: Arc::new(request),
        spec: Arc::clone(spec),
    })
}

/// Rule 5.
fn check(request: &NewPayloadRequest, slot: Slot) -> RequestCheck {
    match block_hash::check(request) {
        Ok(()) => RequestCheck::Matches,
        Err(mismatch) => {
            tracing::warn!(
                block_hash = %request.execution_payload.block_hash,
                slot = slot.as_u64(),
                %mismatch,
                "payload's hashes are not those of its fields"
            );
            RequestCheck::Mismatch
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Unreadable> + Send + 'static,
) -> Result<T, Unreadable> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Unreadable::Internal(e.to_string()))?
}
