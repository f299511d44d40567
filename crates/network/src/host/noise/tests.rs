//! With libp2p's own noise on the other side, and with streams that lie.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use futures::{AsyncReadExt, AsyncWriteExt, future};
use libp2p::noise as theirs;
use proptest::prelude::*;
use std::time::Duration;
use tokio::{
    io::{DuplexStream, duplex},
    time::timeout,
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

type Socket = Compat<DuplexStream>;

/// Room between the two sides: less than a message.
const PIPE: usize = 50_000;
const LIMIT: Duration = Duration::from_secs(20);

fn pipe() -> (Socket, Socket) {
    let (a, b) = duplex(PIPE);
    (a.compat(), b.compat())
}

fn identity() -> Keypair {
    Keypair::generate_secp256k1()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { timeout(LIMIT, work).await.unwrap() })
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|n| (n.wrapping_mul(seed) >> 7) as u8)
        .collect()
}

/// A channel both of whose ends are ours.
async fn channels(suite: Suite) -> (Channel<Socket>, Channel<Socket>) {
    let (a, b) = pipe();
    let (dialler, listener) = (
        Noise::new(&identity(), Offer::AesFirst).unwrap(),
        Noise::new(&identity(), Offer::AesFirst).unwrap(),
    );
    let (dialled, taken) = future::try_join(
        dialler.upgrade_outbound(a, suite),
        listener.upgrade_inbound(b, suite),
    )
    .await
    .unwrap();
    (dialled.1, taken.1)
}

/// Writes these pieces and flushes after each so marked, while the other side reads all.
async fn carry<W, R>(mut from: W, mut to: R, pieces: &[(usize, bool)], read: usize)
where
    W: AsyncWrite + Unpin,
    R: AsyncRead + Unpin,
{
    let total: usize = pieces.iter().map(|(len, _)| len).sum();
    let said = bytes(0x9e37_79b9, total);
    let write = async {
        let mut rest = &said[..];
        for (len, flush) in pieces {
            let (piece, later) = rest.split_at(*len);
            from.write_all(piece).await.unwrap();
            if *flush {
                from.flush().await.unwrap();
            }
            rest = later;
        }
        from.close().await.unwrap();
    };
    let hear = async {
        let (mut heard, mut buffer) = (Vec::new(), vec![0; read]);
        loop {
            match to.read(&mut buffer).await.unwrap() {
                0 => return heard,
                n => heard.extend_from_slice(&buffer[..n]),
            }
        }
    };
    let ((), heard) = future::join(write, hear).await;
    assert!(heard == said, "{} of {} bytes", heard.len(), said.len());
}

const PIECES: &[(usize, bool)] = &[
    (1, true),
    (12, false),
    (200_000, true),
    (65_519, true),
    (700_000, false),
    (3, false),
];

