//! What is kept across restarts.

use super::*;

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
