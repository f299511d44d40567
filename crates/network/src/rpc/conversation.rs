//! The talk with every connected peer: a task for each puts the questions that `handshake` says are due.

use super::{
    LocalProofStatus, PeerBook, PeerMetadata, RequestError, Requester,
    handshake::{Ask, Handshake, Outcome, Own},
    relevance::irrelevant,
};
use crate::{Fault, Goodbye, PeerStatus};
use assay_chain::{BlockSource, Chain};
use assay_types::ExecutionProofStatus;
use libp2p::PeerId;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often a talk looks for what is due.
const LOOK: Duration = Duration::from_secs(1);

/// What this node says in `Status`; `None` before its head is known.
pub(super) fn local_status(chain: &dyn Chain, blocks: &dyn BlockSource) -> Option<PeerStatus> {
    let status = blocks.chain_status()?;
    let epoch = chain.spec().epoch_at_slot(chain.current_slot());
    Some(PeerStatus {
        fork_digest: chain
            .spec()
            .fork_digest(&chain.genesis().genesis_validators_root, epoch),
        finalized_root: status.finalized.root,
        finalized_epoch: status.finalized.epoch,
        head_root: status.head_root,
        head_slot: status.head_slot,
        earliest_available_slot: Some(status.earliest_available_slot),
    })
}

/// What talks are made of.
pub(crate) struct ConversationParts {
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) blocks: Arc<dyn BlockSource>,
    pub(crate) proof_status: Arc<dyn LocalProofStatus>,
    pub(crate) metadata: Arc<dyn Fn() -> PeerMetadata + Send + Sync>,
    pub(crate) peers: Arc<dyn PeerBook>,
    pub(crate) shutdown: CancellationToken,
}

/// The talks with all connected peers.
#[derive(Clone)]
pub(crate) struct Conversations {
    inner: Arc<Inner>,
}

struct Inner {
    parts: ConversationParts,
    requester: OnceLock<Requester>,
    talks: Mutex<HashMap<PeerId, Arc<Talk>>>,
}

struct Talk {
    handshake: Mutex<Handshake>,
    /// Something was heard that may change what is due.
    news: Notify,
    over: CancellationToken,
}

impl Conversations {
    /// Talks through `requester`, which is given later, before any peer connects.
    pub(crate) fn new(parts: ConversationParts) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                requester: OnceLock::new(),
                talks: Mutex::default(),
            }),
        }
    }

    pub(crate) fn speak_through(&self, requester: Requester) {
        let _ = self.inner.requester.set(requester);
    }

    /// A peer connected.
    pub(super) fn begin(&self, peer: PeerId, dialled: bool) {
        let Some(requester) = self.inner.requester.get().cloned() else {
            return;
        };
        let talk = Arc::new(Talk {
            handshake: Mutex::new(Handshake::new(dialled, Instant::now())),
            news: Notify::new(),
            over: self.inner.parts.shutdown.child_token(),
        });
        if let Some(before) = self.inner.talks.lock().insert(peer, Arc::clone(&talk)) {
            before.over.cancel();
        }
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            let over = talk.over.clone();
            tokio::select! {
                () = over.cancelled() => {}
                () = inner.talk(peer, &talk, &requester) => {}
            }
        });
    }

    /// A peer is gone.
    pub(super) fn end(&self, peer: &PeerId) {
        if let Some(talk) = self.inner.talks.lock().remove(peer) {
            talk.over.cancel();
        }
    }

    /// A peer told its status.
    pub(super) fn heard_status(&self, peer: &PeerId, status: PeerStatus) {
        self.inner.take_status(peer, status);
        let own = self.inner.own(peer);
        self.inner
            .hear(peer, |talk| talk.heard_status(Instant::now(), &own));
    }

    /// A peer told its proof status.
    pub(super) fn heard_proof_status(&self, peer: &PeerId, status: ExecutionProofStatus) {
        self.inner.parts.peers.proof_status(peer, status);
        let own = self.inner.own(peer);
        self.inner
            .hear(peer, |talk| talk.heard_proof_status(Instant::now(), &own));
    }

    /// A peer told the number of its metadata.
    pub(super) fn heard_seq_number(&self, peer: &PeerId, seq_number: u64) {
        self.inner
            .hear(peer, |talk| talk.heard_seq_number(seq_number, Instant::now()));
    }
}

