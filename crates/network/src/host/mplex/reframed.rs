//! mplex's frames as they come, cut into short ones.

use super::Moves;
use futures::io::{AsyncRead, AsyncWrite, IoSlice};
use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};
use unsigned_varint::decode;

/// Most bytes of a frame, and of the body of one that is longer (mplex's text, Writing to a stream).
const MAX_FRAME: usize = 1 << 20;
/// Most bytes of a stream's name, or behind the end of one, where nothing needs to be: longer ones end the connection.
const MAX_NAME: usize = 1 << 10;
/// A stream's number and a flag, and a length: a varint of 64 bits and one of a body that is handed on.
const MAX_HEADER: usize = 10 + 2;
/// Most bytes of a body that is handed on: with its header what libp2p's muxer reads at once, so that it keeps no more
/// than that for it.
pub(in crate::host) const MAX_PART: usize = 8 * 1024 - MAX_HEADER;

/// A socket whose incoming frames are short. What goes out passes as it is.
///
/// Errors: what is no frame, or one longer than mplex allows.
#[derive(Debug)]
pub(super) struct Reframed<C> {
    socket: C,
    moves: Arc<Moves>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Number and flag, then the length, as far as they have come.
    Header(Bytes),
    /// A header to be handed on, from this byte on; then so many bytes of body, and as many more in later frames of
    /// this number and flag.
    Handing {
        header: Bytes,
        from: usize,
        part: usize,
        rest: usize,
    },
}

/// A few bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Bytes {
    bytes: [u8; 2 * 10],
    len: usize,
}

