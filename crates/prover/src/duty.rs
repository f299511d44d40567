//! The honest prover's duty as a state machine without I/O: a payload is seen, its proofs are requested, verified when they
//! come, signed, and posted; each step is tried again until the payload's time is over.
//!
//! Nothing is signed that was not verified: `Action::Sign` follows `Verified(Ok(true))` of the same bytes and nothing else.
//! Time comes in with every call, randomness too (from 0 to 1, to spread retries).

use assay_types::{ProofKey, ProofType, Root, Slot};
use lru::LruCache;
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

/// Payloads that are remembered, so that none is proven twice.
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(4096) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};

/// Payloads that wait for a place among those at work, a name and a deadline each; of more the oldest is given up.
pub const MAX_WAITING_PAYLOADS: usize = 256;

/// How long a post that is under way when its payload's time is over may still take.
pub const POST_GRACE: Duration = Duration::from_secs(30);

const OVER: &str = "its time is over";

/// The duty's settings.
#[derive(Debug, Clone)]
pub struct DutyConfig {
    /// Types to prove, each once a payload.
    pub proof_types: Vec<ProofType>,
    /// From the beginning of a payload's time to giving up on it.
    pub budget: Duration,
    /// Payloads at work at once; the newest have them, the others wait for a place until their time is over.
    pub max_payloads: usize,
    /// Pause before a step is tried again: at first, and at most.
    pub retry: (Duration, Duration),
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// Not now; why. Tried again.
    NotNow(String),
    /// Never, in this way; why.
    Refused(String),
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A payload that may be proven; `began`: when its time did, which is when it came, or of old ones when their slot began.
    Payload {
        /// Its request root.
        root: Root,
        /// Its slot.
        slot: Slot,
        /// When its time began.
        began: Instant,
    },
    /// The engine took the request for these types, or did not.
    Requested {
        /// Of this payload.
        root: Root,
        /// What was asked for.
        types: Vec<ProofType>,
        /// `Refused` counts as `NotNow`: an engine may change its mind.
        outcome: Outcome,
    },
    /// The engine has made a proof; who runs this machine keeps its bytes, and keeps the first only while `is_waiting`.
    Completed(ProofKey),
    /// The engine will not make it.
    ProvingFailed(ProofKey, String),
    /// Proofs may have been made that nobody told of.
    EventsLost,
    /// The engine's word on the bytes that came: `Refused` is INVALID.
    Verified(ProofKey, Outcome),
    /// A validator has signed it.
    Signed(ProofKey, Outcome),
    /// It is on the network.
    Posted(ProofKey, Outcome),
    /// A proof of this prover's came to the network by another way than its hands: an engine brought it to the node itself.
    OnTheNetwork(ProofKey),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask the engine for proofs.
    Request(Root, Vec<ProofType>),
    /// Verify what came.
    Verify(ProofKey),
    /// Sign what was verified.
    Sign(ProofKey),
    /// Post what was signed.
    Post(ProofKey),
    /// Nothing more is done for this proof: how it ended.
    Ended(ProofKey, End),
    /// A newer payload has the place of this one, which waits for another: what was done for it is of no use any more.
    SetAside(Root),
    /// Nothing more is done for this payload.
    Forget(Root),
}

/// How the work on a proof ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It is on the network.
    Proved,
    /// The payload's time was over, or newer ones needed the place; what it waited for last.
    TooLate(String),
    /// It was refused; why.
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Request,
    Prove,
    Verify,
    Sign,
    Post,
}

#[derive(Debug)]
struct Job {
    step: Step,
    busy: bool,
    next: Instant,
    tries: u32,
    /// Why this step did not go when it was tried last.
    last: Option<String>,
    /// The engine failed it before it answered the request.
    failed_early: Option<String>,
}

#[derive(Debug)]
struct Payload {
    slot: Slot,
    /// When it is given up.
    deadline: Instant,
    /// Its time was over: only posts that were under way then are left, and their grace ends at `deadline`.
    over: bool,
    jobs: BTreeMap<ProofType, Job>,
}

/// A payload without a place.
#[derive(Debug)]
struct Waiting {
    /// When it is given up.
    deadline: Instant,
    /// What is to be proven still: a payload that lost its place may have ended some of its types.
    types: Vec<ProofType>,
}

/// The machine.
#[derive(Debug)]
pub struct Duty {
    config: DutyConfig,
    payloads: BTreeMap<Root, Payload>,
    /// Those without a place, by age.
    waiting: BTreeMap<(Slot, Root), Waiting>,
    seen: LruCache<Root, ()>,
    out: Vec<Action>,
}

