//! Tables for the rules, and properties over any order of events.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::{
    bans::BAN_TIME,
    dialing::MAX_DIALS,
    peer::{
        EVIDENCE_WAIT, FIRST_BACKOFF, FIRST_BACKOFF_FOUND, GOODBYE_BACKOFF, HOPELESS_AFTER, MAX_ADDRESSES,
        MAX_BACKOFF, STABLE_AFTER,
    },
    *,
};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

fn address(id: PeerId, port: u16) -> PeerAddress {
    format!("/ip4/127.0.0.1/tcp/{port}/p2p/{id}").parse().unwrap()
}

fn at(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}

fn ip(text: &str) -> Multiaddr {
    format!("/ip4/{text}/tcp/9000").parse().unwrap()
}

fn found(id: PeerId, address: Multiaddr, eproof: u8) -> Candidate {
    Candidate {
        peer_id: id,
        addresses: vec![address],
        enr: None,
        eproof: Some(eproof),
        proven: false,
    }
}

fn peers(target: usize, trusted: &[PeerAddress], now: Instant) -> Peers {
    Peers::new(PeerId::random(), trusted, Limits { target }, now)
}

impl Peers {
    /// A connection of its own number.
    fn connects(
        &mut self,
        id: PeerId,
        address: Multiaddr,
        direction: Direction,
        now: Instant,
    ) -> ConnectionId {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let connection = ConnectionId::new_unchecked(NEXT.fetch_add(1, Ordering::Relaxed));
        self.connected(id, connection, address, direction, now);
        connection
    }

    /// All of its connections end.
    fn leaves(&mut self, id: &PeerId, now: Instant) {
        let connections = self.peers.get(id).map(Peer::connection_ids).unwrap_or_default();
        for connection in connections {
            self.disconnected(id, connection, now);
        }
    }
}

fn admit(peers: &Peers, id: PeerId, from: &Multiaddr, now: Instant) -> Result<(), &'static str> {
    peers
        .admits(&id, ip_of(from), Direction::Inbound, now)
        .map_err(|denied| denied.0)
}

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
    peers.leaves(&guest, now);
    assert_eq!(peers.list().iter().map(|p| p.peer_id).collect::<Vec<_>>(), [kept]);
    assert!(!peers.dial_failed(&guest, now));
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
fn peers_of_another_network_are_parted_with_and_tried_again_later() {
    let (now, id) = (Instant::now(), PeerId::random());
    let mut peers = peers(8, &[], now);
    peers.connects(id, at(2), Direction::Inbound, now);
    peers.fault(&id, Fault::WrongNetwork, now);
    assert_eq!(
        peers.take_actions(),
        [Action::Part {
            peer: id,
            reason: Goodbye::IrrelevantNetwork
        }]
    );
    peers.leaves(&id, now);
    assert_eq!(admit(&peers, id, &at(2), now), Err("banned"));
    assert_eq!(admit(&peers, id, &at(2), now + PART_TIME), Ok(()));
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

#[test]
fn the_store_brings_peers_and_bans_back_and_damage_costs_the_lines_it_is_in() {
    let dir = tempfile::tempdir().unwrap();
    let file = PeerFile::new(dir.path());
    let now = Instant::now();
    let (good, bad, stranger) = (PeerId::random(), PeerId::random(), PeerId::random());
    let mut before = peers(8, &[], now);
    assert_eq!(file.load(&mut before, now), 0, "no file, no peers");
    before.discovered(found(good, at(1), 1), now);
    before.discovered(found(stranger, at(1), 1), now);
    before.connects(good, at(1), Direction::Outbound, now);
    for _ in 0..3 {
        let id = if before.bans.peers().count() == 0 {
            bad
        } else {
            PeerId::random()
        };
        before.connects(id, ip("8.8.8.8"), Direction::Inbound, now);
        for _ in 0..3 {
            before.fault(&id, Fault::InvalidProof, now);
        }
    }
    let text = before.to_text(now);
    file.save(&text);

    let mut after = peers(8, &[], now);
    assert_eq!(file.load(&mut after, now), 1, "never reached, never kept");
    assert!(after.get(&good).is_some() && after.get(&stranger).is_none());
    assert_eq!(admit(&after, bad, &at(1), now), Err("banned"));
    let address = ip_of(&ip("8.8.8.8")).unwrap();
    assert!(after.admits_address(address, now).is_err());
    assert!(after.admits_address(address, now + BAN_TIME).is_ok());
    assert_eq!(after.take_due(now).len(), 1);

    let load = |text: &str| {
        std::fs::write(dir.path().join(file::PEERS_FILE), text).unwrap();
        let mut fresh = peers(8, &[], now);
        let count = file.load(&mut fresh, now);
        (count, fresh.ban_count())
    };
    let all = (1, 4);
    assert_eq!(load(&text), all);
    for none_of_ours in ["", "assay peers 2\nend 0\n", &"\u{0}".repeat(1 << 21)] {
        assert_eq!(load(none_of_ours), (0, 0), "{none_of_ours:.60}");
    }
    let lines = text.lines().count();
    let first_lines = |n| text.lines().take(n).collect::<Vec<_>>().join("\n");
    let table = [
        ("no end", first_lines(lines - 1), all),
        ("cut off", first_lines(lines - 2), (1, 3)),
        (
            "cut off in a line",
            format!("{}\nban-addr", first_lines(lines - 2)),
            (1, 3),
        ),
        ("bans of peers", text.replace("ban ", "bun "), (1, 1)),
        ("another end", text.replace("end ", "end 9"), all),
        ("more behind the end", format!("{text}more\n"), all),
        ("a peer's address", text.replacen("/tcp/", "/tcq/", 1), (0, 4)),
    ];
    for (what, damaged, kept) in table {
        assert_ne!(damaged, text, "{what}");
        assert_eq!(load(&damaged), kept, "{what}");
    }
}

/// As many addresses of one peer as an operator likes: the store keeps some, and stays readable.
#[test]
fn many_addresses_of_a_given_peer_do_not_spoil_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (file, id, now) = (PeerFile::new(dir.path()), PeerId::random(), Instant::now());
    let given: Vec<PeerAddress> = (1..=9).map(|port| address(id, port)).collect();
    let mut before = peers(8, &given, now);
    assert_eq!(before.take_due(now)[0].addresses.len(), 9, "all are dialled");
    before.connects(id, at(1), Direction::Outbound, now);
    file.save(&before.to_text(now));
    let mut after = peers(8, &[], now);
    assert_eq!(file.load(&mut after, now), 1);
    assert_eq!(after.take_due(now)[0].addresses.len(), MAX_ADDRESSES);
}

