//! Gossip of execution proofs (protocol.md section 4): what goes through gossipsub, and how.
//!
//! A message's way: `passed_over` takes out what is too much; `transform` unpacks the rest, bounded; gossipsub names it (message id over the unpacked data) and passes
//! over what it has seen; `validation` gives it to the verifier in a task of its own; the verdict goes back to
//! gossipsub, which forwards, forgets, or makes the sender pay. What this node itself brings goes through `publisher`
//! to the host, and waits in the `outbox` while nobody listens.
//!
//! | file | what it holds |
//! |---|---|
//! | `topics` | which fork digests' topics are joined at an epoch: a state machine |
//! | `params` | gossipsub's parameters, and why they are what they are |
//! | `score` | what a REJECT costs |
//! | `filter` | which of a peer's subscriptions are remembered |
//! | `transform` | raw snappy, both ways |
//! | `validation` | from a message to a verdict |
//! | `rooms` | room for messages being judged, and the line for wanted ones |
//! | `places` | which wanted messages have room, which wait, who goes first: a state machine |
//! | `publisher` | the `ProofSink` for proofs that did not come by gossip |
//! | `budget` | what one peer may bring, and what of it may be new |
//! | `outbox` | proofs that nobody listened for yet |
//! | `passed_over` | what is passed over unread, counted; what of one RPC, and of one peer, is looked at; repeats counted |
//! | `echo` | this node's own proofs, brought by a peer before they were published |
//! | `retry` | proofs published while every queue was full |

mod budget;
mod echo;
mod filter;
mod outbox;
mod params;
mod passed_over;
mod places;
mod publisher;
mod retry;
mod rooms;
mod score;
mod topics;
mod transform;
mod validation;

pub(crate) use budget::{Budgets, NEW, Taken};
pub(crate) use echo::Echoes;
pub(crate) use filter::ProofTopicsOnly;
pub(crate) use outbox::Outbox;
pub use params::GossipParameters;
pub(crate) use params::PEER_QUEUE_LEN;
pub(crate) use passed_over::GossipBehaviour;
pub use publisher::{PublishQueue, Publisher, publisher};
pub(crate) use retry::{Retries, Retry};
pub use topics::{TopicChange, TopicManager, TopicSchedule};
pub(crate) use transform::{JoinedTopics, ProofTransform};
pub(crate) use validation::{GossipMessage, Report, Validation, Wanted};

use crate::{NetworkError, counters::Counters};
use assay_types::{ForkDigest, Spec, digest::execution_proof_topic};
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, MetricsConfig};
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// Gossipsub as this node runs it.
type Gossipsub = gossipsub::Behaviour<ProofTransform, ProofTopicsOnly>;

/// The topic of a digest.
pub(crate) fn proof_topic(digest: ForkDigest) -> IdentTopic {
    IdentTopic::new(execution_proof_topic(digest))
}

/// The gossip score below which gossipsub passes over all a peer says.
pub(crate) fn graylist_threshold() -> f64 {
    score::thresholds().graylist_threshold
}

/// Gossipsub with this node's parameters; joined topics are those that `joined` says, nothing is joined yet.
pub(crate) fn behaviour(
    spec: &Spec,
    schedule: &TopicSchedule,
    parameters: &GossipParameters,
    joined: JoinedTopics,
    counters: Counters,
    registry: &mut Registry,
) -> Result<GossipBehaviour, NetworkError> {
    let unpacked = transform::Unpacked::default();
    let largest = spec.max_signed_proof_size();
    let transform = ProofTransform::new(joined, largest, Arc::clone(&unpacked), counters.clone());
    let mut behaviour = Gossipsub::new_with_subscription_filter_and_transform(
        MessageAuthenticity::Anonymous,
        params::config(spec, schedule, parameters)?,
        ProofTopicsOnly::new(schedule),
        transform,
    )
    .map_err(|e| NetworkError::Settings(e.to_owned()))?
    .with_metrics(
        registry.sub_registry_with_prefix("gossipsub"),
        MetricsConfig::default(),
    );
    behaviour
        .with_peer_score(score::params(spec, schedule), score::thresholds())
        .map_err(NetworkError::Settings)?;
    Ok(GossipBehaviour::new(behaviour, spec, unpacked, counters))
}
