//! Bodies on their way through: what comes from the beacon node is counted, sniffed and passed on chunk by chunk.

use super::sniff::{Sniffed, Sniffer};
use assay_engine_api::Id;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Longest wait for the next bytes of a request.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// Chunks between the beacon node's connection and the execution client's.
const CHUNKS_UNDER_WAY: usize = 8;
/// The same of a body that is held besides: an execution client that takes no bytes must not keep the gate from reading them.
const KEPT_CHUNKS_UNDER_WAY: usize = 65_536;
/// Unit in which held bytes are counted against the budget.
const BUDGET_UNIT: usize = 1024;
/// A kept chunk smaller than this is copied to its neighbours: it may be a small part of the memory it holds on to.
const COPIED_CHUNK: usize = 16 * 1024;

/// Any error of a body.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body of any kind.
pub(super) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
/// An answer to the beacon node.
pub(super) type Answer = http::Response<AnyBody>;

/// A body that is here.
pub(super) fn full(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Why a request's body was not taken to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum IntakeError {
    /// Over the limit.
    #[error("the request is larger than {0} bytes")]
    TooLarge(usize),
    /// Too many bytes of other requests are held.
    #[error("too many large requests at once")]
    Busy,
    /// The caller went away, or its bytes are no HTTP.
    #[error("the request broke off: {0}")]
    Broken(String),
    /// Nothing came.
    #[error("no bytes of the request for {} s", CHUNK_TIMEOUT.as_secs())]
    TimedOut,
    /// The execution client takes nothing.
    #[error("the execution client took no bytes of the request for {} s", CHUNK_TIMEOUT.as_secs())]
    NotTaken,
    /// Two readers could understand it differently.
    #[error("the request names its method twice, goes on after its end, or nests too deep")]
    Ambiguous,
}

/// Bytes of requests that are held in memory at once, in all.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / BUDGET_UNIT)))
    }

    pub(super) fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, IntakeError> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT)).map_err(|_| IntakeError::Busy)?;
        Arc::clone(&self.0)
            .try_acquire_many_owned(units)
            .map_err(|_| IntakeError::Busy)
    }
}

/// A whole body; its bytes count against the budget while it lives.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A held body, or one request of a batch in it; the whole counts against the budget while any part of it lives.
#[derive(Debug, Clone)]
pub(super) struct HeldPart {
    pub(super) bytes: Bytes,
    _whole: Arc<Held>,
}

impl Held {
    /// All of it.
    pub(super) fn all(self: &Arc<Self>) -> HeldPart {
        self.part(self.bytes.clone())
    }

    /// A slice of it.
    pub(super) fn part(self: &Arc<Self>, bytes: Bytes) -> HeldPart {
        HeldPart {
            bytes,
            _whole: Arc::clone(self),
        }
    }
}

/// A whole body as its chunks came. Putting them together takes a copy of all of it, which nobody who forwards has to wait for.
#[derive(Debug, Default)]
pub(super) struct Kept {
    chunks: Vec<Bytes>,
    /// Small chunks in a row.
    small: BytesMut,
    length: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Kept {
    fn push(&mut self, chunk: Bytes) {
        self.length += chunk.len();
        if chunk.len() < COPIED_CHUNK {
            self.small.extend_from_slice(&chunk);
        } else {
            self.end_small();
            self.chunks.push(chunk);
        }
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push(self.small.split().freeze());
        }
    }

    /// In one piece.
    pub(super) fn join(mut self) -> Held {
        self.end_small();
        let bytes = match self.chunks.len() {
            1 => self.chunks.remove(0),
            _ => {
                let mut all = BytesMut::with_capacity(self.length);
                for chunk in self.chunks {
                    all.extend_from_slice(&chunk);
                }
                all.freeze()
            }
        };
        Held {
            bytes,
            _permit: self.permit,
        }
    }
}

/// A request's body as it comes.
pub(super) struct Intake {
    body: Incoming,
    sniffer: Sniffer,
    /// Read while sniffing, not yet passed on.
    head: VecDeque<Bytes>,
    /// Counts the head against the budget, its first chunk apart: where the method comes last it is the whole body.
    head_permit: Option<OwnedSemaphorePermit>,
    taken: usize,
    limit: usize,
    budget: Budget,
    /// `Content-Length`.
    pub(super) declared: Option<u64>,
}

impl Intake {
    /// Of a request that has passed the checks on its head.
    pub(super) fn new(body: Incoming, limit: usize, budget: Budget) -> Self {
        let declared = body.size_hint().exact();
        Self {
            body,
            sniffer: Sniffer::new(),
            head: VecDeque::new(),
            head_permit: None,
            taken: 0,
            limit,
            budget,
            declared,
        }
    }

