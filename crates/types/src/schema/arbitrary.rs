//! Random values of any shape, for the property tests of this crate.

use super::{OFFSET_LEN, Schema};

/// A small deterministic generator: a failing test prints its seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next number (splitmix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 where `n` is 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next().checked_rem(n).unwrap_or(0)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// A length from 0 to `limit`, mostly short, sometimes a chunk's seam.
    fn len(&mut self, limit: u64, usual: u64) -> usize {
        let len = match self.below(4) {
            0 => 0,
            1 => [1, 31, 32, 33][self.below(4) as usize].min(usual * 8),
            _ => self.below(usual + 1),
        };
        len.min(limit) as usize
    }
}

/// The SSZ bytes of a random value.
pub(crate) fn random_value(schema: &Schema, dice: &mut Dice) -> Vec<u8> {
    match schema {
        Schema::Uint(size) | Schema::Bytes(size) => dice.bytes(*size),
        Schema::Boolean => vec![dice.below(2) as u8],
        Schema::ByteList(limit) => {
            let len = dice.len(*limit, 80);
            dice.bytes(len)
        }
        Schema::ProgressiveByteList => {
            let len = dice.len(u64::MAX, 200);
            dice.bytes(len)
        }
        Schema::Bitvector(bits) => {
            let mut bytes = dice.bytes(bits.div_ceil(8));
            if let (Some(last), true) = (bytes.last_mut(), bits % 8 != 0) {
                *last &= (1 << (bits % 8)) - 1;
            }
            bytes
        }
        Schema::Bitlist(limit) => {
            let len = dice.len(*limit, 300);
            bits(len, dice)
        }
        Schema::ProgressiveBitlist => {
            let len = dice.len(u64::MAX, 600);
            bits(len, dice)
        }
        Schema::Vector(element, count) => items(element, *count, dice),
        Schema::List(element, limit) => {
            let len = dice.len(*limit, 3);
            items(element, len, dice)
        }
        Schema::ProgressiveList(element) => {
            let len = dice.len(u64::MAX, 4);
            items(element, len, dice)
        }
        Schema::Container { fields, .. } | Schema::ProgressiveContainer { fields, .. } => {
            let values: Vec<_> = fields
                .iter()
                .map(|f| (f.schema.fixed_size().is_some(), random_value(&f.schema, dice)))
                .collect();
            join(&values)
        }
    }
}

fn bits(len: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.bytes(len / 8 + 1);
    if let Some(last) = bytes.last_mut() {
        *last = (*last & ((1u16 << (len % 8)) - 1) as u8) | (1 << (len % 8));
    }
    bytes
}

fn items(element: &Schema, len: usize, dice: &mut Dice) -> Vec<u8> {
    let fixed = element.fixed_size().is_some();
    let values: Vec<_> = (0..len).map(|_| (fixed, random_value(element, dice))).collect();
    join(&values)
}

/// Fixed-size values in place, offsets for the others, then these.
fn join(values: &[(bool, Vec<u8>)]) -> Vec<u8> {
    let fixed_part: usize = values
        .iter()
        .map(|(fixed, value)| if *fixed { value.len() } else { OFFSET_LEN })
        .sum();
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    for (fixed, value) in values {
        if *fixed {
            head.extend_from_slice(value);
        } else {
            head.extend_from_slice(&((fixed_part + tail.len()) as u32).to_le_bytes());
            tail.extend_from_slice(value);
        }
    }
    head.extend_from_slice(&tail);
    head
}

/// The same bytes with something wrong, or not: a byte changed, a piece cut out, put in, or moved.
pub(crate) fn mutate(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=dice.below(2) {
        let at = dice.below(out.len() as u64 + 1) as usize;
        match dice.below(6) {
            0 => out.truncate(at),
            1 => out.insert(at, dice.next() as u8),
            2 if at < out.len() => {
                out.remove(at);
            }
            3 if at + OFFSET_LEN <= out.len() => {
                // A lie about an offset, near and far.
                let lie = [
                    0,
                    1,
                    4,
                    out.len() as u64,
                    out.len() as u64 + 1,
                    u64::from(u32::MAX),
                ];
                let lie = lie[dice.below(6) as usize] as u32;
                out[at..at + OFFSET_LEN].copy_from_slice(&lie.to_le_bytes());
            }
            _ if at < out.len() => out[at] = out[at].wrapping_add(1 + dice.below(4) as u8),
            _ => out.push(dice.next() as u8),
        }
    }
    out
}
