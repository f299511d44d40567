//! Who is let go when there are more peers than wanted.

use super::{
    Peers,
    peer::{EVIDENCE_WAIT, Link, Peer},
};
use libp2p::PeerId;
use std::{cmp::Ordering, time::Instant};

impl Peers {
    /// Peers beyond the target, worst first. Those that were connected a moment ago are not judged yet, and stay
    /// within `Limits::most`.
    pub(super) fn excess(&self, now: Instant) -> Vec<PeerId> {
        let mut open: Vec<(&PeerId, &Peer)> = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.trusted && matches!(peer.link, Link::Open { .. }))
            .collect();
        let beyond = open.len().saturating_sub(self.limits.target);
        if beyond == 0 {
            return Vec::new();
        }
        // Some others stay, or the mesh would not bridge; some outgoing ones, or a node could be filled from outside.
        let (mut spare_others, mut spare_outbound) = (self.limits.others(), self.limits.target / 5);
        open.sort_by(|(a_id, a), (b_id, b)| best_first(a, b, now).then_with(|| a_id.cmp(b_id)));
        let mut prunable = Vec::new();
        for (id, peer) in &open {
            let aware = peer.is_proof_aware(now);
            let good = peer.score.at(now) >= 0.0;
            let mut spared = false;
            if !aware && good && spare_others > 0 {
                spare_others -= 1;
                spared = true;
            }
            if !peer.came_to_us() && good && spare_outbound > 0 {
                spare_outbound -= 1;
                spared = true;
            }
            let judged = matches!(peer.link, Link::Open { since }
                if now.saturating_duration_since(since) >= EVIDENCE_WAIT);
            if judged {
                // Others beyond their share go before any that is proof-aware.
                prunable.push((spared, aware, **id));
            }
        }
        // `open` is best first: reversed and sorted stably, the worst of each class comes first.
        prunable.reverse();
        prunable.sort_by_key(|(spared, aware, _)| (*spared, *aware));
        prunable.into_iter().take(beyond).map(|(_, _, id)| id).collect()
    }
}

/// Higher score, then older connection.
fn best_first(a: &Peer, b: &Peer, now: Instant) -> Ordering {
    let since = |peer: &Peer| match peer.link {
        Link::Open { since } => since,
        _ => now,
    };
    b.score
        .at(now)
        .total_cmp(&a.score.at(now))
        .then_with(|| since(a).cmp(&since(b)))
}
