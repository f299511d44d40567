//! Reading requests and writing chunks: streams, time-outs, pace.

use super::{Direction, Protocol, RpcTimeouts, counters::RpcCounters, rate::RateLimits};
use crate::framing::{
    ErrorCode, FramingError, LengthBounds, PayloadDecoder, encode_error_chunk, encode_payload,
};
use assay_types::ForkDigest;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::PeerId;
use parking_lot::Mutex;
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Most bytes read at once.
pub(crate) const READ_BUFFER_LEN: usize = 128 * 1024;
/// Bytes written and paid for at once until a chunk's end: four of what the multiplexer sends as one frame. A few bytes
/// more would be a frame of their own, with a wake-up at the other end.
const PACKED_WRITE: usize = 4 * crate::host::FRAME_BODY;
/// Requests are small: what is read of one at once.
const REQUEST_BUFFER_LEN: usize = 2048;

/// What is read at once of what must not come.
const BEHIND_BUFFER_LEN: usize = 256;

/// Why a request was not read.
#[derive(Debug)]
pub(crate) enum RequestReadError {
    /// It did not come in time.
    TimedOut,
    /// The stream broke.
    Io(io::Error),
    /// The bytes are no request.
    Framing(FramingError),
}

/// Reads a request whole, within the time for that.
pub(crate) async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    bounds: LengthBounds,
    limit: Duration,
    mut count: impl FnMut(usize),
) -> Result<Vec<u8>, RequestReadError> {
    let whole = async {
        let mut decoder = PayloadDecoder::new(bounds);
        let mut buffer = [0; REQUEST_BUFFER_LEN];
        loop {
            let n = stream.read(&mut buffer).await.map_err(RequestReadError::Io)?;
            count(n);
            if n == 0 {
                return Err(RequestReadError::Framing(FramingError::Truncated));
            }
            let mut rest = &buffer[..n];
            match decoder.push(&mut rest).map_err(RequestReadError::Framing)? {
                Some(_) if !rest.is_empty() => {
                    return Err(RequestReadError::Framing(FramingError::Trailing("request")));
                }
                Some(ssz) => return Ok(ssz),
                None => {}
            }
        }
    };
    timeout(limit, whole)
        .await
        .unwrap_or(Err(RequestReadError::TimedOut))
}

/// Waits for what must not come: something behind a whole request, of which `passed_over` bytes are no fault. Its end is
/// normal, at once or never; after it nothing is looked at any more.
pub(crate) async fn nothing_more<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut passed_over: usize,
    mut count: impl FnMut(usize),
) -> RequestReadError {
    let mut buffer = [0; BEHIND_BUFFER_LEN];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return std::future::pending().await,
            Ok(n) => {
                count(n);
                match passed_over.checked_sub(n) {
                    Some(left) => passed_over = left,
                    None => return RequestReadError::Framing(FramingError::Trailing("request")),
                }
            }
            Err(error) => return RequestReadError::Io(error),
        }
    }
}

/// Why a response could not go on. The stream is lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The peer takes nothing, or too slowly.
    #[error("not taken in time")]
    TimedOut,
    /// The stream broke, or the peer reset it.
    #[error(transparent)]
    Io(io::Error),
    /// The rest of a chunk is not there any more: pruned, or the beacon node does not give it again.
    #[error("what is left of the chunk is gone")]
    Gone,
}

impl WriteError {
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::TimedOut => "write_timed_out",
            Self::Io(_) => "closed_by_peer",
            Self::Gone => "rest_is_gone",
        }
    }
}

/// Who is answered, how fast, and where it is counted.
#[derive(Clone)]
pub(crate) struct Pace {
    pub(crate) peer: PeerId,
    pub(crate) protocol: Protocol,
    pub(crate) limits: Arc<Mutex<RateLimits>>,
    pub(crate) timeouts: RpcTimeouts,
    pub(crate) counters: RpcCounters,
}

impl Pace {
    /// Waits until so much may go out.
    pub(crate) async fn wait(&self, chunks: u32, bytes: usize) {
        let wait = self
            .limits
            .lock()
            .take(self.peer, self.protocol, chunks, bytes, Instant::now());
        if !wait.is_zero() {
            self.counters.delayed(wait);
            tokio::time::sleep(wait).await;
        }
    }
}

/// What a success chunk has in front of its payload (phase0 p2p: the result, and context bytes where the protocol has
/// them), to the end of `out`.
pub(crate) fn begin_chunk(context: Option<ForkDigest>, out: &mut Vec<u8>) {
    out.push(0);
    if let Some(digest) = context {
        out.extend_from_slice(&digest.0);
    }
}

/// Writes the chunks of one response. Holds none of them.
pub(crate) struct ChunkWriter<S> {
    stream: S,
    pace: Pace,
    chunks: u64,
    is_touched: bool,
}

/// A chunk that is being written, and what is left of its time.
pub(crate) struct Begun {
    left: Duration,
}

