//! One or two nodes: identity, ports, reconnecting, ending, and peers that send what is no message.

use crate::support::*;
use assay_chain::Chain;
use assay_network::{
    Direction, NetworkError, PeerAddress, PeerState,
    enr::{Enr, EnrExt, EnrForkId},
    publisher,
};
use assay_types::Epoch;
use futures::StreamExt;
use libp2p::{SwarmBuilder, gossipsub, noise, swarm::SwarmEvent, tcp, yamux};
use prometheus_client::registry::Registry;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

const SLOT: u64 = 30;

#[tokio::test]
async fn identity_names_the_real_port_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let chain = TestChain::new(spec(), SLOT);
    let node = Node::start_with(config(dir.path(), vec![]), chain.clone()).await;
    let before = node.network.identity();
    let enr: Enr = before.enr.parse().unwrap();
    let address: PeerAddress = before.p2p_addresses[0].to_string().parse().unwrap();
    assert_ne!(enr.tcp4(), Some(0));
    let told: Vec<_> = enr
        .tcp_multiaddrs()
        .into_iter()
        .chain(enr.quic_multiaddrs())
        .collect();
    assert_eq!(told, before.p2p_addresses);
    assert_eq!(told.len(), 2);
    assert_eq!(enr.udp_multiaddrs(), before.discovery_addresses);
    assert_eq!(enr.next_fork_digest(), Some(chain.digest_at(BOUNDARY)));
    assert_eq!(enr.custody_group_count(), Some(4));
    assert_eq!(enr.peer_id(), Some(before.peer_id));
    assert_eq!((enr.seq(), enr.eproof()), (1, 1));
    let expected = EnrForkId::at(chain.spec(), &chain.genesis().genesis_validators_root, Epoch(3));
    assert_eq!(enr.fork_id(), Some(expected));
    assert_eq!(expected.next_fork_epoch, BOUNDARY);
    node.stop().await;

    let port = enr.tcp4().unwrap();
    let again = assay_network::NetworkConfig {
        port,
        discovery_port: enr.udp4(),
        quic_port: enr.get_decodable("quic").and_then(Result::ok),
        ..config(dir.path(), vec![])
    };
    let node = Node::start_with(again, chain.clone()).await;
    assert_eq!(node.network.identity(), before);
    assert_eq!(node.address(), address);

    // The fork entry follows the clock.
    chain.set_slot(BOUNDARY.0 * 8);
    let moved = wait_for(|| {
        let enr: Enr = node.network.identity().enr.parse().unwrap();
        (enr.seq() == 2).then_some(enr)
    });
    assert_eq!(
        moved.await.unwrap().fork_id().unwrap().fork_digest,
        chain.digest_at(BOUNDARY)
    );
    node.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error() {
    let (node, _dir) = Node::start(vec![]).await;
    let port = node
        .network
        .identity()
        .enr
        .parse::<Enr>()
        .unwrap()
        .tcp4()
        .unwrap();
    let other = tempfile::tempdir().unwrap();
    let (_publisher, queue) = publisher();
    let result = assay_network::start(
        assay_network::NetworkConfig {
            port,
            ..config(other.path(), vec![])
        },
        parts(
            node.chain.clone(),
            node.intake(),
            queue,
            open_store(&node.chain, other.path()),
            CancellationToken::new(),
        ),
        &mut Registry::default(),
    )
    .await;
    match result {
        Err(e @ NetworkError::PortInUse { .. }) => {
            assert!(e.to_string().contains("choose another --port"), "{e}");
        }
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("two nodes on one port"),
    }
    node.stop().await;
}

