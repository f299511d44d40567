//! A response as it comes: read only when asked for more, so that a peer is never faster than whoever takes it.

use super::{Inner, RequestError, Stage};
use crate::{
    framing::{ResponseChunk, ResponseDecoder},
    rpc::{OURS, Protocol, wire::READ_BUFFER_LEN},
};
use assay_types::{ProofKey, ProofType, SignedExecutionProof, ValidatorIndex};
use bytes::Bytes;
use futures::AsyncReadExt;
use libp2p::{PeerId, Stream};
use std::{collections::HashSet, ops::Range, sync::Arc, time::Instant};
use tokio::{sync::OwnedSemaphorePermit, time::timeout_at};

/// Chunks of one response. Dropping it ends it here at once; over yamux, which sends no reset for a stream whose own
/// half is closed, the peer finds out when the stream's window is full and its time-out for a chunk is over.
pub(super) struct Response {
    inner: Arc<Inner>,
    peer: PeerId,
    protocol: Protocol,
    stream: Stream,
    decoder: ResponseDecoder,
    buffer: Vec<u8>,
    /// What of the buffer is not decoded yet.
    unread: Range<usize>,
    is_first: bool,
    has_ended: bool,
    _place: OwnedSemaphorePermit,
}

impl Response {
    pub(super) fn new(
        inner: Arc<Inner>,
        peer: PeerId,
        protocol: Protocol,
        stream: Stream,
        most_chunks: u64,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let bounds = protocol.response_bounds(inner.parts.chain.spec());
        // One answer takes a hundred bytes, proofs take megabytes.
        let buffer_len = if bounds.max > READ_BUFFER_LEN {
            READ_BUFFER_LEN
        } else {
            512
        };
        Self {
            inner,
            peer,
            protocol,
            stream,
            decoder: ResponseDecoder::new(bounds, most_chunks),
            buffer: vec![0; buffer_len],
            unread: 0..0,
            is_first: true,
            has_ended: false,
            _place: place,
        }
    }

    /// The next success chunk, `None` at the end. After an error there is nothing more.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, RequestError> {
        if self.has_ended {
            return Ok(None);
        }
        let chunk = self.read_chunk().await;
        match &chunk {
            Ok(Some(_)) => self.inner.parts.counters.chunk(self.protocol, OURS),
            Ok(None) => self.completed(),
            Err(error) => self.failed(error),
        }
        chunk
    }

    /// The answer that is one chunk, decoded. Without a chunk there is none: `Closed`.
    pub(super) async fn single<T>(
        mut self,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, RequestError> {
        let answer = match self.read_chunk().await {
            Ok(Some(ssz)) => {
                decode(&ssz).ok_or_else(|| RequestError::Malformed("not the container asked for".to_owned()))
            }
            Ok(None) => Err(RequestError::Closed),
            Err(error) => Err(error),
        };
        match &answer {
            Ok(_) => {
                self.inner.parts.counters.chunk(self.protocol, OURS);
                self.completed();
            }
            Err(error) => self.failed(error),
        }
        answer
    }

    /// The response came to its end as it should.
    fn completed(&mut self) {
        if !self.has_ended {
            self.has_ended = true;
            self.inner.parts.counters.request(self.protocol, OURS, "ok");
        }
    }

    pub(super) fn failed(&mut self, error: &RequestError) {
        if !self.has_ended {
            self.has_ended = true;
            self.inner.ended(&self.peer, self.protocol, error);
        }
    }

    async fn read_chunk(&mut self) -> Result<Option<Vec<u8>>, RequestError> {
        let timeouts = self.inner.parts.timeouts;
        let chunk_end = Instant::now() + timeouts.chunk_read;
        let first_end = Instant::now() + timeouts.first_byte;
        loop {
            let mut rest = &self.buffer[self.unread.clone()];
            let chunk = self.decoder.push(&mut rest)?;
            self.unread.start = self.unread.end - rest.len();
            match chunk {
                Some(ResponseChunk::Success(ssz)) => return Ok(Some(ssz)),
                Some(ResponseChunk::Error { code, message }) => {
                    return Err(RequestError::Refused {
                        code,
                        message: String::from_utf8_lossy(&message).into_owned(),
                    });
                }
                None => {}
            }
            let (end, stage) = if self.is_first {
                (first_end, Stage::FirstByte)
            } else {
                (chunk_end, Stage::Chunk)
            };
            let n = timeout_at(end.into(), self.stream.read(&mut self.buffer))
                .await
                .map_err(|_| RequestError::TimedOut(stage))?
                .map_err(|_| RequestError::Closed)?;
            self.unread = 0..n;
            if n == 0 {
                // A reset looks like an end: cut off inside a chunk, the stream broke.
                return match self.decoder.finish() {
                    Ok(()) => Ok(None),
                    Err(_) => Err(RequestError::Closed),
                };
            }
            self.is_first = false;
            self.inner.parts.counters.read(self.protocol, OURS, n);
        }
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        if !self.has_ended {
            self.inner
                .parts
                .counters
                .request(self.protocol, OURS, "abandoned");
        }
    }
}

/// Proofs as a peer sends them. Fewer than asked for are its right; more, others, or the same twice end the response.
/// Reads only when asked for the next; may be dropped at any time.
pub struct ProofResponse {
    response: Response,
    /// The types asked for, ascending; empty: all.
    proof_types: Vec<ProofType>,
    seen: HashSet<(ProofKey, ValidatorIndex)>,
}

impl ProofResponse {
    pub(super) fn new(response: Response, proof_types: Vec<ProofType>) -> Self {
        Self {
            response,
            proof_types,
            seen: HashSet::new(),
        }
    }

    /// SSZ of the next `SignedExecutionProof`, decoded and of a type that was asked for; nothing else is checked.
    /// `None` at the end, and after an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, RequestError>> {
        let ssz = match self.response.next().await {
            Ok(Some(ssz)) => Bytes::from(ssz),
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        };
        Some(match self.check(&ssz) {
            Ok(()) => Ok(ssz),
            Err(error) => {
                self.response.failed(&error);
                Err(error)
            }
        })
    }

    fn check(&mut self, ssz: &Bytes) -> Result<(), RequestError> {
        let proof = SignedExecutionProof::from_ssz_bytes(ssz)
            .map_err(|error| RequestError::Malformed(error.to_string()))?;
        let key = ProofKey {
            new_payload_request_root: proof.message.public_input.new_payload_request_root,
            proof_type: proof.message.proof_type,
        };
        let is_asked_for = self.proof_types.is_empty() || self.proof_types.contains(&key.proof_type);
        if is_asked_for && self.seen.insert((key, proof.validator_index)) {
            Ok(())
        } else {
            Err(RequestError::NotAskedFor)
        }
    }
}
