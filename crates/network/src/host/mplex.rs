//! mplex for old peers, made to hold little and to go on.
//!
//! mplex has no flow control, and a frame may have 1 MiB: sixteen streams of five unread frames would be 80 MiB a
//! connection. So what comes in is framed anew before the muxer sees it (`reframed`): a long frame becomes several of
//! `MAX_PART`, which means the same, for a frame's end says nothing about a stream's bytes. What a connection can make us
//! hold is in `MAX_HELD`.
//!
//! A stream that nobody reads holds up all others of its connection: that is what mplex has for back pressure, and it is
//! kept (`MaxBufferBehaviour::Block`), because the other choice loses bytes. Three things about it are mended here.
//!
//! - libp2p's muxer never goes on when the stream it waits for is dropped. Here a stream that is dropped is read first.
//! - Where nobody is about to read that stream, whoever asks for something else is woken at once, again and again. Here he
//!   waits for `PATIENCE`, or until something moves.
//! - Nothing ends it if nobody ever reads. No reader of ours waits for what comes on another stream of the same
//!   connection: gossip's is read by its connection, which waits for the host alone; a response by its request, which
//!   waits for the verifier; and behind a request that waits for its turn nothing is to come, as nothing is on a stream of
//!   gossip that we opened. So there is no circle, and only who sends what nobody may send stands still for long. After
//!   `STANDSTILL` the connection is closed.

mod reframed;

use futures::{
    io::{AsyncRead, AsyncWrite},
    task::AtomicWaker,
};
use libp2p::core::{
    UpgradeInfo,
    muxing::{StreamMuxer, StreamMuxerEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
};
use libp2p_mplex::{MaxBufferBehaviour, Multiplex, Substream};
pub(super) use reframed::MAX_PART;
use reframed::Reframed;
use std::{
    io, iter,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::time::{Sleep, sleep};

/// Streams of one connection, both ways; further ones of the peer are reset. Two are gossip's, two a request's each.
pub(super) const MAX_STREAMS: usize = 16;
/// Frames of one stream that wait to be read; with the next, the whole connection waits.
pub(super) const MAX_BUFFERED: usize = 4;
/// What one connection can make us hold of what was received: of each stream the frames that wait and one that is half
/// read, and one more of the stream that is too much. Each is a read of its own, in a buffer of 8 KiB that may have been
/// 16 KiB: 81 frames are 648 KiB, and 1.3 MiB where the peer goes about it with care. 110 connections: 70 and 140 MiB.
pub(super) const MAX_HELD: usize = (MAX_STREAMS * (MAX_BUFFERED + 1) + 1) * MAX_PART;
const _: () = assert!(110 * MAX_HELD <= 70 << 20);
/// How long whoever waits for a stream that is not read lets others be, if nothing moves.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long a connection may wait for a stream that is not read.
const STANDSTILL: Duration = Duration::from_secs(60);

/// The upgrade to mplex.
#[derive(Debug, Clone)]
pub(super) struct Mplex {
    config: libp2p_mplex::Config,
    standstill: Duration,
}

impl Default for Mplex {
    fn default() -> Self {
        let mut config = libp2p_mplex::Config::new();
        config
            .set_max_num_streams(MAX_STREAMS)
            .set_max_buffer_size(MAX_BUFFERED)
            .set_max_buffer_behaviour(MaxBufferBehaviour::Block);
        Self {
            config,
            standstill: STANDSTILL,
        }
    }
}

impl UpgradeInfo for Mplex {
    type Info = &'static str;
    type InfoIter = iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.config.protocol_info()
    }
}

impl<C> InboundConnectionUpgrade<C> for Mplex
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Muxer<C>>> + Send>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        let (socket, moves) = reframed(socket);
        let upgrade = self.config.upgrade_inbound(socket, info);
        Box::pin(async move { Ok(Muxer::new(upgrade.await?, moves, self.standstill)) })
    }
}

impl<C> OutboundConnectionUpgrade<C> for Mplex
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Muxer<C>>> + Send>>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        let (socket, moves) = reframed(socket);
        let upgrade = self.config.upgrade_outbound(socket, info);
        Box::pin(async move { Ok(Muxer::new(upgrade.await?, moves, self.standstill)) })
    }
}

fn reframed<C>(socket: C) -> (Reframed<C>, Arc<Moves>) {
    let moves = Arc::new(Moves::default());
    (Reframed::new(socket, Arc::clone(&moves)), moves)
}

/// Whether anything moves on a connection.
#[derive(Debug, Default)]
struct Moves {
    /// How often the socket was asked for more: it is not while a stream is waited for.
    asked: AtomicU64,
    /// How often a stream gave something to its reader, or was dropped.
    taken: AtomicU64,
    /// How often all that was to go out had gone.
    flushed: AtomicU64,
    /// Of whoever drives the connection, and whether he waits for a stream to be read.
    driver: AtomicWaker,
    driver_waits: AtomicBool,
}

