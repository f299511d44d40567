//! yamux with frames that fill noise's messages, and flushed once for all that can be sent. libp2p's own wrapping leaves
//! frames at 16 KiB and flushes behind each: a message to encrypt, a write to the socket and a wake-up of whoever reads it.
//! And what all connections together have received and not read is bounded.
//!
//! | file | what it holds |
//! |---|---|
//! | `unread` | the account of it |
//! | `metered` | the frames as they come: asked about, long ones in parts |

mod metered;
mod unread;

use super::noise::MAX_TEXT;
use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::{
    UpgradeInfo,
    muxing::{StreamMuxer, StreamMuxerEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
};
use metered::Metered;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    io, iter,
    pin::Pin,
    sync::Arc,
    task::{self, Context, Poll, Waker},
};
use unread::{Line, Unread};

/// Streams of one connection; a peer that opens more loses the connection. Two are gossip's, two a request's each, the
/// rest short; each has a window of 256 KiB.
const MAX_STREAMS: usize = 64;
/// The windows of a connection's streams together: each its first one, and 1 MiB by which windows grow where the round trip
/// is long: 100 Mbit/s over 100 ms. More would be cold memory: the peer on the same machine or network fills whatever
/// window it is given, and serving a range cost a third more processor time with 8 MiB. What a peer may really send of it
/// before it is read is `unread`'s matter.
const MAX_RECEIVE_WINDOWS: usize = MAX_STREAMS * yamux::DEFAULT_CREDIT as usize + (1 << 20);
/// Most bytes of a frame that is sent: with its header, two full messages. Half a first window; 20 ms at 50 Mbit/s.
pub(crate) const FRAME_BODY: usize = 2 * MAX_TEXT - metered::HEADER;

/// The upgrade to yamux. Connections of clones share an account of what they hold unread.
#[derive(Debug, Clone)]
pub(super) struct Yamux {
    config: yamux::Config,
    unread: Unread,
}

impl Default for Yamux {
    fn default() -> Self {
        let mut config = yamux::Config::default();
        config
            .set_max_num_streams(MAX_STREAMS)
            .set_max_connection_receive_window(Some(MAX_RECEIVE_WINDOWS))
            .set_split_send_size(FRAME_BODY);
        Self {
            config,
            unread: Unread::default(),
        }
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(socket, self, yamux::Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(socket, self, yamux::Mode::Client)))
    }
}

/// A socket that is flushed when its connection was driven, not when yamux asks for it. yamux and the muxer take turns in
/// one task: the lock is never waited for.
#[derive(Debug)]
struct Batched<C>(Arc<Mutex<C>>);

impl<C: AsyncRead + Unpin> AsyncRead for Batched<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock()).poll_read(cx, bytes)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Batched<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock()).poll_write(cx, bytes)
    }

    /// Later, by the muxer.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_close(cx)
    }
}

/// A connection that speaks yamux.
#[derive(Debug)]
pub(super) struct Muxer<C> {
    connection: yamux::Connection<Metered<Batched<C>>>,
    socket: Arc<Mutex<C>>,
    line: Arc<Line>,
    /// Streams of the peer that came while the connection was driven for others. At most `MAX_STREAMS`: no more are open.
    arrived: VecDeque<Stream>,
    /// Who waits for one.
    waiting: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(socket: C, Yamux { config, unread }: Yamux, mode: yamux::Mode) -> Self {
        let socket = Arc::new(Mutex::new(socket));
        let line = unread.line();
        let metered = Metered::new(Batched(Arc::clone(&socket)), Arc::clone(&line));
        Self {
            connection: yamux::Connection::new(metered, config, mode),
            socket,
            line,
            arrived: VecDeque::new(),
            waiting: None,
        }
    }

