#![allow(clippy::unwrap_used, clippy::panic)]
use super::{
    super::{GIVEN_UP_REASONS, LetGo, UNFINISHED, kept::MAX_KEPT, unfinished::MAX_UNFINISHED},
    *,
};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use std::time::Duration;
use tokio::io::duplex;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

const NAMES: &[u8] = b"\x13/multistream/1.0.0\n\x0f/meshsub/1.2.0\n";

#[tokio::test]
async fn a_message_that_is_never_finished_ends_its_stream() {
    let streams = GossipStreams::default();
    let (peer, later) = (PeerId::random(), Instant::now() + Duration::from_secs(61));
    let (mut theirs, ours) = duplex(1 << 20);
    let mut ours = Stream::new(ours.compat(), peer, streams.clone(), true, Arc::default());
    tokio::io::AsyncWriteExt::write_all(&mut theirs, NAMES)
        .await
        .unwrap();
    // 300,000 bytes are announced.
    tokio::io::AsyncWriteExt::write_all(&mut theirs, &[0xe0, 0xa7, 0x12])
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut theirs, &[7; 200_000])
        .await
        .unwrap();
    let mut read = vec![0; NAMES.len() + 3 + 200_000];
    ours.read_exact(&mut read).await.unwrap();
    assert_eq!(streams.accounts.unfinished.lock().all(), (200_003, 1));
    assert_eq!(streams.sweep(Instant::now()), (Vec::new(), Vec::new()));
    let mut byte = [0];
    let mut next = Box::pin(async { ours.read(&mut byte).await.map_err(|e| e.kind()) });
    assert!(next.as_mut().now_or_never().is_none());
    assert_eq!(streams.sweep(later).0, [peer]);
    assert_eq!(next.await, Err(io::ErrorKind::TimedOut));
    ours.close().await.unwrap();
    let mut nothing = [0];
    let closed = tokio::io::AsyncReadExt::read(&mut theirs, &mut nothing);
    assert!(
        Box::pin(closed).now_or_never().is_none(),
        "closed before it is dropped"
    );
    drop(ours);
    assert_eq!(given_up(&streams), [1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(streams.accounts.unfinished.lock().all(), (0, 0));
}

fn given_up(streams: &GossipStreams) -> [u64; 7] {
    GIVEN_UP_REASONS.map(|reason| streams.counters.gossip_streams_of(reason))
}

#[tokio::test]
async fn a_stream_that_ends_within_a_message_is_counted() {
    for (said, expected) in [
        (&[0xe0, 0xa7, 0x12, 7, 7][..], [0, 0, 0, 1, 0, 0, 0]),
        (&[0xff], [0, 0, 0, 1, 0, 0, 0]),
        (&[2, 7, 7], [0, 0, 0, 0, 0, 0, 0]),
        (&[], [0, 0, 0, 0, 0, 0, 0]),
    ] {
        let streams = GossipStreams::default();
        let (mut theirs, ours) = duplex(1 << 10);
        let mut ours = Stream::new(
            ours.compat(),
            PeerId::random(),
            streams.clone(),
            true,
            Arc::default(),
        );
        let wire = [NAMES, said].concat();
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &wire)
            .await
            .unwrap();
        drop(theirs);
        ours.read_to_end(&mut Vec::new()).await.unwrap();
        // As gossipsub does then.
        let _ = ours.close().await;
        drop(ours);
        assert_eq!(given_up(&streams), expected, "{said:?}");
    }
}

#[tokio::test]
async fn whole_messages_and_other_protocols_are_let_be() {
    let streams = GossipStreams::default();
    for (names, whole) in [
        (NAMES, true),
        (&b"\x13/multistream/1.0.0\n\x07/eth2/\n"[..], false),
    ] {
        let (mut theirs, ours) = duplex(1 << 20);
        let mut ours = Stream::new(
            ours.compat(),
            PeerId::random(),
            streams.clone(),
            true,
            Arc::default(),
        );
        tokio::io::AsyncWriteExt::write_all(&mut theirs, names)
            .await
            .unwrap();
        // 200,000 bytes and no more where they are a message.
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &[0xc0, 0x9a, 0x0c])
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &vec![7; 200_000])
            .await
            .unwrap();
        let mut read = vec![0; names.len() + 3 + 200_000];
        ours.read_exact(&mut read).await.unwrap();
        assert_eq!(streams.accounts.unfinished.lock().all(), (0, 0));
        assert_eq!(ours.sniff.is_gossip(), whole);
    }
}