impl<S: AsyncWrite + Unpin> ChunkWriter<S> {
    /// Who it writes to.
    pub(crate) const fn peer(&self) -> PeerId {
        self.pace.peer
    }

    pub(crate) fn new(stream: S, pace: Pace) -> Self {
        Self {
            stream,
            pace,
            chunks: 0,
            is_touched: false,
        }
    }

    /// Whether nothing of a response has been written.
    pub(crate) const fn is_untouched(&self) -> bool {
        !self.is_touched
    }

    /// Success chunks written.
    pub(crate) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Waits as for a chunk: a look-up that brings none costs as much as one that does.
    pub(crate) async fn pay(&mut self) {
        self.pace.wait(1, 0).await;
    }

    /// Writes a small success chunk.
    pub(crate) async fn success(
        &mut self,
        context: Option<ForkDigest>,
        ssz: &[u8],
    ) -> Result<(), WriteError> {
        let mut chunk = Vec::new();
        begin_chunk(context, &mut chunk);
        chunk.extend(encode_payload(ssz));
        self.packed(&chunk).await?;
        Ok(())
    }

    /// Writes a success chunk that is packed already (`begin_chunk`, and the payload), as fast as its peer's limits let it
    /// and within the time of one. The time that the peer took for it, the limits' share left out.
    pub(crate) async fn packed(&mut self, chunk: &[u8]) -> Result<Duration, WriteError> {
        let mut begun = self.begin().await;
        self.part(&mut begun, chunk).await?;
        self.end(begun).await
    }

    /// Begins a chunk whose parts follow, none of which is written yet.
    pub(crate) async fn begin(&mut self) -> Begun {
        self.pace.wait(1, 0).await;
        Begun {
            left: self.pace.timeouts.chunk_write,
        }
    }

    /// The next part of a chunk. What passes between two is not the peer's time.
    pub(crate) async fn part(&mut self, begun: &mut Begun, part: &[u8]) -> Result<(), WriteError> {
        for bytes in part.chunks(PACKED_WRITE) {
            self.write(bytes, &mut begun.left).await?;
        }
        Ok(())
    }

    /// The end of a chunk: how much of its time the peer used.
    pub(crate) async fn end(&mut self, Begun { mut left }: Begun) -> Result<Duration, WriteError> {
        let began = Instant::now();
        self.within(left, async |stream| stream.flush().await).await?;
        left = left.saturating_sub(began.elapsed());
        self.chunks += 1;
        self.pace.counters.chunk(self.pace.protocol, Direction::Inbound);
        Ok(self.pace.timeouts.chunk_write.saturating_sub(left))
    }

    /// Writes as fast as the peer's limits let it, and within what is left of the chunk's time: what is spent waiting for
    /// the limits is not the peer's.
    async fn write(&mut self, bytes: &[u8], left: &mut Duration) -> Result<(), WriteError> {
        self.pace.wait(0, bytes.len()).await;
        self.is_touched = true;
        let began = Instant::now();
        self.within(*left, async |stream| stream.write_all(bytes).await)
            .await?;
        *left = left.saturating_sub(began.elapsed());
        self.pace
            .counters
            .written(self.pace.protocol, Direction::Inbound, bytes.len());
        Ok(())
    }

    /// Ends the response with an error chunk.
    pub(crate) async fn error(mut self, code: ErrorCode, message: &str) -> Result<(), WriteError> {
        let chunk = encode_error_chunk(code, message);
        let limit = self.pace.timeouts.chunk_write;
        self.within(limit, async |stream| stream.write_all(&chunk).await)
            .await?;
        self.pace
            .counters
            .written(self.pace.protocol, Direction::Inbound, chunk.len());
        self.finish().await
    }

    /// Ends the response.
    pub(crate) async fn finish(mut self) -> Result<(), WriteError> {
        self.within(self.pace.timeouts.chunk_write, async |stream| {
            stream.close().await
        })
        .await
    }

    async fn within(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut S) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        match timeout(limit, work(&mut self.stream)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(WriteError::Io(error)),
            Err(_) => Err(WriteError::TimedOut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, io::Cursor};

    /// What follows a request, and how many bytes of it are passed over: whether that is a fault. The end never is.
    #[test]
    fn what_follows_a_request_is_a_fault() {
        for (follows, passed_over, is_fault) in [
            (0, 0, false),
            (1, 0, true),
            // The length of nothing, where a request has no content.
            (1, 1, false),
            (2, 1, true),
            (1000, 1000, false),
            (1001, 1000, true),
        ] {
            let mut read = 0;
            let ended = {
                let mut stream = Cursor::new(vec![0; follows]);
                nothing_more(&mut stream, passed_over, |n| read += n).now_or_never()
            };
            let found = matches!(
                ended,
                Some(RequestReadError::Framing(FramingError::Trailing("request")))
            );
            assert_eq!(found, is_fault, "{follows} {passed_over}");
            assert_eq!(ended.is_none(), !is_fault);
            assert_eq!(read, follows, "counted");
        }
    }
}