impl Bytes {
    fn push(&mut self, byte: u8) {
        // Room for two varints, which are checked at each byte: there is always some.
        if let Some(next) = self.bytes.get_mut(self.len) {
            *next = byte;
            self.len += 1;
        }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A varint and what comes behind it; none while bytes are missing.
fn varint(bytes: &[u8]) -> io::Result<Option<(u64, &[u8])>> {
    match decode::u64(bytes) {
        Ok(read) => Ok(Some(read)),
        Err(decode::Error::Insufficient) => Ok(None),
        Err(_) => Err(malformed("mplex: no varint")),
    }
}

/// Number with flag, and length, once both are there.
fn header(bytes: &[u8]) -> io::Result<Option<(u64, usize)>> {
    let Some((number, behind)) = varint(bytes)? else {
        return Ok(None);
    };
    let Some((len, _)) = varint(behind)? else {
        return Ok(None);
    };
    let most = match number & 7 {
        1 | 2 => MAX_FRAME,
        0 | 3..=6 => MAX_NAME,
        _ => return Err(malformed("mplex: unknown flag")),
    };
    match usize::try_from(len) {
        Ok(len) if len <= most => Ok(Some((number, len))),
        _ => Err(malformed("mplex: frame too long")),
    }
}

/// The next frame of a body of which so much is left.
fn hand(number: u64, left: usize) -> State {
    let part = left.min(MAX_PART);
    let mut header = Bytes::default();
    for mut value in [number, part as u64] {
        while value >= 0x80 {
            header.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        header.push(value as u8);
    }
    State::Handing {
        header,
        from: 0,
        part,
        rest: left - part,
    }
}

impl<C> Reframed<C> {
    pub(super) fn new(socket: C, moves: Arc<Moves>) -> Self {
        Self {
            socket,
            moves,
            state: State::Header(Bytes::default()),
        }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Reframed<C> {
    /// Never more than is left of one frame: what is read at once is one frame at most.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.moves.asked.fetch_add(1, Relaxed);
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            match &mut this.state {
                State::Header(come) => {
                    // Below is noise's buffer: a byte is a copy, not a system call.
                    let mut byte = [0];
                    if ready!(Pin::new(&mut this.socket).poll_read(cx, &mut byte))? == 0 {
                        return Poll::Ready(match come.len {
                            0 => Ok(0),
                            _ => Err(io::ErrorKind::UnexpectedEof.into()),
                        });
                    }
                    come.push(byte[0]);
                    if let Some((number, len)) = header(come.get())? {
                        this.state = hand(number, len);
                    }
                }
                State::Handing {
                    header,
                    from,
                    part,
                    rest,
                } => {
                    let left = &header.get()[*from..];
                    let n = left.len().min(bytes.len());
                    bytes[..n].copy_from_slice(&left[..n]);
                    *from += n;
                    let bytes = &mut bytes[n..];
                    let most = bytes.len().min(*part);
                    let mut read = 0;
                    if most > 0 {
                        read = match Pin::new(&mut this.socket).poll_read(cx, &mut bytes[..most])? {
                            Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                            Poll::Ready(read) => read,
                            Poll::Pending if n == 0 => return Poll::Pending,
                            Poll::Pending => 0,
                        };
                    }
                    *part -= read;
                    if *part == 0 && *from == header.len {
                        this.state = match *rest {
                            0 => State::Header(Bytes::default()),
                            rest => hand(number_of(header)?, rest),
                        };
                    }
                    if n + read > 0 {
                        return Poll::Ready(Ok(n + read));
                    }
                }
            }
        }
    }
}

fn number_of(header: &Bytes) -> io::Result<u64> {
    varint(header.get())?
        .map(|(number, _)| number)
        .ok_or_else(|| malformed("mplex: no varint"))
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Reframed<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
        this.moves.flushed.fetch_add(1, Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use futures::{AsyncReadExt, FutureExt, io::Cursor};
    use proptest::prelude::*;
    use unsigned_varint::encode;

    /// Number and flag, and body.
    type Frame = (u64, Vec<u8>);

    fn wire(number: u64, len: usize) -> Vec<u8> {
        let mut bytes = encode::u64(number, &mut encode::u64_buffer()).to_vec();
        bytes.extend_from_slice(encode::usize(len, &mut encode::usize_buffer()));
        bytes
    }

    fn encoded(frames: &[Frame]) -> Vec<u8> {
        let frame = |(number, body): &Frame| [wire(*number, body.len()), body.clone()].concat();
        frames.iter().flat_map(frame).collect()
    }

    fn decoded(mut bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (number, behind) = decode::u64(bytes).unwrap();
            let (len, behind) = decode::usize(behind).unwrap();
            let (body, behind) = behind.split_at(len);
            frames.push((number, body.to_vec()));
            bytes = behind;
        }
        frames
    }

    /// Bytes that come in pieces, nothing between them, and then no more.
    struct Pieces {
        bytes: Cursor<Vec<u8>>,
        sizes: std::iter::Cycle<std::vec::IntoIter<usize>>,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let most = self.sizes.next().unwrap().min(bytes.len());
            if most == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Pin::new(&mut self.bytes).poll_read(cx, &mut bytes[..most])
        }
    }

    async fn passed(bytes: Vec<u8>, sizes: Vec<usize>, most: usize) -> io::Result<Vec<u8>> {
        let pieces = Pieces {
            bytes: Cursor::new(bytes),
            sizes: sizes.into_iter().cycle(),
        };
        let mut socket = Reframed::new(pieces, Arc::default());
        let mut got = Vec::new();
        let mut bytes = vec![0; most];
        loop {
            match socket.read(&mut bytes).await? {
                0 => return Ok(got),
                n => got.extend_from_slice(&bytes[..n]),
            }
        }
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let number = prop_oneof![0..64u64, any::<u64>()].prop_map(|n| n & !7);
        let data = (1..=2u64, prop_oneof![0..40usize, 0..4 * MAX_PART]);
        let other = (prop_oneof![Just(0u64), 3..=6u64], 0..=MAX_NAME);
        let frame = (number, prop_oneof![data, other], any::<u8>())
            .prop_map(|(number, (flag, len), byte)| (number | flag, vec![byte; len]));
        prop::collection::vec(frame, 0..12)
    }

    proptest! {
        /// Of each stream the same bytes, and what is no data as it was; all in the same order, and nothing long.
        #[test]
        fn any_frames_cut_anywhere_mean_the_same(
            frames in frames(),
            sizes in prop::collection::vec(0..3 * MAX_PART, 0..6),
            most in prop_oneof![1..20usize, Just(8192), 1..100_000usize],
        ) {
            let sizes = [sizes, vec![1, 7000]].concat();
            let got = decoded(&passed(encoded(&frames), sizes, most).now_or_never_often().unwrap());
            prop_assert!(got.iter().all(|(_, body)| body.len() <= MAX_PART));
            let mut got = got.into_iter();
            for (number, body) in frames {
                let (first, mut bytes) = got.next().unwrap();
                prop_assert_eq!(first, number);
                while bytes.len() < body.len() {
                    let (same, more) = got.next().unwrap();
                    prop_assert_eq!(same, number);
                    prop_assert!(!more.is_empty());
                    bytes.extend(more);
                }
                prop_assert_eq!(bytes, body);
            }
            prop_assert_eq!(got.next(), None);
        }

        #[test]
        fn whatever_comes_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = passed(bytes, vec![64], 8192).now_or_never_often();
        }
    }

    trait Often: Future {
        /// The end of what only ever wakes itself.
        fn now_or_never_often(self) -> Self::Output;
    }

    impl<F: Future> Often for F {
        fn now_or_never_often(self) -> F::Output {
            let mut future = Box::pin(self);
            loop {
                if let Some(output) = future.as_mut().now_or_never() {
                    return output;
                }
            }
        }
    }

    #[test]
    fn what_is_no_frame_ends_the_connection() {
        let data = 1 << 3 | 2;
        let long = wire(data, MAX_FRAME);
        let cases: [(&str, Vec<u8>); 11] = [
            ("a frame of more than 1 MiB", wire(data, MAX_FRAME + 1)),
            (
                "a length of 2^64 - 1",
                [vec![10], vec![0xff; 9], vec![1]].concat(),
            ),
            ("a name that is too long", wire(8, MAX_NAME + 1)),
            ("a long end of a stream", wire(8 | 4, MAX_NAME + 1)),
            ("a long reset", wire(8 | 5, MAX_NAME + 1)),
            ("no flag", wire(8 | 7, 0)),
            ("a number without end", vec![0xff; 11]),
            ("a length without end", [vec![10], vec![0xff; 11]].concat()),
            ("a number that could be shorter", vec![0x8a, 0, 0]),
            ("half a header", vec![0x8a]),
            ("half a body", [long, vec![0; 9000]].concat()),
        ];
        for (what, bytes) in cases {
            let outcome = passed(bytes, vec![8192], 8192).now_or_never_often();
            assert!(outcome.is_err(), "{what}: {outcome:?}");
        }
        let longest = [(data, vec![5; MAX_FRAME]), (8, vec![6; MAX_NAME])];
        let got = passed(encoded(&longest), vec![8192], 8192)
            .now_or_never_often()
            .unwrap();
        assert_eq!(decoded(&got).len(), MAX_FRAME.div_ceil(MAX_PART) + 1);
    }
}
