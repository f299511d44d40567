//! What was sent, held against what the victim counted.

use crate::attack::{Attack, Tally};
use std::{collections::HashMap, sync::atomic::Ordering};

/// The victim's metrics of the network by series, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(HashMap<String, f64>);

/// What its drops are counted by: parts of names, and of labels.
const DROPS: [&str; 16] = [
    "gossip_verdicts",
    "undecodable",
    "over_budget",
    "passed_over",
    "undecided",
    "wrong_digest",
    "denied",
    "fault",
    "bans",
    "goodbye",
    "dropped",
    "given_up",
    "discovery_records",
    "dial_failures",
    "peer_streams",
    "requests_total{protocol=\"",
];

impl Metrics {
    /// Reads Prometheus's text; series whose name holds `blind` are left out.
    pub(crate) fn parse(text: &str, blind: Option<&str>) -> Self {
        let of_network = text.lines().filter(|line| line.starts_with("assay_network"));
        let seen = of_network.filter(|line| blind.is_none_or(|blind| !line.contains(blind)));
        Self(
            seen.filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let series = series.trim_start_matches("assay_network_");
                Some((series.to_owned(), value.parse().ok()?))
            })
            .collect(),
        )
    }

    /// The sum of all series that hold every one of these.
    pub(crate) fn sum(&self, parts: &[&str]) -> i64 {
        let found = self
            .0
            .iter()
            .filter(|(series, _)| parts.iter().all(|part| series.contains(part)));
        found.map(|(_, value)| *value as i64).sum()
    }

    /// What was dropped, by reason: all that is not zero.
    pub(crate) fn drops(&self) -> Vec<(&str, i64)> {
        let is_drop = |series: &str| {
            DROPS.iter().any(|part| series.contains(part))
                && !series.contains("direction=\"outbound\",result=\"ok\"")
        };
        let of_drops = self
            .0
            .iter()
            .filter(|(series, value)| **value > 0.0 && is_drop(series));
        let mut drops: Vec<_> = of_drops
            .map(|(series, value)| (series.as_str(), *value as i64))
            .collect();
        drops.sort_unstable();
        drops
    }

    /// Messages that were taken in, and those that became something: nothing may be lost between the two.
    pub(crate) fn balance(&self) -> (i64, i64) {
        let became = [
            "gossip_over_budget",
            "gossip_wrong_digest",
            "gossip_verdicts",
            "gossip_undecided",
        ];
        let became = became.iter().map(|name| self.sum(&[name])).sum();
        (self.sum(&["gossip_messages_received"]), became)
    }

    /// Messages that were not accepted: not decoded, passed over, ignored or rejected, or waiting for their verdict.
    fn refused(&self) -> i64 {
        let (_, became) = self.balance();
        became - self.sum(&["gossip_verdicts", "verdict=\"accept\""])
            + self.sum(&["gossip_messages_undecodable"])
            + self.sum(&["gossip_passed_over"])
    }

    /// What an attack of this kind is counted as when nothing else is the matter.
    pub(crate) fn own(&self, attack: Attack) -> i64 {
        let by_reason = |reason: &str| self.sum(&["gossip_verdicts", reason]);
        match attack {
            Attack::UnknownPayloads => by_reason("\"unknown_payload\"") + self.sum(&["gossip_undecided"]),
            Attack::UnknownValidators => by_reason("\"unknown_validator\""),
            Attack::NoSnappy => self.sum(&["gossip_messages_undecodable", "\"not_snappy\""]),
            Attack::NoProof => by_reason("\"malformed\""),
            Attack::Streams => self.sum(&[
                "rpc_dropped_streams",
                "execution_proofs_by_range",
                "\"streams_of_",
            ]),
            Attack::Unfinished => {
                self.sum(&["gossip_streams_given_up", "\"unfinished\""])
                    + self.sum(&["gossip_streams_given_up", "\"crowded_out\""])
            }
            Attack::Takers => self.sum(&["gossip_streams_given_up", "\"not_taken\""]),
            Attack::OldStatus => {
                let of = |name: &str| {
                    self.sum(&[name, "protocol=\"status"])
                        + self.sum(&[name, "protocol=\"execution_proof_status"])
                };
                of("rpc_requests") - self.outbound_statuses() + of("rpc_dropped_streams")
            }
            Attack::WrongRecords => self.sum(&["discovery_records"]),
        }
    }

    fn outbound_statuses(&self) -> i64 {
        let of = |protocol: &str| self.sum(&["rpc_requests", protocol, "direction=\"outbound\""]);
        of("protocol=\"status") + of("protocol=\"execution_proof_status")
    }
}

/// One comparison.
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) ok: bool,
}

