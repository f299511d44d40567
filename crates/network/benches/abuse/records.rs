//! Attackers over discovery: nodes whose records do not fit, who know many more such, and packets that are none.

use crate::{
    attack::{Attack, Tally, Target},
    node::{Failure, random_bytes},
};
use assay_network::enr::Enr;
use discv5::{ConfigBuilder, Discv5, ListenConfig};
use enr::CombinedKey;
use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::Ordering,
    time::Duration,
};

/// Ways in which a record may be wrong.
const WAYS: u32 = 9;
/// Records that an attacker knows beside its own.
const KNOWN: u32 = 64;
/// Packets that are none, at a time, between two looks into the table.
const GARBAGE: u32 = 200;
/// Looks into the victim's table before an attacker takes another name.
const LOOKS: u32 = 40;
/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(50);

/// One identity on discovery.
pub(crate) async fn live(target: &Target, tally: &Tally) -> Result<(), Failure> {
    let victim = &target.record;
    tally.names.fetch_add(1, Ordering::Relaxed);
    // Taken and given back, so that the record can name it.
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let n = tally.next.fetch_add(KNOWN + 1, Ordering::Relaxed);
    let (own, key) = record(n, port, target)?;
    tally.tried(Attack::WrongRecords);
    let config = ConfigBuilder::new(ListenConfig::from_ip(Ipv4Addr::LOCALHOST.into(), port))
        .request_timeout(Duration::from_millis(500))
        .build();
    let mut discv5: Discv5 = Discv5::new(own, key, config)?;
    discv5.start().await.map_err(|e| format!("{e:?}"))?;
    let _ = discv5.add_enr(victim.clone());
    for i in 1..=KNOWN {
        // Nobody is behind these; whoever asks this node for its neighbours is told of them.
        let _ = discv5.add_enr(record(n + i, port, target)?.0);
    }
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let to = SocketAddr::from((
        victim.ip4().ok_or("the victim's record has no address")?,
        victim.udp4().ok_or("the victim's record has no port")?,
    ));
    let mut answered = false;
    for look in 0..LOOKS {
        let _ = discv5.send_ping(victim.clone()).await;
        let told = discv5
            .find_node_designated_peer(victim.clone(), vec![256, 255, 254])
            .await;
        // It answers whose record it has seen.
        if told.is_ok() && !answered {
            answered = true;
            tally.sure(Attack::WrongRecords);
        }
        for i in 0..GARBAGE {
            let packet = random_bytes(n ^ (look << 16) ^ i, 63 + (i as usize * 7) % 1400);
            if socket.send_to(&packet, to).await.is_ok() {
                tally.sent(packet.len());
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    discv5.shutdown();
    Ok(())
}

/// The `n`th record, signed as it should be and wrong in one way.
fn record(n: u32, port: u16, target: &Target) -> Result<(Enr, CombinedKey), Failure> {
    let key = CombinedKey::generate_secp256k1();
    let mut fork_id = [0; 16];
    fork_id[..4].copy_from_slice(&target.digest.0);
    fork_id[8..].fill(0xff);
    let mut builder = Enr::builder();
    builder.ip4(Ipv4Addr::LOCALHOST).udp4(port).tcp4(port);
    builder.add_value("eproof", &1u8);
    let way = n % WAYS;
    match way {
        // Of another network, of none, of one that cannot be read.
        0 => fork_id[0] ^= 0xff,
        1 | 2 => {}
        // No number, and far too much of it.
        3 => {
            builder.add_value("eproof", &[7u8; 90].as_slice());
        }
        // A port that belongs to another key: the victim's own; and one where nobody is.
        4 => {
            builder.tcp4(target.record.tcp4().unwrap_or(port));
        }
        5 => {
            builder.tcp4(1);
        }
        // Addresses that are no host's.
        6 => {
            builder.ip4(Ipv4Addr::BROADCAST);
        }
        7 => {
            builder.ip4(Ipv4Addr::new(224, 0, 0, 1));
        }
        // Not to be dialled at all.
        _ => {
            builder = Enr::builder();
            builder.ip4(Ipv4Addr::LOCALHOST).udp4(port);
        }
    }
    match way {
        1 => {}
        2 => {
            builder.add_value("eth2", &fork_id[..3].to_vec().as_slice());
        }
        _ => {
            builder.add_value("eth2", &fork_id.as_slice());
        }
    }
    Ok((builder.build(&key)?, key))
}
