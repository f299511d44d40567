//! The wrapping around a connection and its streams.

use super::{
    BROKEN_OFF, GossipStreams, SPENT, STREAMS_PER_CONNECTION,
    in_hand::{Reading, TURN},
    sniff::Sniff,
};
use crate::counters::{STREAM_GOSSIP, STREAM_NONE, STREAM_OTHER};
use futures::io::{AsyncRead, AsyncWrite};
use libp2p::{
    PeerId,
    core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox},
};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

/// The account is told of a message's growth in steps of this, and of nothing smaller.
const STEP: usize = 64 * 1024;

/// A connection to a peer, its streams looked at.
pub(in crate::host) struct Watched {
    muxer: StreamMuxerBox,
    peer: PeerId,
    streams: GossipStreams,
    ended: Arc<Ended>,
}

/// Gossip's streams of one connection that have ended, for whatever reason.
#[derive(Default)]
pub(super) struct Ended {
    theirs: AtomicU32,
    ours: AtomicU32,
}

impl Ended {
    fn count(&self, is_theirs: bool) {
        let side = if is_theirs { &self.theirs } else { &self.ours };
        side.fetch_add(1, Relaxed);
    }

    /// Whether gossipsub would serve no further one.
    fn is_spent(&self) -> bool {
        self.theirs.load(Relaxed).max(self.ours.load(Relaxed)) >= STREAMS_PER_CONNECTION
    }
}

impl Watched {
    pub(in crate::host) fn new(muxer: StreamMuxerBox, peer: PeerId, streams: GossipStreams) -> Self {
        Self {
            muxer,
            peer,
            streams,
            ended: Arc::default(),
        }
    }

    fn stream(&self, stream: SubstreamBox, is_theirs: bool) -> Stream<SubstreamBox> {
        let ended = Arc::clone(&self.ended);
        Stream::new(stream, self.peer, self.streams.clone(), is_theirs, ended)
    }
}

impl StreamMuxer for Watched {
    type Substream = Stream<SubstreamBox>;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let this = self.get_mut();
        let stream = ready!(Pin::new(&mut this.muxer).poll_inbound(cx))?;
        Poll::Ready(Ok(this.stream(stream, true)))
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let this = self.get_mut();
        let stream = ready!(Pin::new(&mut this.muxer).poll_outbound(cx))?;
        Poll::Ready(Ok(this.stream(stream, false)))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().muxer).poll_close(cx)
    }

    /// Polled by its connection after whatever ends a stream. An error closes the connection.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let this = self.get_mut();
        if this.ended.is_spent() {
            tracing::debug!(peer = %this.peer, "too many of gossip's streams have ended: connection closed");
            this.streams.counters.gossip_streams(SPENT, 1);
            return Poll::Ready(Err(io::Error::other("gossipsub would serve no further stream")));
        }
        Pin::new(&mut this.muxer).poll(cx)
    }
}

/// A stream. Whoever opens one of gossip's is the only one that speaks on it.
pub(in crate::host) struct Stream<S> {
    stream: S,
    peer: PeerId,
    streams: GossipStreams,
    /// Once the account knows of it.
    id: Option<u64>,
    is_theirs: bool,
    /// Of its connection.
    ended: Arc<Ended>,
    /// Whether it was counted, as what it is for.
    is_counted: bool,
    sniff: Sniff,
    /// Unfinished bytes as last told.
    told: usize,
    /// Bytes that are left of its turn, where it has one (`in_hand`).
    turn: usize,
    /// Whether a message of ours waits to be taken.
    waits: bool,
}

impl<S> Stream<S> {
    pub(super) fn new(
        stream: S,
        peer: PeerId,
        streams: GossipStreams,
        is_theirs: bool,
        ended: Arc<Ended>,
    ) -> Self {
        Self {
            stream,
            peer,
            streams,
            id: None,
            is_theirs,
            ended,
            is_counted: false,
            sniff: Sniff::default(),
            told: 0,
            turn: 0,
            waits: false,
        }
    }

    /// Counts a peer's stream, once.
    fn count(&mut self, protocol: &'static str) {
        if self.is_theirs && !self.is_counted {
            self.is_counted = true;
            self.streams.counters.peer_stream(protocol);
        }
    }

    fn id(&mut self) -> u64 {
        *self.id.get_or_insert_with(|| self.streams.open())
    }