#[tokio::test]
async fn a_lost_peer_is_dialled_again_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let chain = TestChain::new(spec(), SLOT);
    let b = Node::start_with(config(dir.path(), vec![]), chain.clone()).await;
    let port = b.network.identity().enr.parse::<Enr>().unwrap().tcp4().unwrap();
    let by_record: PeerAddress = b.network.identity().enr.parse().unwrap();
    let (a, _dir) = Node::start(vec![by_record]).await;
    a.connected_to(1).await;
    let seen = wait_for(|| a.network.peers().into_iter().find(|p| p.agent.is_some()))
        .await
        .unwrap();
    assert_eq!(
        seen.agent.unwrap(),
        format!("assay/{}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        (seen.state, seen.direction),
        (PeerState::Connected, Some(Direction::Outbound))
    );
    assert_eq!(seen.enr, Some(b.network.identity().enr));

    b.stop().await;
    wait_for(|| (a.network.peer_count().connected == 0).then_some(()))
        .await
        .unwrap();
    assert_eq!(
        a.network.peers().len(),
        1,
        "a peer to stay connected to is not forgotten"
    );
    let again = assay_network::NetworkConfig {
        port,
        ..config(dir.path(), vec![])
    };
    let b = Node::start_with(again, chain).await;
    a.connected_to(1).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_proof_published_before_anybody_listens_goes_to_the_first_who_does() {
    let (a, _dir_a) = Node::start(vec![]).await;
    let payload = root(1);
    a.chain.see_payload(payload, SLOT);
    let proof = signed_proof(&a.chain, payload, SLOT, 1000);
    a.post(proof.clone()).await;
    wait_for(|| (a.network.counters().published_without_peers == 1).then_some(()))
        .await
        .unwrap();
    assert_eq!(a.network.counters().messages_published, 0);

    let (b, _dir_b) = Node::start(vec![a.address()]).await;
    b.chain.see_payload(payload, SLOT);
    assert_eq!(b.gets(&proof.key()).await, Some("gossip"));
    assert_eq!(a.network.counters().messages_published, 1);
    a.stop().await;
    b.stop().await;
}

/// What gossip brings first is remembered by its id: an attacker that is over its budget on purpose and then passes an
/// honest proof on takes it from nobody.
#[tokio::test]
async fn a_proof_that_is_waited_for_is_taken_from_a_peer_over_its_budget_too() {
    let (b, _dir_b) = Node::start(vec![]).await;
    let (a, _dir_a) = Node::start(vec![b.address()]).await;
    let (c, _dir_c) = Node::start(vec![b.address()]).await;
    b.connected_to(2).await;
    let payload = root(200);
    for node in [&a, &b, &c] {
        node.chain.see_payload(payload, SLOT);
    }
    // More than a peer may bring at once, of payloads that nobody knows.
    for n in 1..=160 {
        a.publish_unverified(signed_proof(&a.chain, root(n), SLOT, 100), SLOT)
            .await;
        if n % 4 == 0 {
            wait_for(|| (b.network.counters().messages_received >= u64::from(n)).then_some(()))
                .await
                .unwrap();
        }
    }
    let over = b.network.counters().over_budget;
    assert!(over > 0);
    let proof = signed_proof(&a.chain, payload, SLOT, 1000);
    a.publish_unverified(proof.clone(), SLOT).await;
    assert_eq!(b.gets(&proof.key()).await, Some("gossip"));
    assert_eq!(c.gets(&proof.key()).await, Some("gossip"));
    // Now that it is proven, others of the same type are not.
    // What a slow run has given back of the budget is used up by the first of them.
    for size in 1001..1161 {
        a.publish_unverified(signed_proof(&a.chain, payload, SLOT, size), SLOT)
            .await;
    }
    wait_for(|| (b.network.counters().over_budget > over).then_some(()))
        .await
        .unwrap();
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test]
async fn peers_of_another_network_share_no_topic() {
    let (a, _dir_a) = Node::start(vec![]).await;
    let mut other = spec();
    other.blob_schedule.clear();
    other
        .fork_schedule
        .iter_mut()
        .for_each(|entry| entry.1.0[3] ^= 0x55);
    let dir_b = tempfile::tempdir().unwrap();
    let b = Node::start_with(
        config(dir_b.path(), vec![a.address()]),
        TestChain::new(other, SLOT),
    )
    .await;
    a.connected_to(1).await;
    let payload = root(1);
    a.chain.see_payload(payload, SLOT);
    b.chain.see_payload(payload, SLOT);
    a.post(signed_proof(&a.chain, payload, SLOT, 1000)).await;
    wait_for(|| (a.network.counters().published_without_peers == 1).then_some(()))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(b.network.counters().messages_received, 0);
    a.stop().await;
    b.stop().await;
}

type BarePeer =
    libp2p::Swarm<gossipsub::Behaviour<gossipsub::IdentityTransform, gossipsub::AllowAllSubscriptionFilter>>;

/// A peer that is gossipsub and nothing else, and sends whatever it is told, as often as it is told.
fn bare_peer(config: gossipsub::ConfigBuilder) -> BarePeer {
    bare_peer_as(config, gossipsub::MessageAuthenticity::Anonymous)
}

fn bare_peer_as(
    mut config: gossipsub::ConfigBuilder,
    authenticity: gossipsub::MessageAuthenticity,
) -> BarePeer {
    static NEXT_ID: AtomicU64 = AtomicU64::new(0);
    let config = config
        .validation_mode(gossipsub::ValidationMode::None)
        .message_id_fn(|_: &gossipsub::Message| {
            gossipsub::MessageId::new(&NEXT_ID.fetch_add(1, Ordering::Relaxed).to_be_bytes())
        })
        .build()
        .unwrap();
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| gossipsub::Behaviour::new(authenticity, config).unwrap())
        .unwrap()
        .build()
}