    /// Reads as much as it takes to know what is asked for.
    pub(super) async fn sniff(&mut self) -> Result<Sniffed, IntakeError> {
        while self.sniffer.known() == Sniffed::Undecided {
            match self.next().await? {
                Some(chunk) => self.push_head(chunk)?,
                None => return Ok(self.sniffer.end()),
            }
        }
        Ok(self.sniffer.known())
    }

    fn push_head(&mut self, chunk: Bytes) -> Result<(), IntakeError> {
        if !self.head.is_empty() {
            let more = self.budget.take(chunk.len())?;
            match &mut self.head_permit {
                Some(permit) => permit.merge(more),
                None => self.head_permit = Some(more),
            }
        }
        self.head.push_back(chunk);
        Ok(())
    }

    /// The method, once sniffed.
    pub(super) fn method(&self) -> &str {
        self.sniffer.method().unwrap_or_default()
    }

    /// The id as far as the body was read.
    pub(super) fn id(&self) -> Id {
        self.sniffer.id()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, IntakeError> {
        loop {
            let frame = tokio::time::timeout(CHUNK_TIMEOUT, self.body.frame())
                .await
                .map_err(|_| IntakeError::TimedOut)?
                .transpose()
                .map_err(|e| IntakeError::Broken(e.to_string()))?;
            let Some(frame) = frame else { return Ok(None) };
            // Trailers of a request mean nothing here.
            let Ok(chunk) = frame.into_data() else { continue };
            self.taken += chunk.len();
            if self.taken > self.limit {
                return Err(IntakeError::TooLarge(self.limit));
            }
            if self.sniffer.feed(&chunk) == Sniffed::Ambiguous {
                return Err(IntakeError::Ambiguous);
            }
            return Ok(Some(chunk));
        }
    }

    /// The next chunk to be passed on, those read while sniffing first.
    async fn next_in_order(&mut self) -> Result<Option<Bytes>, IntakeError> {
        match self.head.pop_front() {
            Some(chunk) => Ok(Some(chunk)),
            None => self.next().await,
        }
    }

    /// Reads the whole body and holds it.
    pub(super) async fn hold(&mut self) -> Result<Held, IntakeError> {
        let kept = self.pass_chunks(None, true).await?;
        Ok(kept.join())
    }

    /// Reads the body to its end and passes it on. An error is passed on as well, so that the execution client never sees
    /// a whole request where we do not. Where the other side is gone the rest is read all the same: its id is needed for
    /// the error.
    pub(super) async fn pass_on(&mut self, to: Option<RelaySender>) -> Result<(), IntakeError> {
        self.pass(to, false).await.map(|_| ())
    }

    /// As `pass_on`, and keeps what passed.
    pub(super) async fn pass_on_and_keep(&mut self, to: RelaySender) -> Result<Kept, IntakeError> {
        self.pass(Some(to), true).await
    }

    async fn pass(&mut self, to: Option<RelaySender>, keep: bool) -> Result<Kept, IntakeError> {
        let outcome = self.pass_chunks(to.as_ref(), keep).await;
        match (to, &outcome) {
            (Some(to), Ok(_)) => to.whole.store(true, Ordering::Release),
            (Some(to), Err(error)) => {
                // A closed channel has no one left to tell. In a full one the end says the same: the request is not whole.
                let _ = to.chunks.try_send(Err(error.clone().into()));
            }
            (None, _) => {}
        }
        outcome
    }

    async fn pass_chunks(&mut self, mut to: Option<&RelaySender>, keep: bool) -> Result<Kept, IntakeError> {
        let expected = self
            .declared
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n <= self.limit);
        if keep {
            // Counted below with the rest.
            self.head_permit = None;
        }
        let mut kept = Kept {
            permit: keep
                .then(|| self.budget.take(expected.unwrap_or(0)))
                .transpose()?,
            ..Kept::default()
        };
        while let Some(chunk) = self.next_in_order().await? {
            if let Some(permit) = &mut kept.permit
                && expected.is_none()
            {
                permit.merge(self.budget.take(chunk.len())?);
            }
            if let Some(sender) = to
                && !sender.give(chunk.clone()).await?
            {
                to = None;
            }
            if keep {
                kept.push(chunk);
            }
        }
        if self.sniffer.end() == Sniffed::Ambiguous {
            return Err(IntakeError::Ambiguous);
        }
        Ok(kept)
    }
}

/// Where the chunks of a request go in. Dropped before the request has come whole, it breaks the request off on the other side.
pub(super) struct RelaySender {
    chunks: mpsc::Sender<Result<Bytes, BoxError>>,
    whole: Arc<AtomicBool>,
}

