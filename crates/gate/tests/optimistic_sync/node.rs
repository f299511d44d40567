//! A beacon node as an engine endpoint meets it, written from the consensus specs alone: sync/optimistic.md, the fork
//! choice of phase 0 and of Gloas, and the gossip rules of Gloas. It knows nothing of this project.
//!
//! Left out, as no rule here depends on it: the filter by justification, equivocations, the proposer's own reorgs, data
//! availability. Blocks are judged by their slot's committee, three groups of it, and by the proposer boost.

mod fork_choice;

use std::collections::BTreeMap;

/// A beacon block, and the payload it brings: numbered from 0, which is genesis.
pub type Id = usize;

/// Slots of an epoch, and groups of validators that vote in a slot: each votes once an epoch.
pub const SLOTS_PER_EPOCH: u64 = 8;
pub const GROUPS: u8 = 3;
/// A beacon block.
#[derive(Debug, Clone)]
pub struct Block {
    pub id: Id,
    pub slot: u64,
    pub parent: Id,
    /// Gloas: it builds on its parent's payload. Always, before.
    pub on_payload: bool,
    /// What it includes of earlier slots.
    pub votes: Vec<Vote>,
}

/// What a group of a slot's committee says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    pub slot: u64,
    pub group: u8,
    pub block: Id,
    /// Gloas, of a block of an earlier slot: its payload is there.
    pub payload_present: bool,
}

/// What the node asks its execution engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    NewPayload(Id),
    Forkchoice {
        head: Id,
        safe: Option<Id>,
        finalized: Option<Id>,
    },
}

/// `latestValidHash` of INVALID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatestValid {
    Null,
    Zero,
    Hash(Id),
}

/// What it hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Valid,
    /// SYNCING or ACCEPTED.
    NotValidated,
    Invalid(LatestValid),
    /// An error, or nothing.
    None,
}

/// When it names its head to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// When it changes, and once a slot besides.
    EverySlot,
    /// When it changes.
    WhenHeadChanges,
}

/// How implementations differ.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    pub asks: Asks,
    /// forkchoiceUpdated VALID makes the head valid; without, newPayload alone does.
    pub forkchoice_validates: bool,
    /// Payloads come apart from their blocks, and votes for optimistic ones are ignored on gossip.
    pub gloas: bool,
}

/// The head: a block, with its payload or (Gloas) without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub block: Id,
    pub full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    /// Not imported.
    Out,
    Optimistic,
    Valid,
    Invalid,
}

struct Entry {
    block: Block,
    /// In the fork choice.
    imported: bool,
    /// The payload is here, to be given to the engine; and it came in time for the committee.
    delivered: bool,
    timely: bool,
    payload: Payload,
    /// Not given to the engine before this slot.
    not_before: u64,
}

/// The node.
pub struct Node {
    habits: Habits,
    slot: u64,
    entries: BTreeMap<Id, Entry>,
    /// Newest vote of each group.
    latest: BTreeMap<(u64, u8), Vote>,
    /// Votes of gossip that wait: for their block or payload, and for the next slot.
    waiting: Vec<Vote>,
    accepted: Vec<Vote>,
    boosted: Option<Id>,
    head: Head,
    importing: bool,
    /// The head of the fcU under way, and whether another is to follow.
    naming: Option<Id>,
    name_again: bool,
    named: Option<Id>,
    out: Vec<Call>,
    /// Votes ignored because their payload was optimistic.
    pub ignored: u64,
    /// Times that a payload once valid was called invalid, or the other way round: "only possible with a faulty" engine.
    pub taken_back: u64,
}

impl Node {
    /// A node that starts from genesis.
    pub fn new(habits: Habits) -> Self {
        let genesis = Entry {
            block: Block {
                id: 0,
                slot: 0,
                parent: 0,
                on_payload: true,
                votes: Vec::new(),
            },
            imported: true,
            delivered: true,
            timely: true,
            payload: Payload::Valid,
            not_before: 0,
        };
        let mut node = Self {
            habits,
            slot: 0,
            entries: BTreeMap::from([(0, genesis)]),
            latest: BTreeMap::new(),
            waiting: Vec::new(),
            accepted: Vec::new(),
            boosted: None,
            head: Head { block: 0, full: true },
            importing: false,
            naming: None,
            name_again: false,
            named: None,
            out: Vec::new(),
            ignored: 0,
            taken_back: 0,
        };
        node.name_head();
        node
    }

