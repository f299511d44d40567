//! Nodes that know one boot node, and find each other.

use crate::support::*;
use ::enr::CombinedKey;
use assay_chain::{BlockAt, BlockSource, ChainStatus, KnownNode, KnownNodes, RawBlock, SourceError};
use assay_network::{
    NetworkConfig, NetworkError, PeerAddress, PeerState,
    enr::{Enr, EnrExt},
};
use assay_types::{Epoch, ForkDigest, Root};
use async_trait::async_trait;
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use discv5::{ConfigBuilder, Discv5, ListenConfig};
use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

const SLOT: u64 = 30;
/// Long enough for what must not happen to happen.
const A_WHILE: Duration = Duration::from_secs(3);

fn booted(directory: &Path, boot_nodes: Vec<Enr>) -> NetworkConfig {
    NetworkConfig {
        boot_nodes,
        ..config(directory, vec![])
    }
}

fn connected(node: &Node) -> BTreeSet<String> {
    node.network
        .peers()
        .into_iter()
        .filter(|peer| peer.state == PeerState::Connected)
        .map(|peer| peer.peer_id.to_string())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_know_one_boot_node_find_each_other_and_pass_a_proof() {
    let (boot, _dir) = Node::start(vec![]).await;
    let mut nodes = Vec::new();
    for _ in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let config = booted(dir.path(), vec![boot.enr()]);
        nodes.push((Node::start_with(config, TestChain::new(spec(), SLOT)).await, dir));
    }
    for (node, _) in &nodes {
        node.connected_to(4).await;
        // Who dialled tells its record a moment after it is connected.
        wait_for(|| {
            let seen = node.network.peers();
            let are_known = seen
                .iter()
                .all(|peer| peer.eproof == Some(1) && peer.enr.is_some());
            are_known.then_some(())
        })
        .await
        .unwrap();
    }
    boot.connected_to(4).await;

    let payload = root(9);
    let all: Vec<&Node> = nodes.iter().map(|(node, _)| node).chain([&boot]).collect();
    for node in &all {
        node.chain.see_payload(payload, SLOT);
    }
    let proof = signed_proof(&all[0].chain, payload, SLOT, 5000);
    let key = proof.key();
    all[0].post(proof).await;
    for node in &all[1..] {
        assert_eq!(node.gets(&key).await, Some("gossip"));
    }
    for (node, _) in nodes {
        node.stop().await;
    }
    boot.stop().await;
}

/// No boot node the second time, and none given: the store alone brings the peer back, and the record is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_again_knows_its_peers_and_keeps_its_record() {
    let (boot, _boot_dir) = Node::start(vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let chain = TestChain::new(spec(), SLOT);
    // A QUIC socket outlives its node while connections drain; the next node would find its port taken.
    let settings = NetworkConfig {
        disable_quic: true,
        ..booted(dir.path(), vec![boot.enr()])
    };
    let node = Node::start_with(settings.clone(), chain.clone()).await;
    node.connected_to(1).await;
    let before = node.enr();
    node.stop().await;
    wait_for(|| connected(&boot).is_empty().then_some(()))
        .await
        .unwrap();

    let again = NetworkConfig {
        port: before.tcp4().unwrap(),
        discovery_port: before.udp4(),
        boot_nodes: vec![],
        ..settings
    };
    let node = Node::start_with(again, chain).await;
    assert_eq!(node.enr(), before);
    node.connected_to(1).await;
    assert_eq!(
        connected(&node),
        BTreeSet::from([boot.network.identity().peer_id.to_string()])
    );
    node.stop().await;
    boot.stop().await;
}

/// Three nodes of one network and one of another share a boot node: the stranger's record is looked at, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_network_is_not_dialled() {
    let (boot, _dir) = Node::start(vec![]).await;
    let mut other = spec();
    other
        .fork_schedule
        .iter_mut()
        .for_each(|entry| entry.1.0[3] ^= 0x55);
    let (stranger_dir, friend_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stranger = Node::start_with(
        booted(stranger_dir.path(), vec![boot.enr()]),
        TestChain::new(other, SLOT),
    )
    .await;
    let friend = Node::start_with(
        booted(friend_dir.path(), vec![boot.enr(), stranger.enr()]),
        TestChain::new(spec(), SLOT),
    )
    .await;
    friend.connected_to(1).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(stranger.network.peers(), []);
    assert_eq!(connected(&friend).len(), 1);
    assert!(
        friend
            .network
            .peer(&stranger.network.identity().peer_id)
            .is_none()
    );
    for node in [boot, stranger, friend] {
        node.stop().await;
    }
}

