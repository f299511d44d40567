#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use futures::{
    AsyncReadExt, AsyncWriteExt,
    future::{BoxFuture, poll_fn},
};
use std::{sync::atomic::AtomicUsize, task::Wake};
use tokio::{io::DuplexStream, task::JoinHandle, time::timeout};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

const MIB: usize = 1 << 20;
/// More than anything here takes.
const LONG: Duration = Duration::from_secs(20);

type Pipe = Compat<DuplexStream>;

/// A peer as libp2p has it, that sends frames as long as may be; and this side.
async fn pair() -> (Multiplex<Pipe>, Muxer<Pipe>) {
    let (theirs, ours) = tokio::io::duplex(64 * 1024);
    let mut config = libp2p_mplex::Config::new();
    config.set_split_send_size(MIB);
    let theirs = config.upgrade_outbound(theirs.compat(), "").await.unwrap();
    let mplex = Mplex {
        standstill: Duration::from_secs(1),
        ..Mplex::default()
    };
    let ours = mplex.upgrade_inbound(ours.compat(), "").await.unwrap();
    (theirs, ours)
}

async fn opened<M: StreamMuxer + Unpin>(muxer: &mut M) -> M::Substream
where
    M::Error: std::fmt::Debug,
{
    poll_fn(|cx| Pin::new(&mut *muxer).poll_outbound(cx))
        .await
        .unwrap()
}

async fn arrived<M: StreamMuxer + Unpin>(muxer: &mut M) -> M::Substream
where
    M::Error: std::fmt::Debug,
{
    poll_fn(|cx| Pin::new(&mut *muxer).poll_inbound(cx))
        .await
        .unwrap()
}

/// Drives a connection on which nothing more is to be opened, until it ends.
fn driven<M>(mut muxer: M) -> JoinHandle<String>
where
    M: StreamMuxer + Send + Unpin + 'static,
    M::Substream: Send,
    M::Error: std::fmt::Debug,
{
    tokio::spawn(async move {
        let next = poll_fn(|cx| {
            let _ = Pin::new(&mut muxer).poll(cx);
            Pin::new(&mut muxer).poll_inbound(cx)
        });
        match next.await {
            Ok(_) => "another stream".to_owned(),
            Err(error) => format!("{error:?}"),
        }
    })
}

fn sent(mut stream: Substream<Pipe>, byte: u8, mib: usize) -> BoxFuture<'static, Substream<Pipe>> {
    Box::pin(async move {
        for _ in 0..mib {
            // One write, one frame.
            stream.write_all(&vec![byte; MIB]).await.unwrap();
        }
        stream.flush().await.unwrap();
        stream
    })
}

#[tokio::test]
async fn frames_of_a_mebibyte_arrive_on_streams_that_are_read_in_turns() {
    let (mut theirs, mut ours) = pair().await;
    let (first, second) = (opened(&mut theirs).await, opened(&mut theirs).await);
    let theirs = driven(theirs);
    let sender = tokio::spawn(async move {
        let (mut first, mut second) = tokio::join!(sent(first, 1, 3), sent(second, 2, 3));
        first.close().await.unwrap();
        second.close().await.unwrap();
    });
    let (first, second) = (arrived(&mut ours).await, arrived(&mut ours).await);
    let ours = driven(ours);
    let read = |mut stream: Stream<Pipe>| async move {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        (bytes.len(), bytes[0], bytes.iter().all(|byte| *byte == bytes[0]))
    };
    let both = async { tokio::join!(read(first), read(second)) };
    let (first, second) = timeout(LONG, both).await.unwrap();
    assert_eq!((first.0, second.0), (3 * MIB, 3 * MIB));
    assert!(first.1 != second.1 && first.2 && second.2);
    sender.await.unwrap();
    theirs.abort();
    ours.abort();
}

/// What a request that is refused, or a response that is broken off, leaves unread.
#[tokio::test]
async fn a_stream_dropped_unread_holds_up_no_other() {
    let (mut theirs, mut ours) = pair().await;
    let (first, second) = (opened(&mut theirs).await, opened(&mut theirs).await);
    let theirs = driven(theirs);
    let sender = tokio::spawn(async move {
        let first = sent(first, 1, 2).await;
        let mut second = sent(second, 2, 1).await;
        second.close().await.unwrap();
        drop(first);
    });
    let (mut unread, mut second) = (arrived(&mut ours).await, arrived(&mut ours).await);
    unread.read_exact(&mut [0; 10]).await.unwrap();
    let mut byte = [0];
    let waits = timeout(Duration::from_millis(100), second.read(&mut byte));
    assert!(waits.await.is_err(), "what was not read held up nothing");
    drop(unread);
    let ours = driven(ours);
    let mut bytes = Vec::new();
    timeout(LONG, second.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bytes.len(), MIB);
    sender.await.unwrap();
    theirs.abort();
    ours.abort();
}

struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// While one stream is not read, who drives the connection and who reads another are not woken all the time; and what is
/// never read ends the connection.
#[tokio::test]
async fn who_waits_for_an_unread_stream_sleeps_and_not_for_ever() {
    let (mut theirs, mut ours) = pair().await;
    let (first, mut second) = (opened(&mut theirs).await, opened(&mut theirs).await);
    let theirs = driven(theirs);
    second.write_all(b"here").await.unwrap();
    second.flush().await.unwrap();
    let sender = tokio::spawn(sent(first, 1, 2));
    let (_unread, mut here) = (arrived(&mut ours).await, arrived(&mut ours).await);
    here.read_exact(&mut [0; 4]).await.unwrap();
    let wakes = Arc::new(Counted(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&wakes));
    let mut polls = 0;
    let begun = Instant::now();
    let error = loop {
        let mut cx = Context::from_waker(&waker);
        polls += 1;
        let mut byte = [0];
        if let Poll::Ready(read) = Pin::new(&mut here).poll_read(&mut cx, &mut byte) {
            panic!("{read:?} behind what is unread");
        }
        if let Poll::Ready(next) = Pin::new(&mut ours).poll_inbound(&mut cx) {
            break next.err().unwrap();
        }
        while wakes.0.swap(0, Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(begun.elapsed() < LONG, "waits for ever");
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    // Each of the two asks once a `PATIENCE`, and may be woken at once when it does.
    let turns = begun.elapsed().as_millis() / PATIENCE.as_millis();
    assert!(polls < 6 * turns as usize, "{polls} polls in {turns} turns");
    sender.abort();
    theirs.abort();
}

/// What waits for the socket alone, to say that a stream is opened, goes on as the socket does: long before any `PATIENCE`.
#[tokio::test]
async fn who_waits_for_the_socket_goes_on_with_it() {
    let (theirs, ours) = tokio::io::duplex(16);
    let mut theirs = theirs.compat();
    let mut ours = Mplex::default().upgrade_inbound(ours.compat(), "").await.unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let (mut first, mut second) = (opened(&mut ours).await, opened(&mut ours).await);
    assert!(Pin::new(&mut first).poll_write(&mut cx, &[1; 1000]).is_ready());
    let mut byte = [0];
    for _ in 0..100 {
        assert!(Pin::new(&mut second).poll_read(&mut cx, &mut byte).is_pending());
        let _ = Pin::new(&mut theirs).poll_read(&mut cx, &mut [0; 16]);
    }
    assert!(
        ours.moves.asked() > 0,
        "it never came to ask for what the peer says"
    );
}
