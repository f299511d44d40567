//! yamux's frames as they come, asked about before yamux sees them.

use super::{FRAME_BODY, unread::Line};
use futures::io::{AsyncRead, AsyncWrite};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// yamux's header in front of each frame: version, type, flags (2 bytes), stream (4), length (4).
pub(super) const HEADER: usize = 12;
/// The type of frames that carry a stream's bytes.
const DATA: u8 = 0;
/// A flag of the first frame of a stream, and those that come once, at the begin and at the end.
const SYN: u16 = 1;
const FIN: u16 = 4;
/// Longest body; yamux refuses longer ones too.
const MAX_BODY: usize = 1 << 20;
/// Most bytes of a body that are handed on as one frame: of a longer one no more is taken in than is there to be read.
const MAX_PART: usize = FRAME_BODY;

/// A socket of which data frames are read when there is room for them.
#[derive(Debug)]
pub(super) struct Metered<C> {
    socket: C,
    line: Arc<Line>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// As much of a header as has come.
    Header { bytes: [u8; HEADER], len: usize },
    /// A data frame, or what is left of it, waits for room.
    Asking(Data),
    /// A header to be handed on from this byte on, then so many bytes of body, then what is left of the frame.
    Handing {
        header: [u8; HEADER],
        from: usize,
        part: usize,
        next: Option<Data>,
    },
}

/// A data frame.
#[derive(Debug, Clone, Copy)]
struct Data {
    header: [u8; HEADER],
    left: usize,
}

const BEGIN: State = State::Header {
    bytes: [0; HEADER],
    len: 0,
};

