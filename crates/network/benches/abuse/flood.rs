//! Attackers that publish: false messages, as fast as they are taken, one an RPC or many.

use crate::{
    attack::{Attack, Tally, Target},
    bundle::Bundle,
    node::{Failure, random_bytes, root},
    wire::{GOSSIP, Line, PING_BYTES, publish, subscribe},
};
use assay_types::{
    ExecutionProof, PublicInput, Root, SignatureBytes, SignedExecutionProof, gossip::compress,
};
use bytes::Bytes;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::Stream;
use libp2p_stream::IncomingStreams;
use std::{collections::VecDeque, sync::atomic::Ordering, time::Duration};

/// Bytes of a false proof.
pub(crate) const PROOF_BYTES: usize = 1 << 20;
/// RPCs of one message behind each of which a ping went out that has not come back; and of many messages.
const WINDOW: usize = 4;
const BUNDLES_WINDOW: usize = 1;
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
    speak(line, incoming, target, async |talk| {
        let mut bundle = Bundle::of(attack, tally.next.fetch_add(1, Ordering::Relaxed), target)?;
        let window = bundle.as_ref().map_or(WINDOW, |_| BUNDLES_WINDOW);
        // Of each RPC behind which a ping went out: its messages.
        let mut sent = VecDeque::new();
        loop {
            let messages = match &mut bundle {
                Some(bundle) => {
                    bundle.renew(target)?;
                    talk.send(attack, &bundle.rpc, bundle.messages, tally).await?
                }
                None => talk.say(attack, target, tally).await?,
            };
            sent.push_back(messages);
            talk.ping().await?;
            if sent.len() > window {
                talk.pong().await?;
            }
            // The victim has answered behind the second of these: the first is no longer under way. On QUIC a ping passes
            // by the messages before it.
            if sent.len() > window + 1 {
                let first = sent.pop_front().unwrap_or_default();
                if talk.is_in_order {
                    tally.sure_of(attack, first);
                }
            }
        }
    })
    .await
}

/// Publishes a few, and stays until they have arrived.
pub(crate) async fn few(
    attack: Attack,
    line: &mut Line,
    incoming: IncomingStreams,
    target: &Target,
    tally: &Tally,
) -> Result<(), Failure> {
    speak(line, incoming, target, async |talk| {
        let sure = match Bundle::few(attack, target)? {
            Some((bundle, sure)) => {
                talk.send(attack, &bundle.rpc, bundle.messages, tally).await?;
                sure
            }
            None => {
                for _ in 0..FEW {
                    talk.say(attack, target, tally).await?;
                }
                FEW
            }
        };
        talk.ping().await?;
        talk.pong().await?;
        tokio::time::sleep(SETTLED).await;
        tally.sure_of(attack, sure);
        Ok(())
    })
    .await
}

/// Sends one message, and stays until it has been judged.
pub(crate) async fn one(
    message: Vec<u8>,
    line: &mut Line,
    incoming: IncomingStreams,
    target: &Target,
) -> Result<(), Failure> {
    speak(line, incoming, target, async |talk| {
        talk.gossip.write_all(&publish(&target.topic, [message])).await?;
        talk.gossip.flush().await?;
        tokio::time::sleep(SETTLED).await;
        Ok(())
    })
    .await
}

/// A peer that has joined the topic.
struct Talk {
    gossip: Stream,
    ping: Stream,
    is_in_order: bool,
}

/// Joins the topic and does this, while what the victim says is read and passed over.
async fn speak(
    line: &mut Line,
    incoming: IncomingStreams,
    target: &Target,
    what: impl AsyncFnOnce(&mut Talk) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut talk = Talk {
        gossip: line.stream(GOSSIP).await?,
        ping: line.ping().await?,
        is_in_order: line.way.is_in_order(),
    };
    let speaking = async {
        talk.gossip.write_all(&subscribe(&target.topic)).await?;
        what(&mut talk).await
    };
    tokio::select! {
        result = speaking => result,
        () = discard(incoming) => Err("the victim takes nobody's streams any more".into()),
    }
}

impl Talk {
    /// Sends an RPC of so many messages; how many.
    async fn send(
        &mut self,
        attack: Attack,
        rpc: &[u8],
        messages: usize,
        tally: &Tally,
    ) -> Result<usize, Failure> {
        tally.tried_of(attack, messages);
        tally.sent(rpc.len());
        self.gossip.write_all(rpc).await?;
        self.gossip.flush().await?;
        Ok(messages)
    }

    /// Sends a message that nobody has seen, in an RPC of its own.
    async fn say(&mut self, attack: Attack, target: &Target, tally: &Tally) -> Result<usize, Failure> {
        let n = tally.next.fetch_add(1, Ordering::Relaxed);
        let rpc = publish(&target.topic, [message(attack, n, target)]);
        self.send(attack, &rpc, 1, tally).await
    }

    async fn ping(&mut self) -> Result<(), Failure> {
        self.ping.write_all(&[0; PING_BYTES]).await?;
        self.ping.flush().await?;
        Ok(())
    }

    async fn pong(&mut self) -> Result<(), Failure> {
        self.ping.read_exact(&mut [0; PING_BYTES]).await?;
        Ok(())
    }
}

/// What the victim says is read and passed over.
pub(crate) async fn discard(mut incoming: IncomingStreams) {
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
    let (root, validator) = match attack {
        Attack::UnknownValidators => (target.payload(), (1 << 32) | u64::from_le_bytes(own) >> 32),
        Attack::NoProof => return compress(&random),
        // A length of more bytes than there are.
        Attack::NoSnappy => return random,
        _ => {
            let mut unknown = [0; 32];
            unknown.copy_from_slice(root(0x8000_0000 | n).as_slice());
            unknown[8..16].copy_from_slice(&own);
            (Root::from(unknown), 1)
        }
    };
    compress(&proof(root, validator, random, target.proof_type))
}

/// A proof that nobody signed, as SSZ.
pub(crate) fn proof(root: Root, validator: u64, data: Vec<u8>, proof_type: u8) -> Bytes {
    let proof = SignedExecutionProof {
        message: ExecutionProof {
            proof_data: data.into(),
            proof_type,
            public_input: PublicInput {
                new_payload_request_root: root,
            },
        },
        validator_index: validator,
        signature: SignatureBytes::ZERO,
    };
    proof.to_ssz_bytes()
}

/// Bytes that nobody else has.
pub(crate) fn own_bytes() -> [u8; 8] {
    let id = libp2p::PeerId::random().to_bytes();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&id[id.len() - 8..]);
    bytes
}
