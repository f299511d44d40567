//! RPCs of many messages, or of one that is large: made once, and made new in place.

use crate::{
    attack::{Attack, Target},
    flood::{own_bytes, proof},
    node::{Failure, random_bytes},
    wire::publish,
};
use assay_types::{Root, gossip::compress};

/// Bytes of an RPC: somewhat fewer than one may have (eth2's 10 MiB, packed).
const RPC_BYTES: usize = (11 << 20) + (1 << 19);
/// Bytes of a proof of the largest size, and of one of those that do not pack well and are many.
const LARGEST: usize = 4 << 20;
const MIDDLE: usize = 1 << 20;
/// Messages of an RPC that the victim looks at where each is of the largest size: a payload's proofs.
const LOOKED_AT: usize = 4;
/// Bytes by which a message differs from others. They do not compress.
const MARK: usize = 24;
/// Marks that are tried for an RPC.
const TRIES: usize = 100;

/// What the messages of an RPC are.
#[derive(Clone, Copy)]
struct Shape {
    /// Bytes of proof data.
    bytes: usize,
    /// Whether they pack well: zeros, to a twentieth of them.
    packs: bool,
    /// How many, or as many as an RPC has room for.
    messages: usize,
}

/// An RPC.
pub(crate) struct Bundle {
    pub(crate) rpc: Vec<u8>,
    pub(crate) messages: usize,
    attack: Attack,
    shape: Shape,
    payload: Root,
    /// Where its messages have their marks; of copies of one message none is looked for.
    marks: Vec<usize>,
}

impl Bundle {
    /// What the `n`th identity sends; `None` where it sends no bundles.
    pub(crate) fn of(attack: Attack, n: u32, target: &Target) -> Result<Option<Self>, Failure> {
        let shape = |bytes, packs, messages| Shape {
            bytes,
            packs,
            messages,
        };
        let shape = match (attack, n % 3) {
            // As many as there is room for, as many as are looked at, and what is as large on the wire.
            (Attack::Repeats, 0) => shape(LARGEST, true, usize::MAX),
            (Attack::Repeats, 1) => shape(LARGEST, true, LOOKED_AT),
            (Attack::Repeats, _) => shape(LARGEST, false, usize::MAX),
            (Attack::Rpcs, 0) => shape(MIDDLE, false, usize::MAX),
            (Attack::Rpcs, _) => shape(LARGEST, true, usize::MAX),
            (Attack::Contained, 0) => shape(LARGEST, false, 1),
            (Attack::Contained, _) => shape(LARGEST, true, 1),
            _ => return Ok(None),
        };
        Self::new(attack, shape, target).map(Some)
    }

    /// One of a roll call, and how many of its messages are counted as nothing but what they are.
    pub(crate) fn few(attack: Attack, target: &Target) -> Result<Option<(Self, usize)>, Failure> {
        let (messages, sure) = match attack {
            // The first of them is new.
            Attack::Repeats => (3, 2),
            // And the others are judged.
            Attack::Rpcs => (LOOKED_AT + 2, 2),
            Attack::Contained => (2, 2),
            _ => return Ok(None),
        };
        let shape = Shape {
            bytes: LARGEST,
            packs: true,
            messages,
        };
        let mut bundle = Self::new(attack, shape, target)?;
        bundle.renew(target)?;
        Ok(Some((bundle, sure)))
    }

    fn new(attack: Attack, shape: Shape, target: &Target) -> Result<Self, Failure> {
        // Some marks are packed in two pieces: what they begin with stands further in front by chance.
        (0..TRIES)
            .map(|_| Self::with(mark(), attack, shape, target))
            .find(|bundle| attack == Attack::Repeats || bundle.marks.len() == bundle.messages)
            .ok_or_else(|| format!("{attack:?}: no mark is found as it is once packed").into())
    }

    fn with(mark: [u8; MARK], attack: Attack, shape: Shape, target: &Target) -> Self {
        let mut data = match shape.packs {
            true => vec![0; shape.bytes],
            false => random_bytes(
                u32::from_le_bytes([mark[0], mark[1], mark[2], mark[3]]),
                shape.bytes,
            ),
        };
        // To an engine that the proof is good.
        data[0] = b'V';
        let payload = target.payload();
        let message = if attack == Attack::Contained {
            data[1..=MARK].copy_from_slice(&mark);
            proof(payload, target.contained, data, target.proof_type)
        } else {
            let mut unknown = [0; 32];
            unknown[..MARK].copy_from_slice(&mark);
            proof(Root::from(unknown), 1, data, target.proof_type)
        };
        let message = compress(&message);
        let messages = shape.messages.min(RPC_BYTES / message.len());
        let rpc = publish(&target.topic, std::iter::repeat_n(message, messages));
        let marks: Vec<usize> = match attack {
            Attack::Repeats => Vec::new(),
            _ => {
                let places = rpc.windows(MARK).enumerate();
                let places = places.filter(|(_, bytes)| *bytes == mark);
                places.map(|(place, _)| place).collect()
            }
        };
        Self {
            rpc,
            messages,
            attack,
            shape,
            payload,
            marks,
        }
    }

    /// Makes messages of it that nobody has seen, of the payload that is known now; of copies of one message, nothing.
    pub(crate) fn renew(&mut self, target: &Target) -> Result<(), Failure> {
        if self.attack == Attack::Contained && self.payload != target.payload() {
            *self = Self::new(self.attack, self.shape, target)?;
        }
        for place in &self.marks {
            self.rpc[*place..place + MARK].copy_from_slice(&mark());
        }
        Ok(())
    }
}

/// Bytes that nobody else has.
fn mark() -> [u8; MARK] {
    let mut mark = [0; MARK];
    for part in mark.chunks_exact_mut(8) {
        part.copy_from_slice(&own_bytes());
    }
    // Packed as it is: what stands before it, and a zero, stands further in front too.
    mark[0] |= 1;
    mark
}
