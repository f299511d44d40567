//! What misconduct leads to: goodbyes, bans that end.

use super::*;

#[test]
fn faults_lead_to_goodbye_then_to_a_ban_that_ends() {
    let (start, id) = (Instant::now(), PeerId::random());
    let mut peers = peers(8, &[], start);
    let here = ip("8.8.8.8");
    peers.connects(id, here.clone(), Direction::Inbound, start);
    for _ in 0..2 {
        peers.fault(&id, Fault::InvalidResponse, start);
        peers.fault(&id, Fault::TimedOut, start - Duration::from_secs(1));
    }
    let actions = peers.take_actions();
    assert_eq!(
        actions,
        [Action::Part {
            peer: id,
            reason: Goodbye::BadScore
        }],
        "once"
    );
    assert_eq!(peers.get(&id).unwrap().state, PeerState::Disconnecting);
    assert_eq!(admit(&peers, id, &here, start), Err("low_score"));
    peers.tick(start + GOODBYE_TIME);
    assert_eq!(peers.take_actions(), [Action::Close { peer: id }]);
    assert_eq!(admit(&peers, id, &here, start + BAN_TIME), Err("parting"));
    peers.tick(start + GOODBYE_TIME * 2);
    assert_eq!(peers.take_actions(), []);
    peers.leaves(&id, start);
    assert_eq!(admit(&peers, id, &here, start), Err("low_score"));

    for _ in 0..3 {
        peers.fault(&id, Fault::InvalidProof, start);
    }
    assert_eq!(admit(&peers, id, &here, start), Err("banned"));
    assert!(!peers.discovered(found(id, here.clone(), 1), start));
    let end = start + BAN_TIME;
    peers.tick(end - Duration::from_secs(1));
    assert_eq!(
        admit(&peers, id, &here, end - Duration::from_secs(1)),
        Err("banned")
    );
    peers.tick(end);
    assert_eq!(admit(&peers, id, &here, end), Ok(()));
    assert!(peers.get(&id).is_some(), "its points are remembered");
    peers.tick(end + BAN_TIME * 24);
    assert!(peers.get(&id).is_none(), "and forgotten with it");
}

#[test]
fn a_gossip_score_below_the_graylist_disconnects() {
    let (now, id, given) = (Instant::now(), PeerId::random(), PeerId::random());
    let mut peers = peers(8, &[address(given, 1)], now);
    for peer in [id, given] {
        peers.connects(peer, at(2), Direction::Inbound, now);
    }
    peers.set_gossip(-80.0, |_| (-80.0, true), now);
    assert_eq!(peers.take_actions(), []);
    peers.set_gossip(-80.0, |_| (-81.0, true), now);
    let parted = Action::Part {
        peer: id,
        reason: Goodbye::BadScore,
    };
    assert_eq!(peers.take_actions(), [parted], "and never one of --peer");
}

#[test]
fn peers_that_cannot_be_talked_to_are_told_why_and_tried_again_later() {
    // The reasons of the phase0 p2p text.
    for (fault, reason, code) in [
        (Fault::WrongNetwork, Goodbye::IrrelevantNetwork, 2),
        (Fault::NoStatus, Goodbye::Fault, 3),
    ] {
        let (now, id) = (Instant::now(), PeerId::random());
        let mut peers = peers(8, &[], now);
        peers.connects(id, at(2), Direction::Inbound, now);
        peers.fault(&id, fault, now);
        assert_eq!(peers.take_actions(), [Action::Part { peer: id, reason }]);
        assert_eq!(reason.code(), code, "{fault:?}");
        peers.leaves(&id, now);
        assert_eq!(admit(&peers, id, &at(2), now), Err("banned"));
        assert_eq!(admit(&peers, id, &at(2), now + PART_TIME), Ok(()));
    }
}

#[test]
fn many_bad_identities_get_their_address_banned_and_loopback_never() {
    let now = Instant::now();
    for (from, banned) in [(ip("8.8.8.8"), true), (at(7), false)] {
        let mut peers = peers(50, &[], now);
        let honest = PeerId::random();
        peers.connects(honest, from.clone(), Direction::Inbound, now);
        for _ in 0..3 {
            let id = PeerId::random();
            peers.connects(id, from.clone(), Direction::Inbound, now);
            for _ in 0..3 {
                peers.fault(&id, Fault::InvalidProof, now);
            }
            peers.leaves(&id, now);
        }
        let reasons: Vec<Goodbye> = peers
            .take_actions()
            .into_iter()
            .filter_map(|action| match action {
                Action::Part { peer, reason } if peer == honest => Some(reason),
                _ => None,
            })
            .collect();
        let address = ip_of(&from).unwrap();
        assert_eq!(peers.admits_address(address, now).is_err(), banned);
        assert_eq!(reasons == [Goodbye::BannedAddress], banned);
        assert_eq!(admit(&peers, PeerId::random(), &from, now).is_err(), banned);
        assert!(peers.admits_address(address, now + BAN_TIME).is_ok());
    }
}

/// A backlog that is on its way when the goodbye is said does not turn it into a ban; bad proofs do.
#[test]
fn what_is_in_flight_at_a_goodbye_is_no_ban() {
    let now = Instant::now();
    for (fault, banned) in [
        (Fault::Flooding, false),
        (Fault::TimedOut, false),
        (Fault::InvalidProof, true),
    ] {
        let mut peers = peers(50, &[], now);
        let id = PeerId::random();
        peers.connects(id, ip("8.8.8.8"), Direction::Inbound, now);
        for _ in 0..40 {
            peers.fault(&id, fault, now);
        }
        peers.leaves(&id, now);
        let admitted = admit(&peers, id, &ip("8.8.8.8"), now);
        assert_eq!(admitted == Err("banned"), banned, "{fault:?}");
    }
}
