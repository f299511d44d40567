//! The execution clients behind the endpoint (design.md gate rule 11): one is active and gives every answer; newPayload and
//! fcU go to all, in order, so that another can take its place. None under `proofs-only`.

use super::{
    EndpointStats, Shared, UpstreamConfig,
    body::{AnyBody, HeldPart},
    lane::Lane,
    new_payload::ABANDONED_PATIENCE,
    stats::count,
    upstream::{Head, NoAnswer, Upstream, UpstreamUrlError, read},
    verdict::judge,
};
use crate::machine::{ElAnswer, Event, StatusWord};
use assay_engine_api::status_edit::Shape;
use assay_types::BlockHash;
use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Payload ids whose issuer is known; the oldest is forgotten first. A beacon node asks for one within its slot.
const MAX_ISSUED: usize = 256;
/// Calls that wait for a client that is not active; more pass it by, and it catches up with its own peers. Their bodies are in
/// memory.
const MAX_BEHIND: usize = 16;
/// Longest wait for what a client was told before it became the active one.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(1);
/// Fork choices in a row that a client which failed must call VALID while another is active, before it has its place back; twice
/// as many each time that it fails again.
const BACK_AFTER: u32 = 8;
/// At most.
const BACK_AFTER_AT_MOST: u32 = 1024;
/// Payloads of which it is known what each client said.
const MAX_SAID: usize = 512;

/// Which client gave an answer; stands in the answer's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientIndex(pub(super) usize);

/// The execution clients, in the order of the settings.
pub(super) struct Clients {
    list: Vec<Arc<Member>>,
    active: AtomicUsize,
    issued: Mutex<VecDeque<(String, usize)>>,
    said: Mutex<VecDeque<Said>>,
}

struct Member {
    upstream: Upstream,
    /// The order of what it is told as one that is not active.
    lane: Lane,
    /// Fork choices in a row that it called VALID as one that is not active.
    in_step: AtomicU32,
    /// How many of them give it its place back, once it failed.
    back_after: AtomicU32,
}

/// Who said VALID and who said INVALID of a payload, as sets of bits.
struct Said {
    block_hash: BlockHash,
    valid: u64,
    invalid: u64,
}

