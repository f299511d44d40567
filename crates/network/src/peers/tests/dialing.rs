//! Who is dialled, and when.

use super::*;

#[test]
fn the_wait_doubles_up_to_a_minute_and_starts_anew_after_a_stable_connection() {
    let (own, id, start) = (PeerId::random(), PeerId::random(), Instant::now());
    let given = [address(id, 1), address(own, 3), address(id, 2), address(id, 1)];
    let mut peers = Peers::new(own, &given, Limits { target: 10 }, start);
    let mut now = start;
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        let addresses = vec![at(1), at(2)];
        assert_eq!(
            peers.take_due(now),
            [Dial {
                peer_id: id,
                addresses
            }]
        );
        assert_eq!(peers.take_due(now), []);
        assert_eq!(peers.dial_failed(&id, now), wait == 1);
        now += Duration::from_secs(wait);
        assert_eq!(peers.next_due(), Some(now));
        assert_eq!(peers.take_due(now - Duration::from_millis(1)), []);
    }
    peers.take_due(now);
    peers.connects(id, at(1), Direction::Outbound, now);
    assert_eq!(peers.next_due(), None);
    now += STABLE_AFTER - Duration::from_secs(1);
    peers.leaves(&id, now);
    assert_eq!(
        peers.next_due(),
        Some(now + MAX_BACKOFF),
        "a connection that did not last changes nothing"
    );
    peers.connects(id, at(2), Direction::Inbound, now);
    now += STABLE_AFTER;
    peers.leaves(&id, now);
    assert_eq!(peers.next_due(), Some(now + FIRST_BACKOFF));
}

/// A peer that connects to us while we dial it: our dial's failure must not lose the open connection.
#[test]
fn a_failed_dial_beside_an_open_connection_changes_nothing() {
    let (id, now) = (PeerId::random(), Instant::now());
    let mut peers = peers(10, &[address(id, 1)], now);
    peers.take_due(now);
    peers.connects(id, at(9), Direction::Inbound, now);
    assert!(!peers.dial_failed(&id, now));
    assert_eq!((peers.count().connected, peers.next_due()), (1, None));
}

#[test]
fn proof_aware_peers_are_dialled_first_and_others_up_to_their_share() {
    let now = Instant::now();
    let mut peers = peers(8, &[], now);
    let other: Vec<PeerId> = (0..10).map(|_| PeerId::random()).collect();
    let aware: Vec<PeerId> = (0..4).map(|_| PeerId::random()).collect();
    for id in &other {
        assert!(peers.discovered(found(*id, at(1), 0), now));
    }
    for id in &aware {
        assert!(peers.discovered(found(*id, at(1), 1), now));
        assert!(!peers.discovered(found(*id, at(1), 1), now), "no news");
    }
    let wanted = peers.wanted(now);
    assert_eq!((wanted.proof_aware, wanted.others), (4, 0));
    let dialled: Vec<PeerId> = peers.take_due(now).into_iter().map(|d| d.peer_id).collect();
    assert!(dialled[..4].iter().all(|id| aware.contains(id)), "aware first");
    assert_eq!(dialled.len(), 6, "two of eight need not be aware");
    assert_eq!(peers.next_due(), None, "found peers wait for the tick");
}

/// Identities are free: the lowest ids are nobody's privilege, and no two nodes choose alike.
#[test]
fn among_equals_lots_are_drawn() {
    let now = Instant::now();
    let ids: Vec<PeerId> = (0..64).map(|_| PeerId::random()).collect();
    let dialled = || -> Vec<PeerId> {
        let mut peers = peers(64, &[], now);
        for id in &ids {
            peers.discovered(found(*id, at(1), 1), now);
        }
        peers.take_due(now).into_iter().map(|dial| dial.peer_id).collect()
    };
    let (one, other) = (dialled(), dialled());
    assert_eq!((one.len(), other.len()), (MAX_DIALS, MAX_DIALS));
    assert_ne!(one, other);
}

#[test]
fn a_target_of_nothing_dials_nobody_but_those_given() {
    let (now, id) = (Instant::now(), PeerId::random());
    let mut peers = peers(0, &[address(id, 1)], now);
    peers.discovered(found(PeerId::random(), at(1), 1), now);
    assert_eq!(peers.take_due(now).len(), 1);
    assert_eq!(admit(&peers, PeerId::random(), &at(5), now), Err("too_many"));
    assert_eq!(admit(&peers, id, &at(5), now), Ok(()));
    let wanted = peers.wanted(now);
    assert_eq!((wanted.proof_aware, wanted.others), (0, 0));
}

#[test]
fn found_peers_that_cannot_be_reached_are_forgotten() {
    let (mut now, id) = (Instant::now(), PeerId::random());
    let mut peers = peers(8, &[], now);
    peers.discovered(found(id, at(1), 1), now);
    for failure in 1..=HOPELESS_AFTER {
        assert_eq!(peers.take_due(now).len(), 1, "{failure}");
        assert!(!peers.dial_failed(&id, now), "not worth telling the operator");
        now += FIRST_BACKOFF_FOUND * 2u32.pow(failure);
    }
    assert!(peers.get(&id).is_none());
}

/// A record that says proof-aware falsely: believed for some seconds, then no more, nor on the next connection.
#[test]
fn a_false_eproof_gains_little() {
    let (start, id) = (Instant::now(), PeerId::random());
    let mut peers = peers(8, &[], start);
    peers.discovered(found(id, at(1), 1), start);
    peers.take_due(start);
    peers.connects(id, at(1), Direction::Outbound, start);
    let now = start + EVIDENCE_WAIT;
    assert_eq!(peers.proof_aware_count(now - Duration::from_millis(1)), 1);
    assert_eq!(peers.proof_aware_count(now), 0);
    peers.leaves(&id, now);
    peers.connects(id, at(1), Direction::Outbound, now);
    assert_eq!(peers.proof_aware_count(now), 0);
    peers.set_gossip(-80.0, |_| (0.0, true), now);
    assert_eq!(peers.proof_aware_count(now), 1, "who joins the topic is");
}

#[test]
fn who_said_goodbye_is_not_dialled_at_once() {
    for goodbye_first in [true, false] {
        let (start, id) = (Instant::now(), PeerId::random());
        let mut peers = peers(8, &[], start);
        peers.discovered(found(id, at(1), 1), start);
        peers.take_due(start);
        peers.connects(id, at(1), Direction::Outbound, start);
        let left = start + STABLE_AFTER;
        if goodbye_first {
            peers.said_goodbye(&id, left);
            peers.leaves(&id, left);
        } else {
            peers.leaves(&id, left);
            peers.said_goodbye(&id, left);
        }
        let mut now = left + GOODBYE_BACKOFF;
        assert_eq!(peers.take_due(now - Duration::from_millis(1)), []);
        assert_eq!(peers.take_due(now).len(), 1);
        // The next connection starts without it.
        peers.connects(id, at(1), Direction::Outbound, now);
        now += STABLE_AFTER;
        peers.leaves(&id, now);
        assert_eq!(
            peers.take_due(now + Duration::from_secs(10)).len(),
            1,
            "{goodbye_first}"
        );
    }
}