fn proof_topic(node: &Node, epoch: Epoch) -> gossipsub::IdentTopic {
    let digest = node.chain.digest_at(epoch);
    gossipsub::IdentTopic::new(format!("/eth2/{digest}/execution_proof/ssz_snappy"))
}

/// The peer joins the topic and prunes whoever grafts it: it is in nobody's mesh.
#[tokio::test]
async fn a_proof_goes_to_peers_of_the_topic_where_there_is_no_mesh() {
    let mut config = gossipsub::ConfigBuilder::default();
    config.mesh_n(0).mesh_n_low(0).mesh_n_high(0).mesh_outbound_min(0);
    let mut peer = bare_peer(config);
    peer.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = peer.select_next_some().await {
            break format!("{address}/p2p/{}", peer.local_peer_id());
        }
    };
    let (node, _dir) = Node::start(vec![address.parse().unwrap()]).await;
    peer.behaviour_mut()
        .subscribe(&proof_topic(&node, Epoch(3)))
        .unwrap();
    let payload = root(1);
    node.chain.see_payload(payload, SLOT);
    let received = async {
        loop {
            let event = peer.select_next_some().await;
            if let SwarmEvent::Behaviour(gossipsub::Event::Message { .. }) = event {
                return;
            }
        }
    };
    let published = async {
        // Grafts and prunes are over.
        tokio::time::sleep(Duration::from_secs(2)).await;
        node.post(signed_proof(&node.chain, payload, SLOT, 1000)).await;
        std::future::pending::<()>().await;
    };
    let received = async {
        tokio::select! { () = received => (), () = published => () }
    };
    tokio::time::timeout(PATIENCE, received).await.unwrap();
    assert_eq!(node.network.counters().messages_published, 1);
    node.stop().await;
}

/// A bare gossipsub peer that sends what no node of ours would.
#[tokio::test]
async fn what_does_not_unpack_is_refused_counted_and_paid_for() {
    let (node, _dir) = Node::start(vec![]).await;
    let topic = proof_topic(&node, Epoch(3));
    // 5 GiB declared; 4 GiB - 1 declared; a literal that is cut off.
    let declared_5_gib = vec![0x80, 0x80, 0x80, 0x80, 0x14, 0xfe, 0x01, 0x00];
    let declared_4_gib = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x00];
    let cut_off = vec![0xc8, 0x01, 0xf0, 0xc7, 0x00];
    let after_the_third = b"not snappy at all".to_vec();
    let messages = [declared_5_gib, declared_4_gib, cut_off, after_the_third];

    let mut peer = bare_peer(gossipsub::ConfigBuilder::default());
    peer.dial(node.network.identity().p2p_addresses[0].clone())
        .unwrap();
    let id = *peer.local_peer_id();

    let talk = async {
        let mut joined = 0;
        loop {
            let event = peer.select_next_some().await;
            if matches!(event, SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. })) {
                joined += 1;
            }
            if joined == 2 {
                joined = 0;
                for data in &messages {
                    peer.behaviour_mut().publish(topic.clone(), data.clone()).unwrap();
                }
            }
        }
    };
    // Gossip takes 10 for the square of the number of invalid messages, and after the third looks at nothing of the
    // peer's: a quarter of that is its share of the peer's score, which is below where peers are disconnected.
    let paid = wait_for(|| {
        node.network
            .peers()
            .into_iter()
            .find(|p| p.peer_id == id && p.score < -20.0)
            .map(|p| p.score)
    });
    let paid = tokio::select! { paid = paid => paid, () = talk => None };
    assert_eq!(paid, Some(-22.5));
    assert_eq!(node.network.peer_count().connected, 0);
    let counters = node.network.counters();
    assert_eq!(
        (counters.messages_undecodable, counters.messages_received),
        (3, 0)
    );
    let passed_over = wait_for(|| Some(node.network.counters().passed_over).filter(|n| *n > 0));
    assert!(
        passed_over.await.is_some(),
        "what comes after the third is counted too"
    );
    node.stop().await;
}