/// A record of the right fork with the address of somebody else: the dial finds another key, and is not repeated for
/// ever; the somebody else is none the worse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_with_the_address_of_another_costs_a_failed_dial() {
    let (victim, _victim_dir) = Node::start(vec![]).await;
    let liar_dir = tempfile::tempdir().unwrap();
    let target = victim.enr();
    let liar = Node::start_with(
        NetworkConfig {
            enr_addresses: vec!["127.0.0.1".parse().unwrap()],
            enr_tcp_port: target.tcp4(),
            enr_quic_port: target.get_decodable("quic").and_then(Result::ok),
            // Or it would hear of the node, and connect by itself.
            disable_discovery: true,
            ..config(liar_dir.path(), vec![])
        },
        TestChain::new(spec(), SLOT),
    )
    .await;
    assert_eq!(
        liar.enr().tcp_multiaddrs()[0].iter().nth(1),
        target.tcp_multiaddrs()[0].iter().nth(1)
    );
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_with(
        booted(dir.path(), vec![liar.enr(), victim.enr()]),
        TestChain::new(spec(), SLOT),
    )
    .await;
    let (liar_id, victim_id) = (liar.network.identity().peer_id, victim.network.identity().peer_id);
    wait_for(|| connected(&node).contains(&victim_id.to_string()).then_some(()))
        .await
        .unwrap();
    let unreached = wait_for(|| {
        let peer = node.network.peer(&liar_id)?;
        (peer.state == PeerState::Disconnected).then_some(peer.score)
    });
    assert_eq!(unreached.await, Some(0.0));
    assert_eq!(node.network.peer(&victim_id).unwrap().score, 0.0);
    for node in [victim, liar, node] {
        node.stop().await;
    }
}

#[tokio::test]
async fn without_discovery_nothing_is_looked_for_and_nothing_told() {
    let (boot, _dir) = Node::start(vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let quiet = NetworkConfig {
        disable_discovery: true,
        disable_quic: true,
        ..booted(dir.path(), vec![boot.enr()])
    };
    let node = Node::start_with(quiet, TestChain::new(spec(), SLOT)).await;
    let enr = node.enr();
    assert_eq!((enr.udp4(), enr.quic_multiaddrs().len()), (None, 0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.network.peers(), []);
    node.stop().await;
    boot.stop().await;
}

#[tokio::test]
async fn every_port_in_use_names_its_flag() {
    let (node, _dir) = Node::start(vec![]).await;
    let enr = node.enr();
    let quic: Option<u16> = enr.get_decodable("quic").and_then(Result::ok);
    for (flag, change) in [
        ("discovery-port", (enr.udp4(), None)),
        ("quic-port", (None, quic)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (discovery_port, quic_port) = change;
        let taken = NetworkConfig {
            discovery_port,
            quic_port,
            ..config(dir.path(), Vec::<PeerAddress>::new())
        };
        match Node::try_start(taken, TestChain::new(spec(), SLOT)).await {
            Err(NetworkError::PortInUse { flag: named, .. }) => assert_eq!(named, flag),
            Err(e) => panic!("{e}"),
            Ok(_) => panic!("two nodes on one --{flag}"),
        }
    }
    node.stop().await;
}

/// Listening on every address, a node does not know its own: others tell it. It remembers after a restart, and an
/// operator's address stays whatever they say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_that_others_see_gets_into_the_record() {
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(Node::start(vec![]).await);
    }
    let boot_nodes: Vec<Enr> = others.iter().map(|(node, _)| node.enr()).collect();
    let dir = tempfile::tempdir().unwrap();
    let chain = TestChain::new(spec(), SLOT);
    let anywhere = NetworkConfig {
        listen_addresses: vec!["0.0.0.0".parse().unwrap()],
        disable_quic: true,
        ..booted(dir.path(), boot_nodes.clone())
    };
    let node = Node::start_with(anywhere.clone(), chain.clone()).await;
    assert_eq!(node.enr().ip4(), None);
    let learned = wait_for(|| node.enr().ip4().is_some().then(|| node.enr()))
        .await
        .unwrap();
    assert_eq!(learned.ip4(), Some([127, 0, 0, 1].into()));
    assert!(learned.tcp4().is_some() && learned.udp4().is_some() && learned.seq() > 1);
    let port = learned.tcp4().unwrap();
    let tcp = format!(
        "/ip4/127.0.0.1/tcp/{port}/p2p/{}",
        node.network.identity().peer_id
    );
    assert_eq!(learned.tcp_multiaddrs(), [tcp.parse().unwrap()]);
    node.stop().await;

    let again = NetworkConfig {
        port,
        discovery_port: learned.udp4(),
        boot_nodes: vec![],
        ..anywhere.clone()
    };
    let node = Node::start_with(again, chain.clone()).await;
    assert_eq!(node.enr(), learned);
    node.stop().await;

    let given_dir = tempfile::tempdir().unwrap();
    let given = NetworkConfig {
        directory: given_dir.path().to_owned(),
        enr_addresses: vec!["127.0.0.9".parse().unwrap()],
        ..anywhere
    };
    let node = Node::start_with(given, chain).await;
    node.connected_to(4).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(
        (node.enr().ip4(), node.enr().seq()),
        (Some([127, 0, 0, 9].into()), 1)
    );
    node.stop().await;
    for (node, _) in others {
        node.stop().await;
    }
}

/// Over IPv6 alone, where the machine has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_find_each_other_over_ipv6() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let six = |directory: &Path, boot_nodes| NetworkConfig {
        listen_addresses: vec!["::1".parse().unwrap()],
        ..booted(directory, boot_nodes)
    };
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let chain = || TestChain::new(spec(), SLOT);
    let boot = Node::start_with(six(dirs[0].path(), vec![]), chain()).await;
    assert!(boot.enr().ip4().is_none() && boot.enr().udp6().is_some());
    let a = Node::start_with(six(dirs[1].path(), vec![boot.enr()]), chain()).await;
    let b = Node::start_with(six(dirs[2].path(), vec![boot.enr()]), chain()).await;
    for node in [&boot, &a, &b] {
        node.connected_to(2).await;
    }
    for node in [boot, a, b] {
        node.stop().await;
    }
}

