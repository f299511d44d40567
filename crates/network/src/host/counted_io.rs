//! Sockets and streams that count their bytes: of TCP all of the wire but TCP's own, of QUIC what its streams carry.

use futures::io::{AsyncRead, AsyncWrite, IoSlice, IoSliceMut};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use prometheus_client::metrics::counter::Counter;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Counts what is read and written, below encryption and multiplexing: the bytes of the wire but for TCP's own.
pub(super) struct CountedIo<S> {
    socket: S,
    received: Counter,
    sent: Counter,
}

impl<S> CountedIo<S> {
    pub(super) fn new(socket: S, received: Counter, sent: Counter) -> Self {
        Self {
            socket,
            received,
            sent,
        }
    }
}

/// Counts on every stream of a connection whose sockets are out of reach (QUIC).
pub(super) struct CountedMuxer {
    muxer: StreamMuxerBox,
    received: Counter,
    sent: Counter,
}

impl CountedMuxer {
    pub(super) fn new(muxer: StreamMuxerBox, received: Counter, sent: Counter) -> Self {
        Self {
            muxer,
            received,
            sent,
        }
    }

    fn stream(&self, stream: SubstreamBox) -> CountedIo<SubstreamBox> {
        CountedIo::new(stream, self.received.clone(), self.sent.clone())
    }
}

impl StreamMuxer for CountedMuxer {
    type Substream = CountedIo<SubstreamBox>;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let this = self.get_mut();
        let stream = ready!(Pin::new(&mut this.muxer).poll_inbound(cx))?;
        Poll::Ready(Ok(this.stream(stream)))
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let this = self.get_mut();
        let stream = ready!(Pin::new(&mut this.muxer).poll_outbound(cx))?;
        Poll::Ready(Ok(this.stream(stream)))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().muxer).poll_close(cx)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.get_mut().muxer).poll(cx)
    }
}

fn counted(counter: &Counter, result: io::Result<usize>) -> Poll<io::Result<usize>> {
    if let Ok(n) = result {
        counter.inc_by(n as u64);
    }
    Poll::Ready(result)
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.socket).poll_read(cx, buffer));
        counted(&this.received, result)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.socket).poll_read_vectored(cx, buffers));
        counted(&this.received, result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.socket).poll_write(cx, buffer));
        counted(&this.sent, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.socket).poll_write_vectored(cx, buffers));
        counted(&this.sent, result)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_close(cx)
    }
}
