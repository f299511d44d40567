//! QUIC where the record has it, TCP where QUIC does not answer, mplex where it is asked for; bytes counted on all.

use crate::support::*;
use assay_chain::Chain;
use assay_network::{NetworkConfig, PeerAddress, PeerState};
use futures::StreamExt;
use libp2p::{Multiaddr, PeerId, SwarmBuilder, core::upgrade, identify, noise, swarm::SwarmEvent, tcp};
use std::{net::UdpSocket, time::Duration};

const SLOT: u64 = 30;

async fn address_of(node: &Node, peer: PeerId) -> String {
    let seen = wait_for(|| {
        let peer = node.network.peer(&peer)?;
        (peer.state == PeerState::Connected).then_some(peer.address?)
    });
    seen.await.unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_travels_over_quic_and_its_bytes_are_counted() {
    let (b, _dir_b) = Node::start(vec![]).await;
    let by_record: PeerAddress = b.network.identity().enr.parse().unwrap();
    let (a, _dir_a) = Node::start(vec![by_record]).await;
    let used = address_of(&a, b.network.identity().peer_id).await;
    assert!(used.contains("/quic-v1"), "{used}");
    let payload = root(1);
    for node in [&a, &b] {
        node.chain.see_payload(payload, SLOT);
    }
    let size = a.chain.spec().max_proof_size as usize;
    let proof = signed_proof(&a.chain, payload, SLOT, size);
    let key = proof.key();
    a.post(proof).await;
    assert_eq!(b.gets(&key).await, Some("gossip"));
    let (sent, received) = (
        a.network.counters().bytes_sent,
        b.network.counters().bytes_received,
    );
    let size = size as u64;
    assert!(sent > size && sent < 2 * size, "{sent}");
    assert!(received > size && received < 2 * size, "{received}");
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_quic_does_not_answer_tcp_does() {
    let (b, _dir_b) = Node::start(vec![]).await;
    // Bound and silent: nobody's handshake ends here.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut address = b.address();
    let quic: Multiaddr = format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().unwrap();
    address.addresses.insert(0, quic);
    let (a, _dir_a) = Node::start(vec![address]).await;
    let used = address_of(&a, b.network.identity().peer_id).await;
    assert!(used.contains("/tcp/"), "{used}");
    a.stop().await;
    b.stop().await;
}

/// A peer that knows mplex alone, as beacon nodes of some years ago.
async fn mplex_alone_connects(enable_mplex: bool) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let settings = NetworkConfig {
        enable_mplex,
        ..config(dir.path(), vec![])
    };
    let node = Node::start_with(settings, TestChain::new(spec(), SLOT)).await;
    let mut peer = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| {
            use libp2p::Transport;
            let noise = noise::Config::new(key).unwrap();
            tcp::tokio::Transport::new(tcp::Config::default())
                .upgrade(upgrade::Version::V1)
                .authenticate(noise)
                .multiplex(libp2p_mplex::Config::new())
        })
        .unwrap()
        .with_behaviour(|key| {
            identify::Behaviour::new(identify::Config::new("eth2/1.0.0".into(), key.public()))
        })
        .unwrap()
        .build();
    peer.dial(node.network.identity().p2p_addresses[0].clone())
        .unwrap();
    // Identify tells that streams work, not the connection alone.
    let outcome = async {
        loop {
            match peer.select_next_some().await {
                SwarmEvent::Behaviour(identify::Event::Received { .. }) => return true,
                SwarmEvent::OutgoingConnectionError { .. } => return false,
                _ => {}
            }
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(10), outcome)
        .await
        .unwrap();
    node.stop().await;
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mplex_is_spoken_where_it_is_asked_for() {
    assert!(mplex_alone_connects(true).await);
    assert!(!mplex_alone_connects(false).await);
}
