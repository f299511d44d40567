//! How many peers, from where; who is let go, who is forgotten.

use super::*;

#[test]
fn peers_that_found_us_are_forgotten_when_they_leave() {
    let (kept, guest, now) = (PeerId::random(), PeerId::random(), Instant::now());
    let mut peers = peers(10, &[address(kept, 1)], now);
    peers.connects(guest, at(9), Direction::Inbound, now);
    peers.identified(&guest, "guest/1\u{7}", true);
    let count = peers.count();
    assert_eq!((count.connected, count.connecting, count.disconnected), (1, 0, 1));
    let seen = peers.get(&guest).unwrap();
    assert_eq!(
        (seen.state, seen.direction),
        (PeerState::Connected, Some(Direction::Inbound))
    );
    assert_eq!(
        (seen.agent.as_deref(), seen.address),
        (Some("guest/1"), Some(at(9)))
    );
    assert!(seen.proof_aware && !seen.trusted);
    assert_eq!(peers.called(&["host/", "guest/"]), [guest].into());
    assert!(peers.called(&["host/", "uest/1"]).is_empty());
    peers.leaves(&guest, now);
    assert!(peers.called(&["guest/"]).is_empty());
    assert_eq!(peers.list().iter().map(|p| p.peer_id).collect::<Vec<_>>(), [kept]);
    assert!(!peers.dial_failed(&guest, now));
}

#[test]
fn one_address_gets_few_connections_and_twenty_nodes_on_loopback_get_theirs() {
    let now = Instant::now();
    let mut peers = peers(100, &[], now);
    for n in 0..6 {
        let id = PeerId::random();
        let expected = if n < limits::MAX_PER_ADDRESS {
            Ok(())
        } else {
            Err("address_full")
        };
        assert_eq!(admit(&peers, id, &ip("8.8.8.8"), now), expected, "{n}");
        if expected.is_ok() {
            peers.connects(id, ip("8.8.8.8"), Direction::Inbound, now);
        }
    }
    for port in 1..=20 {
        assert_eq!(admit(&peers, PeerId::random(), &at(port), now), Ok(()));
        peers.connects(PeerId::random(), at(port), Direction::Inbound, now);
    }
}

/// Two addresses: what is full at one cannot be moved to the other by second connections, nor can what is done there.
#[test]
fn a_second_connection_counts_where_it_comes_from_and_moves_nobody() {
    let now = Instant::now();
    let mut peers = peers(100, &[], now);
    let (one, other) = (ip("8.8.8.8"), ip("9.9.9.9"));
    let ids: Vec<PeerId> = (0..limits::MAX_PER_ADDRESS).map(|_| PeerId::random()).collect();
    let mut seconds = Vec::new();
    for id in &ids {
        peers.connects(*id, one.clone(), Direction::Outbound, now);
        assert_eq!(admit(&peers, *id, &other, now), Ok(()));
        seconds.push(peers.connects(*id, other.clone(), Direction::Inbound, now));
    }
    let stranger = PeerId::random();
    for full in [&one, &other] {
        assert_eq!(admit(&peers, stranger, full, now), Err("address_full"));
        assert_eq!(admit(&peers, ids[0], full, now), Err("address_full"));
    }
    assert_eq!(admit(&peers, ids[0], &at(1), now), Ok(()));
    let seen = peers.get(&ids[0]).unwrap();
    assert_eq!(
        (seen.address, seen.direction),
        (Some(one.clone()), Some(Direction::Outbound)),
        "nor does it become one that came to us"
    );

    // What one connection leaves behind is free again, and the peer stays.
    peers.disconnected(&ids[0], seconds[0], now);
    assert_eq!(peers.get(&ids[0]).unwrap().state, PeerState::Connected);
    assert_eq!(admit(&peers, stranger, &other, now), Ok(()));
    assert_eq!(admit(&peers, stranger, &one, now), Err("address_full"));

    // Blame falls on every place that it was done from.
    for id in &ids[1..] {
        for _ in 0..3 {
            peers.fault(id, Fault::InvalidProof, now);
        }
    }
    for banned in [&one, &other] {
        assert!(peers.admits_address(ip_of(banned).unwrap(), now).is_err());
    }
}

#[test]
fn beyond_the_target_the_worst_are_let_go() {
    let start = Instant::now();
    let given = PeerId::random();
    let mut peers = peers(8, &[address(given, 1)], start);
    peers.connects(given, at(1), Direction::Outbound, start);
    let ids: Vec<PeerId> = (0..10).map(|_| PeerId::random()).collect();
    for (n, id) in ids.iter().enumerate() {
        peers.connects(*id, at(9), Direction::Inbound, start);
        // Of ten, the first five take part in proofs.
        peers.identified(id, "x", n < 5);
    }
    peers.tick(start);
    assert_eq!(peers.take_actions(), [], "not judged yet");
    peers.fault(&ids[0], Fault::Flooding, start);
    peers.tick(start + EVIDENCE_WAIT);
    let parted: Vec<PeerId> = peers
        .take_actions()
        .into_iter()
        .map(|action| match action {
            Action::Part {
                peer,
                reason: Goodbye::TooManyPeers,
            } => peer,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(parted.len(), 2);
    assert!(
        parted.iter().all(|id| ids[5..].contains(id)),
        "those beyond the others' share"
    );
}

#[test]
fn the_table_is_bounded_and_keeps_whom_it_was_connected_to() {
    let now = Instant::now();
    let mut peers = peers(8, &[], now);
    let kept = PeerId::random();
    peers.discovered(
        Candidate {
            proven: true,
            ..found(kept, at(1), 0)
        },
        now,
    );
    for _ in 0..MAX_KNOWN + 50 {
        peers.discovered(found(PeerId::random(), at(1), 0), now);
    }
    assert_eq!(peers.peers.len(), MAX_KNOWN);
    assert!(peers.get(&kept).is_some());
    // Guests that leave points behind are bounded too.
    for _ in 0..MAX_KNOWN + 50 {
        let id = PeerId::random();
        peers.connects(id, at(1), Direction::Inbound, now);
        peers.fault(&id, Fault::Flooding, now);
        peers.leaves(&id, now);
    }
    assert!(peers.peers.len() <= MAX_KNOWN);
    assert!(peers.get(&kept).is_some());
}