impl Step {
    /// Who has to do something, for people.
    fn waits_for(self) -> &'static str {
        match self {
            Self::Request => "the proof engine to take the request",
            Self::Prove => "the proof",
            Self::Verify => "its verification",
            Self::Sign => "a signature",
            Self::Post => "the beacon endpoint",
        }
    }
}

impl Job {
    fn too_late(&self, why: &str) -> End {
        let last = self
            .last
            .as_ref()
            .map(|last| format!(" ({last})"))
            .unwrap_or_default();
        End::TooLate(format!("{why}; waited for {}{last}", self.step.waits_for()))
    }

    fn go(&mut self, step: Step, now: Instant) {
        self.step = step;
        self.busy = false;
        self.next = now;
        self.tries = 0;
        self.last = None;
    }

    fn again(&mut self, step: Step, why: String, retry: (Duration, Duration), now: Instant, random: f64) {
        let pause = retry.0.saturating_mul(1 << self.tries.min(16)).min(retry.1);
        self.step = step;
        self.busy = false;
        self.next = now + pause.mul_f64(0.5 + random.clamp(0.0, 1.0));
        self.tries += 1;
        self.last = Some(why);
    }
}

impl Duty {
    /// Nothing seen yet.
    pub fn new(config: DutyConfig) -> Self {
        Self {
            config,
            payloads: BTreeMap::new(),
            waiting: BTreeMap::new(),
            seen: LruCache::new(REMEMBERED),
            out: Vec::new(),
        }
    }

    /// Proofs at work.
    pub fn at_work(&self) -> usize {
        self.payloads.values().map(|p| p.jobs.len()).sum()
    }

    /// Whether a proof of this payload and type is waited for: its bytes are wanted.
    pub fn is_waiting(&self, key: &ProofKey) -> bool {
        let payload = self.payloads.get(&key.new_payload_request_root);
        let job = payload.and_then(|p| p.jobs.get(&key.proof_type));
        job.is_some_and(|job| matches!(job.step, Step::Request | Step::Prove))
    }

    /// Whether this payload is at work, or waits for a place.
    pub fn has_payload(&self, root: &Root) -> bool {
        self.is_at_work(root) || self.waiting.keys().any(|(_, waiting)| waiting == root)
    }

    /// Whether this payload is at work.
    pub fn is_at_work(&self, root: &Root) -> bool {
        self.payloads.contains_key(root)
    }

    /// Takes an event; what follows from it comes out of `actions`.
    pub fn on_event(&mut self, event: Event, now: Instant, random: f64) {
        match event {
            Event::Payload { root, slot, began } => self.payload(root, slot, began, now),
            Event::Requested { root, types, outcome } => {
                for proof_type in types {
                    let key = ProofKey {
                        new_payload_request_root: root,
                        proof_type,
                    };
                    self.requested(key, outcome.clone(), now, random);
                }
            }
            Event::Completed(key) => {
                if self.is_waiting(&key)
                    && let Some(job) = self.job(&key)
                {
                    job.go(Step::Verify, now);
                }
            }
            Event::ProvingFailed(key, why) => {
                let retry = self.config.retry;
                match self.job(&key) {
                    Some(job) if job.step == Step::Prove => job.again(Step::Request, why, retry, now, random),
                    Some(job) if job.step == Step::Request && job.busy => job.failed_early = Some(why),
                    _ => {}
                }
            }
            Event::EventsLost => {
                for payload in self.payloads.values_mut() {
                    for job in payload.jobs.values_mut().filter(|j| j.step == Step::Prove) {
                        job.go(Step::Request, now);
                    }
                }
            }
            // An invalid proof is asked for anew: the engine may make a better one.
            Event::Verified(key, outcome) => {
                self.stepped(
                    &key,
                    Step::Verify,
                    Step::Sign,
                    outcome,
                    Some(Step::Request),
                    now,
                    random,
                );
            }
            Event::Signed(key, outcome) => {
                self.stepped(&key, Step::Sign, Step::Post, outcome, None, now, random);
            }
            Event::OnTheNetwork(key) => {
                // With bytes in hand it is posted, and that says how it ended.
                if self.is_waiting(&key) {
                    self.end(&key, End::Proved);
                }
            }
            Event::Posted(key, Outcome::Done) => {
                if self.job(&key).is_some_and(|j| j.step == Step::Post) {
                    self.end(&key, End::Proved);
                }
            }
            Event::Posted(key, outcome) => {
                self.stepped(&key, Step::Post, Step::Post, outcome, None, now, random);
            }
        }
    }