impl Clients {
    pub(super) fn new(
        configs: Vec<UpstreamConfig>,
        stats: &Arc<EndpointStats>,
    ) -> Result<Self, UpstreamUrlError> {
        let member = |config| {
            Ok(Arc::new(Member {
                upstream: Upstream::new(config, Arc::clone(stats))?,
                lane: Lane::default(),
                in_step: AtomicU32::new(0),
                back_after: AtomicU32::new(0),
            }))
        };
        Ok(Self {
            list: configs.into_iter().map(member).collect::<Result<_, _>>()?,
            active: AtomicUsize::new(0),
            issued: Mutex::default(),
            said: Mutex::default(),
        })
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether there is more than one.
    pub(super) fn are_several(&self) -> bool {
        self.list.len() > 1
    }

    /// The one that is active now.
    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    fn member(&self, index: usize) -> Result<&Member, NoAnswer> {
        self.list
            .get(index)
            .map(Arc::as_ref)
            .ok_or_else(NoAnswer::no_client)
    }

    /// Waits until a client has what it was told while another was active: a fork choice must not come before its payload.
    async fn caught_up(&self, index: usize) {
        let lane = self
            .list
            .get(index)
            .filter(|_| self.are_several())
            .map(|m| &m.lane);
        if let Some(Ok(mut ticket)) = lane.map(Lane::ticket) {
            // One that is so slow is asked all the same.
            let _ = tokio::time::timeout(CATCH_UP_PATIENCE, ticket.turn()).await;
        }
    }

    /// Hosts and ports, for logs.
    pub(super) fn shown(&self) -> String {
        let all: Vec<&str> = self.list.iter().map(|m| m.upstream.shown()).collect();
        all.join(", ")
    }

    /// Whether the active one answered its last call; true before the first, and where there is no client.
    pub(super) fn is_up(&self) -> bool {
        self.member(self.active()).map_or(true, |m| m.upstream.is_up())
    }

    async fn send_to(
        &self,
        index: usize,
        head: &Head,
        body: AnyBody,
    ) -> Result<Response<Incoming>, NoAnswer> {
        self.member(index)?
            .upstream
            .send(head, body)
            .await
            .map(|answer| by(index, answer))
            .map_err(|no_answer| no_answer.of(index))
    }

    /// Sends one request to the active client.
    pub(super) async fn send(&self, head: &Head, body: AnyBody) -> Result<Response<Incoming>, NoAnswer> {
        self.send_to(self.active(), head, body).await
    }

    /// As `send`, to that client; where there are several an HTTP error of one's own is no answer, since another may have one.
    pub(super) async fn send_for_answer(
        &self,
        index: usize,
        head: &Head,
        body: AnyBody,
    ) -> Result<Response<Incoming>, NoAnswer> {
        self.caught_up(index).await;
        self.send_to(index, head, body)
            .await
            .and_then(|answer| self.usable(index, answer))
    }

    fn usable(&self, index: usize, answer: Response<Incoming>) -> Result<Response<Incoming>, NoAnswer> {
        match answer.status() {
            status if status.is_server_error() && self.are_several() => {
                Err(NoAnswer::server_error(status).of(index))
            }
            _ => Ok(answer),
        }
    }

    /// As `Upstream::send_held`, to the active client or, where that gives no answer, to the next that does: it is the
    /// active one from then on. The answer is read here: one that breaks off is none.
    pub(super) async fn ask<T, R>(
        &self,
        head: &Head,
        body: &Bytes,
        read: impl Fn(Response<Incoming>) -> R,
    ) -> Result<T, NoAnswer>
    where
        R: Future<Output = Result<T, NoAnswer>>,
    {
        let mut index = self.active();
        let mut tried = 1;
        loop {
            self.caught_up(index).await;
            let sent = self.member(index)?.upstream.send_held(head, body).await;
            let sent = sent.and_then(|answer| self.usable(index, by(index, answer)));
            let answer = match sent {
                Ok(answer) => read(answer).await,
                Err(no_answer) => Err(no_answer),
            };
            let no_answer = match answer {
                Ok(answer) => return Ok(answer),
                Err(no_answer) => no_answer.of(index),
            };
            if tried >= self.list.len() || no_answer.no_room {
                return Err(no_answer);
            }
            self.note_no_answer(&no_answer);
            tried += 1;
            index = (index + 1) % self.list.len();
        }
    }

    /// The second try of a call, after `no_answer`.
    pub(super) async fn ask_again<T, R>(
        &self,
        no_answer: &NoAnswer,
        head: &Head,
        body: &Bytes,
        read: impl Fn(Response<Incoming>) -> R,
    ) -> Result<T, NoAnswer>
    where
        R: Future<Output = Result<T, NoAnswer>>,
    {
        if self.are_several() {
            self.note_no_answer(no_answer);
            return self.ask(&head.clone().with_new_length(), body, read).await;
        }
        let index = self.active();
        let again = self.member(index)?.upstream.send_again(head, body).await?;
        read(by(index, again)).await
    }

    /// Says that a call stays without an answer. Another client is the active one from then on, if one may answer.
    pub(super) fn note_no_answer(&self, no_answer: &NoAnswer) {
        let index = no_answer.client.unwrap_or_else(|| self.active());
        let Ok(member) = self.member(index) else { return };
        member.upstream.note_no_answer(no_answer);
        if no_answer.no_room {
            return;
        }
        let after = (1..self.list.len()).map(|step| (index + step) % self.list.len());
        let next = after
            .into_iter()
            .find(|i| self.list.get(*i).is_some_and(|m| m.upstream.is_up()));
        if let Some(next) = next
            && self
                .active
                .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let longer = member.back_after.load(Ordering::Relaxed).saturating_mul(2);
            let longer = longer.clamp(BACK_AFTER, BACK_AFTER_AT_MOST);
            member.back_after.store(longer, Ordering::Relaxed);
            member.in_step.store(0, Ordering::Relaxed);
            tracing::error!(
                before = self.name(index),
                now = self.name(next),
                "another execution client answers from now on"
            );
        }
    }

    fn name(&self, index: usize) -> Option<&str> {
        self.list.get(index).map(|m| m.upstream.shown())
    }

    /// What a client that is not active says of what it is told. One that stands before the active one in the settings has its
    /// place back when it has been in step with the chain for long enough.
    fn note_in_step(&self, index: usize, shape: Shape, said: Option<StatusWord>) {
        let Some(member) = self.list.get(index) else {
            return;
        };
        match (said, shape) {
            (Some(StatusWord::Valid), Shape::NewPayload) => return,
            (Some(StatusWord::Valid), Shape::ForkchoiceUpdated) => {}
            _ => return member.in_step.store(0, Ordering::Relaxed),
        }
        let in_step = member.in_step.fetch_add(1, Ordering::Relaxed) + 1;
        let active = self.active();
        if index < active
            && in_step >= member.back_after.load(Ordering::Relaxed)
            && self
                .active
                .compare_exchange(active, index, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            tracing::warn!(
                before = self.name(active),
                now = self.name(index),
                "an execution client has its place back and answers from now on"
            );
        }
    }

    /// Keeps who builds a payload.
    pub(super) fn issued(&self, payload_id: String, client: Option<ClientIndex>) {
        let Some(ClientIndex(index)) = client.filter(|_| self.are_several()) else {
            return;
        };
        let mut issued = self.issued.lock();
        issued.retain(|(id, _)| *id != payload_id);
        if issued.len() >= MAX_ISSUED {
            issued.pop_front();
        }
        issued.push_back((payload_id, index));
    }

    /// Sends a call to whoever builds the payload; `None` where nobody is known to.
    pub(super) async fn send_to_issuer(
        &self,
        payload_id: &str,
        head: &Head,
        body: &Bytes,
    ) -> Option<Result<Response<Incoming>, NoAnswer>> {
        let issuer = {
            let issued = self.issued.lock();
            issued
                .iter()
                .find(|(id, _)| id == payload_id)
                .map(|(_, index)| *index)
        }?;
        let member = self.list.get(issuer)?;
        let sent = member.upstream.send_held(head, body).await;
        Some(sent.map(|a| by(issuer, a)).map_err(|e| e.of(issuer)))
    }

