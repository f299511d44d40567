//! The wrapping around a connection and its streams.

use super::{
    BROKEN_OFF, CROWDED_OUT, GossipStreams, KEPT, REFUSED, SPENT, STREAMS_PER_CONNECTION,
    in_hand::{Reading, TURN},
    kept::Ends,
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
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
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
///
/// Where this node gives one up, its connection is closed, unless the peer is known to open another (`REOPENS`): others
/// would say nothing more for as long as they are connected, or have forgotten what this node is subscribed to. After a
/// new connection both sides know of each other what they did at first; what it costs is that connection, and requests
/// under way. Those that do open another are spared this, for a peer that is disconnected while attackers wait for its
/// place may not get it back. Whoever only says that it is one of those harms nobody but itself.
#[derive(Default)]
pub(super) struct Ended {
    theirs: AtomicU32,
    ours: AtomicU32,
    /// Whether one was given up whose peer may open no other.
    is_given_up: AtomicBool,
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
        if this.ended.is_given_up.load(Relaxed) {
            tracing::debug!(peer = %this.peer, "a stream of gossip was given up: connection closed");
            return Poll::Ready(Err(io::Error::other(
                "the peer may open no other stream of gossip",
            )));
        }
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
    /// Whether this node has ended it.
    is_over: bool,
    /// Whether its peer has, or it has failed.
    has_ended: bool,
    /// Once it has brought a large message: who reads it, and whether it is to end for the room that is kept for it.
    kept: Option<(Waker, Ends)>,
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
            is_over: false,
            has_ended: false,
            kept: None,
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

    /// This node ends it, and its connection where its peer may open no other.
    fn give_up(&mut self) {
        self.is_over = true;
        if !self.streams.reopens(&self.peer) {
            self.ended.is_given_up.store(true, Relaxed);
        }
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

    /// Has brought a message of so many bytes.
    fn has_brought(&mut self, bytes: usize, cx: &Context<'_>) {
        let id = self.id();
        let (_, ends) = self
            .kept
            .get_or_insert_with(|| (cx.waker().clone(), Ends::default()));
        self.streams.brought(id, self.peer, bytes, cx.waker(), ends);
    }

    /// Whether it is to end for the room that is kept for it.
    fn is_to_end(&mut self, cx: &Context<'_>) -> bool {
        let Some((reader, ends)) = &mut self.kept else {
            return false;
        };
        let is_to_end = ends.load(Relaxed);
        if !is_to_end && !reader.will_wake(cx.waker()) {
            reader.clone_from(cx.waker());
            let id = self.id();
            self.streams.read_by(id, cx.waker());
        }
        is_to_end
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
        let was_to_end = self.kept.as_ref().is_some_and(|(_, ends)| ends.load(Relaxed));
        let is_within = self.is_theirs && self.sniff.unfinished() > 0;
        let reason = match (was_to_end, is_within) {
            _ if was_given_up => return,
            (true, true) => CROWDED_OUT,
            (true, false) => KEPT,
            (false, true) => BROKEN_OFF,
            (false, false) => return,
        };
        self.streams.counters.gossip_streams(reason, 1);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Woken because it was given up, or about to wait: the account knows whom to wake.
        let given_up = || io::Error::new(io::ErrorKind::TimedOut, "a message of gossip was not finished");
        if this.told > 0 && this.tell(cx) {
            this.give_up();
            return Poll::Ready(Err(given_up()));
        }
        if this.is_to_end(cx) {
            this.give_up();
            // Between messages it ends as if its peer had closed it.
            let is_within = this.sniff.unfinished() > 0;
            return Poll::Ready(if is_within { Err(given_up()) } else { Ok(0) });
        }
        if !this.may_read(cx) {
            return Poll::Pending;
        }
        let n = match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(n)) => n,
            other => {
                this.has_ended |= other.is_ready();
                this.has_read(0, false);
                return other;
            }
        };
        this.has_ended |= n == 0 && !buffer.is_empty();
        if this.is_theirs && !matches!(this.sniff, Sniff::Other) {
            let before = this.sniff.unfinished();
            this.sniff.push(&buffer[..n]);
            let is_whole = this.sniff.unfinished() != before + n;
            this.has_read(n, is_whole);
            if is_whole && before >= STEP {
                this.has_brought(before + n, cx);
            }
            match this.sniff {
                Sniff::Gossip(_) => this.count(STREAM_GOSSIP),
                Sniff::Other => this.count(STREAM_OTHER),
                Sniff::Negotiating { .. } => {}
            }
            let held = this.sniff.unfinished();
            let is_told = (held < STEP && this.told == 0) || (held >= this.told && held - this.told < STEP);
            if !is_told && this.tell(cx) {
                this.give_up();
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

    /// gossipsub closes a stream before it drops it. One that this node has ended is only dropped, which resets it: of a
    /// stream that was closed yamux would not tell the peer that nobody reads it, and the peer would wait for ever for its
    /// window, with all that it has to say.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Nobody has ended it: gossipsub refuses an RPC, not one of its messages, all of it. Within one it is broken off.
        if this.is_theirs && this.sniff.is_gossip() && !this.has_ended && !this.is_over {
            this.give_up();
            let is_whole = this.sniff.unfinished() == 0;
            this.streams
                .counters
                .gossip_streams(REFUSED, usize::from(is_whole));
        }
        if this.is_over {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests;