    /// What is to be done now, the newest payload first; ends what is too late.
    pub fn actions(&mut self, now: Instant) -> Vec<Action> {
        let late: Vec<Root> = self
            .payloads
            .iter()
            .filter(|(_, p)| now >= p.deadline)
            .map(|(root, _)| *root)
            .collect();
        for root in late {
            self.time_is_over(&root, now);
        }
        self.waiting_is_over(now);
        self.fill_places(now);
        let mut order: Vec<(Slot, Root)> = self.payloads.iter().map(|(root, p)| (p.slot, *root)).collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        for (_, root) in order {
            let Some(payload) = self.payloads.get_mut(&root) else {
                continue;
            };
            let mut to_request = Vec::new();
            for (proof_type, job) in &mut payload.jobs {
                if job.busy || job.next > now {
                    continue;
                }
                let key = ProofKey {
                    new_payload_request_root: root,
                    proof_type: *proof_type,
                };
                match job.step {
                    Step::Request => to_request.push(*proof_type),
                    Step::Prove => continue,
                    Step::Verify => self.out.push(Action::Verify(key)),
                    Step::Sign => self.out.push(Action::Sign(key)),
                    Step::Post => self.out.push(Action::Post(key)),
                }
                job.busy = true;
            }
            if !to_request.is_empty() {
                self.out.push(Action::Request(root, to_request));
            }
        }
        std::mem::take(&mut self.out)
    }

    /// When something is due without an event.
    pub fn next_wake(&self) -> Option<Instant> {
        let due = |p: &Payload| {
            let jobs = p.jobs.values().filter(|j| !j.busy && j.step != Step::Prove);
            jobs.map(|j| j.next).chain([p.deadline]).min()
        };
        let at_work = self.payloads.values().filter_map(due);
        at_work.chain(self.waiting.values().map(|w| w.deadline)).min()
    }

    fn payload(&mut self, root: Root, slot: Slot, began: Instant, now: Instant) {
        let deadline = began + self.config.budget;
        if self.seen.contains(&root) || now >= deadline || self.config.max_payloads == 0 {
            return;
        }
        self.seen.put(root, ());
        let types = self.config.proof_types.clone();
        self.waiting.insert((slot, root), Waiting { deadline, types });
        while self.waiting.len() > MAX_WAITING_PAYLOADS
            && let Some(((_, oldest), waiting)) = self.waiting.pop_first()
        {
            self.never_begun(oldest, waiting, "too many newer payloads wait");
        }
        self.fill_places(now);
    }

    /// Gives places to the newest that wait; one that is older than another at work loses its own to it.
    fn fill_places(&mut self, now: Instant) {
        while let Some((&(slot, root), _)) = self.waiting.last_key_value() {
            if self.payloads.len() >= self.config.max_payloads {
                // What is being posted at this moment is not thrown away: it gives its place up soon.
                let posting = |p: &Payload| p.jobs.values().any(|job| job.step == Step::Post && job.busy);
                let at_work = self.payloads.iter().filter(|(_, p)| !posting(p));
                match at_work.map(|(root, p)| (p.slot, *root)).min() {
                    Some((oldest, out)) if oldest < slot => self.set_aside(out),
                    _ => return,
                }
            }
            if let Some(waiting) = self.waiting.remove(&(slot, root)) {
                self.begin(root, slot, waiting, now);
            }
        }
    }

    fn set_aside(&mut self, root: Root) {
        let Some(payload) = self.payloads.remove(&root) else {
            return;
        };
        let waiting = Waiting {
            deadline: payload.deadline,
            types: payload.jobs.into_keys().collect(),
        };
        self.waiting.insert((payload.slot, root), waiting);
        self.out.push(Action::SetAside(root));
    }

    fn begin(&mut self, root: Root, slot: Slot, waiting: Waiting, now: Instant) {
        let job = |proof_type: &ProofType| {
            let job = Job {
                step: Step::Request,
                busy: false,
                next: now,
                tries: 0,
                last: None,
                failed_early: None,
            };
            (*proof_type, job)
        };
        let jobs = waiting.types.iter().map(job).collect();
        let payload = Payload {
            slot,
            deadline: waiting.deadline,
            over: false,
            jobs,
        };
        self.payloads.insert(root, payload);
    }