#[test]
fn libp2ps_noise_and_ours_are_one_protocol() {
    let (us, them) = (identity(), identity());
    let (our_id, their_id) = (us.public().to_peer_id(), them.public().to_peer_id());
    run(async {
        let (a, b) = pipe();
        let (mine, other) = future::join(
            Noise::new(&us, Offer::AesFirst)
                .unwrap()
                .upgrade_outbound(a, Suite::ChaChaPoly),
            theirs::Config::new(&them).unwrap().upgrade_inbound(b, ""),
        )
        .await;
        let ((id, mine), (their_view, other)) = (mine.unwrap(), other.unwrap());
        assert_eq!((id, their_view), (their_id, our_id));
        let ((our_read, our_write), (their_read, their_write)) = (mine.split(), other.split());
        future::join(
            carry(our_write, their_read, PIECES, 9_000),
            carry(their_write, our_read, PIECES, 100_000),
        )
        .await;
    });
    run(async {
        let (a, b) = pipe();
        let (mine, other) = future::join(
            Noise::new(&us, Offer::AesFirst)
                .unwrap()
                .upgrade_inbound(a, Suite::ChaChaPoly),
            theirs::Config::new(&them).unwrap().upgrade_outbound(b, ""),
        )
        .await;
        let ((id, mine), (their_view, other)) = (mine.unwrap(), other.unwrap());
        assert_eq!((id, their_view), (their_id, our_id));
        let ((our_read, our_write), (their_read, their_write)) = (mine.split(), other.split());
        future::join(
            carry(our_write, their_read, PIECES, 1),
            carry(their_write, our_read, PIECES, 70_000),
        )
        .await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        pieces in prop::collection::vec((0usize..150_000, any::<bool>()), 0..12),
        read in 1usize..200_000,
        has_aes in any::<bool>(),
    ) {
        run(async {
            let suite = if has_aes { Suite::AesGcm } else { Suite::ChaChaPoly };
            let (one, two) = channels(suite).await;
            carry(one, two, &pieces, read).await;
        });
    }
}

/// Over multistream-select, as peers do: AES with who offers it, the usual with all others.
#[test]
fn the_better_cipher_is_agreed_on_by_those_that_have_it() {
    for (dialler, listener, agreed) in [
        (Offer::AesFirst, Offer::AesFirst, Suite::AesGcm),
        (Offer::AesFirst, Offer::Standard, Suite::ChaChaPoly),
        (Offer::Standard, Offer::AesFirst, Suite::ChaChaPoly),
    ] {
        let names = |offer: Offer| offer.suites().to_vec();
        run(async {
            let (a, b) = pipe();
            let (ours, theirs) = future::join(
                multistream_select::dialer_select_proto(a, names(dialler), multistream_select::Version::V1),
                multistream_select::listener_select_proto(b, names(listener)),
            )
            .await;
            assert_eq!((ours.unwrap().0, theirs.unwrap().0), (agreed, agreed));
        });
    }
}

/// What a side that follows `steps` gets, and what the other is left with.
async fn against<T>(steps: impl AsyncFnOnce(Socket) -> T, role: Role) -> Result<PeerId, NoiseError> {
    let (a, b) = pipe();
    let us = Noise::new(&identity(), Offer::AesFirst)
        .unwrap()
        .upgrade(a, Suite::AesGcm, role);
    let (ours, _) = future::join(us, steps(b)).await;
    ours.map(|(peer, _)| peer)
}

#[test]
fn who_does_not_prove_its_key_gets_no_channel() {
    run(async {
        // A static key that another identity has signed.
        let (me, victim) = (identity(), identity());
        let mut liar = Noise::new(&me, Offer::AesFirst).unwrap();
        let keys = Arc::get_mut(&mut liar.keys).unwrap();
        let honest = handshake::payload(&victim, &[1; 32]).unwrap();
        keys.payload = honest;
        for role in [Role::Initiator, Role::Responder] {
            let other = match role {
                Role::Initiator => Role::Responder,
                Role::Responder => Role::Initiator,
            };
            let liar = liar.clone();
            let result = against(
                async |socket| liar.upgrade(socket, Suite::AesGcm, other).await.err(),
                role,
            )
            .await;
            assert!(matches!(result, Err(NoiseError::BadSignature)), "{result:?}");
        }
        // No identity at all.
        Arc::get_mut(&mut liar.keys).unwrap().payload = Vec::new();
        let result = against(
            async |socket| liar.upgrade(socket, Suite::AesGcm, Role::Initiator).await.err(),
            Role::Responder,
        )
        .await;
        assert!(matches!(result, Err(NoiseError::IdentityKey(_))), "{result:?}");
    });
}

#[test]
fn a_first_message_that_says_something_is_refused() {
    run(async {
        let noise = Noise::new(&identity(), Offer::AesFirst).unwrap();
        let result = against(
            async |mut socket: Socket| {
                let mut state = noise.handshake(Suite::AesGcm, Role::Initiator).unwrap();
                let mut message = vec![0; 1000];
                let len = state.write_message(&noise.keys.payload, &mut message).unwrap();
                socket.write_all(&(len as u16).to_be_bytes()).await.unwrap();
                socket.write_all(&message[..len]).await.unwrap();
            },
            Role::Responder,
        )
        .await;
        assert!(matches!(result, Err(NoiseError::NotEmpty)), "{result:?}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_are_a_handshake_by_chance(garbage in prop::collection::vec(any::<u8>(), 0..400)) {
        for role in [Role::Initiator, Role::Responder] {
            let result = run(against(
                async |mut socket: Socket| {
                    let _ = socket.write_all(&garbage).await;
                    let _ = socket.close().await;
                    let mut rest = Vec::new();
                    let _ = socket.read_to_end(&mut rest).await;
                },
                role,
            ));
            prop_assert!(result.is_err());
        }
    }
}

/// Two ends after a handshake, and between them whoever changes what the first sends.
async fn meddled(change: impl FnOnce(&mut Vec<u8>)) -> io::Result<Vec<u8>> {
    let (mut one, mut two) = channels(Suite::AesGcm).await;
    let said = bytes(7, 30_000);
    one.write_all(&said).await.unwrap();
    one.flush().await.unwrap();
    // What is in the pipe, taken out of the second's socket and given back changed.
    let mut wire = vec![0; said.len() + 18];
    two.socket_mut().read_exact(&mut wire).await.unwrap();
    change(&mut wire);
    let (into, out) = duplex(100_000);
    let mut into = into.compat();
    *two.socket_mut() = out.compat();
    into.write_all(&wire).await.unwrap();
    into.close().await.unwrap();
    let mut heard = Vec::new();
    two.read_to_end(&mut heard).await.map(|_| heard)
}

#[test]
fn changed_cut_repeated_and_short_messages_break_the_channel() {
    run(async {
        assert_eq!(meddled(|_| ()).await.unwrap().len(), 30_000);
        let kind = async |change: fn(&mut Vec<u8>)| meddled(change).await.map_err(|e| e.kind()).unwrap_err();
        assert_eq!(kind(|wire| wire[1000] ^= 1).await, io::ErrorKind::InvalidData);
        assert_eq!(kind(|wire| wire[30_017] ^= 1).await, io::ErrorKind::InvalidData);
        assert_eq!(
            kind(|wire| wire.truncate(20_000)).await,
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(kind(|wire| wire.truncate(1)).await, io::ErrorKind::UnexpectedEof);
        assert_eq!(
            kind(|wire| wire.extend(wire.clone())).await,
            io::ErrorKind::InvalidData
        );
        assert_eq!(kind(|wire| *wire = vec![0, 0]).await, io::ErrorKind::InvalidData);
        assert_eq!(
            kind(|wire| *wire = [vec![0, 15], vec![0; 15]].concat()).await,
            io::ErrorKind::InvalidData
        );
    });
}

#[test]
fn buffers_that_were_large_become_small_again() {
    run(async {
        let (one, mut two) = channels(Suite::AesGcm).await;
        let (mut one_read, mut one) = one.split();
        let mut big = vec![0; 500_000];
        future::join(
            async {
                one.write_all(&bytes(3, 500_000)).await.unwrap();
                one.flush().await.unwrap();
            },
            async { two.read_exact(&mut big).await.unwrap() },
        )
        .await;
        let (_, large) = two.buffers();
        assert!(large > 100_000);
        for _ in 0..300 {
            let mut byte = [0];
            future::join(
                async {
                    one.write_all(&[1]).await.unwrap();
                    one.flush().await.unwrap();
                },
                async { two.read_exact(&mut byte).await.unwrap() },
            )
            .await;
            future::join(
                async {
                    two.write_all(&[1]).await.unwrap();
                    two.flush().await.unwrap();
                },
                async { one_read.read_exact(&mut byte).await.unwrap() },
            )
            .await;
        }
        let (_, incoming) = two.buffers();
        assert!(incoming <= 8 * 1024);
        let (outgoing, _) = one_read.reunite(one).unwrap().buffers();
        assert!(outgoing <= 8 * 1024);
    });
}