    /// What a client said of a payload. True where that contradicts another, the first time.
    fn contradicts(&self, client: usize, block_hash: BlockHash, word: StatusWord) -> bool {
        let bit = 1_u64 << client.min(63);
        let mut all = self.said.lock();
        if !all.iter().any(|s| s.block_hash == block_hash) {
            if all.len() >= MAX_SAID {
                all.pop_front();
            }
            all.push_back(Said {
                block_hash,
                valid: 0,
                invalid: 0,
            });
        }
        let Some(said) = all.iter_mut().find(|s| s.block_hash == block_hash) else {
            return false;
        };
        let disputed = |s: &Said| s.valid != 0 && s.invalid != 0 && s.valid != s.invalid;
        let before = disputed(said);
        match word {
            StatusWord::Valid => said.valid |= bit,
            StatusWord::Invalid => said.invalid |= bit,
            StatusWord::Syncing | StatusWord::Accepted => {}
        }
        !before && disputed(said)
    }
}

fn by(index: usize, mut answer: Response<Incoming>) -> Response<Incoming> {
    answer.extensions_mut().insert(ClientIndex(index));
    answer
}

/// Beside a call of newPayload or fcU: where there are several clients and the active one gives no answer for as long as callers
/// wait, another takes its place. Does not end.
pub(super) async fn too_long(shared: &Shared) {
    if shared.upstream.are_several() {
        let no_answer = NoAnswer::after(shared.forkchoice_patience).of(shared.upstream.active());
        tokio::time::sleep(shared.forkchoice_patience).await;
        shared.upstream.note_no_answer(&no_answer);
    }
    std::future::pending().await
}

/// Notes what a client said of a payload; INVALID against another's VALID is an alarm.
pub(super) async fn heard(
    shared: &Shared,
    client: Option<ClientIndex>,
    block_hash: BlockHash,
    said: ElAnswer,
) {
    let (Some(ClientIndex(client)), Some(word)) =
        (client.filter(|_| shared.upstream.are_several()), said.word())
    else {
        return;
    };
    if shared.upstream.contradicts(client, block_hash, word) {
        shared.gate.apply(Event::ClientsDisagree { block_hash }).await;
    }
}

/// Gives a call to all clients but the one that is asked, each in the order of these calls. `about`: the payload or head, as
/// soon as it is known. Nobody waits for it.
pub(super) fn tell_others(
    shared: &Arc<Shared>,
    asked: usize,
    shape: Shape,
    head: &Head,
    body: &HeldPart,
    about: &watch::Receiver<Option<BlockHash>>,
) {
    for (index, member) in shared.upstream.list.iter().enumerate() {
        if index == asked {
            continue;
        }
        // newPayload before the fcU that names it: one lane for both.
        let Ok(mut ticket) = member.lane.ticket_among(MAX_BEHIND) else {
            count(&shared.stats.calls_kept_from_others);
            shared.upstream.note_in_step(index, shape, None);
            continue;
        };
        let (task, member) = (Arc::clone(shared), Arc::clone(member));
        let (head, body, mut about) = (head.clone().with_new_length(), body.clone(), about.clone());
        shared.spawn(async move {
            ticket.turn().await;
            let sent = async {
                let response = member.upstream.send_held(&head, &body.bytes).await?;
                read(by(index, response)).await
            };
            let answer = match tokio::time::timeout(ABANDONED_PATIENCE, sent).await {
                Ok(answer) => answer,
                Err(_) => Err(NoAnswer::after(ABANDONED_PATIENCE)),
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(no_answer) => {
                    task.upstream.note_in_step(index, shape, None);
                    return member.upstream.note_no_answer(&no_answer);
                }
            };
            drop(ticket);
            let said = judge(shape, &answer).said;
            task.upstream.note_in_step(index, shape, said.word());
            let Ok(about) = about.wait_for(Option::is_some).await.map(|hash| *hash) else {
                return;
            };
            if let Some(block_hash) = about {
                heard(&task, answer.client(), block_hash, said).await;
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_contradiction_is_told_once() {
        let clients = Clients::new(Vec::new(), &Arc::default()).unwrap();
        let hash = |n: u8| BlockHash::from([n; 32]);
        use StatusWord::{Invalid, Syncing, Valid};
        for (client, n, word, told) in [
            (0, 1, Valid, false),
            (1, 1, Syncing, false),
            (1, 1, Invalid, true),
            (1, 1, Invalid, false),
            (0, 2, Invalid, false),
            (0, 2, Valid, false),
            (2, 2, Valid, true),
        ] {
            assert_eq!(
                clients.contradicts(client, hash(n), word),
                told,
                "{client} {n} {word:?}"
            );
        }
        for n in 0..=255 {
            clients.contradicts(0, hash(n), Valid);
        }
        assert!(clients.said.lock().len() <= MAX_SAID);
    }
}
