//! Attackers that open streams: far too many, and ones that tell old statuses.

use crate::{
    attack::{Attack, Tally, Target},
    node::{Failure, root},
    wire::{GOSSIP, Line},
};
use assay_network::{PeerStatus, framing::encode_request, rpc::Protocol};
use assay_types::{Epoch, ExecutionProofStatus, Slot, SszContainer as _};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::Stream;
use std::time::Duration;

/// Streams of a roll call, and how many of them are served: `StreamLimits::per_peer_and_protocol`.
const FEW_STREAMS: u64 = 7;
const SERVED_STREAMS: u64 = 4;
/// Time for all of a roll call to arrive.
const SETTLED: Duration = Duration::from_millis(1500);
/// Time for an answer: what the rate limit delays for longer has been sent all the same.
const ANSWER: Duration = Duration::from_secs(1);

/// Opens streams without end.
pub(crate) async fn streams(line: &mut Line, tally: &Tally) -> Result<(), Failure> {
    let mut open = Vec::new();
    for n in 0u64.. {
        tally.tried(Attack::Streams);
        // Gossip's own name, so that it is taken; now and then a request's.
        let is_request = n.is_multiple_of(4);
        let name = if is_request {
            Protocol::ExecutionProofsByRange.id()
        } else {
            GOSSIP
        };
        match line.stream(name).await {
            Ok(stream) => {
                open.push(stream);
                if is_request {
                    tally.sure(Attack::Streams);
                }
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    Ok(())
}

/// Opens a few more than are served, and stays: those are the sure ones.
pub(crate) async fn few_streams(line: &mut Line, tally: &Tally) -> Result<(), Failure> {
    let mut open = Vec::new();
    for n in 0..FEW_STREAMS {
        tally.tried(Attack::Streams);
        open.push(line.stream(Protocol::ExecutionProofsByRange.id()).await?);
        if n >= SERVED_STREAMS {
            tally.sure(Attack::Streams);
        }
    }
    tokio::time::sleep(SETTLED).await;
    Ok(())
}

/// Tells the victim a status, proof status and base status in turn, each older than the one before, as fast as it
/// answers.
pub(crate) async fn statuses(line: &mut Line, target: &Target, tally: &Tally) -> Result<(), Failure> {
    for age in (0..=1000).rev().cycle() {
        if status(line, age, target, tally).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// Tells two.
pub(crate) async fn few_statuses(line: &mut Line, target: &Target, tally: &Tally) -> Result<(), Failure> {
    for age in [1, 0] {
        status(line, age, target, tally).await?;
    }
    Ok(())
}

async fn status(line: &mut Line, age: u32, target: &Target, tally: &Tally) -> Result<(), Failure> {
    let slot = Slot(u64::from(age));
    let (protocol, told) = if age.is_multiple_of(2) {
        let status = ExecutionProofStatus {
            block_root: root(age),
            slot,
            proof_types: vec![1],
        };
        (Protocol::ExecutionProofStatus, status.to_ssz_bytes())
    } else {
        let status = PeerStatus {
            fork_digest: target.digest,
            finalized_root: root(age / 32),
            finalized_epoch: Epoch(u64::from(age / 32)),
            head_root: root(age),
            head_slot: slot,
            earliest_available_slot: Some(slot),
        };
        (Protocol::StatusV2, status.to_v2_bytes())
    };
    tally.tried(Attack::OldStatus);
    let mut stream: Stream = line.stream(protocol.id()).await?;
    let request = encode_request(&told);
    tally.sent(request.len());
    let answered = async {
        stream.write_all(&request).await?;
        stream.close().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, Failure>(!answer.is_empty())
    };
    if tokio::time::timeout(ANSWER, answered).await?? {
        tally.sure(Attack::OldStatus);
    }
    Ok(())
}
