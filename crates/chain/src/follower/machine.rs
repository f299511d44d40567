//! What to ask the beacon node next: a state machine without I/O. The tree says what is missing; this decides when and in
//! which order it is asked for, when to connect again, and when the view is caught up.
//!
//! What answers and events bring is put into the view first, then told here with a look at the tree.

use super::{
    event::{NodeEvent, TopicsForm},
    step::{Action, Health, Input, Reply, Request},
    wants::{Useless, Wants},
};
use crate::tree::{Insertion, Refusal, Tree};
use assay_types::{Root, Slot};
use std::time::{Duration, Instant};

/// Wait before the first new attempt at a beacon node that cannot be reached; doubled each time.
pub const MIN_BACKOFF: Duration = Duration::from_millis(250);
/// Longest wait between attempts.
pub const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// Wait before a node on another network is looked at again.
pub const WRONG_NETWORK_RECHECK: Duration = Duration::from_secs(30);
/// A stream that lived this long was a good one: the next attempt comes at once.
pub const GOOD_STREAM: Duration = Duration::from_secs(20);
/// How often the node's sync state is asked for.
pub const SYNCING_EVERY: Duration = Duration::from_secs(12);
/// Shortest time between polls of the head.
const MIN_POLL: Duration = Duration::from_millis(250);
/// Wait before finality and the head are asked for again where an answer failed.
pub const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Slots of the walk back from the head at most; beyond it the view begins above.
pub const MAX_CATCH_UP_SLOTS: u64 = 32_768;
/// Slots without a head event after which the head is asked for: some nodes drop events for slow readers.
pub const HEAD_POLL_SLOTS: u32 = 2;
/// How often in a slot the head is asked for while no event has come over this stream.
pub const MUTE_POLLS_PER_SLOT: u32 = 4;
/// New heads that a stream has not told of until it is called mute. Some nodes accept topics in a form that they do not
/// understand, and then say nothing: not even that the stream is open.
pub const MUTE_AFTER_HEADS: u32 = 2;
/// Times in a row that the node may fail to tell its head until it is called unreachable.
pub const HEAD_FAILURES: u32 = 3;
/// Wait before events are asked for again where the node gave none in any form.
pub const EVENTS_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not connected; the next attempt at this time.
    Waiting { until: Instant },
    /// The network is being checked.
    Checking,
    /// The node answers and is followed: by events, where it gives them.
    Live { stream: Stream },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// Asked for.
    Opening,
    /// Open.
    Open { since: Instant },
    /// Refused in every form; asked for again at this time.
    None { until: Instant },
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    slot_duration: Duration,
    phase: Phase,
    attempts: u32,
    /// Place in `TopicsForm::ALL` of the form that is tried or works.
    form: usize,
    /// Times in a row that the node could not tell its head.
    head_failures: u32,
    /// Forms in a row that brought nothing.
    forms_failed: usize,
    /// Whether an event has come over this stream, and how many new heads polls have told of since the last.
    heard: bool,
    heads_unheard: u32,
    last_told: Option<Root>,
    no_events_told: bool,
    health: Health,
    connected: bool,
    synced: bool,
    /// Since the node was found: whether finality, the head and the sync state have been told.
    finality_told: bool,
    head_told: bool,
    node_syncing: Option<(bool, u64)>,
    last_head: Instant,
    last_syncing: Instant,
    /// When finality and the head are asked for again, because an answer failed.
    ask_again: Option<Instant>,
    /// Since when something is missing.
    behind_since: Option<Instant>,
    wants: Wants,
    random: u64,
}

impl Machine {
    /// `seed`: of the jitter.
    pub fn new(slot_duration: Duration, seed: u64, now: Instant) -> Self {
        Self {
            slot_duration,
            phase: Phase::Waiting { until: now },
            attempts: 0,
            form: 0,
            head_failures: 0,
            forms_failed: 0,
            heard: false,
            heads_unheard: 0,
            last_told: None,
            no_events_told: false,
            health: Health::Starting,
            connected: false,
            synced: false,
            finality_told: false,
            head_told: false,
            node_syncing: None,
            last_head: now,
            last_syncing: now,
            ask_again: None,
            behind_since: None,
            wants: Wants::new(slot_duration),
            random: seed,
        }
    }

