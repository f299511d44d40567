//! What was sent, held against what the victim counted.

use crate::attack::{Attack, Tally};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// The victim's metrics of the network by series, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(HashMap<String, f64>);

/// What its drops are counted by: parts of names, and of labels.
const DROPS: [&str; 17] = [
    "gossip_verdicts",
    "undecodable",
    "duplicate",
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

    /// Messages that were not accepted: not decoded, known, passed over, ignored or rejected, or waiting for their
    /// verdict.
    fn refused(&self) -> i64 {
        let (_, became) = self.balance();
        became - self.sum(&["gossip_verdicts", "verdict=\"accept\""])
            + self.sum(&["gossip_messages_undecodable"])
            + self.sum(&["gossip_messages_duplicate"])
            + self.passed_over()
    }

    /// Messages that were not looked at. (What is not one of them is counted beside, and not here.)
    fn passed_over(&self) -> i64 {
        self.sum(&["gossip_passed_over"]) - self.sum(&["gossip_passed_over", "\"graylisted_control\""])
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
            Attack::Unfinished | Attack::Holders => {
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
            Attack::Repeats => self.sum(&["gossip_messages_duplicate"]),
            Attack::Rpcs => self.passed_over(),
            Attack::Contained => by_reason("\"contained\""),
            // By range and by root: dropped, answered, or being served.
            Attack::Frames | Attack::Readers | Attack::Behind => {
                self.sum(&["rpc_dropped_streams", "execution_proofs_by_r"])
                    + self.sum(&["rpc_requests", "execution_proofs_by_r", "inbound"])
                    + self.sum(&["rpc_streams"])
            }
        }
    }

    /// From sockets, with all that is around messages.
    pub(crate) fn received_bytes(&self) -> i64 {
        self.sum(&["received_bytes"])
    }

    /// Proofs that were signed as they should be, and are invalid.
    pub(crate) fn invalid(&self) -> i64 {
        self.sum(&["gossip_verdicts", "\"invalid_proof\""])
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

/// What was sent of several kinds, and how the victim's counters moved meanwhile.
struct Compared<'a> {
    kinds: &'a [Attack],
    tally: &'a Tally,
    before: &'a Metrics,
    after: &'a Metrics,
    lines: Vec<Line>,
}

/// Of these kinds at once, at full rate.
pub(crate) fn compare(kinds: &[Attack], tally: &Tally, before: &Metrics, after: &Metrics) -> Vec<Line> {
    let mut compared = Compared {
        kinds,
        tally,
        before,
        after,
        lines: Vec::new(),
    };
    compared.messages();
    compared.streams();
    compared.others();
    compared.lines
}

impl Compared<'_> {
    fn say(&mut self, ok: bool, what: String) {
        self.lines.push(Line { what, ok });
    }

    fn delta(&self, f: impl Fn(&Metrics) -> i64) -> i64 {
        f(self.after) - f(self.before)
    }

    /// Those of them that attack now.
    fn now(&self, kinds: &[Attack]) -> Vec<Attack> {
        let is_now = |attack: &Attack| self.kinds.contains(attack);
        kinds.iter().copied().filter(is_now).collect()
    }

    /// Tried, sure and ended, of all these.
    fn counts(&self, kinds: &[Attack]) -> (i64, i64, i64) {
        let mut sums = (0, 0, 0);
        for attack in kinds {
            let count = self.tally.of(*attack);
            sums.0 += get(&count.tried);
            sums.1 += get(&count.sure);
            sums.2 += get(&count.ended);
        }
        sums
    }

    /// What flooders share: budgets, room, the gray list.
    fn messages(&mut self) {
        let floods = self.now(&Attack::FLOODS);
        let (tried, sure, ended) = self.counts(&floods);
        for attack in &floods {
            let (tried_here, sure_here, _) = self.counts(&[*attack]);
            let own = self.delta(|m| m.own(*attack));
            self.say(
                sure_here > 0 && own > 0 && own <= tried,
                format!("{attack:?}: {tried_here} sent, {sure_here} of them arrived for sure; {own} counted as such, others by what all floods share"),
            );
        }
        if !floods.is_empty() {
            let refused = self.delta(Metrics::refused);
            // A peer on the gray list is passed over whatever it says: what it joined, too.
            let said: i64 = self.tally.let_in.iter().map(get).sum();
            self.say(
                sure <= refused && refused <= tried + said,
                format!("all floods: {tried} sent, {sure} arrived for sure, {refused} counted; {} under way on {ended} connections that the victim ended", (tried - refused).max(0)),
            );
        }
        let (received, became) = self.after.balance();
        self.say(
            received == became,
            format!(
                "messages taken in: {received}; verdicts, over budget, wrong digest, undecided: {became}"
            ),
        );
    }

    fn streams(&mut self) {
        let tally = self.tally;
        let (opened, tried) = (get(&tally.streams_opened), get(&tally.streams_tried));
        let counted = self.delta(|m| m.sum(&["peer_streams"]));
        self.say(
            opened > 0 && opened <= counted,
            format!("streams of all kinds: {tried} tried, {opened} opened for sure, {counted} counted"),
        );
        let asking = self.now(&Attack::ASKING);
        if !asking.is_empty() {
            let (tried, sure, _) = self.counts(&asking);
            let counted = self.delta(|m| m.own(Attack::Readers));
            self.say(
                sure > 0 && sure <= counted,
                format!("{asking:?}: {tried} tried, {sure} for requests opened for sure; {counted} dropped, answered or being served"),
            );
        }
        let beginning = self.now(&Attack::BEGINNING);
        if !beginning.is_empty() {
            let (tried, sure, ended) = self.counts(&beginning);
            let counted = self.delta(|m| m.own(Attack::Unfinished));
            self.say(
                // Of most peers the connection is closed with the stream.
                0 < sure + ended && sure <= counted && ended <= counted,
                format!("{beginning:?}: {tried} begun, {sure} streams ended on the attackers, {counted} given up as such, floods' that were under way among them; {ended} connections ended"),
            );
        }
    }

    fn others(&mut self) {
        for attack in self.now(&[Attack::Takers, Attack::OldStatus, Attack::WrongRecords]) {
            let (tried, sure, ended) = self.counts(&[attack]);
            let own = self.delta(|m| m.own(attack));
            match attack {
                Attack::Takers => {
                    let counted = own
                        + self.delta(|m| {
                            m.sum(&["rpc_requests", "goodbye", "outbound"]) + m.sum(&["connections_denied"])
                        });
                    self.say(
                        tried > 0 && ended <= counted,
                        format!("Takers: asked {tried} times; {ended} connections ended, {counted} given up, told goodbye or denied"),
                    );
                }
                Attack::OldStatus => self.say(
                    sure > 0 && sure <= own,
                    format!("OldStatus: {tried} told, {sure} answered within a second; {own} requests ended: the rest was delayed, or its connection ended"),
                ),
                _ => self.say(
                    sure > 0 && sure <= own,
                    format!("WrongRecords: {tried} names, {sure} of them answered; {own} records looked at"),
                ),
            }
        }
    }
}

fn get(n: &AtomicU64) -> i64 {
    n.load(Ordering::Relaxed) as i64
}