impl Data {
    fn stream(&self) -> u32 {
        let [.., a, b, c, d, _, _, _, _] = self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    fn flags(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    fn part(&self) -> usize {
        self.left.min(MAX_PART)
    }

    fn opens(&self) -> bool {
        self.flags() & SYN != 0
    }

    /// The frame that is handed on, and what is left of this one: the end comes with the last, all else with the first.
    fn split(mut self) -> State {
        let part = self.part();
        let mut header = self.header;
        let mut next = None;
        if part < self.left {
            header[2..4].copy_from_slice(&(self.flags() & !FIN).to_be_bytes());
            let end = self.flags() & FIN;
            self.header[2..4].copy_from_slice(&end.to_be_bytes());
            self.left -= part;
            next = Some(self);
        }
        header[8..].copy_from_slice(&u32::try_from(part).unwrap_or(u32::MAX).to_be_bytes());
        State::Handing {
            header,
            from: 0,
            part,
            next,
        }
    }
}

impl<C> Metered<C> {
    pub(super) fn new(socket: C, line: Arc<Line>) -> Self {
        Self {
            socket,
            line,
            state: BEGIN,
        }
    }
}

/// What a header says is to be done.
fn begun(header: [u8; HEADER]) -> io::Result<State> {
    let [_, kind, .., a, b, c, d] = header;
    if kind != DATA {
        return Ok(State::Handing {
            header,
            from: 0,
            part: 0,
            next: None,
        });
    }
    match usize::try_from(u32::from_be_bytes([a, b, c, d])) {
        Ok(left) if left <= MAX_BODY => Ok(State::Asking(Data { header, left })),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "yamux: frame too long",
        )),
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Metered<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            match &mut this.state {
                State::Header { bytes: header, len } => {
                    match ready!(Pin::new(&mut this.socket).poll_read(cx, &mut header[*len..]))? {
                        0 if *len == 0 => return Poll::Ready(Ok(0)),
                        0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                        n => *len += n,
                    }
                    if *len == HEADER {
                        this.state = begun(*header)?;
                    }
                }
                State::Asking(data) => {
                    ready!(this.line.arrives(data.stream(), data.part(), data.opens(), cx));
                    this.state = data.split();
                }
                State::Handing {
                    header,
                    from,
                    part,
                    next,
                } => {
                    let n = if *from < HEADER {
                        let n = bytes.len().min(HEADER - *from);
                        bytes[..n].copy_from_slice(&header[*from..*from + n]);
                        *from += n;
                        n
                    } else {
                        let most = bytes.len().min(*part);
                        let n = ready!(Pin::new(&mut this.socket).poll_read(cx, &mut bytes[..most]))?;
                        if n == 0 {
                            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                        }
                        *part -= n;
                        n
                    };
                    if *part == 0 && *from == HEADER {
                        this.state = next.take().map_or(BEGIN, State::Asking);
                    }
                    return Poll::Ready(Ok(n));
                }
            }
        }
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Metered<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::unread::Unread, *};
    use futures::{AsyncReadExt, FutureExt, io::Cursor};
    use proptest::prelude::*;

    /// Type, flags, stream, body.
    type Frame = (u8, u16, u32, Vec<u8>);

    fn encoded(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, flags, stream, body) in frames {
            bytes.extend_from_slice(&[0, *kind]);
            bytes.extend_from_slice(&flags.to_be_bytes());
            bytes.extend_from_slice(&stream.to_be_bytes());
            // What is no data has no body, and a length that means something else.
            let len = if *kind == DATA { body.len() } else { 1 << 30 };
            bytes.extend_from_slice(&(len as u32).to_be_bytes());
            bytes.extend_from_slice(body);
        }
        bytes
    }

    fn decoded(mut bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
            let data = Data {
                header: *header,
                left: 0,
            };
            let len = u32::from_be_bytes(header[8..].try_into().unwrap()) as usize;
            let (body, rest) = rest.split_at(if header[1] == DATA { len } else { 0 });
            frames.push((header[1], data.flags(), data.stream(), body.to_vec()));
            bytes = rest;
        }
        frames
    }

    fn passed(bytes: Vec<u8>, most: usize) -> io::Result<Vec<u8>> {
        let mut socket = Metered::new(Cursor::new(bytes), Unread::default().line());
        let mut got = Vec::new();
        let mut bytes = vec![0; most];
        loop {
            match socket.read(&mut bytes).now_or_never().unwrap()? {
                0 => return Ok(got),
                n => got.extend_from_slice(&bytes[..n]),
            }
        }
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let data = (
            0..16u16,
            1..4u32,
            prop_oneof![0..60usize, 0..5 * MAX_PART],
            any::<u8>(),
        )
            .prop_map(|(flags, stream, len, byte)| (DATA, flags, stream, vec![byte; len]));
        let other =
            (1..5u8, 0..16u16, 0..4u32).prop_map(|(kind, flags, stream)| (kind, flags, stream, vec![]));
        prop::collection::vec(prop_oneof![data, other], 0..8)
    }

    proptest! {
        #[test]
        fn any_frames_mean_the_same_and_none_is_long(frames in frames(), most in 1..300_000usize) {
            let got = decoded(&passed(encoded(&frames), most).unwrap());
            prop_assert!(got.iter().all(|(.., body)| body.len() <= MAX_PART));
            let mut got = got.into_iter();
            for (kind, flags, stream, body) in frames {
                let (mut all, mut bytes) = (0, Vec::new());
                loop {
                    let (same, some, of, part) = got.next().unwrap();
                    prop_assert_eq!((same, of), (kind, stream));
                    bytes.extend(part);
                    let (is_first, is_last) = (bytes.len() <= MAX_PART, bytes.len() >= body.len());
                    prop_assert!(is_first || some & !FIN == 0);
                    prop_assert!(is_last || some & FIN == 0);
                    all |= some;
                    if is_last {
                        break;
                    }
                }
                prop_assert_eq!((all, bytes), (flags, body));
            }
            prop_assert_eq!(got.next(), None);
        }
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_an_error() {
        let frame = (DATA, 0, 1, vec![1; 100]);
        let whole = encoded(&[frame]);
        assert!(passed(whole[..5].to_vec(), 100).is_err());
        assert!(passed(whole[..50].to_vec(), 100).is_err());
        let long = (DATA, 0, 1, vec![1; MAX_BODY + 1]);
        assert!(passed(encoded(&[long]), 100).is_err());
    }
}
