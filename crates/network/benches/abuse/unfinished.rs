//! Attackers that begin messages and never end them.

use crate::{
    attack::{Attack, Tally},
    node::{Failure, random_bytes},
    wire::{GOSSIP, Line},
};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use std::{sync::atomic::Ordering, time::Duration};

/// Bytes of a message that is begun: nearly the largest that eth2's text lets an RPC be (10 MiB, packed); what announces
/// more is broken off at once.
const LARGEST: usize = 11 << 20;
/// Three quarters of an honest proof of 1 MiB, and of 4 MiB: an honest peer that is nearly done with its proof holds more.
const BELOW_1_MIB: usize = 3 << 18;
const BELOW_4_MIB: usize = 3 << 20;
/// One identity in so many begins the larger of these.
const LARGER: u32 = 8;
/// Streams that an identity begins a message on, one after the other: with the fourth gossipsub would be deaf.
const STREAMS: usize = 3;

/// Begins the largest message there is, and stays until its stream is ended.
pub(crate) async fn unfinished(line: &mut Line, tally: &Tally) -> Result<(), Failure> {
    begin(Attack::Unfinished, LARGEST, line, tally).await
}

/// Begins messages that are smaller than an honest one, each when the stream of the one before is ended.
pub(crate) async fn holders(line: &mut Line, tally: &Tally) -> Result<(), Failure> {
    let n = tally.next.fetch_add(1, Ordering::Relaxed);
    let bytes = match n.is_multiple_of(LARGER) {
        true => BELOW_4_MIB,
        false => BELOW_1_MIB,
    };
    for _ in 0..STREAMS {
        begin(Attack::Holders, bytes, line, tally).await?;
    }
    Ok(())
}

/// Sends all of a message but its last byte.
async fn begin(attack: Attack, bytes: usize, line: &mut Line, tally: &Tally) -> Result<(), Failure> {
    let stream = line.stream(GOSSIP).await?;
    tally.tried(attack);
    let mut message = Vec::new();
    prost::encoding::encode_varint(bytes as u64, &mut message);
    message.extend_from_slice(&random_bytes(1, bytes - 1));
    let (mut answers, mut out) = stream.split();
    let writing = async {
        for piece in message.chunks(1 << 16) {
            out.write_all(piece).await?;
            tally.sent(piece.len());
        }
        out.flush().await?;
        std::future::pending::<Result<(), Failure>>().await
    };
    // Nothing is ever said on it.
    let ended = async {
        let _ = answers.read(&mut [0]).await;
    };
    tokio::select! {
        _ = writing => {}
        () = ended => {}
    }
    // Where the connection is closed as well, that is told as the end (`attack::live`).
    tokio::time::sleep(Duration::from_millis(500)).await;
    tally.sure(attack);
    Ok(())
}
