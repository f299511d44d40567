//! Properties over any order of events.

use super::*;
use proptest::prelude::*;

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
