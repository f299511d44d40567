//! Blocks and Gloas envelopes, streamed from the beacon node one at a time.

use super::{
    Inner, Refusal, Stop, Writer,
    room::{Pass, Taken},
    section::{Packer, Section},
};
use crate::rpc::{
    messages::{BlocksByRange, decode_head, decode_range, decode_roots},
    protocol::{MAX_REQUEST_BLOCKS, MAX_REQUEST_PAYLOADS},
    wire::WriteError,
};
use assay_chain::{BlockAt, ChainStatus, RawBlock, SourceError};
use assay_types::{ForkDigest, ForkName, Root, Slot, Spec};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout, timeout_at};

/// Pause before the beacon node is asked again for what is left of a chunk.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// What is sent of each block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Block,
    Envelope,
}

/// Most blocks of one request in a fork (phase0 and deneb p2p).
fn most_blocks(spec: &Spec, now: Slot) -> u64 {
    if spec.fork_at_epoch(spec.epoch_at_slot(now)) >= ForkName::Deneb {
        spec.max_request_blocks_deneb
    } else {
        MAX_REQUEST_BLOCKS
    }
}

fn not_reached() -> Refusal {
    Refusal::unavailable("the beacon node was not reached yet")
}

/// The slots to serve of a range, or why none are. `most` are allowed.
fn slots(status: Option<ChainStatus>, start: Slot, count: u64, most: u64) -> Result<(u64, u64), Refusal> {
    if count > most {
        return Err(Refusal::invalid(format!(
            "{count} slots asked for, at most {most} at a time"
        )));
    }
    let status = status.ok_or_else(not_reached)?;
    if count > 0 && start < status.earliest_available_slot {
        return Err(Refusal::unavailable(format!(
            "blocks are served from slot {} on",
            status.earliest_available_slot
        )));
    }
    let end = start
        .saturating_add(count)
        .0
        .min(status.head_slot.0.saturating_add(1));
    Ok((start.0, end))
}

impl Inner {
    pub(super) async fn blocks_by_range(&self, request: &[u8], writer: &mut Writer) -> Result<(), Stop> {
        let BlocksByRange {
            start_slot,
            count,
            step,
        } = BlocksByRange::from_ssz_bytes(request)
            .ok_or_else(|| Refusal::invalid("not a BeaconBlocksByRange request"))?;
        // `step` is deprecated: 1, and for more a single block may be sent (phase0 p2p).
        let count = match step {
            0 => return Err(Refusal::invalid("step is 0").into()),
            1 => count,
            _ => count.min(1),
        };
        self.range(What::Block, start_slot, count, writer).await
    }

    pub(super) async fn envelopes_by_range(&self, request: &[u8], writer: &mut Writer) -> Result<(), Stop> {
        let (start_slot, count) = decode_range(request)
            .ok_or_else(|| Refusal::invalid("not an ExecutionPayloadEnvelopesByRange request"))?;
        self.range(What::Envelope, start_slot, count, writer).await
    }

    pub(super) async fn blocks_by_root(&self, request: &[u8], writer: &mut Writer) -> Result<(), Stop> {
        let chain = &self.parts.chain;
        let most = most_blocks(chain.spec(), chain.current_slot());
        self.roots(What::Block, request, most, writer).await
    }

    /// A block and its ancestors, newest first, for as long as the beacon node has them. More than the texts allow is a
    /// request for as many as they do (fulu p2p).
    pub(super) async fn blocks_by_head(&self, request: &[u8], writer: &mut Writer) -> Result<(), Stop> {
        let (head, count) =
            decode_head(request).ok_or_else(|| Refusal::invalid("not a BeaconBlocksByHead request"))?;
        if self.parts.blocks.chain_status().is_none() {
            return Err(not_reached().into());
        }
        let mut next = Some(head);
        for _ in 0..count.min(self.parts.chain.spec().max_request_blocks_deneb) {
            // Genesis names no parent.
            let Some(root) = next.filter(|root| *root != Root::ZERO) else {
                break;
            };
            next = self.send(What::Block, BlockAt::Root(root), writer).await?;
        }
        Ok(())
    }

    pub(super) async fn envelopes_by_root(&self, request: &[u8], writer: &mut Writer) -> Result<(), Stop> {
        self.roots(What::Envelope, request, MAX_REQUEST_PAYLOADS, writer)
            .await
    }