impl RelaySender {
    /// Whether it was taken; `false` where the other side is gone. An execution client that stopped reading would hold the
    /// caller's connection for ever, since its going away does not show before it is read on.
    async fn give(&self, chunk: Bytes) -> Result<bool, IntakeError> {
        match tokio::time::timeout(CHUNK_TIMEOUT, self.chunks.send(Ok(chunk))).await {
            Ok(given) => Ok(given.is_ok()),
            Err(_) => Err(IntakeError::NotTaken),
        }
    }
}

/// The body of a request to the execution client while it is still coming.
pub(super) struct RelayBody {
    chunks: mpsc::Receiver<Result<Bytes, BoxError>>,
    left: Option<u64>,
    whole: Arc<AtomicBool>,
    /// Dropped with the body: all of it is on its way, or nobody wants the rest.
    _forwarded: oneshot::Sender<()>,
}

/// Ends, with an error, when a body has been forwarded or given up.
pub(super) type Forwarded = oneshot::Receiver<()>;

/// The two ends of a body that is passed on as fast as it is taken; `declared` becomes its `Content-Length`.
pub(super) fn relay(declared: Option<u64>) -> (RelaySender, AnyBody) {
    let (sender, body, _) = relay_through(CHUNKS_UNDER_WAY, declared);
    (sender, body)
}

/// As `relay`, of a body that is held besides.
pub(super) fn relay_kept(declared: Option<u64>) -> (RelaySender, AnyBody, Forwarded) {
    relay_through(KEPT_CHUNKS_UNDER_WAY, declared)
}

fn relay_through(chunks: usize, declared: Option<u64>) -> (RelaySender, AnyBody, Forwarded) {
    let (sender, chunks) = mpsc::channel(chunks);
    let (gone, forwarded) = oneshot::channel();
    let whole = Arc::new(AtomicBool::new(false));
    let sender = RelaySender {
        chunks: sender,
        whole: Arc::clone(&whole),
    };
    let body = RelayBody {
        chunks,
        left: declared,
        whole,
        _forwarded: gone,
    };
    (sender, body.boxed_unsync(), forwarded)
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.chunks.poll_recv(cx).map(|next| match next {
            Some(chunk) => Some(chunk.map(|chunk| {
                let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                self.left = self.left.map(|left| left.saturating_sub(length));
                Frame::data(chunk)
            })),
            None if self.whole.load(Ordering::Acquire) => None,
            // Half a request must not pass for a whole one.
            None => Some(Err("the request broke off".into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Without a declared length nothing but its end tells a whole request from half of one.
    #[tokio::test]
    async fn half_a_request_does_not_end_as_a_whole_one() {
        for whole in [true, false] {
            let (sender, mut body, forwarded) = relay_kept(None);
            sender.whole.store(whole, Ordering::Release);
            sender.chunks.send(Ok(Bytes::from_static(b"{"))).await.unwrap();
            drop(sender);
            assert_eq!(
                body.frame().await.unwrap().unwrap().into_data().unwrap(),
                "{".as_bytes()
            );
            match body.frame().await {
                None => assert!(whole),
                Some(frame) => assert!(frame.is_err() && !whole),
            }
            drop(body);
            assert!(forwarded.await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_wait_for_an_execution_client_that_reads_and_not_for_ever() {
        let (sender, mut body) = relay(None);
        let chunk = || Bytes::from_static(b"{");
        for _ in 0..CHUNKS_UNDER_WAY {
            assert!(sender.give(chunk()).await.unwrap());
        }
        // It reads late.
        let (given, read) = tokio::join!(sender.give(chunk()), async {
            tokio::time::sleep(CHUNK_TIMEOUT / 2).await;
            body.frame().await
        });
        assert!(given.unwrap() && read.unwrap().is_ok());
        // It reads no more.
        let began = tokio::time::Instant::now();
        assert!(matches!(sender.give(chunk()).await, Err(IntakeError::NotTaken)));
        assert!((CHUNK_TIMEOUT..2 * CHUNK_TIMEOUT).contains(&began.elapsed()));
        drop(body);
        assert!(!sender.give(chunk()).await.unwrap(), "it is gone");
    }

    #[test]
    fn what_was_kept_is_put_together_in_its_order() {
        let chunk = |byte: u8, length: usize| Bytes::from(vec![byte; length]);
        for lengths in [
            &[3_usize][..],
            &[COPIED_CHUNK],
            &[1, COPIED_CHUNK, 2, 3, COPIED_CHUNK - 1, COPIED_CHUNK + 1, 5],
            &[],
        ] {
            let mut kept = Kept::default();
            let mut expected = Vec::new();
            for (byte, length) in (1..).zip(lengths) {
                kept.push(chunk(byte, *length));
                expected.extend_from_slice(&chunk(byte, *length));
            }
            assert_eq!(kept.join().bytes, expected, "{lengths:?}");
        }
    }
}