/// gossipsub's codec refuses it, before anything of ours sees it.
#[tokio::test]
async fn what_is_not_anonymous_is_refused_counted_and_paid_for() {
    let (node, _dir) = Node::start(vec![]).await;
    let topic = proof_topic(&node, Epoch(3));
    let mut peer = bare_peer_as(
        gossipsub::ConfigBuilder::default(),
        gossipsub::MessageAuthenticity::RandomAuthor,
    );
    peer.dial(node.network.identity().p2p_addresses[0].clone())
        .unwrap();
    let mut published = 0;
    let talk = async {
        loop {
            peer.select_next_some().await;
            while published < 2
                && peer
                    .behaviour_mut()
                    .publish(topic.clone(), vec![published])
                    .is_ok()
            {
                published += 1;
            }
        }
    };
    let counted = wait_for(|| (node.network.counters().messages_undecodable == 2).then_some(()));
    let counted = tokio::select! { counted = counted => counted, () = talk => None };
    assert!(counted.is_some());
    // Two cost 40: half of what takes a peer's word.
    let paid = wait_for(|| node.network.peers().first().filter(|p| p.score == -10.0).cloned());
    assert!(paid.await.is_some());
    assert_eq!(node.network.counters().messages_received, 0);
    node.stop().await;
}

/// What gossipsub has seen before costs as much as what it has not: each copy is counted, what is too much is passed over
/// unread, and whoever goes on is let go.
#[tokio::test]
async fn the_same_message_over_and_over_is_counted_then_passed_over_and_then_flooding() {
    /// More than a burst, and less than two.
    const COPIES: u64 = 1000;
    let (node, _dir) = Node::start(vec![]).await;
    let (honest, _dir_honest) = Node::start(vec![node.address()]).await;
    let topic = proof_topic(&node, Epoch(3));
    let (payload, other) = (root(1), root(2));
    for chain in [&node.chain, &honest.chain] {
        chain.see_payload(payload, SLOT);
        chain.see_payload(other, SLOT);
    }
    let proof = signed_proof(&node.chain, payload, SLOT, 1000);
    let data = assay_types::gossip::compress(&proof.to_ssz_bytes());
    let mut peer = bare_peer(gossipsub::ConfigBuilder::default());
    peer.dial(node.network.identity().p2p_addresses[0].clone())
        .unwrap();
    let id = *peer.local_peer_id();

    let enough = AtomicU64::new(COPIES);
    let talk = async {
        let mut published = 0;
        loop {
            tokio::select! {
                _ = peer.select_next_some() => {}
                () = tokio::time::sleep(Duration::from_millis(2)) => {
                    let left = enough.load(Ordering::Relaxed).saturating_sub(published);
                    for _ in 0..left.min(20) {
                        let sent = peer.behaviour_mut().publish(topic.clone(), data.clone());
                        published += u64::from(sent.is_ok());
                    }
                }
            }
        }
    };
    let test = async {
        let counted = wait_for(|| {
            let counters = node.network.counters();
            let came = counters.messages_received + counters.messages_duplicate + counters.passed_over;
            (came == COPIES).then_some(counters)
        });
        let counters = counted.await.unwrap();
        assert_eq!(counters.messages_received, 1);
        assert!(counters.passed_over > 0, "{counters:?}");
        let proof = signed_proof(&node.chain, other, SLOT, 1000);
        honest.post(proof.clone()).await;
        assert_eq!(node.gets(&proof.key()).await, Some("gossip"));

        enough.store(u64::MAX, Ordering::Relaxed);
        let let_go = wait_for(|| {
            let peers = node.network.peers().into_iter();
            peers.filter(|p| p.peer_id == id).find(|p| p.score < -20.0)
        });
        let_go.await.unwrap();
    };
    tokio::select! { () = test => (), () = talk => () }
    for node in [node, honest] {
        node.stop().await;
    }
}
