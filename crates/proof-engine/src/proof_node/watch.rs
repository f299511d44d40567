//! The tasks of a proof node's backend: one reads its events, one fetches what is finished, one looks at its types once.
//! What was announced and what was not is fetched the same way.

use super::{
    client::{NodeClient, NodeEvent},
    pending::{Look, Pending},
};
use crate::{EngineEvent, RevisionNames, router::proof_gen_id};
use assay_types::{ProofKey, ProofType};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, broadcast},
    task::JoinSet,
    time::{sleep, sleep_until},
};

/// Proofs fetched at once, each of up to `MAX_PROOF_SIZE`.
const MAX_DOWNLOADS: usize = 4;
/// A stream that lived this long was a good one: the next is opened soon.
const STEADY: Duration = Duration::from_secs(5);

/// What the backend and its tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) client: NodeClient,
    pub(super) names: RevisionNames,
    pub(super) pending: Mutex<Pending>,
    /// Something changed in `pending`.
    pub(super) wake: Notify,
    pub(super) events: broadcast::Sender<EngineEvent>,
}

impl Shared {
    pub(super) fn new(
        name: String,
        client: NodeClient,
        names: RevisionNames,
        pending: Pending,
        events: broadcast::Sender<EngineEvent>,
    ) -> Self {
        Self {
            name,
            client,
            names,
            pending: Mutex::new(pending),
            wake: Notify::new(),
            events,
        }
    }

    pub(super) fn tell(&self, event: EngineEvent) {
        // An error says that nobody listens, which is the listener's choice.
        let _ = self.events.send(event);
    }

    fn heard(&self, event: NodeEvent) {
        // A name is another type's in another revision: the payload that is waited for says which holds.
        let key = |new_payload_request_root, name: &str| {
            let revision = self.pending.lock().revision_of(&new_payload_request_root)?;
            let proof_type = self.names.of(revision).proof_type(name)?;
            Some(ProofKey {
                new_payload_request_root,
                proof_type,
            })
        };
        match event {
            NodeEvent::Complete(root, name) => {
                let Some(key) = key(root, &name) else { return };
                if self.pending.lock().announce(&key, Instant::now()) {
                    self.wake.notify_waiters();
                }
            }
            NodeEvent::Failure(root, name, reason) => {
                let Some(key) = key(root, &name) else { return };
                if self.pending.lock().remove(&key) {
                    self.tell(EngineEvent::Failed { key, reason });
                }
            }
        }
    }

    /// Waits until there is something to wait for.
    async fn asked(&self) {
        loop {
            let woken = self.wake.notified();
            tokio::pin!(woken);
            // From here on no wake is missed.
            woken.as_mut().enable();
            if !self.pending.lock().is_empty() {
                return;
            }
            woken.await;
        }
    }
}

/// `pause`, spread by a half to both sides.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + rand::random::<f64>())
}

/// Reads the node's events for as long as it is asked for proofs; opens the stream again when it breaks.
pub(super) async fn read_events(shared: Arc<Shared>, (first, longest): (Duration, Duration)) {
    let mut pause = first;
    loop {
        shared.asked().await;
        let opened = Instant::now();
        match shared.client.events().await {
            Ok(mut events) => {
                // What was finished before the stream was open was announced to nobody.
                shared.pending.lock().look_for_all(Instant::now());
                shared.wake.notify_waiters();
                let why = loop {
                    match events.next().await {
                        Some(Ok(event)) => shared.heard(event),
                        Some(Err(error)) => break error.to_string(),
                        None => break "it ended".to_owned(),
                    }
                };
                tracing::debug!(proof_engine = shared.name, why, "event stream of a proof node");
                if opened.elapsed() >= STEADY {
                    pause = first;
                }
            }
            Err(error) => tracing::debug!(proof_engine = shared.name, %error, "event stream of a proof node"),
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(longest);
    }
}

/// Fetches what is due; gives up on what never comes.
pub(super) async fn fetch_proofs(shared: Arc<Shared>) {
    let mut downloads: JoinSet<(ProofKey, Result<Bytes, String>)> = JoinSet::new();
    loop {
        let woken = shared.wake.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let (due, expired, next) = {
            let (mut pending, now) = (shared.pending.lock(), Instant::now());
            let due = pending.take_due(MAX_DOWNLOADS.saturating_sub(downloads.len()), now);
            (due, pending.take_expired(now), pending.next_wake())
        };
        for (key, reason) in expired {
            shared.tell(EngineEvent::Failed { key, reason });
        }
        for key in due {
            let shared = shared.clone();
            downloads.spawn(async move { (key, fetch(&shared, &key).await) });
        }
        let full = downloads.len() >= MAX_DOWNLOADS;
        tokio::select! {
            () = woken => {}
            // With all places taken, the next end of a download says when to go on.
            () = sleep_until(next.unwrap_or_else(Instant::now).into()), if next.is_some() && !full => {}
            Some(ended) = downloads.join_next(), if !downloads.is_empty() => {
                if let Ok((key, outcome)) = ended {
                    settle(&shared, key, outcome);
                }
            }
        }
    }
}

async fn fetch(shared: &Shared, key: &ProofKey) -> Result<Bytes, String> {
    let revision = shared.pending.lock().revision_of(&key.new_payload_request_root);
    let revision = revision.ok_or("it is not waited for")?;
    let name = shared
        .names
        .name(revision, key.proof_type)
        .ok_or("it has no name")?;
    match shared.client.download(&key.new_payload_request_root, name).await {
        Ok(Some(proof_data)) => Ok(proof_data),
        Ok(None) => Err("404, not there yet".to_owned()),
        Err(error) => {
            tracing::debug!(proof_engine = shared.name, ?key, %error, "a finished proof could not be fetched");
            Err(error.to_string())
        }
    }
}

fn settle(shared: &Shared, key: ProofKey, outcome: Result<Bytes, String>) {
    let (look, proof_data) = match outcome {
        Ok(proof_data) => (Look::Found, proof_data),
        Err(why) => (Look::Nothing(why), Bytes::new()),
    };
    let found = shared
        .pending
        .lock()
        .looked(&key, look, Instant::now(), rand::random());
    if found {
        shared.tell(EngineEvent::Completed {
            proof_gen_id: Some(proof_gen_id(&key.new_payload_request_root)),
            key,
            proof_data,
        });
    }
}

/// Says in the log which of the types the node does not have, once it answers.
pub(super) async fn check_types(
    shared: Arc<Shared>,
    types: Vec<ProofType>,
    (first, longest): (Duration, Duration),
) {
    let mut pause = first;
    let listed = loop {
        match shared.client.proof_types().await {
            Ok(listed) => break listed,
            Err(error) => tracing::debug!(proof_engine = shared.name, %error, "proof types of a proof node"),
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(longest);
    };
    let listed: Vec<&str> = listed.iter().map(|t| t.name()).collect();
    let names = |t: &ProofType| {
        let proof_type = *t;
        shared
            .names
            .in_use(proof_type)
            .map(move |(revision, name)| (proof_type, revision, name))
    };
    for (proof_type, revision, name) in types.iter().flat_map(names) {
        if !listed.contains(&name) {
            tracing::warn!(
                proof_engine = shared.name,
                proof_type,
                %revision,
                name,
                ?listed,
                "the proof node has no such type; its proofs will wait. Is the map of names right?"
            );
        }
    }
}
