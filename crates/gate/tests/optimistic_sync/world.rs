//! What happens around the node: blocks, votes, payloads, proofs and faults, all from a seed.

use super::node::{Block, GROUPS, Id, Vote};

/// Milliseconds of a slot.
pub const SLOT: u64 = 12_000;
/// Slots of a world. Two empty ones, and a block whose proof comes soon, are its end: every proof is there then.
pub const SLOTS: u64 = 48;

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `from` to below `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from)
    }
}

/// What is to happen besides skipped slots, late blocks and reorgs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Every proof is 0 to 8 s late.
    Nothing,
    /// So is every proof, but those of slots 14 to 16, which come five slots later.
    LateProofs,
    /// The proof of the first payload from slot 14 on never comes.
    NoProof,
    /// The execution client is away for a slot, syncs for four, and hangs for two later on.
    ExecutionClient,
    /// Assay is killed and restarted, twice; the first time while proofs are awaited, those of slots 11 to 13.
    Restarts,
    /// A payload is invalid.
    InvalidPayload,
}

/// A block, and when what of it comes where.
#[derive(Debug, Clone)]
pub struct Published {
    pub block: Block,
    /// When the node sees it, and its payload (Gloas: later).
    pub block_at: u64,
    pub payload_at: u64,
    pub payload_timely: bool,
    /// The execution client finds it so.
    pub valid: bool,
    /// How long that takes.
    pub execution_ms: u64,
    /// When its proof is with the gate.
    pub proof_at: Option<u64>,
}

/// A history.
pub struct World {
    pub gloas: bool,
    /// By id; genesis is the first.
    pub blocks: Vec<Published>,
    /// When votes are seen.
    pub votes: Vec<(u64, Vote)>,
    /// The chain's end as it was made: its newest block, with its payload or without.
    pub tip: (Id, bool),
    /// The execution client: away, then syncing; and hanging.
    pub away: Option<(u64, u64)>,
    pub syncing: Option<(u64, u64)>,
    pub hanging: Option<(u64, u64)>,
    /// Assay is down.
    pub down: Vec<(u64, u64)>,
}

struct Maker {
    world: World,
    random: Random,
    trouble: Trouble,
    /// Votes no block has included yet.
    loose: Vec<Vote>,
    lacking: bool,
}

impl World {
    pub fn new(seed: u64, gloas: bool, trouble: Trouble) -> Self {
        let genesis = Published {
            block: Block {
                id: 0,
                slot: 0,
                parent: 0,
                on_payload: true,
                votes: Vec::new(),
            },
            block_at: 0,
            payload_at: 0,
            payload_timely: true,
            valid: true,
            execution_ms: 0,
            proof_at: None,
        };
        let world = Self {
            gloas,
            blocks: vec![genesis],
            votes: Vec::new(),
            tip: (0, true),
            away: None,
            syncing: None,
            hanging: None,
            down: Vec::new(),
        };
        let mut maker = Maker {
            world,
            random: Random::new(seed),
            trouble,
            loose: Vec::new(),
            lacking: false,
        };
        maker.history();
        maker.faults();
        maker.world
    }

    /// The payload that a block's own builds on.
    pub fn payload_parent(&self, id: Id) -> Id {
        let block = &self.blocks[id].block;
        let (mut at, mut full) = (block.parent, block.on_payload);
        while !full && at != 0 {
            let block = &self.blocks[at].block;
            (at, full) = (block.parent, block.on_payload);
        }
        at
    }
}

impl Maker {
    fn history(&mut self) {
        let mut slot = 1;
        let mut invalid_from = 14;
        while slot <= SLOTS {
            // Something to begin with, and an end at which nothing is under way.
            let calm = slot <= 2 || slot > SLOTS - 6;
            if slot == SLOTS {
                self.last(slot);
            } else if slot >= SLOTS - 2 {
                self.empty(slot);
            } else if self.trouble == Trouble::InvalidPayload && slot >= invalid_from && !calm {
                self.invalid(slot);
                invalid_from = SLOTS;
            } else if calm {
                self.ordinary(slot);
            } else {
                match self.random.between(0, 100) {
                    0..12 => self.empty(slot),
                    12..20 => self.late_block(slot),
                    20..26 => {
                        self.partition(slot);
                        slot += 3;
                    }
                    26..36 if self.world.gloas => self.late_payload(slot),
                    _ => self.ordinary(slot),
                }
            }
            slot += 1;
        }
    }

    /// A block. One that will not stay takes no votes from those that follow.
    fn publish(&mut self, slot: u64, (parent, on_payload): (Id, bool), block_at: u64, stays: bool) -> Id {
        let id = self.world.blocks.len();
        let latency = match self.world.gloas {
            true => self.random.between(800, 3_000),
            false => 0,
        };
        let payload_at = block_at + latency;
        let late = match self.trouble {
            Trouble::LateProofs if (14..=16).contains(&slot) => 5 * SLOT,
            Trouble::Restarts if (11..=13).contains(&slot) => 2 * SLOT,
            _ => 0,
        };
        let mut proof_at = Some(payload_at + self.random.between(0, 8_000) + late);
        if self.trouble == Trouble::NoProof && stays && slot >= 14 && !self.lacking {
            self.lacking = true;
            proof_at = None;
        }
        let votes = self.loose.clone();
        if stays {
            self.loose.clear();
        }
        self.world.blocks.push(Published {
            block: Block {
                id,
                slot,
                parent,
                on_payload,
                votes,
            },
            block_at,
            payload_at,
            payload_timely: payload_at < slot * SLOT + 9_000,
            valid: true,
            execution_ms: self.random.between(60, 700),
            proof_at,
        });
        id
    }

    fn in_time(&mut self, slot: u64) -> u64 {
        slot * SLOT + self.random.between(300, 2_200)
    }

    fn votes(&mut self, slot: u64, says: impl Fn(u8) -> (Id, bool), seen_at: Option<u64>) {
        let due = if self.world.gloas { 3_000 } else { 4_000 };
        for group in 0..GROUPS {
            let (block, payload_present) = says(group);
            let vote = Vote {
                slot,
                group,
                block,
                payload_present,
            };
            self.world
                .votes
                .push((seen_at.unwrap_or(slot * SLOT + due + 700), vote));
            self.loose.push(vote);
        }
    }

    fn ordinary(&mut self, slot: u64) {
        let at = self.in_time(slot);
        let id = self.publish(slot, self.world.tip, at, true);
        self.world.tip = (id, true);
        self.votes(slot, |_| (id, false), None);
    }

    /// It brings the votes that gossip did not.
    fn last(&mut self, slot: u64) {
        self.ordinary(slot);
        let published = &mut self.world.blocks[self.world.tip.0];
        published.proof_at = Some(published.payload_at + 1_500);
    }

    /// In Gloas a third of the committee did not see the payload in time.
    fn empty(&mut self, slot: u64) {
        let (tip, full) = self.world.tip;
        self.votes(slot, |group| (tip, full && group != 0), None);
    }

    /// A block that nobody votes for; the next proposer builds on its parent.
    fn late_block(&mut self, slot: u64) {
        let (tip, full) = self.world.tip;
        self.publish(slot, (tip, full), slot * SLOT + 6_500, false);
        self.votes(slot, |_| (tip, full), None);
    }

    /// Two parts of the network for three slots. The node is in the smaller one; then the other's chain is there.
    fn partition(&mut self, slot: u64) {
        let tip = self.world.tip;
        let first = self.in_time(slot);
        let here = self.publish(slot, tip, first, false);
        self.votes(slot, |group| if group == 0 { (here, false) } else { tip }, None);
        let over = (slot + 3) * SLOT + 200;
        self.loose.retain(|v| v.block != here);
        let there = self.publish(slot + 1, tip, over, true);
        // Votes for the other branch come with it.
        self.votes(
            slot + 1,
            |group| if group == 0 { (here, true) } else { (there, false) },
            Some(over),
        );
        let second = self.in_time(slot + 2);
        let here2 = self.publish(slot + 2, (here, true), second, false);
        self.votes(
            slot + 2,
            |group| if group == 0 { (here2, false) } else { (there, true) },
            Some(over),
        );
        self.loose.retain(|v| v.block == there);
        let at = over + self.random.between(200, 1_500);
        let tip = self.publish(slot + 3, (there, true), at, true);
        self.world.tip = (tip, true);
        self.votes(slot + 3, |_| (tip, false), None);
    }

    /// Gloas: the payload comes too late; the next proposer builds without it.
    fn late_payload(&mut self, slot: u64) {
        let at = self.in_time(slot);
        let id = self.publish(slot, self.world.tip, at, true);
        let published = &mut self.world.blocks[id];
        let delayed = slot * SLOT + 10_000;
        published.proof_at = published.proof_at.map(|at| at + delayed - published.payload_at);
        published.payload_at = delayed;
        published.payload_timely = false;
        self.world.tip = (id, false);
        self.votes(slot, |_| (id, false), None);
    }

    /// No execution client takes it, so nobody votes for it (Gloas: for its payload), and nobody can prove it.
    fn invalid(&mut self, slot: u64) {
        let tip = self.world.tip;
        let at = self.in_time(slot);
        let id = self.publish(slot, tip, at, self.world.gloas);
        let published = &mut self.world.blocks[id];
        (published.valid, published.proof_at) = (false, None);
        if self.world.gloas {
            self.world.tip = (id, false);
            self.votes(slot, |_| (id, false), None);
        } else {
            self.votes(slot, |_| tip, None);
        }
    }

    fn faults(&mut self) {
        match self.trouble {
            Trouble::ExecutionClient => {
                let at = 12 * SLOT + self.random.between(0, SLOT);
                self.world.away = Some((at, at + SLOT));
                self.world.syncing = Some((at + SLOT, at + 5 * SLOT));
                let hangs = 28 * SLOT + self.random.between(0, SLOT);
                self.world.hanging = Some((hangs, hangs + 2 * SLOT));
            }
            Trouble::Restarts => {
                for slot in [13, 29] {
                    let at = slot * SLOT + self.random.between(0, SLOT);
                    self.world.down.push((at, at + self.random.between(300, 4_000)));
                }
            }
            Trouble::Nothing | Trouble::LateProofs | Trouble::NoProof | Trouble::InvalidPayload => {}
        }
    }
}