/// A beacon node that knows others, and nothing else.
struct Knows(KnownNodes);

#[async_trait]
impl BlockSource for Knows {
    fn chain_status(&self) -> Option<ChainStatus> {
        None
    }
    async fn block(&self, _: BlockAt) -> Result<Option<RawBlock>, SourceError> {
        Ok(None)
    }
    async fn envelope(&self, _: Root) -> Result<Option<RawBlock>, SourceError> {
        Ok(None)
    }
    async fn known_nodes(&self) -> Result<KnownNodes, SourceError> {
        Ok(self.0.clone())
    }
}

/// No flag names anybody: the beacon node's own record, and those it knows by record and by address, are where it begins.
/// Of a peer that dialled the beacon node the address is no place to dial.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_the_beacon_node_names_are_found() {
    let mut named = Vec::new();
    for _ in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let config = NetworkConfig {
            disable_discovery: named.len() >= 2,
            ..config(dir.path(), vec![])
        };
        named.push((Node::start_with(config, TestChain::new(spec(), SLOT)).await, dir));
    }
    let id = |n: usize| named[n].0.network.identity().peer_id.to_string();
    let by_record = |n: usize| KnownNode {
        enr: Some(named[n].0.network.identity().enr),
        ..KnownNode::default()
    };
    let by_address = |n: usize, outbound| KnownNode {
        peer_id: Some(id(n)),
        addresses: vec![named[n].0.network.identity().p2p_addresses[0].to_string()],
        outbound: Some(outbound),
        ..KnownNode::default()
    };
    let nonsense = KnownNode {
        enr: Some("enr:-none".into()),
        peer_id: Some("nobody".into()),
        addresses: vec!["nowhere".into()],
        ..KnownNode::default()
    };
    let known = KnownNodes {
        own: Some(by_record(0)),
        peers: vec![nonsense, by_record(1), by_address(2, true), by_address(3, false)],
    };
    let dir = tempfile::tempdir().unwrap();
    let chain = TestChain::new(spec(), SLOT);
    let node = Node::try_start_beside(config(dir.path(), vec![]), chain, Arc::new(Knows(known)))
        .await
        .unwrap();
    node.connected_to(3).await;
    let expected: BTreeSet<String> = [0, 1, 2].map(id).into();
    assert_eq!(connected(&node), expected);
    node.stop().await;
    for (node, _) in named {
        node.stop().await;
    }
}