    /// How things stand.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// When it wants a `Tick` at the latest.
    pub fn next_tick(&self, now: Instant) -> Instant {
        let far = now + SYNCING_EVERY;
        match self.phase {
            Phase::Waiting { until } => until,
            Phase::Checking => far,
            Phase::Live { stream } => {
                let again = if let Stream::None { until } = stream {
                    until
                } else {
                    far
                };
                let polls = [
                    self.last_syncing + SYNCING_EVERY,
                    self.last_head + self.head_poll(),
                    again,
                ];
                let patience = self
                    .behind_since
                    .filter(|_| self.is_following())
                    .map(|since| since + self.slot_duration);
                polls
                    .into_iter()
                    .chain(patience)
                    .chain(self.ask_again)
                    .chain(self.wants.next_due())
                    .min()
                    .unwrap_or(far)
            }
        }
    }

    /// Takes in what happened.
    pub fn on(&mut self, input: Input, tree: &Tree, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Tick => self.tick(now, &mut actions),
            Input::StreamOpened => {
                self.phase = Phase::Live {
                    stream: Stream::Open { since: now },
                };
                // What came between the last answer and the stream is told by neither.
                self.ask_again = Some(now);
                self.tick(now, &mut actions);
            }
            Input::StreamRefused(why) => self.form_failed(why, now, &mut actions),
            Input::StreamEnded(why) => self.stream_ended(why, now, &mut actions),
            Input::Event(event) => self.event(event, tree, now),
            Input::Reply(request, reply) => self.reply(request, reply, tree, now, &mut actions),
        }
        if matches!(self.phase, Phase::Live { .. }) {
            self.plan(tree, now, &mut actions);
            self.judge(tree, now, &mut actions);
        }
        actions
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Waiting { until } if until <= now => {
                self.phase = Phase::Checking;
                actions.push(Action::Ask(Request::Network));
            }
            Phase::Live { .. } => {
                if now >= self.last_syncing + SYNCING_EVERY {
                    self.last_syncing = now;
                    actions.push(Action::Ask(Request::Syncing));
                }
                if now >= self.last_head + self.head_poll() || self.ask_again.is_some_and(|at| at <= now) {
                    (self.last_head, self.ask_again) = (now, None);
                    actions.extend([Request::Finality, Request::Head].map(Action::Ask));
                }
                if let Phase::Live {
                    stream: Stream::None { until },
                } = self.phase
                    && until <= now
                {
                    self.open_stream(actions);
                }
            }
            _ => {}
        }
    }

    fn head_poll(&self) -> Duration {
        if self.heard {
            self.slot_duration * HEAD_POLL_SLOTS
        } else {
            (self.slot_duration / MUTE_POLLS_PER_SLOT).max(MIN_POLL)
        }
    }

    /// The node is the one it was: everything is asked for, and the stream beside it.
    fn go_live(&mut self, now: Instant, actions: &mut Vec<Action>) {
        (self.finality_told, self.head_told, self.node_syncing) = (false, false, None);
        (self.last_head, self.last_syncing) = (now, now);
        (self.behind_since, self.ask_again) = (None, None);
        (self.forms_failed, self.head_failures) = (0, 0);
        actions.extend([Request::Syncing, Request::Finality, Request::Head].map(Action::Ask));
        self.open_stream(actions);
        self.set_connected(true, actions);
    }

    fn open_stream(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Live {
            stream: Stream::Opening,
        };
        (self.heard, self.heads_unheard) = (false, 0);
        let form = TopicsForm::ALL
            .get(self.form)
            .copied()
            .unwrap_or(TopicsForm::ALL[0]);
        actions.push(Action::OpenStream(form));
    }

    /// The form of topics that was tried brings nothing: the next.
    fn form_failed(&mut self, why: String, now: Instant, actions: &mut Vec<Action>) {
        self.form = (self.form + 1) % TopicsForm::ALL.len();
        self.forms_failed += 1;
        if self.forms_failed < TopicsForm::ALL.len() {
            self.open_stream(actions);
            return;
        }
        self.forms_failed = 0;
        self.heard = false;
        self.phase = Phase::Live {
            stream: Stream::None {
                until: now + EVENTS_AGAIN,
            },
        };
        actions.push(Action::CloseStream);
        if !std::mem::replace(&mut self.no_events_told, true) {
            actions.push(Action::NoEvents(why));
        }
    }

    fn stream_ended(&mut self, why: String, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Live { stream } = self.phase else {
            return;
        };
        match stream {
            // One that lived is opened again at once, and only if that fails is the node called unreachable.
            Stream::Open { since } => {
                if now >= since + GOOD_STREAM {
                    self.attempts = 0;
                }
                self.wait(now, actions);
            }
            Stream::Opening => self.disconnect(Health::Unreachable(why), now, actions),
            Stream::None { .. } => {}
        }
    }

    /// The node told of its head because it was asked. A stream that keeps silent about new heads is mute.
    fn head_was_told(&mut self, tree: &Tree, now: Instant, actions: &mut Vec<Action>) {
        let told = tree.missing().head.or(tree.head().map(|head| head.block_root));
        if std::mem::replace(&mut self.last_told, told) == told {
            return;
        }
        self.heads_unheard += 1;
        if self.heads_unheard <= MUTE_AFTER_HEADS
            || matches!(
                self.phase,
                Phase::Live {
                    stream: Stream::None { .. }
                }
            )
        {
            return;
        }
        self.heads_unheard = 0;
        let why = "the event stream is silent about new heads".to_owned();
        if self.heard {
            self.stream_ended(why, now, actions)
        } else {
            self.form_failed(why, now, actions)
        }
    }

    fn disconnect(&mut self, health: Health, now: Instant, actions: &mut Vec<Action>) {
        self.set_synced(false, actions);
        self.set_connected(false, actions);
        let recheck = matches!(health, Health::OtherNetwork(_));
        self.report(health, actions);
        self.wait(now, actions);
        if recheck {
            self.phase = Phase::Waiting {
                until: now + WRONG_NETWORK_RECHECK,
            };
        }
    }

    /// Gives up what is under way and tries again after a while.
    fn wait(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let doubled = MIN_BACKOFF
            .saturating_mul(1 << self.attempts.min(10))
            .min(MAX_BACKOFF);
        self.attempts = self.attempts.saturating_add(1);
        // Between half and all of it, so that many followers of one node do not come back at once.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let share = u32::try_from(self.random >> 48).unwrap_or(0);
        self.phase = Phase::Waiting {
            until: now + doubled / 2 + doubled / 2 * share / 65_536,
        };
        self.wants.give_up_requests(now);
        actions.push(Action::Reset);
    }

    fn event(&mut self, event: NodeEvent, tree: &Tree, now: Instant) {
        (
            self.heard,
            self.heads_unheard,
            self.forms_failed,
            self.no_events_told,
        ) = (true, 0, 0, false);
        match event {
            NodeEvent::Head { block_root, .. } | NodeEvent::Reorg { block_root, .. } => {
                self.last_head = now;
                self.last_told = Some(block_root);
                self.wants.hope(&block_root);
            }
            NodeEvent::Block { block_root, .. } => self.wants.branch(block_root, tree),
            NodeEvent::Finalized(_) => {}
            NodeEvent::Envelope { block_root } => self.wants.envelope_is_there(block_root, tree, now),
        }
    }

    fn reply(
        &mut self,
        request: Request,
        reply: Reply,
        tree: &Tree,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        match (request, reply) {
            (Request::Network, Reply::SameNetwork) => self.go_live(now, actions),
            (Request::Network, Reply::OtherNetwork(why)) => {
                self.disconnect(Health::OtherNetwork(why), now, actions);
            }
            (Request::Network, reply) => {
                let why = if let Reply::Failed(why) = reply {
                    why
                } else {
                    format!("{reply:?}")
                };
                self.disconnect(Health::Unreachable(why), now, actions);
            }
            (Request::Finality, Reply::Done) => self.finality_told = true,
            (Request::Head, Reply::Done) => {
                (self.head_told, self.head_failures) = (true, 0);
                if let Some(root) = tree.missing().head {
                    self.wants.hope(&root);
                }
                self.head_was_told(tree, now, actions);
            }
            (Request::Syncing, Reply::Syncing { is_syncing, distance }) => {
                self.node_syncing = Some((is_syncing, distance));
            }
            (Request::Head, Reply::Failed(why)) if self.head_failures + 1 >= HEAD_FAILURES => {
                self.disconnect(Health::Unreachable(why), now, actions);
            }
            // What cannot be told holds up nothing else.
            (Request::Finality | Request::Head, reply) => {
                self.head_failures +=
                    u32::from(request == Request::Head && matches!(reply, Reply::Failed(_)));
                self.ask_again = Some(now + ASK_AGAIN);
            }
            (Request::Syncing, _) => {
                self.node_syncing.get_or_insert((false, 0));
            }
            (Request::Block(root), reply) => self.block(root, reply, tree, now),
            (Request::Envelope(root), reply) => self.wants.envelope_answered(root, &reply, now),
        }
    }

    fn block(&mut self, root: Root, reply: Reply, tree: &Tree, now: Instant) {
        let missing = tree.missing().ancestor.map(|(ancestor, _)| ancestor);
        match reply {
            Reply::Block(Insertion::New | Insertion::Known) => self.wants.block_is_here(root, tree, now),
            // An ancestor for which the tree has no room.
            Reply::Block(Insertion::Refused(Refusal::TooOld)) if missing == Some(root) => {
                self.wants.useless(root, Useless::Gone);
            }
            Reply::Block(Insertion::Refused(_)) => self.wants.useless(root, Useless::Refused),
            Reply::Unusable => self.wants.useless(root, Useless::Gone),
            Reply::NotFound => {
                if self.wants.not_found(root, now) {
                    self.wants.useless(root, Useless::Gone);
                }
            }
            _ => self.wants.failed(root, now),
        }
    }

    /// Asks for what is missing, as far as there is room.
    fn plan(&mut self, tree: &Tree, now: Instant, actions: &mut Vec<Action>) {
        let missing = tree.missing();
        let head_slot = tree.head().map_or(Slot(0), |head| head.slot);
        let finalized = missing.finalized.filter(|root| !self.wants.is_useless(root));
        let mut roots: Vec<Root> = missing.head.into_iter().chain(finalized).collect();
        // The walk back ends at the finalized block: it begins once that is known, or known not to be had.
        if let Some((ancestor, child_slot)) = missing.ancestor
            && self.finality_told
            && finalized.is_none()
        {
            // Nothing comes below: the node itself begins above it, or the way is too long.
            if self.wants.is_gone(&ancestor) || head_slot.saturating_sub(MAX_CATCH_UP_SLOTS) > child_slot {
                actions.extend(
                    tree.canonical_chain()
                        .next()
                        .map(|(_, lowest)| Action::NoMoreAncestors(lowest)),
                );
            } else {
                roots.push(ancestor);
            }
        }
        for request in self.wants.due(&roots, tree, now) {
            actions.push(Action::Ask(request));
        }
    }

    fn is_following(&self) -> bool {
        matches!(self.health, Health::Following | Health::NodeSyncing { .. })
    }

    fn judge(&mut self, tree: &Tree, now: Instant, actions: &mut Vec<Action>) {
        let missing = tree.missing();
        let here = missing.head.is_none()
            && missing.ancestor.is_none()
            && missing.finalized.is_none_or(|root| self.wants.is_useless(&root));
        let caught_up = here && self.head_told && self.finality_told && tree.head().is_some();
        if !caught_up {
            // A new head is missing for some milliseconds in every slot: only what lasts is worth telling.
            let since = *self.behind_since.get_or_insert(now);
            if missing.ancestor.is_some() {
                self.set_synced(false, actions);
            }
            if !self.is_following() || now >= since + self.slot_duration {
                self.set_synced(false, actions);
                self.report(Health::CatchingUp, actions);
            }
            return;
        }
        self.behind_since = None;
        let Some((node_syncing, distance)) = self.node_syncing else {
            return;
        };
        self.set_synced(!node_syncing, actions);
        self.report(
            if node_syncing {
                Health::NodeSyncing { distance }
            } else {
                Health::Following
            },
            actions,
        );
    }

    fn report(&mut self, health: Health, actions: &mut Vec<Action>) {
        if !self.health.same_kind(&health) {
            actions.push(Action::Report(health.clone()));
        }
        self.health = health;
    }

    fn set_connected(&mut self, connected: bool, actions: &mut Vec<Action>) {
        if std::mem::replace(&mut self.connected, connected) != connected {
            actions.push(Action::Connected(connected));
        }
    }

    fn set_synced(&mut self, synced: bool, actions: &mut Vec<Action>) {
        if std::mem::replace(&mut self.synced, synced) != synced {
            actions.push(Action::Synced(synced));
        }
    }
}
