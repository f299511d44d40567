//! A peer that knows mplex alone and sends frames of 1 MiB: gossip of 4 MiB both ways, and a response of 4 MiB.

use crate::support::*;
use assay_chain::Chain;
use assay_network::{
    NetworkConfig,
    framing::{LengthBounds, ResponseChunk, ResponseDecoder, encode_payload},
    rpc::Protocol,
};
use assay_types::{ProofByRootIdentifier, ProofByRootIdentifiers, Root, Slot, SszContainer};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    PeerId, StreamProtocol, Swarm, SwarmBuilder,
    core::upgrade,
    gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode},
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp,
};
use std::hash::{DefaultHasher, Hash, Hasher};
use tokio::{sync::mpsc, time::timeout};

const SLOT: u64 = 30;
const MIB: usize = 1 << 20;

#[derive(NetworkBehaviour)]
struct Behaviour {
    gossip: gossipsub::Behaviour,
    streams: libp2p_stream::Behaviour,
}

fn old_peer() -> Swarm<Behaviour> {
    let gossip = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .max_transmit_size(12 * MIB)
        .message_id_fn(|message| {
            let mut hasher = DefaultHasher::new();
            message.data.hash(&mut hasher);
            hasher.finish().to_be_bytes().into()
        })
        .build()
        .unwrap();
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| {
            use libp2p::Transport;
            let mut mplex = libp2p_mplex::Config::new();
            mplex.set_split_send_size(MIB);
            tcp::tokio::Transport::new(tcp::Config::default())
                .upgrade(upgrade::Version::V1)
                .authenticate(noise::Config::new(key).unwrap())
                .multiplex(mplex)
        })
        .unwrap()
        .with_behaviour(|_| Behaviour {
            gossip: gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, gossip).unwrap(),
            streams: libp2p_stream::Behaviour::new(),
        })
        .unwrap()
        .build()
}

/// What the peer hears, until the test ends; what it is given, it publishes where the node listens.
async fn driven(mut peer: Swarm<Behaviour>, heard: mpsc::Sender<Vec<u8>>, mut says: mpsc::Receiver<Vec<u8>>) {
    let mut topic = None;
    loop {
        tokio::select! {
            event = peer.select_next_some() => match event {
                SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Subscribed { topic: of, .. })) => {
                    let of = IdentTopic::new(of.into_string());
                    let _ = peer.behaviour_mut().gossip.subscribe(&of);
                }
                SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message { message, .. })) => {
                    topic = Some(message.topic);
                    heard.send(message.data).await.unwrap();
                }
                SwarmEvent::ConnectionClosed { cause, .. } => panic!("connection closed: {cause:?}"),
                _ => {}
            },
            Some(bytes) = says.recv() => {
                let topic = topic.clone().unwrap();
                peer.behaviour_mut().gossip.publish(topic, bytes).unwrap();
            }
        }
    }
}

async fn asked(mut control: libp2p_stream::Control, node: PeerId, block_root: Root) -> Vec<ResponseChunk> {
    let id = StreamProtocol::new(Protocol::ExecutionProofsByRoot.id());
    let mut stream = control.open_stream(node, id).await.unwrap();
    let wanted = ProofByRootIdentifiers(vec![ProofByRootIdentifier {
        block_root,
        proof_types: vec![],
    }]);
    stream
        .write_all(&encode_payload(&wanted.to_ssz_bytes()))
        .await
        .unwrap();
    stream.close().await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let mut decoder = ResponseDecoder::new(LengthBounds::new(0, 8 * MIB), 8);
    let (mut rest, mut chunks) = (bytes.as_slice(), Vec::new());
    while let Some(chunk) = decoder.push(&mut rest).unwrap() {
        chunks.push(chunk);
    }
    chunks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proofs_of_four_mebibytes_travel_over_mplex() {
    let dir = tempfile::tempdir().unwrap();
    let settings = NetworkConfig {
        enable_mplex: true,
        ..config(dir.path(), vec![])
    };
    let node = Node::start_with(settings, TestChain::new(spec(), SLOT)).await;
    let mut peer = old_peer();
    let control = peer.behaviour().streams.new_control();
    peer.dial(node.network.identity().p2p_addresses[0].clone())
        .unwrap();
    let (heard, mut hears) = mpsc::channel(4);
    let (says, said) = mpsc::channel(4);
    let peer = tokio::spawn(driven(peer, heard, said));
    node.connected_to(1).await;

    let size = node.chain.spec().max_proof_size as usize;
    let (ours, theirs) = (root(1), root(2));
    for payload in [ours, theirs] {
        node.chain.see_payload(payload, SLOT);
    }
    node.chain.see_block(theirs, SLOT);
    let sent = signed_proof(&node.chain, ours, SLOT, size);
    node.post(sent.clone()).await;
    let bytes = timeout(PATIENCE, hears.recv()).await.unwrap().unwrap();
    let plain = |bytes: &[u8]| snap::raw::Decoder::new().decompress_vec(bytes).unwrap();
    assert_eq!(plain(&bytes), sent.to_ssz_bytes());

    let back = signed_proof(&node.chain, theirs, SLOT, size);
    let packed = snap::raw::Encoder::new().compress_vec(&back.to_ssz_bytes());
    says.send(packed.unwrap()).await.unwrap();
    assert_eq!(node.gets(&back.key()).await, Some("gossip"));

    let block = node.chain.canonical_block_at(Slot(SLOT)).unwrap();
    let node_id = node.network.identity().peer_id;
    let chunks = timeout(PATIENCE, asked(control, node_id, block.block_root))
        .await
        .unwrap();
    let [ResponseChunk::Success(ssz)] = chunks.as_slice() else {
        panic!("{} chunks", chunks.len());
    };
    assert_eq!(*ssz, back.to_ssz_bytes());
    peer.abort();
    node.stop().await;
}