/// Of one kind of attack, a few of which have all arrived and no more: each is counted as what it is. (Statuses are told by
/// honest peers too.)
pub(crate) fn roll_call(attack: Attack, arrived: u64, before: &Metrics, after: &Metrics) -> Line {
    let (arrived, counted) = (arrived as i64, after.own(attack) - before.own(attack));
    let ok = arrived > 0
        && match attack {
            Attack::OldStatus => counted >= arrived,
            _ => counted == arrived,
        };
    Line {
        what: format!("{attack:?}: {arrived} arrived, {counted} counted as such"),
        ok,
    }
}

/// Of all kinds at once, at full rate.
pub(crate) fn compare(tally: &Tally, before: &Metrics, after: &Metrics) -> Vec<Line> {
    let mut lines = Vec::new();
    let get = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed) as i64;
    let delta = |f: &dyn Fn(&Metrics) -> i64| f(after) - f(before);
    let counts = |attack: Attack| {
        let count = tally.of(attack);
        (get(&count.tried), get(&count.sure), get(&count.ended))
    };

    // What flooders share: budgets, room, the gray list.
    let (mut tried, mut sure, mut ended) = (0, 0, 0);
    for attack in Attack::FLOODS {
        let (tried_here, sure_here, ended_here) = counts(attack);
        (tried, sure, ended) = (tried + tried_here, sure + sure_here, ended + ended_here);
        let own = delta(&|m| m.own(attack));
        lines.push(Line {
            what: format!("{attack:?}: {tried_here} sent, {sure_here} of them arrived for sure; {own} counted as such, others by what all floods share"),
            ok: sure_here > 0 && own > 0 && own <= tried_here,
        });
    }
    let refused = delta(&Metrics::refused);
    // A peer on the gray list is passed over whatever it says: what it joined, too.
    let said: i64 = tally.let_in.iter().map(get).sum();
    lines.push(Line {
        what: format!(
            "all floods: {tried} sent, {sure} arrived for sure, {refused} counted; {} under way on {ended} connections that the victim ended",
            (tried - refused).max(0)
        ),
        ok: sure <= refused && refused <= tried + said,
    });
    let (received, became) = after.balance();
    lines.push(Line {
        what: format!(
            "messages taken in: {received}; verdicts, over budget, wrong digest, undecided: {became}"
        ),
        ok: received == became,
    });

    let (opened, tried) = (get(&tally.streams_opened), get(&tally.streams_tried));
    let counted = delta(&|m| m.sum(&["peer_streams"]));
    lines.push(Line {
        what: format!("streams of all kinds: {tried} tried, {opened} opened for sure, {counted} counted"),
        ok: opened > 0 && opened <= counted,
    });
    let (tried, sure, _) = counts(Attack::Streams);
    let by_range = |m: &Metrics| {
        m.sum(&["rpc_dropped_streams", "execution_proofs_by_range"])
            + m.sum(&["rpc_requests", "execution_proofs_by_range", "inbound"])
            + m.sum(&["rpc_streams"])
    };
    let counted = delta(&by_range);
    lines.push(Line {
        what: format!("Streams: {tried} tried, {sure} for requests opened for sure; {counted} dropped, answered or being served"),
        ok: sure > 0 && sure <= counted,
    });
    let (tried, sure, ended) = counts(Attack::Unfinished);
    let counted = delta(&|m| m.own(Attack::Unfinished));
    lines.push(Line {
        what: format!("Unfinished: {tried} begun, {sure} streams ended on the attackers, {counted} given up as such, floods' that were under way among them; {ended} connections ended"),
        ok: 0 < sure && sure <= counted,
    });
    let (tried, _, ended) = counts(Attack::Takers);
    let counted = delta(&|m| {
        m.own(Attack::Takers)
            + m.sum(&["rpc_requests", "goodbye", "outbound"])
            + m.sum(&["connections_denied"])
    });
    lines.push(Line {
        what: format!("Takers: asked {tried} times; {ended} connections ended, {counted} given up, told goodbye or denied"),
        ok: tried > 0 && ended <= counted,
    });
    let (tried, sure, _) = counts(Attack::OldStatus);
    let counted = delta(&|m| m.own(Attack::OldStatus));
    lines.push(Line {
        what: format!("OldStatus: {tried} told, {sure} answered within a second; {counted} requests ended: the rest was delayed, or its connection ended"),
        ok: sure > 0 && sure <= counted,
    });
    let (tried, sure, _) = counts(Attack::WrongRecords);
    let counted = delta(&|m| m.own(Attack::WrongRecords));
    lines.push(Line {
        what: format!("WrongRecords: {tried} names, {sure} of them answered; {counted} records looked at"),
        ok: sure > 0 && sure <= counted,
    });
    lines
}