    async fn range(&self, what: What, start: Slot, count: u64, writer: &mut Writer) -> Result<(), Stop> {
        let chain = &self.parts.chain;
        let most = most_blocks(chain.spec(), chain.current_slot());
        let (start, end) = slots(self.parts.blocks.chain_status(), start, count, most)?;
        for slot in (start..end).map(Slot) {
            let root = match what {
                What::Block => None,
                // Envelopes are found by their blocks' roots; before Gloas there are none.
                What::Envelope => {
                    let epoch = chain.spec().epoch_at_slot(slot);
                    if chain.spec().fork_at_epoch(epoch) < ForkName::Gloas {
                        continue;
                    }
                    match self.canonical_root(slot, writer).await? {
                        Some(root) => Some(root),
                        None => continue,
                    }
                }
            };
            self.send(what, root.map_or(BlockAt::Slot(slot), BlockAt::Root), writer)
                .await?;
        }
        Ok(())
    }

    async fn roots(&self, what: What, request: &[u8], most: u64, writer: &mut Writer) -> Result<(), Stop> {
        let roots = decode_roots(request).ok_or_else(|| Refusal::invalid("not a list of roots"))?;
        if roots.len() as u64 > most {
            return Err(Refusal::invalid(format!(
                "{} roots asked for, at most {most} at a time",
                roots.len()
            ))
            .into());
        }
        if self.parts.blocks.chain_status().is_none() {
            return Err(not_reached().into());
        }
        for root in roots {
            self.send(what, BlockAt::Root(root), writer).await?;
        }
        Ok(())
    }

    async fn canonical_root(&self, slot: Slot, writer: &mut Writer) -> Result<Option<Root>, Stop> {
        if let Some(block) = self.parts.chain.canonical_block_at(slot) {
            return Ok(Some(block.block_root));
        }
        let block = {
            let _share = self.block_shares.take(&writer.peer()).await;
            self.look_up(What::Block, BlockAt::Slot(slot)).await
        };
        let (block, pass) = block.map_err(refusal)?;
        let root = block.map(|block| block.root);
        drop(pass);
        writer.pay().await;
        Ok(root)
    }

    /// Sends what is there of a block, if anything is; the root of its parent, if it says one. Each look-up is a request of
    /// the beacon node, and is paid for as a chunk whether it brings one or not.
    async fn send(&self, what: What, at: BlockAt, writer: &mut Writer) -> Result<Option<Root>, Stop> {
        let (peer, room) = (writer.peer(), &self.block_room);
        let _share = self.block_shares.take(&peer).await;
        let _place = room.small().await;
        let (found, pass) = self.look_up(what, at).await.map_err(refusal)?;
        let Some(found) = found else {
            drop(pass);
            writer.pay().await;
            return Ok(None);
        };
        let (parent, len) = (found.parent_root, found.ssz.len());
        let first = Section::first(room.section());
        // One that fits the small place needs no other.
        let large = match first.is_short_of(len) {
            true => self.large_place(&peer, room, len),
            false => None,
        };
        let mut chunk = Vec::new();
        pack(&found, first, &mut chunk);
        let rest = Rest {
            what,
            root: found.root,
            digest: found.fork_digest,
            len,
            kept: large.map(|place| (found, place)),
        };
        drop(pass);
        let taken = self.write_block(rest, first, chunk, writer).await;
        self.sent(peer, len, taken)?;
        Ok(parent)
    }

    async fn fetch(&self, what: What, at: BlockAt) -> Result<Option<RawBlock>, SourceError> {
        match (what, at) {
            (What::Envelope, BlockAt::Root(root)) => self.parts.blocks.envelope(root).await,
            (_, at) => self.parts.blocks.block(at).await,
        }
    }

    fn at_hand(&self, what: What, at: BlockAt) -> Option<RawBlock> {
        match (what, at) {
            (What::Envelope, BlockAt::Root(root)) => self.parts.blocks.envelope_at_hand(root),
            (_, at) => self.parts.blocks.block_at_hand(at),
        }
    }

    /// A block whose chunk has not begun, and the pass for its memory where it was fetched. It is unavailable when the time
    /// for that is over, be it spent behind others or by the beacon node.
    async fn look_up(
        &self,
        what: What,
        at: BlockAt,
    ) -> Result<(Option<RawBlock>, Option<Pass>), SourceError> {
        if let Some(block) = self.at_hand(what, at) {
            return Ok((Some(block), None));
        }
        let end = tokio::time::Instant::now() + self.parts.config.timeouts.block_fetch;
        let pass = timeout_at(end, self.block_room.pass()).await;
        let pass = pass.map_err(|_| SourceError::Busy)?;
        let found = timeout_at(end, self.fetch(what, at)).await;
        Ok((found.map_err(|_| SourceError::TimedOut)??, Some(pass)))
    }

