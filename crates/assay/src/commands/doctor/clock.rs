//! This machine's clock against the beacon node's: proofs, tokens and slots all go by it.

use super::report::{Level, Report};

/// What both clocks say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    /// This machine's, in ms since 1970.
    pub(super) now_ms: u64,
    /// The network's genesis, in seconds since 1970.
    pub(super) genesis_time: u64,
    /// Length of a slot.
    pub(super) slot_ms: u64,
    /// The beacon node's head.
    pub(super) head_slot: u64,
    /// How far the beacon node says its head is behind its own clock, in slots.
    pub(super) sync_distance: u64,
    /// Seconds since 1970 in the `Date` of the beacon node's answer.
    pub(super) date: Option<u64>,
}

/// Seconds that two clocks may differ by: a `Date` has whole seconds, and answers take their time.
const TOLERATED: u64 = 3;
/// Seconds at which execution clients refuse tokens.
const TOKENS: u64 = 60;

pub(super) fn look(clocks: Clocks, report: &mut Report) {
    let (level, found, advice) = judge(clocks);
    report.add(level, "clock", found, advice);
}

fn judge(c: Clocks) -> (Level, String, &'static str) {
    const SET: &str = "set both machines' clocks by NTP (`timedatectl status`, `chronyc tracking`); execution clients \
                       refuse tokens that are 60 s off";
    let now = c.now_ms / 1000;
    if let Some(date) = c.date
        && now.abs_diff(date) > TOLERATED
    {
        let off = now.abs_diff(date);
        let side = if now > date { "ahead of" } else { "behind" };
        let level = if off >= TOKENS || off * 1000 >= c.slot_ms {
            Level::Fail
        } else {
            Level::Warn
        };
        return (level, format!("it is {off} s {side} the beacon node's"), SET);
    }
    let Some(since) = c.now_ms.checked_sub(c.genesis_time.saturating_mul(1000)) else {
        let left = c.genesis_time.saturating_sub(now);
        if c.head_slot > 0 {
            let found = format!(
                "genesis is {left} s away by it, and the beacon node is at slot {}",
                c.head_slot
            );
            return (Level::Fail, found, SET);
        }
        let advice = "nothing to do before that, or this machine's clock is wrong";
        return (Level::Warn, format!("genesis is {left} s away"), advice);
    };
    let ours = since / c.slot_ms.max(1);
    let theirs = c.head_slot.saturating_add(c.sync_distance);
    match ours.abs_diff(theirs) {
        // Between two answers a slot may begin.
        0 | 1 => (Level::Ok, format!("slot {ours}, as the beacon node's"), ""),
        off => {
            let side = if ours > theirs { "ahead of" } else { "behind" };
            let seconds = off.saturating_mul(c.slot_ms) / 1000;
            let found =
                format!("slot {ours} here, {theirs} at the beacon node: it is some {seconds} s {side} it");
            (Level::Fail, found, SET)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clocks() {
        let clocks = |now: u64, head: u64, distance: u64, date: Option<u64>| Clocks {
            now_ms: now * 1000,
            genesis_time: 1000,
            slot_ms: 12_000,
            head_slot: head,
            sync_distance: distance,
            date,
        };
        use Level::{Fail, Ok, Warn};
        for (c, level, says) in [
            (clocks(2200, 100, 0, None), Ok, "slot 100"),
            (clocks(2200, 99, 0, Some(2200)), Ok, "slot 100"),
            (clocks(2200, 40, 60, Some(2202)), Ok, "slot 100"),
            (clocks(2200, 40, 60, Some(2206)), Warn, "6 s behind"),
            (clocks(2220, 100, 0, Some(2200)), Fail, "20 s ahead of"),
            (clocks(2200, 110, 0, None), Fail, "120 s behind"),
            (clocks(2800, 100, 0, None), Fail, "600 s ahead of"),
            (clocks(900, 0, 0, None), Warn, "100 s away"),
            (clocks(900, 5, 0, None), Fail, "beacon node is at slot 5"),
            (clocks(900, 0, 0, Some(2000)), Fail, "1100 s behind"),
        ] {
            let (found, text, _) = judge(c);
            assert_eq!(found, level, "{c:?}: {text}");
            assert!(text.contains(says), "{c:?}: {text}");
        }
    }
}
