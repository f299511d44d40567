//! The encrypted bytes of a connection: messages of a length of two bytes, a text and a tag.

use super::{
    MAX_MESSAGE,
    keyed::{Keyed, TAG_LEN},
};
use futures::io::{AsyncRead, AsyncWrite};
use std::{
    fmt, io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Bytes of a message's length.
const LEN_LEN: usize = 2;
/// Most bytes that one message carries.
pub(in crate::host) const MAX_TEXT: usize = MAX_MESSAGE - TAG_LEN;
/// Most bytes of a message on the wire.
const MAX_WIRE: usize = LEN_LEN + MAX_MESSAGE;
/// Messages of this many bytes together are written before more is taken: what fits the nearer caches, and large
/// enough for the system calls not to matter.
const WRITE_BUFFER: usize = 4 * MAX_WIRE;
/// Bytes read from the socket at once. Memory is touched as far as a read fills it.
const READ_BUFFER: usize = 3 * MAX_WIRE;
/// Buffers start with this, and go back to it when as many writes or reads in a row as `IDLE` needed no more: most
/// connections carry little most of the time.
const SMALL_BUFFER: usize = 8 * 1024;
const IDLE: u8 = 64;

/// Bytes to and from a peer over a socket; as `AsyncWrite` asks, they go out at the latest when flushed.
pub(in crate::host) struct Channel<S> {
    socket: S,
    outgoing: Outgoing,
    incoming: Incoming,
}

struct Outgoing {
    cipher: Keyed,
    buffer: Vec<u8>,
    /// What of the buffer the socket has.
    written: usize,
    /// Where the message that is being filled begins: before it all is encrypted.
    open: usize,
    idle: u8,
}

struct Incoming {
    cipher: Keyed,
    buffer: Vec<u8>,
    /// What was decrypted and not yet read.
    text: Range<usize>,
    /// What came and is not decrypted yet; behind the text.
    wire: Range<usize>,
    idle: u8,
}

impl<S> Channel<S> {
    /// After a handshake: a socket, and the ciphers of what is sent and of what comes.
    pub(super) fn new(socket: S, ours: Keyed, theirs: Keyed) -> Self {
        Self {
            socket,
            outgoing: Outgoing {
                cipher: ours,
                buffer: Vec::new(),
                written: 0,
                open: 0,
                idle: 0,
            },
            incoming: Incoming {
                cipher: theirs,
                buffer: Vec::new(),
                text: 0..0,
                wire: 0..0,
                idle: 0,
            },
        }
    }
}

impl<S> fmt::Debug for Channel<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Takes of the front of `bytes` what there is room for.
    fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < bytes.len() && self.buffer.len() < WRITE_BUFFER {
            if self.open == self.buffer.len() {
                self.buffer.extend_from_slice(&[0; LEN_LEN]);
            }
            let text = self.buffer.len() - self.open - LEN_LEN;
            let n = (MAX_TEXT - text).min(bytes.len() - taken);
            self.buffer.extend_from_slice(&bytes[taken..taken + n]);
            taken += n;
            if text + n == MAX_TEXT {
                self.seal()?;
            }
        }
        Ok(taken)
    }

    /// Ends the message that is being filled.
    fn seal(&mut self) -> io::Result<()> {
        let message = &mut self.buffer[self.open..];
        let Some((len, text)) = message.split_at_mut_checked(LEN_LEN) else {
            return Ok(());
        };
        let tag = self.cipher.seal(text)?;
        // At most `MAX_MESSAGE`.
        len.copy_from_slice(&((text.len() + TAG_LEN) as u16).to_be_bytes());
        self.buffer.extend_from_slice(&tag);
        self.open = self.buffer.len();
        Ok(())
    }

    /// Writes what is encrypted.
    fn drain<S: AsyncWrite + Unpin>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.open {
            let n = ready!(Pin::new(&mut *socket).poll_write(cx, &self.buffer[self.written..self.open]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        if self.open > 0 && self.open == self.buffer.len() {
            let was_small = self.open <= SMALL_BUFFER;
            self.idle = if was_small { self.idle.saturating_add(1) } else { 0 };
            self.buffer.clear();
            (self.written, self.open) = (0, 0);
            if self.idle == IDLE {
                self.buffer.shrink_to(SMALL_BUFFER);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Channel<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { socket, outgoing, .. } = self.get_mut();
        if outgoing.buffer.len() >= WRITE_BUFFER {
            outgoing.seal()?;
            ready!(outgoing.drain(socket, cx))?;
        }
        Poll::Ready(outgoing.push(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, outgoing, .. } = self.get_mut();
        outgoing.seal()?;
        ready!(outgoing.drain(socket, cx))?;
        Pin::new(socket).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut *this).poll_flush(cx))?;
        Pin::new(&mut this.socket).poll_close(cx)
    }
}

impl Incoming {
    /// Decrypts the next message, if all of it has come; empty ones are passed over.
    fn open(&mut self) -> io::Result<bool> {
        while self.text.is_empty() {
            let Some((len, rest)) = self.buffer[self.wire.clone()].split_first_chunk::<LEN_LEN>() else {
                return Ok(false);
            };
            let len = usize::from(u16::from_be_bytes(*len));
            if rest.len() < len {
                return Ok(false);
            }
            let start = self.wire.start + LEN_LEN;
            let message = start..start + len;
            let text = self.cipher.open(&mut self.buffer[message.clone()])?;
            self.text = start..start + text;
            self.wire.start = message.end;
        }
        Ok(true)
    }

    /// Reads from the socket behind what came and is no whole message yet; whether anything came.
    fn fill<S: AsyncRead + Unpin>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // All text was read.
        if self.wire.is_empty() {
            self.wire = 0..0;
        } else if self.wire.start > 0 {
            self.buffer.copy_within(self.wire.clone(), 0);
            self.wire = 0..self.wire.len();
        }
        let was_full = self.wire.end == self.buffer.len();
        if was_full && self.buffer.len() < READ_BUFFER {
            let len = if self.buffer.is_empty() {
                SMALL_BUFFER
            } else {
                READ_BUFFER
            };
            let mut larger = vec![0; len];
            larger[..self.wire.end].copy_from_slice(&self.buffer[..self.wire.end]);
            self.buffer = larger;
        }
        let n = ready!(Pin::new(socket).poll_read(cx, &mut self.buffer[self.wire.end..]))?;
        if n == 0 && !self.wire.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.wire.end += n;
        self.settle();
        Poll::Ready(Ok(n > 0))
    }

    /// Gives a large buffer back that has long not been needed.
    fn settle(&mut self) {
        if self.wire.end > SMALL_BUFFER / 2 {
            self.idle = 0;
        } else if self.buffer.len() > SMALL_BUFFER {
            self.idle += 1;
            if self.idle == IDLE {
                self.idle = 0;
                let mut smaller = vec![0; SMALL_BUFFER];
                smaller[..self.wire.end].copy_from_slice(&self.buffer[..self.wire.end]);
                self.buffer = smaller;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Channel<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { socket, incoming, .. } = self.get_mut();
        while !incoming.open()? {
            if !ready!(incoming.fill(socket, cx))? {
                return Poll::Ready(Ok(0));
            }
        }
        let n = incoming.text.len().min(bytes.len());
        let end = incoming.text.start + n;
        bytes[..n].copy_from_slice(&incoming.buffer[incoming.text.start..end]);
        incoming.text.start = end;
        Poll::Ready(Ok(n))
    }
}

#[cfg(test)]
impl<S> Channel<S> {
    pub(super) fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Bytes set aside for what goes out and for what comes.
    pub(super) fn buffers(&self) -> (usize, usize) {
        (self.outgoing.buffer.capacity(), self.incoming.buffer.len())
    }
}