    /// Writes a chunk whose first section is packed. What is not kept is looked up again for each of the others.
    async fn write_block(
        &self,
        rest: Rest,
        mut section: Section,
        mut chunk: Vec<u8>,
        writer: &mut Writer,
    ) -> Result<Duration, WriteError> {
        let mut begun = writer.begin().await;
        // The beacon node has as long for all that is left as the peer has, beside the peer's time.
        let mut left = self.parts.config.timeouts.chunk_write;
        writer.part(&mut begun, &chunk).await?;
        while section.is_short_of(rest.len) {
            section = section.next();
            match &rest.kept {
                Some((block, _)) => pack(block, section, &mut chunk),
                None => {
                    let began = Instant::now();
                    let packed = timeout(left, self.pack_again(&rest, section, &mut chunk)).await;
                    packed.unwrap_or(Err(WriteError::Gone))?;
                    left = left.saturating_sub(began.elapsed());
                }
            }
            writer.part(&mut begun, &chunk).await?;
        }
        writer.end(begun).await
    }

    /// Packs a section of a block that is at hand, or fetched for it: again and again until the beacon node says what it
    /// has, for nobody can be told within a chunk that it is unavailable.
    async fn pack_again(&self, rest: &Rest, section: Section, out: &mut Vec<u8>) -> Result<(), WriteError> {
        let at = BlockAt::Root(rest.root);
        let pack_found = |found: Option<RawBlock>, out: &mut Vec<u8>| {
            let block = found.filter(|block| rest.is_of(block)).ok_or(WriteError::Gone)?;
            pack(&block, section, out);
            Ok(())
        };
        loop {
            if let Some(block) = self.at_hand(rest.what, at) {
                return pack_found(Some(block), out);
            }
            {
                let _leave = self.block_room.soon(rest.len).await;
                match self.fetch(rest.what, at).await {
                    Ok(found) => return pack_found(found, out),
                    Err(error) => {
                        tracing::debug!(root = %rest.root, %error, "the rest of a block is not there yet")
                    }
                }
            }
            sleep(AGAIN_AFTER).await;
        }
    }
}

/// What there is of a block behind its first section.
struct Rest {
    what: What,
    root: Root,
    digest: ForkDigest,
    len: usize,
    /// The block in a large place.
    kept: Option<(RawBlock, Taken)>,
}

impl Rest {
    /// Whether a block is the same: its root says which, and what was signed is under one root.
    fn is_of(&self, block: &RawBlock) -> bool {
        (block.root, block.fork_digest, block.ssz.len()) == (self.root, self.digest, self.len)
    }
}

/// A section of a block's chunk to `out`.
fn pack(block: &RawBlock, section: Section, out: &mut Vec<u8>) {
    let mut packer = Packer::default();
    packer.begin(Some(block.fork_digest), block.ssz.len(), section, out);
    packer.push(&block.ssz, section, out);
    packer.finish(out);
}

/// What the beacon node cannot give now is unavailable; what it gives wrong is a fault on this side.
fn refusal(error: SourceError) -> Refusal {
    match error {
        SourceError::Wrong(_) => Refusal::server_error(error.to_string()),
        SourceError::Unavailable(_) | SourceError::TimedOut | SourceError::Busy => {
            Refusal::unavailable(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use assay_chain::Checkpoint;

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        let status = Some(ChainStatus {
            finalized: Checkpoint::default(),
            head_root: Root::ZERO,
            head_slot: Slot(200),
            earliest_available_slot: Slot(100),
        });
        assert_eq!(slots(status, Slot(100), 64, 128), Ok((100, 164)));
        assert_eq!(slots(status, Slot(190), 128, 128), Ok((190, 201)));
        assert_eq!(slots(status, Slot(u64::MAX), 128, 128), Ok((u64::MAX, 201)));
        assert_eq!(slots(status, Slot(5), 0, 128), Ok((5, 5)));
        let refused = |start, count| {
            let refusal = slots(status, Slot(start), count, 128).unwrap_err();
            (refusal.code.as_byte(), refusal.message)
        };
        assert_eq!(
            refused(100, 129),
            (1, "129 slots asked for, at most 128 at a time".to_owned())
        );
        assert_eq!(
            refused(99, 10),
            (3, "blocks are served from slot 100 on".to_owned())
        );
        assert_eq!(slots(None, Slot(1), 1, 128).unwrap_err().code.as_byte(), 3);
    }

    #[test]
    fn before_deneb_more_blocks_may_be_asked_for() {
        let spec = Spec::mainnet();
        let deneb = spec.start_slot(spec.fork_epoch(ForkName::Deneb).unwrap());
        assert_eq!(most_blocks(&spec, deneb), 128);
        assert_eq!(most_blocks(&spec, deneb.saturating_sub(1)), 1024);
    }
}
