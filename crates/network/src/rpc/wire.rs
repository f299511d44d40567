//! Reading requests and writing chunks: streams, time-outs, pace.

use super::{Direction, Protocol, RpcTimeouts, counters::RpcCounters, rate::RateLimits};
use crate::framing::{
    ErrorCode, FramingError, LengthBounds, PayloadDecoder, PayloadEncoder, encode_error_chunk,
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
/// Requests are small: what is read of one at once.
const REQUEST_BUFFER_LEN: usize = 2048;

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

/// Why a response could not go on. The stream is lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The peer takes nothing, or too slowly.
    #[error("not taken in time")]
    TimedOut,
    /// The stream broke, or the peer reset it.
    #[error(transparent)]
    Io(io::Error),
}

impl WriteError {
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::TimedOut => "write_timed_out",
            Self::Io(_) => "closed_by_peer",
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

/// Writes the chunks of one response. Holds one frame of a chunk at a time.
pub(crate) struct ChunkWriter<S> {
    stream: S,
    pace: Pace,
    encoder: PayloadEncoder,
    staged: Vec<u8>,
    chunks: u64,
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
            encoder: PayloadEncoder::default(),
            staged: Vec::new(),
            chunks: 0,
        }
    }

    /// Success chunks written.
    pub(crate) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Waits as for a chunk: a look-up that brings none costs as much as one that does.
    pub(crate) async fn pay(&mut self) {
        self.pace.wait(1, 0).await;
    }

    /// Writes a success chunk, as fast as its peer's limits let it and within the time of one. The time that the peer
    /// took for it, the limits' share left out.
    pub(crate) async fn success(
        &mut self,
        context: Option<ForkDigest>,
        ssz: &[u8],
    ) -> Result<Duration, WriteError> {
        self.pace.wait(1, 0).await;
        self.staged.clear();
        self.staged.push(0);
        if let Some(digest) = context {
            self.staged.extend_from_slice(&digest.0);
        }
        self.encoder.begin(ssz.len(), &mut self.staged);
        let mut left = self.pace.timeouts.chunk_write;
        let mut pieces = ssz.chunks(PayloadEncoder::PIECE_LEN);
        loop {
            let piece = pieces.next();
            if let Some(piece) = piece {
                self.encoder.append(piece, &mut self.staged);
            }
            if !self.staged.is_empty() {
                // Time spent waiting for the limits is not the peer's.
                self.pace.wait(0, self.staged.len()).await;
                let began = Instant::now();
                self.write_staged(left).await?;
                left = left.saturating_sub(began.elapsed());
            }
            if piece.is_none() {
                break;
            }
        }
        let began = Instant::now();
        self.within(left, async |stream| stream.flush().await).await?;
        left = left.saturating_sub(began.elapsed());
        self.chunks += 1;
        self.pace.counters.chunk(self.pace.protocol, Direction::Inbound);
        Ok(self.pace.timeouts.chunk_write.saturating_sub(left))
    }

    /// Ends the response with an error chunk.
    pub(crate) async fn error(mut self, code: ErrorCode, message: &str) -> Result<(), WriteError> {
        self.staged = encode_error_chunk(code, message);
        self.write_staged(self.pace.timeouts.chunk_write).await?;
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

    async fn write_staged(&mut self, limit: Duration) -> Result<(), WriteError> {
        match timeout(limit, self.stream.write_all(&self.staged)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(WriteError::Io(error)),
            Err(_) => return Err(WriteError::TimedOut),
        }
        self.pace
            .counters
            .written(self.pace.protocol, Direction::Inbound, self.staged.len());
        self.staged.clear();
        Ok(())
    }
}