impl Moves {
    fn asked(&self) -> u64 {
        self.asked.load(Relaxed)
    }

    fn all(&self) -> (u64, u64) {
        (self.asked(), self.taken.load(Relaxed))
    }

    /// The stream that others wait for may be this one.
    fn take(&self) {
        self.taken.fetch_add(1, Relaxed);
        if self.driver_waits.swap(false, Relaxed) {
            self.driver.wake();
        }
    }
}

/// What lies between one who waits and the muxer.
#[derive(Debug, Default)]
struct Turn {
    waits: Option<Waits>,
}

#[derive(Debug)]
struct Waits {
    since: Instant,
    seen: (u64, u64),
    sleep: Pin<Box<Sleep>>,
}

impl Turn {
    /// Asks the muxer, unless it would say again that another stream has to be read first. A stream that it has yet to tell
    /// the peer of (`opened`) waits for that, whatever is unread: whoever asks is woken by the socket.
    fn ask<T>(
        &mut self,
        moves: &Moves,
        opened: Option<u64>,
        cx: &mut Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let mut since = None;
        if let Some(waits) = &mut self.waits {
            if moves.all() == waits.seen {
                if waits.sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                since = Some(waits.since);
            }
            self.waits = None;
        }
        let asked = moves.asked();
        let answer = ask(cx);
        let is_untold = opened.is_some_and(|opened| opened == moves.flushed.load(Relaxed));
        if answer.is_pending() && moves.asked() == asked && !is_untold {
            let mut sleep = Box::pin(sleep(PATIENCE));
            // It is not over yet: this says whom to wake.
            let _ = sleep.as_mut().poll(cx);
            self.waits = Some(Waits {
                since: since.unwrap_or_else(Instant::now),
                seen: moves.all(),
                sleep,
            });
        }
        answer
    }

    /// For how long nothing has moved.
    fn waits_for(&self) -> Duration {
        self.waits
            .as_ref()
            .map_or(Duration::ZERO, |waits| waits.since.elapsed())
    }
}

/// A connection that speaks mplex.
pub(super) struct Muxer<C> {
    muxer: Multiplex<Reframed<C>>,
    moves: Arc<Moves>,
    turn: Turn,
    standstill: Duration,
}

impl<C> Muxer<C> {
    fn new(muxer: Multiplex<Reframed<C>>, moves: Arc<Moves>, standstill: Duration) -> Self {
        Self {
            muxer,
            moves,
            turn: Turn::default(),
            standstill,
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn stream(&self, stream: Substream<Reframed<C>>, opened: Option<u64>) -> Stream<C> {
        Stream {
            stream,
            opened,
            moves: Arc::clone(&self.moves),
            turn: Turn::default(),
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Stream<C>;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream<C>>> {
        let this = self.get_mut();
        this.moves.driver.register(cx.waker());
        let Self {
            muxer, moves, turn, ..
        } = this;
        let next = turn.ask(moves, None, cx, |cx| Pin::new(muxer).poll_inbound(cx));
        moves.driver_waits.store(turn.waits.is_some(), Relaxed);
        if this.turn.waits_for() > this.standstill {
            let error = io::Error::new(io::ErrorKind::TimedOut, "a stream of mplex that nobody reads");
            return Poll::Ready(Err(error));
        }
        next.map_ok(|stream| this.stream(stream, None))
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream<C>>> {
        let this = self.get_mut();
        // Before it is opened: what is flushed at the same time then counts as telling of it.
        let flushed = this.moves.flushed.load(Relaxed);
        let next = Pin::new(&mut this.muxer).poll_outbound(cx);
        next.map_ok(|stream| this.stream(stream, Some(flushed)))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().muxer).poll_close(cx)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.get_mut().muxer).poll(cx)
    }
}

/// One of its streams.
pub(super) struct Stream<C: AsyncRead + AsyncWrite + Unpin> {
    stream: Substream<Reframed<C>>,
    /// Of one that this side opened: `Moves::flushed` at that time. As long as that is so, the peer may not know of it.
    opened: Option<u64>,
    moves: Arc<Moves>,
    turn: Turn,
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self {
            stream,
            opened,
            moves,
            turn,
        } = self.get_mut();
        let read = turn.ask(moves, *opened, cx, |cx| Pin::new(stream).poll_read(cx, bytes));
        if read.is_ready() {
            moves.take();
        }
        read
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(cx)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Drop for Stream<C> {
    /// The muxer goes on waiting for a stream that is dropped: it is read before. What is half read comes first, then a
    /// frame that waited; with that one the muxer waits for it no more.
    fn drop(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut bytes = [0; MAX_PART];
        for _ in 0..2 {
            let read = Pin::new(&mut self.stream).poll_read(&mut cx, &mut bytes);
            if !matches!(read, Poll::Ready(Ok(1..))) {
                break;
            }
        }
        self.moves.take();
        // What came for others on the way, nobody was told of.
        self.moves.driver.wake();
    }
}

#[cfg(test)]
mod tests;
