//! Attackers that publish: false messages, as fast as they are taken.

use crate::{
    attack::{Attack, Tally, Target},
    node::{Failure, random_bytes, root},
    wire::{GOSSIP, Line, PING_BYTES, publish, subscribe},
};
use assay_types::{
    ExecutionProof, PublicInput, Root, SignatureBytes, SignedExecutionProof, gossip::compress,
};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::Stream;
use libp2p_stream::IncomingStreams;
use std::{sync::atomic::Ordering, time::Duration};

/// Bytes of a false proof.
const PROOF_BYTES: usize = 1 << 20;
/// Messages behind each of which a ping went out that has not come back.
const WINDOW: usize = 4;
/// Messages of a roll call: two invalid ones cost a peer its place in the mesh, three its word.
const FEW: usize = 2;
/// Time for all of a roll call to arrive and be judged, behind its last ping.
const SETTLED: Duration = Duration::from_millis(1500);

/// Publishes until the connection ends.
pub(crate) async fn live(
    attack: Attack,
    line: &mut Line,
    incoming: IncomingStreams,
    target: &Target,
    tally: &Tally,
) -> Result<(), Failure> {
    let mut gossip = line.stream(GOSSIP).await?;
    let mut ping = line.ping().await?;
    let publishing = async {
        gossip.write_all(&subscribe(&target.topic)).await?;
        for n in 0.. {
            send(attack, &mut gossip, target, tally).await?;
            ping.write_all(&[0; PING_BYTES]).await?;
            ping.flush().await?;
            if n >= WINDOW {
                ping.read_exact(&mut [0; PING_BYTES]).await?;
                // The victim has answered behind message n - WINDOW: the one before it is no longer under way. On QUIC a
                // ping passes by the messages before it.
                if line.way.is_in_order() && n > WINDOW {
                    tally.sure(attack);
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        result = publishing => result,
        () = discard(incoming) => Ok(()),
    }
}

/// Publishes a few, and stays until they have arrived.
pub(crate) async fn few(
    attack: Attack,
    line: &mut Line,
    incoming: IncomingStreams,
    target: &Target,
    tally: &Tally,
) -> Result<(), Failure> {
    let mut gossip = line.stream(GOSSIP).await?;
    let mut ping = line.ping().await?;
    let publishing = async {
        gossip.write_all(&subscribe(&target.topic)).await?;
        for _ in 0..FEW {
            send(attack, &mut gossip, target, tally).await?;
        }
        ping.write_all(&[0; PING_BYTES]).await?;
        ping.flush().await?;
        ping.read_exact(&mut [0; PING_BYTES]).await?;
        tokio::time::sleep(SETTLED).await;
        for _ in 0..FEW {
            tally.sure(attack);
        }
        Ok(())
    };
    tokio::select! {
        result = publishing => result,
        () = discard(incoming) => Err("the victim takes nobody's streams any more".into()),
    }
}

async fn send(attack: Attack, gossip: &mut Stream, target: &Target, tally: &Tally) -> Result<(), Failure> {
    let n = tally.next.fetch_add(1, Ordering::Relaxed);
    let message = publish(&target.topic, message(attack, n, target));
    tally.tried(attack);
    tally.sent(message.len());
    gossip.write_all(&message).await?;
    gossip.flush().await?;
    Ok(())
}

/// What the victim says is read and passed over.
async fn discard(mut incoming: IncomingStreams) {
    let mut read = futures::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            stream = incoming.next() => match stream {
                Some((_, stream)) => read.push(async move {
                    let _ = futures::io::copy(stream, &mut futures::io::sink()).await;
                }),
                None => return,
            },
            Some(()) = read.next() => {}
        }
    }
}

fn message(attack: Attack, n: u32, target: &Target) -> Vec<u8> {
    // No two runs and roll calls say the same: a message that was seen before is passed over.
    let mut random = random_bytes(n ^ 0x5555_5555, PROOF_BYTES);
    let own = own_bytes();
    random[8..16].copy_from_slice(&own);
    let (root, validator_index) = match attack {
        Attack::UnknownPayloads => {
            let mut unknown = [0; 32];
            unknown.copy_from_slice(root(0x8000_0000 | n).as_slice());
            unknown[8..16].copy_from_slice(&own);
            (Root::from(unknown), 1)
        }
        Attack::UnknownValidators => (target.payload(), (1 << 32) | u64::from_le_bytes(own) >> 32),
        Attack::NoProof => return compress(&random),
        // A length of more bytes than there are.
        _ => return random,
    };
    let proof = SignedExecutionProof {
        message: ExecutionProof {
            proof_data: random.into(),
            proof_type: target.proof_type,
            public_input: PublicInput {
                new_payload_request_root: root,
            },
        },
        validator_index,
        signature: SignatureBytes::ZERO,
    };
    compress(&proof.to_ssz_bytes())
}

/// Bytes that nobody else has.
fn own_bytes() -> [u8; 8] {
    let id = libp2p::PeerId::random().to_bytes();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&id[id.len() - 8..]);
    bytes
}