/// At a boundary of digests `eth2` and `nfd` change, and so does the record's number; what others' records must be like
/// follows too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_follows_the_forks() {
    // So long before the boundary that the topic behind it is not joined yet.
    let (before, boundary) = (Epoch(0), BOUNDARY);
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_with(config(dir.path(), vec![]), TestChain::new(spec(), 2)).await;
    let old = node.enr();
    let fork_id = old.fork_id().unwrap();
    assert_eq!(fork_id.fork_digest, node.chain.digest_at(before));
    assert_eq!(fork_id.next_fork_epoch, boundary);
    assert_eq!(old.next_fork_digest(), Some(node.chain.digest_at(boundary)));

    node.chain.set_slot(boundary.0 * 8);
    let new = wait_for(|| Some(node.enr()).filter(|enr| enr.seq() > old.seq()));
    let new = new.await.unwrap();
    assert_eq!(new.fork_id().unwrap().fork_digest, node.chain.digest_at(boundary));
    assert_eq!(new.next_fork_digest(), Some(ForkDigest::default()));
    assert_eq!(new.public_key(), old.public_key());

    // Discovery tells the new one too, and takes those of the new digest for its own.
    let newcomer_dir = tempfile::tempdir().unwrap();
    let chain = TestChain::new(spec(), boundary.0 * 8);
    let newcomer = Node::start_with(booted(newcomer_dir.path(), vec![new.clone()]), chain).await;
    newcomer.connected_to(1).await;
    node.connected_to(1).await;
    assert_eq!(
        connected(&node),
        BTreeSet::from([newcomer.network.identity().peer_id.to_string()])
    );
    let told = || newcomer.network.peers().into_iter().find_map(|peer| peer.enr);
    assert_eq!(told(), Some(new.to_base64()));
    node.stop().await;
    newcomer.stop().await;
}

/// A node of discovery and nothing else, at 127.0.0.2: loopback's first address has no limits.
async fn bare_node() -> Discv5 {
    let key = CombinedKey::generate_secp256k1();
    let socket = Arc::new(tokio::net::UdpSocket::bind("127.0.0.2:0").await.unwrap());
    let enr = ::enr::Enr::builder()
        .ip4([127, 0, 0, 2].into())
        .udp4(socket.local_addr().unwrap().port())
        .build(&key)
        .unwrap();
    let listen = ListenConfig::FromSockets {
        ipv4: Some(socket),
        ipv6: None,
    };
    let mut node = Discv5::new(enr, key, ConfigBuilder::new(listen).build()).unwrap();
    node.start().await.unwrap();
    node
}

/// A packet that begins a conversation, as discv5 has it on the wire: it names a node's id, and proves nothing.
fn first_packet(from: &Enr, to: &Enr) -> Vec<u8> {
    let iv = [5; 16];
    let (nonce, message) = ([6; 12], [7; 44]);
    let mut header = [
        b"discv5".as_slice(),
        &[0, 1, 0],
        &nonce,
        &[0, 32],
        &from.node_id().raw(),
    ]
    .concat();
    let key = UnboundCipherKey::new(&AES_128, &to.node_id().raw()[..16]).unwrap();
    EncryptingKey::ctr(key)
        .unwrap()
        .less_safe_encrypt(&mut header, EncryptionContext::Iv128((&iv).into()))
        .unwrap();
    [iv.as_slice(), &header, &message].concat()
}

/// What anybody can send in the name of another: 150 packets that name the node's id, from the address and other ports.
/// (From one port they are not limited: an answer from there is awaited after the first.)
async fn flood_in_the_name_of(node: &Discv5, victim: &Enr, from: &str) {
    let to = victim.udp4_socket().unwrap();
    let bytes = first_packet(&node.local_enr(), victim);
    for _ in 0..150 {
        let socket = tokio::net::UdpSocket::bind(from).await.unwrap();
        socket.send_to(&bytes, to).await.unwrap();
    }
}

/// Whether a first packet from there is answered, as each is that is not dropped.
async fn is_challenged(node: &Discv5, victim: &Enr, from: &str) -> bool {
    let socket = tokio::net::UdpSocket::bind(from).await.unwrap();
    let bytes = first_packet(&node.local_enr(), victim);
    let to = victim.udp4_socket().unwrap();
    socket.send_to(&bytes, to).await.unwrap();
    let mut answer = [0; 1280];
    tokio::time::timeout(Duration::from_millis(500), socket.recv(&mut answer))
        .await
        .is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_in_the_name_of_a_node_do_not_ban_it() {
    // Who is banned is one list for the whole process, which every start empties: the bare node starts first.
    let bare = bare_node().await;
    let (node, _dir) = Node::start(vec![]).await;
    let victim = node.enr();
    // From now on each is in the other's table.
    bare.send_ping(victim.clone()).await.unwrap();
    assert!(is_challenged(&bare, &victim, "127.0.0.2:0").await);
    // By its id alone, from where there are no limits; then from its address.
    flood_in_the_name_of(&bare, &victim, "127.0.0.1:0").await;
    assert!(
        is_challenged(&bare, &victim, "127.0.0.1:0").await,
        "its id is banned"
    );
    flood_in_the_name_of(&bare, &victim, "127.0.0.2:0").await;
    let again = async { while !is_challenged(&bare, &victim, "127.0.0.2:0").await {} };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    node.stop().await;
}
