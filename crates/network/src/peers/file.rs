//! The peer store: who was worth knowing and who is banned, across restarts.
//!
//! A text file, one peer or ban a line, replaced as a whole. A line that cannot be read costs itself and a warning; a file
//! that is none of ours, a fresh start.

use super::{
    Candidate, Peers,
    bans::BAN_TIME,
    limits::Site,
    peer::{MAX_ADDRESSES, Peer},
};
use crate::{
    enr::{Enr, EnrExt},
    files::{self, Readers},
};
use libp2p::{Multiaddr, PeerId};
use std::{
    fmt::Write,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Name of the file in the network's directory.
pub(crate) const PEERS_FILE: &str = "peers.txt";
/// First line: what the file is, and in which form.
const HEADER: &str = "assay peers 1";
/// Peers kept, best first.
const MAX_PEERS: usize = 200;
/// A larger file is none of ours: 200 peers and 2000 bans are some 200 KB.
const MAX_BYTES: u64 = 1 << 20;

/// Where peers are kept.
#[derive(Debug, Clone)]
pub(crate) struct PeerFile {
    path: PathBuf,
}

impl PeerFile {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            path: directory.join(PEERS_FILE),
        }
    }

    /// Reads what was kept into `peers`. How many peers came.
    pub(crate) fn load(&self, peers: &mut Peers, now: Instant) -> usize {
        let too_large = std::fs::metadata(&self.path).is_ok_and(|m| m.len() > MAX_BYTES);
        let text = match files::read(&self.path) {
            Ok(None) => return 0,
            _ if too_large => Err("too large".to_owned()),
            Ok(Some(text)) => Ok(text),
            Err(error) => Err(error.to_string()),
        };
        match text.and_then(|text| parse(&text)) {
            Ok(kept) => {
                if let Some(damage) = &kept.damage {
                    tracing::warn!(path = %self.path.display(), damage, "some of the kept peers cannot be read");
                }
                kept.into_peers(peers, now)
            }
            Err(why) => {
                tracing::warn!(path = %self.path.display(), why, "the kept peers cannot be read; starting without");
                0
            }
        }
    }

    /// Writes a text that `Peers::to_text` made. Blocks.
    pub(crate) fn save(&self, text: &str) {
        if let Err(error) = files::replace(&self.path, text, Readers::Umask) {
            tracing::warn!(%error, "peers cannot be kept");
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    peers: Vec<Candidate>,
    /// Unix seconds of the end.
    banned: Vec<(PeerId, u64)>,
    sites: Vec<(Site, u64)>,
    /// What of the text was passed over, where anything was.
    damage: Option<String>,
}

impl Kept {
    fn into_peers(self, peers: &mut Peers, now: Instant) -> usize {
        let at = |until: u64| {
            // A clock that was set back must not make a ban last longer than any ban does.
            let left = Duration::from_secs(until.saturating_sub(unix_now())).min(BAN_TIME);
            (!left.is_zero()).then(|| now + left)
        };
        for (peer, until) in self.banned {
            if let Some(until) = at(until) {
                peers.bans.part(peer, until);
            }
        }
        for (site, until) in self.sites {
            if let Some(until) = at(until) {
                peers.bans.restore_site(site, until);
            }
        }
        let count = self.peers.len();
        for candidate in self.peers {
            peers.discovered(candidate, now);
        }
        count
    }
}

impl Peers {
    /// What the file should say now.
    pub(crate) fn to_text(&self, now: Instant) -> String {
        let mut worth: Vec<(&PeerId, &Peer)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.proven && !peer.addresses.is_empty() && peer.score.at(now) >= 0.0)
            .collect();
        worth.sort_by_key(|(id, peer)| (!peer.is_proof_aware(now), !peer.is_open(), peer.failures, **id));
        let mut text = format!("{HEADER}\n");
        let mut lines = 0;
        for (id, peer) in worth.into_iter().take(MAX_PEERS) {
            // An operator may have given more.
            let addresses = peer.addresses.iter().take(MAX_ADDRESSES);
            let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
            let enr = peer.enr.as_ref().map_or("-", |(text, _)| text);
            let _ = writeln!(text, "peer {id} {} {enr}", addresses.join(","));
            lines += 1;
        }
        let unix = |until: Instant| unix_now() + until.saturating_duration_since(now).as_secs();
        for (peer, until) in self.bans.peers().filter(|(_, until)| *until > now) {
            let _ = writeln!(text, "ban {peer} {}", unix(until));
            lines += 1;
        }
        for (site, until) in self.bans.sites().filter(|(_, until)| *until > now) {
            let _ = writeln!(text, "ban-address {} {}", site.ip(), unix(until));
            lines += 1;
        }
        let _ = writeln!(text, "end {lines}");
        text
    }
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Reads the text of a peer store as a node does when it starts: how many peers it keeps, and how many bans of peers and
/// addresses, lines that cannot be read passed over. Errors: why a node would start without.
pub fn read_kept_peers(text: &str) -> Result<(usize, usize), String> {
    parse(text).map(|kept| (kept.peers.len(), kept.banned.len() + kept.sites.len()))
}

fn parse(text: &str) -> Result<Kept, String> {
    let mut lines = text.lines();
    match lines.next() {
        Some(HEADER) => {}
        Some(other) => {
            return Err(format!(
                "begins with {:?}",
                other.chars().take(40).collect::<String>()
            ));
        }
        None => return Err("empty".to_owned()),
    }
    let (mut kept, mut entries, mut bad, mut whole) = (Kept::default(), 0usize, 0usize, false);
    while let Some(line) = lines.next() {
        if let Some(end) = line.strip_prefix("end ") {
            whole = end.parse() == Ok(entries) && lines.next().is_none();
            break;
        }
        entries += 1;
        bad += usize::from(entry(line, &mut kept).is_none());
    }
    kept.damage = match (bad, whole) {
        (0, true) => None,
        (0, false) => Some("its last line does not fit".to_owned()),
        (bad, _) => Some(format!("{bad} lines")),
    };
    Ok(kept)
}

fn entry(line: &str, kept: &mut Kept) -> Option<()> {
    let mut words = line.split(' ');
    match words.next()? {
        "peer" => {
            let peer_id: PeerId = words.next()?.parse().ok()?;
            let addresses: Result<Vec<Multiaddr>, _> = words.next()?.split(',').map(str::parse).collect();
            let addresses = addresses.ok().filter(|a| a.len() <= MAX_ADDRESSES)?;
            let enr = match words.next()? {
                "-" => None,
                text => Some(
                    text.parse::<Enr>()
                        .ok()
                        .filter(|enr| enr.peer_id() == Some(peer_id))?,
                ),
            };
            kept.peers.push(Candidate {
                peer_id,
                addresses,
                eproof: enr.as_ref().map(EnrExt::eproof),
                enr: enr.map(|enr| (enr.to_base64(), enr.seq())),
                proven: true,
            });
        }
        "ban" => kept
            .banned
            .push((words.next()?.parse().ok()?, words.next()?.parse().ok()?)),
        "ban-address" => {
            let ip: IpAddr = words.next()?.parse().ok()?;
            kept.sites.push((Site::of(ip)?, words.next()?.parse().ok()?));
        }
        _ => return None,
    }
    words.next().is_none().then_some(())
}