impl Inner {
    fn own(&self, peer: &PeerId) -> Own {
        let status = local_status(self.parts.chain.as_ref(), self.parts.blocks.as_ref());
        let spec = self.parts.chain.spec();
        Own {
            status: status.map(|s| (s.fork_digest, spec.epoch_at_slot(s.head_slot), s.finalized_epoch)),
            proof_slot: self.parts.proof_status.local_proof_status().slot,
            eproof: self.parts.peers.eproof(peer),
        }
    }

    fn hear(&self, peer: &PeerId, change: impl FnOnce(&mut Handshake)) {
        let talk = self.talks.lock().get(peer).cloned();
        if let Some(talk) = talk {
            change(&mut talk.handshake.lock());
            talk.news.notify_one();
        }
    }

    /// Notes a peer's status. Of one that is of no use the peers' table decides whether it stays.
    fn take_status(&self, peer: &PeerId, status: PeerStatus) {
        self.parts.peers.status(peer, status);
        if let Some(why) = irrelevant(self.parts.chain.as_ref(), &status) {
            tracing::debug!(%peer, why, ?status, "peer is of another network or fork");
            self.parts.peers.report(peer, Fault::WrongNetwork);
        }
    }

    async fn talk(&self, peer: PeerId, talk: &Talk, requester: &Requester) {
        let mut is_told_of = false;
        loop {
            let own = self.own(&peer);
            let ask = talk.handshake.lock().next(Instant::now(), &own);
            if let Some(ask) = ask {
                let outcome = match self.ask(peer, ask, requester).await {
                    Ok(()) => Outcome::Answered,
                    Err(RequestError::Unsupported) => Outcome::Unsupported,
                    Err(error) => {
                        tracing::debug!(%peer, ?ask, %error, "peer did not answer");
                        match error {
                            RequestError::Refused { .. } | RequestError::Busy | RequestError::NotReady => {
                                Outcome::Declined
                            }
                            _ => Outcome::Failed,
                        }
                    }
                };
                let is_mute = {
                    let mut handshake = talk.handshake.lock();
                    handshake.fared(ask, outcome, Instant::now());
                    handshake.is_mute()
                };
                if is_mute && !is_told_of {
                    is_told_of = true;
                    self.parts.peers.report(&peer, Fault::NoStatus);
                }
            } else {
                tokio::select! {
                    () = talk.news.notified() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        }
    }

    async fn ask(&self, peer: PeerId, ask: Ask, requester: &Requester) -> Result<(), RequestError> {
        let parts = &self.parts;
        match ask {
            Ask::Status => {
                let status = requester.status(peer).await?;
                self.take_status(&peer, status);
            }
            Ask::Metadata => {
                let metadata = requester.metadata(peer).await?;
                self.hear(&peer, |talk| talk.read_metadata(metadata.seq_number));
                parts.peers.metadata(&peer, metadata);
            }
            Ask::ProofStatus => {
                let ours = parts.proof_status.local_proof_status();
                let status = requester.execution_proof_status(peer, ours).await?;
                parts.peers.proof_status(&peer, status);
            }
            Ask::Ping => {
                let seq_number = requester.ping(peer, (parts.metadata)().seq_number).await?;
                self.hear(&peer, |talk| talk.heard_seq_number(seq_number, Instant::now()));
            }
        }
        Ok(())
    }
}

/// Goodbyes for the end of the node: peers learn that it is no fault.
impl Conversations {
    /// Says goodbye to every connected peer, all at once, for a moment.
    pub(crate) async fn say_goodbye_to_all(&self) {
        let Some(requester) = self.inner.requester.get() else {
            return;
        };
        let peers: Vec<PeerId> = self.inner.talks.lock().keys().copied().collect();
        let all = peers
            .into_iter()
            .map(|peer| requester.goodbye(peer, Goodbye::Shutdown));
        futures::future::join_all(all).await;
    }
}
