//! What subscribers and the log hear.

use super::Inner;
use crate::machine::{Alarm, Milestone, UnixMillis, VerdictChange};
use assay_types::Slot;
use std::collections::BTreeMap;

/// Events kept for a subscriber that is slow; it is told how many it lost.
pub const EVENT_QUEUE: usize = 4096;
/// Verdict changes kept for `GateHandle::recent`.
pub const RECENT_CHANGES: usize = 4096;
/// Verdicts that change at once and each get a line at level info; of more the log has the sum.
const MAX_LOGGED_CHANGES: usize = 32;

/// What subscribers hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateEvent {
    /// A payload's verdict changed.
    VerdictChanged(VerdictChange),
    /// A payload came to something that is measured.
    Reached(Milestone),
    /// Something an operator must see.
    Alarm(Alarm),
}

/// Alarms of one kind, since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenAlarm {
    /// How many.
    pub count: u64,
    /// The newest.
    pub last: Alarm,
    /// When that was.
    pub last_at: UnixMillis,
}

impl Inner {
    pub(super) fn tell(&self, events: &[GateEvent]) {
        let each_has_a_line = log_changes(events);
        for event in events {
            match event {
                GateEvent::VerdictChanged(change) => {
                    if each_has_a_line {
                        tracing::info!(
                            block_hash = %change.block_hash,
                            slot = change.slot.map(Slot::as_u64),
                            from = change.from.map(|v| v.as_str()),
                            to = change.to.as_str(),
                            cause = change.cause.as_str(),
                            "verdict changed"
                        );
                    }
                    let mut recent = self.recent.lock();
                    if recent.len() == RECENT_CHANGES {
                        recent.pop_front();
                    }
                    recent.push_back(*change);
                    drop(recent);
                    self.changed.send_modify(|n| *n += 1);
                }
                GateEvent::Reached(_) => {}
                GateEvent::Alarm(alarm) => {
                    self.alarm_log.lock().write(alarm);
                    let (alarm, at) = (*alarm, UnixMillis::now());
                    let mut alarms = self.alarms.lock();
                    let seen = alarms.entry(alarm.label());
                    seen.and_modify(|seen| {
                        seen.count += 1;
                        (seen.last, seen.last_at) = (alarm, at);
                    })
                    .or_insert(SeenAlarm {
                        count: 1,
                        last: alarm,
                        last_at: at,
                    });
                }
            }
            // No subscriber is no error.
            let _ = self.events.send(*event);
        }
    }
}

/// Changes that are alike: how many, the oldest slot and the newest.
type Sum = (usize, Option<Slot>, Option<Slot>);

/// Whether each change of a verdict gets its own line. Where there are too many at once, as by a change of policy, this
/// logs the sum.
fn log_changes(events: &[GateEvent]) -> bool {
    let mut sums = BTreeMap::<(&str, &str), Sum>::new();
    let mut changes = 0;
    for event in events {
        let GateEvent::VerdictChanged(change) = event else {
            continue;
        };
        changes += 1;
        let (payloads, oldest, newest) = sums
            .entry((change.to.as_str(), change.cause.as_str()))
            .or_default();
        *payloads += 1;
        *oldest = change.slot.into_iter().chain(*oldest).min();
        *newest = change.slot.max(*newest);
    }
    if changes <= MAX_LOGGED_CHANGES {
        return true;
    }
    for ((to, cause), (payloads, oldest, newest)) in sums {
        tracing::info!(
            payloads,
            oldest_slot = oldest.map(Slot::as_u64),
            newest_slot = newest.map(Slot::as_u64),
            to,
            cause,
            "verdicts changed"
        );
    }
    false
}
