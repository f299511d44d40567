//! Node records and addresses of peers, and the file that a node keeps its peers in.

use crate::Seen;
use assay_network::{
    Multiaddr, PeerAddress,
    enr::{EPROOF_ENR_KEY, ETH2_ENR_KEY, Enr, EnrExt, EnrForkId},
    read_kept_peers,
};
use bytes::Bytes;
use enr::CombinedKey;
use std::sync::OnceLock;

/// Keys whose values an input may choose in a signed record.
const KEYS: [&str; 8] = [
    ETH2_ENR_KEY,
    EPROOF_ENR_KEY,
    "ip",
    "tcp",
    "ip6",
    "tcp6",
    "udp",
    "quic",
];

/// Input that begins with a zero byte holds values for a record that is signed here, each behind a byte for its key and
/// one for its length: a signature cannot be guessed. Any other input is a peer's address as text.
pub(crate) fn node_record(data: &[u8]) -> Seen {
    match data.split_first() {
        Some((0, values)) => match signed_record(values) {
            Some(text) => address(&text),
            None => Seen::Refused,
        },
        _ => match std::str::from_utf8(data) {
            Ok(text) => address(text),
            Err(_) => Seen::Refused,
        },
    }
}

fn signed_record(mut values: &[u8]) -> Option<String> {
    static KEY: OnceLock<CombinedKey> = OnceLock::new();
    let key =
        KEY.get_or_init(|| CombinedKey::secp256k1_from_bytes(&mut [7; 32]).expect("a valid secret key"));
    let mut builder = Enr::builder();
    while let Some((&[which, len], rest)) = values.split_first_chunk() {
        let (value, rest) = rest.split_at(usize::from(len).min(rest.len()));
        builder.add_value_rlp(
            KEYS[usize::from(which) % KEYS.len()],
            Bytes::copy_from_slice(value),
        );
        values = rest;
    }
    builder.build(key).ok().map(|record| record.to_base64())
}

fn address(text: &str) -> Seen {
    if let Ok(record) = text.trim().parse::<Enr>() {
        read_record(&record);
    }
    let parsed = text.parse::<PeerAddress>();
    if let Ok(peer) = &parsed {
        assert!(!peer.addresses.is_empty());
        for address in &peer.addresses {
            // Without an id of its own, and one that can be written and read again.
            let with_id: PeerAddress = format!("{address}/p2p/{}", peer.peer_id).parse().unwrap();
            assert_eq!(
                (with_id.peer_id, &with_id.addresses[..]),
                (peer.peer_id, std::slice::from_ref(address))
            );
            assert_eq!(&address.to_string().parse::<Multiaddr>().unwrap(), address);
        }
    }
    Seen::of(&parsed)
}

fn read_record(record: &Enr) {
    assert!(record.verify());
    assert_eq!(&record.to_base64().parse::<Enr>().unwrap(), record);
    record.eproof();
    if let Some(id) = record.fork_id() {
        assert_eq!(EnrForkId::from_ssz_bytes(&id.to_ssz_bytes()), Some(id));
    }
    let dialled = record.tcp_multiaddrs().into_iter().chain(record.udp_multiaddrs());
    for address in dialled {
        assert!(
            address
                .to_string()
                .ends_with(&record.peer_id().unwrap().to_string())
        );
    }
}

/// The file of peers and bans, as text. Input that begins with a zero byte is its entries alone: they get the first and
/// the last line that fit.
pub(crate) fn kept_peers(data: &[u8]) -> Seen {
    let (is_framed, text) = match data.split_first() {
        Some((0, entries)) => (true, entries),
        _ => (false, data),
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return Seen::Refused;
    };
    let entries: Vec<&str> = text.lines().collect();
    let whole = if is_framed {
        let lines: String = entries.iter().map(|line| format!("{line}\n")).collect();
        format!("assay peers 1\n{lines}end {}\n", entries.len())
    } else {
        text.to_owned()
    };
    let kept = read_kept_peers(&whole);
    if let Ok((peers, bans)) = &kept {
        // Every entry is a line of its own behind the first.
        assert!(peers + bans < whole.lines().count());
        let cut: Vec<&str> = whole.lines().collect();
        let fewer = read_kept_peers(&cut[..cut.len() - 1].join("\n")).unwrap_or_default();
        assert!(
            fewer.0 <= *peers && fewer.1 <= *bans,
            "more without its last line"
        );
    }
    Seen::of(&kept)
}