    pub fn head(&self) -> Head {
        self.head
    }

    /// "Let a node be an optimistic node if `is_optimistic(opt_store, head)`." It neither attests nor proposes then.
    pub fn is_optimistic(&self) -> bool {
        self.entries[&self.payload_of(self.head)].payload == Payload::Optimistic
    }

    /// Whether a payload is imported and validated.
    pub fn is_valid(&self, id: Id) -> bool {
        self.entries.get(&id).is_some_and(|e| e.payload == Payload::Valid)
    }

    /// What it asks, in order.
    pub fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.out)
    }

    pub fn slot_started(&mut self, slot: u64) {
        self.slot = slot;
        self.boosted = None;
        self.apply_accepted();
        self.advance();
    }

    /// The time of the slot to name the head again, for those that do.
    pub fn repeat(&mut self) {
        if self.habits.asks == Asks::EverySlot {
            self.name_head();
        }
    }

    pub fn block_seen(&mut self, block: Block, timely: bool) {
        let delivered = !self.habits.gloas;
        if timely && block.slot == self.slot {
            self.boosted = Some(block.id);
        }
        let entry = Entry {
            block,
            imported: false,
            delivered,
            timely,
            payload: Payload::Out,
            not_before: 0,
        };
        self.entries.insert(entry.block.id, entry);
        self.advance();
    }

    /// Gloas: the payload of a block.
    pub fn payload_seen(&mut self, id: Id, timely: bool) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.delivered = true;
            entry.timely = timely;
        }
        self.advance();
    }

    /// A vote by gossip.
    pub fn vote_seen(&mut self, vote: Vote) {
        self.waiting.push(vote);
        self.sort_votes();
    }

    pub fn answered(&mut self, call: Call, answer: Answer) {
        match call {
            Call::NewPayload(id) => {
                self.importing = false;
                self.new_payload_answered(id, answer);
            }
            Call::Forkchoice { head, .. } => {
                self.naming = None;
                self.forkchoice_answered(head, answer);
                if std::mem::take(&mut self.name_again) {
                    self.name_head();
                }
            }
        }
        self.advance();
    }

    fn new_payload_answered(&mut self, id: Id, answer: Answer) {
        let slot = self.slot;
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        match answer {
            // "MUST NOT optimistically import the block. … MAY queue the block for later processing."
            Answer::None => entry.not_before = slot + 1,
            Answer::Valid => {
                self.import(id, Payload::Valid);
                self.validate(id);
            }
            Answer::NotValidated => self.import(id, Payload::Optimistic),
            Answer::Invalid(latest) => {
                entry.imported |= self.habits.gloas;
                self.invalidate(id, latest);
            }
        }
    }

    fn forkchoice_answered(&mut self, head: Id, answer: Answer) {
        match answer {
            Answer::Valid if self.habits.forkchoice_validates => self.validate(head),
            Answer::Invalid(latest) => self.invalidate(head, latest),
            Answer::Valid | Answer::NotValidated | Answer::None => {}
        }
    }

    fn import(&mut self, id: Id, payload: Payload) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if entry.payload == Payload::Out {
            entry.payload = payload;
        }
        self.enter(id);
    }

    /// Into the fork choice, with the votes it includes.
    fn enter(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(&id).filter(|e| !e.imported) else {
            return;
        };
        entry.imported = true;
        for vote in entry.block.votes.clone() {
            // "If attesting for a full node, the payload must be known"
            if !self.names_payload(&vote) || self.is_imported(vote.block) {
                self.count(vote);
            }
        }
    }

    /// "When a block transitions from NOT_VALIDATED -> VALID, all ancestors of the block MUST also transition."
    fn validate(&mut self, id: Id) {
        let mut at = id;
        loop {
            let Some(entry) = self.entries.get_mut(&at) else {
                return;
            };
            match entry.payload {
                Payload::Optimistic => entry.payload = Payload::Valid,
                Payload::Invalid => self.taken_back += 1,
                // So are its ancestors; but not those of the payload asked about.
                Payload::Valid if at != id => return,
                Payload::Valid | Payload::Out => {}
            }
            if at == 0 {
                return;
            }
            at = self.payload_parent(at);
        }
    }

    /// How to apply `latestValidHash` when the payload status is INVALID; Gloas: what builds on the block without its
    /// payload stays.
    fn invalidate(&mut self, id: Id, latest: LatestValid) {
        let mut chain = vec![id];
        while let Some(&at) = chain.last().filter(|at| **at != 0) {
            chain.push(self.payload_parent(at));
        }
        let first = match latest {
            LatestValid::Null => id,
            LatestValid::Zero => chain.get(chain.len().saturating_sub(2)).copied().unwrap_or(id),
            LatestValid::Hash(hash) => match chain.iter().position(|at| *at == hash) {
                Some(place) if place > 0 => chain[place - 1],
                _ => id,
            },
        };
        let all: Vec<Id> = self
            .entries
            .keys()
            .copied()
            .filter(|at| self.stands_on(*at, first))
            .collect();
        for at in all {
            let Some(entry) = self.entries.get_mut(&at) else {
                continue;
            };
            self.taken_back += u64::from(entry.payload == Payload::Valid);
            entry.payload = Payload::Invalid;
        }
    }

    /// Whether a payload is `ancestor` or builds on it.
    fn stands_on(&self, id: Id, ancestor: Id) -> bool {
        let mut at = id;
        loop {
            if at == ancestor {
                return true;
            }
            if at <= ancestor || at == 0 {
                return false;
            }
            at = self.payload_parent(at);
        }
    }

    /// The payload that a block's own builds on.
    fn payload_parent(&self, id: Id) -> Id {
        let block = &self.entries[&id].block;
        self.payload_of(Head {
            block: block.parent,
            full: block.on_payload,
        })
    }

    /// The newest payload of a chain that ends so.
    fn payload_of(&self, head: Head) -> Id {
        match head.full || head.block == 0 {
            true => head.block,
            false => self.payload_parent(head.block),
        }
    }

    fn is_imported(&self, id: Id) -> bool {
        let payload = self.entries.get(&id).map(|e| e.payload);
        matches!(payload, Some(Payload::Optimistic | Payload::Valid))
    }

    /// Everything that follows from what is here.
    fn advance(&mut self) {
        let ids: Vec<Id> = self
            .entries
            .iter()
            .filter(|(_, e)| !e.imported || e.payload == Payload::Out)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let entry = &self.entries[&id];
            if entry.payload == Payload::Invalid {
                continue;
            }
            let block = &entry.block;
            let Some(parent) = self.entries.get(&block.parent).filter(|p| p.imported) else {
                continue;
            };
            if block.on_payload && !self.is_imported(block.parent) {
                // "The parent of the block MUST NOT have an INVALIDATED execution payload."
                let refused = parent.payload == Payload::Invalid;
                if let Some(entry) = self.entries.get_mut(&id).filter(|_| refused) {
                    entry.payload = Payload::Invalid;
                }
                continue;
            }
            if self.habits.gloas {
                self.enter(id);
            }
            let entry = &self.entries[&id];
            let ready = entry.delivered && entry.payload == Payload::Out && entry.not_before <= self.slot;
            if ready && !self.importing {
                self.importing = true;
                self.out.push(Call::NewPayload(id));
            }
        }
        self.sort_votes();
        self.apply_accepted();
        let before = self.head;
        self.head = self.get_head();
        if self.head != before || self.named.is_none() {
            let payload = self.payload_of(self.head);
            if self.named != Some(payload) {
                self.name_head();
            }
        }
    }

    /// forkchoiceUpdated of the head; one at a time.
    fn name_head(&mut self) {
        let head = self.payload_of(self.head);
        self.named = Some(head);
        if self.naming.is_some() {
            self.name_again = true;
            return;
        }
        self.naming = Some(head);
        self.out.push(Call::Forkchoice {
            head,
            safe: self.checkpoint(1),
            finalized: self.checkpoint(2),
        });
    }

    /// The payload of the checkpoint so many epochs back; in Gloas the one its block builds on.
    fn checkpoint(&self, back: u64) -> Option<Id> {
        let epoch = (self.entries[&self.head.block].block.slot / SLOTS_PER_EPOCH).checked_sub(back)?;
        let mut at = self.head;
        while self.entries[&at.block].block.slot > epoch * SLOTS_PER_EPOCH {
            let block = &self.entries[&at.block].block;
            at = Head {
                block: block.parent,
                full: block.on_payload,
            };
        }
        if at.block == 0 {
            return None;
        }
        match self.habits.gloas {
            true => Some(self.payload_parent(at.block)),
            false => Some(at.block),
        }
    }
}