#[tokio::test]
async fn a_peers_stream_is_counted_once_as_what_it_is_for() {
    let streams = GossipStreams::default();
    let table: [(&[u8], bool, Option<&str>); 6] = [
        (NAMES, true, Some(STREAM_GOSSIP)),
        (b"\x13/multistream/1.0.0\n\x07/eth2/\n", true, Some(STREAM_OTHER)),
        (b"\x13/multistream/1.0.0\n\x06/none\n", true, Some(STREAM_NONE)),
        (b"\x13/multi", true, Some(STREAM_NONE)),
        (b"", true, Some(STREAM_NONE)),
        (NAMES, false, None),
    ];
    for (said, is_theirs, protocol) in table {
        let all = [STREAM_GOSSIP, STREAM_OTHER, STREAM_NONE];
        let counted = || all.map(|protocol| streams.counters.peer_streams_of(protocol));
        let mut expected = counted();
        if let Some(n) = all.iter().position(|one| Some(*one) == protocol) {
            expected[n] += 1;
        }
        let (mut theirs, ours) = duplex(1 << 10);
        let mut ours = Stream::new(
            ours.compat(),
            PeerId::random(),
            streams.clone(),
            is_theirs,
            Arc::default(),
        );
        tokio::io::AsyncWriteExt::write_all(&mut theirs, said)
            .await
            .unwrap();
        drop(theirs);
        ours.read_to_end(&mut Vec::new()).await.unwrap();
        drop(ours);
        assert_eq!(counted(), expected, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_peer_that_takes_no_message_is_told_of_until_it_does() {
    let streams = GossipStreams::default();
    let (peer, later) = (PeerId::random(), Instant::now() + Duration::from_secs(16));
    let (ours, mut theirs) = duplex(50_000);
    let mut ours = Stream::new(ours.compat(), peer, streams.clone(), false, Arc::default());
    ours.write_all(NAMES).await.unwrap();
    let message = [&[0xc0, 0x9a, 0x0c][..], &vec![7; 200_000]].concat();
    {
        let mut send = Box::pin(async {
            ours.write_all(&message).await.unwrap();
            ours.flush().await.unwrap();
        });
        assert!(send.as_mut().now_or_never().is_none());
        assert_eq!(streams.accounts.takers.lock().all(), (1, 0));
        let mut read = vec![0; 20_000];
        tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut read)
            .await
            .unwrap();
        assert!(send.as_mut().now_or_never().is_none());
        assert_eq!(streams.accounts.takers.lock().all(), (1, 20_000));
        // Nobody takes anything: it is let go, and whose fault that is nobody knows. Then it is on its way out.
        let is_fault = false;
        assert_eq!(streams.sweep(later).1, [LetGo { peer, is_fault }]);
        assert_eq!(streams.accounts.takers.lock().all(), (0, 0));
        assert_eq!(streams.sweep(later).1, []);
        let mut read = vec![0; NAMES.len() + message.len() - 20_000];
        let take = tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut read);
        futures::join!(send, async { take.await.map(drop).unwrap() });
    }
    assert_eq!(streams.sweep(later).1, []);
    drop(ours);
    assert_eq!(streams.accounts.takers.lock().all(), (0, 0));
}

/// A connection whose streams are given.
struct Given(Vec<tokio::io::DuplexStream>);

impl StreamMuxer for Given {
    type Substream = Compat<tokio::io::DuplexStream>;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        match self.get_mut().0.pop() {
            Some(stream) => Poll::Ready(Ok(stream.compat())),
            None => Poll::Pending,
        }
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        self.poll_inbound(cx)
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_connection_on_which_gossipsub_would_serve_no_further_stream_is_closed() {
    const OTHER: &[u8] = b"\x13/multistream/1.0.0\n\x07/eth2/\n";
    let table: [(&[&[u8]], bool, bool); 5] = [
        (&[NAMES; 3], true, false),
        (&[NAMES; 4], true, true),
        (&[NAMES; 4], false, true),
        (&[OTHER; 9], true, false),
        (&[NAMES, OTHER, NAMES, OTHER, NAMES], true, false),
    ];
    for (n, (streams, is_theirs, is_closed)) in table.into_iter().enumerate() {
        let (mut theirs, ours): (Vec<_>, Vec<_>) = streams.iter().map(|_| duplex(1 << 10)).unzip();
        let account = GossipStreams::default();
        let muxer = StreamMuxerBox::new(Given(ours));
        let mut connection = Watched::new(muxer, PeerId::random(), account.clone());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for said in streams {
            assert!(
                Pin::new(&mut connection).poll(&mut cx).is_pending(),
                "row {n}: too soon"
            );
            let mut end = theirs.pop().unwrap();
            let polled = if is_theirs {
                Pin::new(&mut connection).poll_inbound(&mut cx)
            } else {
                Pin::new(&mut connection).poll_outbound(&mut cx)
            };
            let Poll::Ready(Ok(mut stream)) = polled else {
                panic!("no stream");
            };
            if is_theirs {
                tokio::io::AsyncWriteExt::write_all(&mut end, said).await.unwrap();
                stream.read_exact(&mut vec![0; said.len()]).await.unwrap();
            } else {
                stream.write_all(said).await.unwrap();
            }
        }
        let polled = Pin::new(&mut connection).poll(&mut cx);
        assert_eq!(matches!(polled, Poll::Ready(Err(_))), is_closed, "row {n}");
        assert_eq!(
            given_up(&account),
            [0, 0, 0, 0, u64::from(is_closed), 0, 0],
            "row {n}"
        );
    }
}

#[tokio::test]
async fn where_a_stream_is_given_up_its_connection_is_closed_unless_its_peer_opens_another() {
    let whole = [&[0xc0, 0x9a, 0x0c][..], &[7; 200_000]].concat();
    let within = &whole[..150_000];
    let later = |seconds| Instant::now() + Duration::from_secs(seconds);
    // Why it ends, what it brings, whether its connection is closed.
    let table: [(Option<&str>, &[u8], bool); 6] = [
        (Some(UNFINISHED), within, true),
        (Some(CROWDED_OUT), within, true),
        (Some(KEPT), &whole, true),
        (Some(REFUSED), &whole, true),
        // Its peer ends it.
        (Some(BROKEN_OFF), within, false),
        (None, &whole, false),
    ];
    for (reason, said, is_closed) in table {
        for reopens in [false, true] {
            let row = format!("{reason:?}, {reopens}");
            let (account, peer, other) = (GossipStreams::default(), PeerId::random(), PeerId::random());
            let (mut theirs, ours) = duplex(1 << 20);
            let muxer = StreamMuxerBox::new(Given(vec![ours]));
            let mut connection = Watched::new(muxer, peer, account.clone());
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let known = if reopens { peer } else { other };
            account.know([].into(), [known].into());
            let Poll::Ready(Ok(mut stream)) = Pin::new(&mut connection).poll_inbound(&mut cx) else {
                panic!("no stream");
            };
            let wire = [NAMES, said].concat();
            tokio::io::AsyncWriteExt::write_all(&mut theirs, &wire)
                .await
                .unwrap();
            // In pieces, as gossipsub reads.
            for piece in wire.chunks(8192) {
                stream.read_exact(&mut vec![0; piece.len()]).await.unwrap();
            }
            let noop = Waker::noop();
            match reason {
                Some(UNFINISHED) => assert_eq!(account.sweep(later(61)).0, [peer]),
                Some(CROWDED_OUT) => {
                    let mut unfinished = account.accounts.unfinished.lock();
                    assert!(!unfinished.holds(99, other, MAX_UNFINISHED, noop, later(1)));
                }
                Some(KEPT) => {
                    let mut kept = account.accounts.kept.lock();
                    for id in 0..MAX_KEPT / 200_000 {
                        let id = 99 + id as u64;
                        kept.brought(id, other, 200_000, noop, &Ends::default(), later(1));
                    }
                }
                Some(REFUSED) => {}
                _ => drop(theirs),
            }
            assert!(Pin::new(&mut connection).poll(&mut cx).is_pending(), "{row}");
            let read = stream.read(&mut [0]).now_or_never();
            assert_eq!(read.is_some(), reason != Some(REFUSED), "{row}");
            // As gossipsub does then.
            let _ = stream.close().await;
            drop(stream);
            account.sweep(Instant::now());
            let polled = Pin::new(&mut connection).poll(&mut cx);
            assert_eq!(
                matches!(polled, Poll::Ready(Err(_))),
                is_closed && !reopens,
                "{row}"
            );
            let counted = GIVEN_UP_REASONS.map(|one| u64::from(Some(one) == reason));
            assert_eq!(given_up(&account), counted, "{row}");
        }
    }
}