    fn waiting_is_over(&mut self, now: Instant) {
        let over: Vec<(Slot, Root)> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| now >= waiting.deadline)
            .map(|(name, _)| *name)
            .collect();
        for name in over {
            if let Some(waiting) = self.waiting.remove(&name) {
                self.never_begun(name.1, waiting, OVER);
            }
        }
    }

    /// Ends what had no place when its time was over.
    fn never_begun(&mut self, root: Root, waiting: Waiting, why: &str) {
        for proof_type in waiting.types {
            let key = ProofKey {
                new_payload_request_root: root,
                proof_type,
            };
            let late = End::TooLate(format!("{why}; waited for a place among the payloads at work"));
            self.out.push(Action::Ended(key, late));
        }
        self.out.push(Action::Forget(root));
    }

    fn job(&mut self, key: &ProofKey) -> Option<&mut Job> {
        let payload = self.payloads.get_mut(&key.new_payload_request_root)?;
        payload.jobs.get_mut(&key.proof_type)
    }

    fn requested(&mut self, key: ProofKey, outcome: Outcome, now: Instant, random: f64) {
        let retry = self.config.retry;
        // The proof may have come before this answer.
        let Some(job) = self.job(&key).filter(|j| j.step == Step::Request) else {
            return;
        };
        match (outcome, job.failed_early.take()) {
            (Outcome::Done, None) => {
                job.step = Step::Prove;
                job.busy = false;
                job.last = None;
            }
            (Outcome::NotNow(why) | Outcome::Refused(why), _) | (Outcome::Done, Some(why)) => {
                job.again(Step::Request, why, retry, now, random);
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one row of the table of steps")]
    fn stepped(
        &mut self,
        key: &ProofKey,
        step: Step,
        then: Step,
        outcome: Outcome,
        refused: Option<Step>,
        now: Instant,
        random: f64,
    ) {
        let retry = self.config.retry;
        let over = self
            .payloads
            .get(&key.new_payload_request_root)
            .is_some_and(|p| p.over);
        let Some(job) = self.job(key).filter(|j| j.step == step && j.busy) else {
            return;
        };
        match (outcome, refused) {
            (Outcome::Done, _) => job.go(then, now),
            (Outcome::NotNow(why), _) if over => {
                job.last = Some(why);
                let late = job.too_late(OVER);
                self.end(key, late);
            }
            (Outcome::NotNow(why), _) => job.again(step, why, retry, now, random),
            (Outcome::Refused(why), Some(back)) => job.again(back, why, retry, now, random),
            (Outcome::Refused(why), None) => self.end(key, End::Failed(why)),
        }
    }

    fn end(&mut self, key: &ProofKey, end: End) {
        let root = key.new_payload_request_root;
        let Some(payload) = self.payloads.get_mut(&root) else {
            return;
        };
        if payload.jobs.remove(&key.proof_type).is_some() {
            self.out.push(Action::Ended(*key, end));
        }
        if payload.jobs.is_empty() {
            self.payloads.remove(&root);
            self.out.push(Action::Forget(root));
        }
    }

    /// Ends what cannot be in time any more. What is being posted may come to its end, within its grace.
    fn time_is_over(&mut self, root: &Root, now: Instant) {
        let Some(payload) = self.payloads.get_mut(root) else {
            return;
        };
        let posting = |job: &Job| job.step == Step::Post && job.busy;
        if payload.over || !payload.jobs.values().any(posting) {
            self.give_up(root, OVER);
            return;
        }
        payload.over = true;
        payload.deadline = now + POST_GRACE;
        let late = payload.jobs.iter().filter(|(_, job)| !posting(job));
        let late: Vec<(ProofType, End)> = late.map(|(t, job)| (*t, job.too_late(OVER))).collect();
        for (proof_type, end) in late {
            let key = ProofKey {
                new_payload_request_root: *root,
                proof_type,
            };
            self.end(&key, end);
        }
    }

    fn give_up(&mut self, root: &Root, why: &str) {
        let Some(payload) = self.payloads.remove(root) else {
            return;
        };
        for (proof_type, job) in payload.jobs {
            let key = ProofKey {
                new_payload_request_root: *root,
                proof_type,
            };
            self.out.push(Action::Ended(key, job.too_late(why)));
        }
        self.out.push(Action::Forget(*root));
    }
}

#[cfg(test)]
mod tests;
