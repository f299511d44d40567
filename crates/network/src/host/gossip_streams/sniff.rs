//! Which protocol a stream is for, and where the messages of gossip's end.

/// gossipsub's protocols, as its library offers them.
const GOSSIP: [&[u8]; 4] = [
    b"/meshsub/1.3.0",
    b"/meshsub/1.2.0",
    b"/meshsub/1.1.0",
    b"/meshsub/1.0.0",
];
/// What multistream-select begins with.
const HEADER: &[u8] = b"/multistream/1.0.0";
/// Longest name of a protocol that is looked at.
const MAX_NAME: usize = 127;
/// Proposals that are looked at; then the stream is taken for another's.
const MAX_PROPOSALS: u8 = 8;

/// The bytes of one direction of a stream: of whoever opened it.
#[derive(Debug)]
pub(super) enum Sniff {
    /// Names are proposed: the one being read, and how many were.
    Negotiating { name: Vec<u8>, proposals: u8 },
    /// Messages of gossip, each with its length in front.
    Gossip(Lengths),
    /// Anything else.
    Other,
}

impl Default for Sniff {
    fn default() -> Self {
        Self::Negotiating {
            name: Vec::new(),
            proposals: 0,
        }
    }
}

impl Sniff {
    pub(super) fn is_gossip(&self) -> bool {
        matches!(self, Self::Gossip(_))
    }

    /// Bytes of a message of gossip that is not whole yet.
    pub(super) fn unfinished(&self) -> usize {
        match self {
            Self::Gossip(lengths) => lengths.held,
            _ => 0,
        }
    }

    /// The next bytes of the stream.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while let Self::Negotiating { name, proposals } = self {
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            name.push(*first);
            // A length of one byte, and the name with the end of a line.
            let len = usize::from(name[0]);
            if len == 0 || len > MAX_NAME {
                *self = Self::Other;
                return;
            }
            if name.len() <= len {
                continue;
            }
            let text = name[1..].strip_suffix(b"\n").unwrap_or_default();
            if GOSSIP.contains(&text) {
                *self = Self::Gossip(Lengths::default());
            } else if (text == HEADER || !text.starts_with(b"/eth2/")) && *proposals < MAX_PROPOSALS {
                *proposals += 1;
                name.clear();
            } else {
                *self = Self::Other;
            }
        }
        if let Self::Gossip(lengths) = self {
            lengths.push(bytes);
        }
    }
}

/// Follows messages with their lengths (unsigned varints) in front.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    /// The length as far as it was read, and its bits.
    len: u64,
    bits: u32,
    /// What is to come of the message.
    left: u64,
    /// What has come of the message, its length included.
    held: usize,
}

impl Lengths {
    fn push(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[n..];
                self.left -= n as u64;
                self.held += n;
                if self.left == 0 {
                    self.held = 0;
                }
                continue;
            }
            bytes = rest;
            self.held += 1;
            // What does not fit is refused by whoever decodes it.
            self.len |= u64::from(first & 0x7f).checked_shl(self.bits).unwrap_or(u64::MAX);
            self.bits += 7;
            if first & 0x80 == 0 {
                self.left = self.len;
                (self.len, self.bits) = (0, 0);
                if self.left == 0 {
                    self.held = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(name: &[u8]) -> Vec<u8> {
        [&[name.len() as u8 + 1], name, b"\n"].concat()
    }

    fn gossip() -> Vec<u8> {
        [line(HEADER), line(b"/meshsub/1.2.0")].concat()
    }

    fn after(pieces: &[&[u8]]) -> Sniff {
        let mut sniff = Sniff::default();
        for piece in pieces {
            sniff.push(piece);
        }
        sniff
    }

    #[test]
    fn gossip_is_told_by_its_name() {
        assert!(after(&[&gossip()]).is_gossip());
        // The first proposal was turned down.
        let second = [line(HEADER), line(b"/floodsub/9"), line(b"/meshsub/1.1.0")].concat();
        assert!(after(&[&second]).is_gossip());
        let request = [
            line(HEADER),
            line(b"/eth2/beacon_chain/req/ping/1/ssz_snappy"),
            gossip(),
        ]
        .concat();
        assert!(matches!(after(&[&request]), Sniff::Other));
        assert!(matches!(after(&[&[0]]), Sniff::Other));
        assert!(matches!(after(&[&[200, 1, 2]]), Sniff::Other));
        let mut many = line(HEADER);
        many.extend((0..20).flat_map(|_| line(b"/x")));
        assert!(matches!(after(&[&many]), Sniff::Other));
        assert!(matches!(after(&[&line(HEADER)]), Sniff::Negotiating { .. }));
    }

    #[test]
    fn a_length_without_end_is_held_and_no_more() {
        let sniff = after(&[&gossip(), &[0xff; 40]]);
        assert_eq!(sniff.unfinished(), 40);
    }

    proptest! {
        #[test]
        fn messages_end_where_they_do_however_they_are_cut(
            sizes in prop::collection::vec(0usize..70_000, 1..6),
            cut in 1usize..9000,
            missing in 1usize..50,
        ) {
            let mut wire = gossip();
            let mut last = 0;
            for size in &sizes {
                let before = wire.len();
                let mut len = *size;
                while len >= 0x80 {
                    wire.push((len & 0x7f) as u8 | 0x80);
                    len >>= 7;
                }
                wire.push(len as u8);
                wire.extend(std::iter::repeat_n(0xaa, *size));
                last = wire.len() - before;
            }
            let mut sniff = Sniff::default();
            wire.chunks(cut).for_each(|piece| sniff.push(piece));
            prop_assert_eq!(sniff.unfinished(), 0);
            let missing = missing.min(last);
            let mut sniff = Sniff::default();
            wire[..wire.len() - missing].chunks(cut).for_each(|piece| sniff.push(piece));
            prop_assert_eq!(sniff.unfinished(), last - missing);
        }
    }
}
