//! Attackers that ask for every proof again and again, and take none: each makes the victim keep copies for it.

use crate::{
    attack::{Attack, Tally, Target},
    node::Failure,
    wire::{GOSSIP, Line, Rpc, subscribe, want},
};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::Stream;
use libp2p_stream::IncomingStreams;
use prost::Message;
use std::time::Duration;

/// Messages of more bytes are proofs, and are left where they are.
const SMALL: u64 = 64 * 1024;
/// Ids that are asked for: the newest that anybody was told of.
const IDS: usize = 64;
/// From one request to the next.
const PAUSE: Duration = Duration::from_millis(500);

/// One identity, until its connection ends.
pub(crate) async fn live(
    line: &mut Line,
    mut incoming: IncomingStreams,
    target: &Target,
    tally: &Tally,
) -> Result<(), Failure> {
    let asking = async {
        let mut stream = line.stream(GOSSIP).await?;
        stream.write_all(&subscribe(&target.topic)).await?;
        loop {
            stream.flush().await?;
            tokio::time::sleep(PAUSE).await;
            let ids = tally.ids.lock().map(|ids| ids.clone()).unwrap_or_default();
            if ids.is_empty() {
                continue;
            }
            tally.tried(Attack::Takers);
            stream.write_all(&want(ids)).await?;
        }
    };
    let listening = async {
        // Streams are kept, and not read once a proof is on them.
        let mut kept = Vec::new();
        while let Some((_, mut stream)) = incoming.next().await {
            let _ = listen(&mut stream, tally).await;
            kept.push(stream);
        }
    };
    tokio::select! {
        result = asking => result,
        () = listening => Ok(()),
    }
}

/// Notes the ids that are announced, until a proof comes.
async fn listen(stream: &mut Stream, tally: &Tally) -> Result<(), Failure> {
    loop {
        let (mut len, mut bits) = (0u64, 0u32);
        loop {
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            len |= u64::from(byte[0] & 0x7f).checked_shl(bits).unwrap_or_default();
            bits += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        if len > SMALL {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(len)?];
        stream.read_exact(&mut bytes).await?;
        let told = Rpc::decode(&bytes[..])?.control.unwrap_or_default();
        let Ok(mut ids) = tally.ids.lock() else {
            return Err("an attacker has panicked".into());
        };
        for id in told.ihave.into_iter().flat_map(|ihave| ihave.ids) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let old = ids.len().saturating_sub(IDS);
        ids.drain(..old);
    }
}