    /// Reads and writes what can be; a stream that the peer opened.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let next = self.connection.poll_next_inbound(cx).map(|next| match next {
            Some(Ok(stream)) => Ok(Stream::new(stream, &self.line)),
            Some(Err(error)) => Err(to_io(error)),
            None => Err(to_io(yamux::ConnectionError::Closed)),
        });
        if matches!(next, Poll::Ready(Err(_))) {
            return next;
        }
        // Of what cannot be written now, the socket wakes this task.
        match Pin::new(&mut *self.socket.lock()).poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => next,
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Stream;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let this = self.get_mut();
        if let Some(stream) = this.arrived.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = this.drive(cx);
        if next.is_pending() {
            this.waiting = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let this = self.get_mut();
        let stream = this.connection.poll_new_outbound(cx).map_err(to_io);
        stream.map_ok(|stream| Stream::new(stream, &this.line))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().connection.poll_close(cx).map_err(to_io)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let this = self.get_mut();
        let stream = task::ready!(this.drive(cx))?;
        // Beyond the bound it is dropped, which resets it.
        if this.arrived.len() < MAX_STREAMS {
            this.arrived.push_back(stream);
        }
        if let Some(waker) = this.waiting.take() {
            waker.wake();
        }
        // There may be more to read; others have their turn first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A stream, whose reader gives back what was counted for it.
#[derive(Debug)]
pub(super) struct Stream {
    stream: yamux::Stream,
    line: Arc<Line>,
}

impl Stream {
    fn new(stream: yamux::Stream, line: &Arc<Line>) -> Self {
        line.opens(stream.id().val());
        Self {
            stream,
            line: Arc::clone(line),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.line.closes(self.stream.id().val());
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let n = task::ready!(Pin::new(&mut this.stream).poll_read(cx, bytes))?;
        this.line.takes(this.stream.id().val(), n);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Stream {
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

fn to_io(error: yamux::ConnectionError) -> io::Error {
    match error {
        yamux::ConnectionError::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::{
        AsyncReadExt, AsyncWriteExt,
        future::{Either, poll_fn, select},
    };
    use libp2p::tcp::tokio::TcpStream;
    use std::time::Duration;
    use tokio::{net, time::timeout};

    type Side = Muxer<TcpStream>;

    async fn pair(dialling: Yamux) -> (Side, Side) {
        pair_of(dialling, Yamux::default()).await
    }

    async fn pair_of(dialling: Yamux, listening: Yamux) -> (Side, Side) {
        let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = net::TcpStream::connect(listener.local_addr().unwrap());
        let (dialled, taken) = tokio::try_join!(dialled, listener.accept()).unwrap();
        let dialler = dialling.upgrade_outbound(TcpStream(dialled), "");
        let listener = listening.upgrade_inbound(TcpStream(taken.0), "");
        (dialler.await.unwrap(), listener.await.unwrap())
    }

    fn outbound(side: &mut Side) -> impl Future<Output = io::Result<Stream>> {
        poll_fn(move |cx| Pin::new(&mut *side).poll_outbound(cx))
    }

    /// Drives a connection for as long as it stands.
    fn driven(mut side: Side) -> tokio::task::JoinHandle<io::Error> {
        tokio::spawn(async move {
            poll_fn(|cx| {
                loop {
                    if let Err(error) = task::ready!(Pin::new(&mut side).poll(cx)) {
                        return Poll::Ready(error);
                    }
                }
            })
            .await
        })
    }

    /// More than a window each way, through frames larger than libp2p's.
    #[tokio::test]
    async fn bytes_go_both_ways_on_a_stream_that_came_while_driving() {
        let (mut dialler, mut listener) = pair(Yamux::default()).await;
        let mut ours = outbound(&mut dialler).await.unwrap();
        let dialler = driven(dialler);
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let echo = tokio::spawn(async move {
            // Whoever drives finds the stream; it is handed out to who asks next.
            let mut theirs = {
                let drive = poll_fn(|cx| {
                    let event = Pin::new(&mut listener).poll(cx);
                    match listener.arrived.is_empty() {
                        true => event.map(drop),
                        false => Poll::Ready(()),
                    }
                });
                drive.await;
                poll_fn(|cx| Pin::new(&mut listener).poll_inbound(cx))
                    .await
                    .unwrap()
            };
            let listener = driven(listener);
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).await.unwrap();
            theirs.write_all(&got).await.unwrap();
            theirs.close().await.unwrap();
            listener.await.unwrap();
        });
        ours.write_all(&bytes).await.unwrap();
        ours.close().await.unwrap();
        let mut back = Vec::new();
        ours.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, bytes);
        dialler.abort();
        echo.await.unwrap();
    }

    #[tokio::test]
    async fn who_opens_too_many_streams_loses_the_connection() {
        let mut without_bounds = Yamux::default();
        without_bounds.config.set_max_connection_receive_window(None);
        without_bounds.config.set_max_num_streams(4 * MAX_STREAMS);
        let (mut dialler, listener) = pair(without_bounds).await;
        let mut streams = Vec::new();
        for _ in 0..=MAX_STREAMS {
            let mut stream = outbound(&mut dialler).await.unwrap();
            stream.write_all(b"one more").await.unwrap();
            streams.push(stream);
        }
        let either = select(driven(dialler), driven(listener));
        match timeout(Duration::from_secs(20), either).await.unwrap() {
            Either::Left((ended, _)) | Either::Right((ended, _)) => drop(ended.unwrap()),
        }
    }

    /// Peers that send on streams that nobody reads, as much as their windows allow: 16 MiB each.
    #[tokio::test]
    async fn what_many_leave_unread_is_bounded_and_who_is_read_goes_on() {
        let listening = Yamux::default();
        let (mut all, mut readers, mut sent) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..4 {
            let (mut dialler, mut listener) = pair_of(Yamux::default(), listening.clone()).await;
            for _ in 0..60 {
                let mut stream = outbound(&mut dialler).await.unwrap();
                sent.push(tokio::spawn(async move {
                    // Never ends: nobody reads it.
                    let _ = stream.write_all(&[7; 1 << 20]).await;
                    stream
                }));
            }
            all.push(driven(dialler));
            let unread = tokio::spawn(async move {
                let mut streams = Vec::new();
                while let Ok(stream) = poll_fn(|cx| Pin::new(&mut listener).poll_inbound(cx)).await {
                    streams.push(stream);
                }
            });
            readers.push(unread);
        }
        let pool = &listening.unread;
        let full = async {
            while pool.taken() + FRAME_BODY < unread::POOL {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(60), full).await.unwrap();

        // Nothing is left but its share: more than a window passes through it.
        let (mut dialler, mut listener) = pair_of(Yamux::default(), listening.clone()).await;
        let mut ours = outbound(&mut dialler).await.unwrap();
        all.push(driven(dialler));
        let writes = tokio::spawn(async move {
            ours.write_all(&[9; 3_000_000]).await.unwrap();
            ours.close().await.unwrap();
            ours
        });
        let mut theirs = poll_fn(|cx| Pin::new(&mut listener).poll_inbound(cx))
            .await
            .unwrap();
        all.push(driven(listener));
        let mut got = Vec::new();
        let read = theirs.read_to_end(&mut got);
        timeout(Duration::from_secs(60), read).await.unwrap().unwrap();
        assert_eq!(got.len(), 3_000_000);
        assert!(pool.taken() <= unread::POOL);
        writes.await.unwrap();

        // Who goes leaves nothing behind.
        all.iter().for_each(tokio::task::JoinHandle::abort);
        readers.iter().for_each(tokio::task::JoinHandle::abort);
        sent.iter().for_each(tokio::task::JoinHandle::abort);
        drop(theirs);
        let empty = async {
            while pool.taken() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), empty).await.unwrap();
    }
}