    /// Tells the account what the stream holds; whether it is to end.
    fn tell(&mut self, cx: &Context<'_>) -> bool {
        let id = self.id();
        self.told = self.sniff.unfinished();
        self.streams.holds(id, self.peer, self.told, cx.waker())
    }

    /// Whether it may read on. Where it may not, its reader is woken when it may.
    fn may_read(&mut self, cx: &Context<'_>) -> bool {
        if !self.is_theirs || !self.sniff.is_gossip() || self.turn > 0 {
            return true;
        }
        let id = self.id();
        let reading = self.streams.asks(id, cx.waker());
        if reading == Reading::Turn {
            self.turn = TURN;
        }
        reading != Reading::Waits
    }

    /// Has read so many bytes, and whether what was read ended a message.
    fn has_read(&mut self, n: usize, is_whole: bool) {
        if self.turn > 0 {
            self.turn = self.turn.saturating_sub(n);
            if n == 0 || is_whole {
                self.turn = 0;
            }
            if self.turn == 0 {
                let id = self.id();
                self.streams.turn_ends(id);
            }
        }
    }
}

impl<S> Drop for Stream<S> {
    fn drop(&mut self) {
        self.count(STREAM_NONE);
        if self.sniff.is_gossip() {
            self.ended.count(self.is_theirs);
        }
        let was_given_up = self.id.is_some_and(|id| self.streams.closed(id));
        if self.is_theirs && self.sniff.unfinished() > 0 && !was_given_up {
            self.streams.counters.gossip_streams(BROKEN_OFF, 1);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Woken because it was given up, or about to wait: the account knows whom to wake.
        let given_up = || io::Error::new(io::ErrorKind::TimedOut, "a message of gossip was not finished");
        if this.told > 0 && this.tell(cx) {
            return Poll::Ready(Err(given_up()));
        }
        if !this.may_read(cx) {
            return Poll::Pending;
        }
        let n = match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(n)) => n,
            other => {
                this.has_read(0, false);
                return other;
            }
        };
        if this.is_theirs && !matches!(this.sniff, Sniff::Other) {
            let before = this.sniff.unfinished();
            this.sniff.push(&buffer[..n]);
            this.has_read(n, this.sniff.unfinished() != before + n);
            match this.sniff {
                Sniff::Gossip(_) => this.count(STREAM_GOSSIP),
                Sniff::Other => this.count(STREAM_OTHER),
                Sniff::Negotiating { .. } => {}
            }
            let held = this.sniff.unfinished();
            let is_told = (held < STEP && this.told == 0) || (held >= this.told && held - this.told < STEP);
            if !is_told && this.tell(cx) {
                return Poll::Ready(Err(given_up()));
            }
        }
        Poll::Ready(Ok(n))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Ready(Ok(n)) => {
                if !this.is_theirs && !this.sniff.is_gossip() && !matches!(this.sniff, Sniff::Other) {
                    this.sniff.push(&bytes[..n]);
                }
                if this.waits {
                    let id = this.id();
                    this.streams.takes(id, n);
                }
                Poll::Ready(Ok(n))
            }
            Poll::Pending if !this.is_theirs && this.sniff.is_gossip() && !this.waits => {
                this.waits = true;
                let id = this.id();
                this.streams.waits(id, this.peer, Instant::now());
                Poll::Pending
            }
            other => other,
        }
    }

    /// Comes when all of a message is written.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.waits {
            this.waits = false;
            let id = this.id();
            this.streams.taken(id);
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::{super::GIVEN_UP_REASONS, *};
    use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
    use std::time::Duration;
    use tokio::io::duplex;
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

    const NAMES: &[u8] = b"\x13/multistream/1.0.0\n\x0f/meshsub/1.2.0\n";

    #[tokio::test]
    async fn a_message_that_is_never_finished_ends_its_stream() {
        let streams = GossipStreams::default();
        let (peer, later) = (PeerId::random(), Instant::now() + Duration::from_secs(61));
        let (mut theirs, ours) = duplex(1 << 20);
        let mut ours = Stream::new(ours.compat(), peer, streams.clone(), true, Arc::default());
        tokio::io::AsyncWriteExt::write_all(&mut theirs, NAMES)
            .await
            .unwrap();
        // 300,000 bytes are announced.
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &[0xe0, 0xa7, 0x12])
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &[7; 200_000])
            .await
            .unwrap();
        let mut read = vec![0; NAMES.len() + 3 + 200_000];
        ours.read_exact(&mut read).await.unwrap();
        assert_eq!(streams.accounts.unfinished.lock().all(), (200_003, 1));
        assert_eq!(streams.sweep(Instant::now()), (Vec::new(), Vec::new()));
        let mut byte = [0];
        let mut next = Box::pin(async { ours.read(&mut byte).await.map_err(|e| e.kind()) });
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!(streams.sweep(later).0, [peer]);
        assert_eq!(next.await, Err(io::ErrorKind::TimedOut));
        drop(ours);
        assert_eq!(given_up(&streams), [1, 0, 0, 0, 0]);
        assert_eq!(streams.accounts.unfinished.lock().all(), (0, 0));
    }

    fn given_up(streams: &GossipStreams) -> [u64; 5] {
        GIVEN_UP_REASONS.map(|reason| streams.counters.gossip_streams_of(reason))
    }

    #[tokio::test]
    async fn a_stream_that_ends_within_a_message_is_counted() {
        for (said, expected) in [
            (&[0xe0, 0xa7, 0x12, 7, 7][..], [0, 0, 0, 1, 0]),
            (&[0xff], [0, 0, 0, 1, 0]),
            (&[2, 7, 7], [0, 0, 0, 0, 0]),
            (&[], [0, 0, 0, 0, 0]),
        ] {
            let streams = GossipStreams::default();
            let (mut theirs, ours) = duplex(1 << 10);
            let mut ours = Stream::new(
                ours.compat(),
                PeerId::random(),
                streams.clone(),
                true,
                Arc::default(),
            );
            let wire = [NAMES, said].concat();
            tokio::io::AsyncWriteExt::write_all(&mut theirs, &wire)
                .await
                .unwrap();
            drop(theirs);
            ours.read_to_end(&mut Vec::new()).await.unwrap();
            drop(ours);
            assert_eq!(given_up(&streams), expected, "{said:?}");
        }
    }

    #[tokio::test]
    async fn whole_messages_and_other_protocols_are_let_be() {
        let streams = GossipStreams::default();
        for (names, whole) in [
            (NAMES, true),
            (&b"\x13/multistream/1.0.0\n\x07/eth2/\n"[..], false),
        ] {
            let (mut theirs, ours) = duplex(1 << 20);
            let mut ours = Stream::new(
                ours.compat(),
                PeerId::random(),
                streams.clone(),
                true,
                Arc::default(),
            );
            tokio::io::AsyncWriteExt::write_all(&mut theirs, names)
                .await
                .unwrap();
            // 200,000 bytes and no more where they are a message.
            tokio::io::AsyncWriteExt::write_all(&mut theirs, &[0xc0, 0x9a, 0x0c])
                .await
                .unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut theirs, &vec![7; 200_000])
                .await
                .unwrap();
            let mut read = vec![0; names.len() + 3 + 200_000];
            ours.read_exact(&mut read).await.unwrap();
            assert_eq!(streams.accounts.unfinished.lock().all(), (0, 0));
            assert_eq!(ours.sniff.is_gossip(), whole);
        }
    }

    #[tokio::test]
    async fn a_peers_stream_is_counted_once_as_what_it_is_for() {
        let streams = GossipStreams::default();
        let table: [(&[u8], bool, Option<&str>); 6] = [
            (NAMES, true, Some(STREAM_GOSSIP)),
            (b"\x13/multistream/1.0.0\n\x07/eth2/\n", true, Some(STREAM_OTHER)),
            (b"\x13/multistream/1.0.0\n\x06/none\n", true, Some(STREAM_NONE)),
            (b"\x13/multi", true, Some(STREAM_NONE)),
            (b"", true, Some(STREAM_NONE)),
            (NAMES, false, None),
        ];
        for (said, is_theirs, protocol) in table {
            let all = [STREAM_GOSSIP, STREAM_OTHER, STREAM_NONE];
            let counted = || all.map(|protocol| streams.counters.peer_streams_of(protocol));
            let mut expected = counted();
            if let Some(n) = all.iter().position(|one| Some(*one) == protocol) {
                expected[n] += 1;
            }
            let (mut theirs, ours) = duplex(1 << 10);
            let mut ours = Stream::new(
                ours.compat(),
                PeerId::random(),
                streams.clone(),
                is_theirs,
                Arc::default(),
            );
            tokio::io::AsyncWriteExt::write_all(&mut theirs, said)
                .await
                .unwrap();
            drop(theirs);
            ours.read_to_end(&mut Vec::new()).await.unwrap();
            drop(ours);
            assert_eq!(counted(), expected, "{protocol:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_takes_no_message_is_told_of_until_it_does() {
        let streams = GossipStreams::default();
        let (peer, later) = (PeerId::random(), Instant::now() + Duration::from_secs(16));
        let (ours, mut theirs) = duplex(50_000);
        let mut ours = Stream::new(ours.compat(), peer, streams.clone(), false, Arc::default());
        ours.write_all(NAMES).await.unwrap();
        let message = [&[0xc0, 0x9a, 0x0c][..], &vec![7; 200_000]].concat();
        {
            let mut send = Box::pin(async {
                ours.write_all(&message).await.unwrap();
                ours.flush().await.unwrap();
            });
            assert!(send.as_mut().now_or_never().is_none());
            assert_eq!(streams.sweep(later).1, [peer]);
            assert_eq!(streams.accounts.takers.lock().all(), (1, 0));
            let mut read = vec![0; 20_000];
            tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut read)
                .await
                .unwrap();
            assert!(send.as_mut().now_or_never().is_none());
            assert_eq!(streams.accounts.takers.lock().all(), (1, 20_000));
            let mut read = vec![0; NAMES.len() + message.len() - 20_000];
            let take = tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut read);
            futures::join!(send, async { take.await.map(drop).unwrap() });
        }
        assert_eq!(streams.sweep(later).1, []);
        drop(ours);
        assert_eq!(streams.accounts.takers.lock().all(), (0, 0));
    }

    /// A connection whose streams are given.
    struct Given(Vec<tokio::io::DuplexStream>);

    impl StreamMuxer for Given {
        type Substream = Compat<tokio::io::DuplexStream>;
        type Error = io::Error;

        fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
            match self.get_mut().0.pop() {
                Some(stream) => Poll::Ready(Ok(stream.compat())),
                None => Poll::Pending,
            }
        }

        fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
            self.poll_inbound(cx)
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_connection_on_which_gossipsub_would_serve_no_further_stream_is_closed() {
        const OTHER: &[u8] = b"\x13/multistream/1.0.0\n\x07/eth2/\n";
        let table: [(&[&[u8]], bool, bool); 5] = [
            (&[NAMES; 3], true, false),
            (&[NAMES; 4], true, true),
            (&[NAMES; 4], false, true),
            (&[OTHER; 9], true, false),
            (&[NAMES, OTHER, NAMES, OTHER, NAMES], true, false),
        ];
        for (n, (streams, is_theirs, is_closed)) in table.into_iter().enumerate() {
            let (mut theirs, ours): (Vec<_>, Vec<_>) = streams.iter().map(|_| duplex(1 << 10)).unzip();
            let account = GossipStreams::default();
            let muxer = StreamMuxerBox::new(Given(ours));
            let mut connection = Watched::new(muxer, PeerId::random(), account.clone());
            let mut cx = Context::from_waker(std::task::Waker::noop());
            for said in streams {
                assert!(
                    Pin::new(&mut connection).poll(&mut cx).is_pending(),
                    "row {n}: too soon"
                );
                let mut end = theirs.pop().unwrap();
                let polled = if is_theirs {
                    Pin::new(&mut connection).poll_inbound(&mut cx)
                } else {
                    Pin::new(&mut connection).poll_outbound(&mut cx)
                };
                let Poll::Ready(Ok(mut stream)) = polled else {
                    panic!("no stream");
                };
                if is_theirs {
                    tokio::io::AsyncWriteExt::write_all(&mut end, said).await.unwrap();
                    stream.read_exact(&mut vec![0; said.len()]).await.unwrap();
                } else {
                    stream.write_all(said).await.unwrap();
                }
            }
            let polled = Pin::new(&mut connection).poll(&mut cx);
            assert_eq!(matches!(polled, Poll::Ready(Err(_))), is_closed, "row {n}");
            assert_eq!(given_up(&account), [0, 0, 0, 0, u64::from(is_closed)], "row {n}");
        }
    }
}