#[derive(Debug, Clone)]
enum Event {
    Found(usize, u8),
    Connects(usize, bool),
    Leaves(usize),
    DialFails(usize),
    Faulty(usize, usize),
    Speaks(usize),
    Passes(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0..TRUSTED + 40;
    prop_oneof![
        (who.clone(), 0u8..2).prop_map(|(p, e)| Event::Found(p, e)),
        (who.clone(), any::<bool>()).prop_map(|(p, d)| Event::Connects(p, d)),
        who.clone().prop_map(Event::Leaves),
        who.clone().prop_map(Event::DialFails),
        (who.clone(), 0..Fault::ALL.len()).prop_map(|(p, f)| Event::Faulty(p, f)),
        who.prop_map(Event::Speaks),
        (0u64..4000).prop_map(Event::Passes),
    ]
}

const TRUSTED: usize = 2;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens in whatever order: never more than may be, never more of one address, dials bounded, peers of
    /// --peer let in and never parted with, and no ban that lasts.
    #[test]
    fn limits_hold_bans_end_and_given_peers_stay(
        target in 0usize..12,
        events in proptest::collection::vec(event(), 1..250),
    ) {
        let ids: Vec<PeerId> = (0..TRUSTED + 40).map(|_| PeerId::random()).collect();
        let mut now = Instant::now();
        let given: Vec<PeerAddress> = ids[..TRUSTED].iter().map(|id| address(*id, 1)).collect();
        let limits = Limits { target };
        let mut peers = Peers::new(PeerId::random(), &given, limits, now);
        // Ten to an address, five addresses in two subnets.
        let home = |p: usize| ip(&format!("8.8.{}.{}", p / 30, p / 10));
        for event in events {
            match event {
                Event::Found(p, eproof) => {
                    peers.discovered(found(ids[p], home(p), eproof), now);
                }
                Event::Connects(p, inbound) => {
                    let direction = if inbound { Direction::Inbound } else { Direction::Outbound };
                    let admitted = peers.admits(&ids[p], ip_of(&home(p)), direction, now);
                    if p < TRUSTED {
                        prop_assert!(admitted.is_ok());
                    }
                    if admitted.is_ok() {
                        peers.connects(ids[p], home(p), direction, now);
                    }
                }
                Event::Leaves(p) => peers.leaves(&ids[p], now),
                Event::DialFails(p) => {
                    peers.dial_failed(&ids[p], now);
                }
                Event::Faulty(p, fault) => peers.fault(&ids[p], Fault::ALL[fault], now),
                Event::Speaks(p) => peers.identified(&ids[p], "x", true),
                Event::Passes(seconds) => {
                    now += Duration::from_secs(seconds);
                    peers.tick(now);
                    peers.take_due(now);
                }
            }
            for action in peers.take_actions() {
                let (Action::Part { peer, .. } | Action::Close { peer }) = action;
                prop_assert!(!ids[..TRUSTED].contains(&peer));
            }
            let open: Vec<&Peer> = peers.open().collect();
            prop_assert!(open.len() <= limits.most());
            for site in open.iter().flat_map(|peer| peer.sites()) {
                let same = open.iter().flat_map(|peer| peer.sites()).filter(|other| *other == site).count();
                prop_assert!(same <= limits::MAX_PER_ADDRESS);
            }
            let dialing = peers.peers.values().filter(|p| !p.trusted && p.link == Link::Dialing).count();
            prop_assert!(dialing <= MAX_DIALS);
            prop_assert!(ids[..TRUSTED].iter().all(|id| peers.get(id).is_some_and(|p| p.trusted)));
        }
        now += BAN_TIME;
        peers.tick(now);
        prop_assert_eq!(peers.ban_count(), 0);
        for id in &ids {
            prop_assert!(!matches!(peers.admits(id, None, Direction::Outbound, now), Err(Denied("banned"))));
        }
    }
}
