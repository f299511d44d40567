//! The network's settings.

use crate::PeerAddress;
use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

/// Default of `--port`, TCP.
pub const DEFAULT_PORT: u16 = 9100;
/// Default of the most peers.
pub const DEFAULT_MAX_PEERS: u32 = 100;

/// What the network is started with.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Where node key and record are kept; made where it is absent.
    pub directory: PathBuf,
    /// `--listen-address`: at least one.
    pub listen_addresses: Vec<IpAddr>,
    /// `--port`, TCP; 0 lets the system choose.
    pub port: u16,
    /// `--enr-address`: what others can reach this node by, at most one IPv4 and one IPv6.
    pub enr_addresses: Vec<IpAddr>,
    /// The TCP port others can reach, where it is not the one listened on.
    pub enr_tcp_port: Option<u16>,
    /// `--peer`: to stay connected to.
    pub peers: Vec<PeerAddress>,
    /// The record's `eproof`: non-zero says proof-aware.
    pub eproof: u8,
    /// Most connections at once; those of `peers` come on top.
    pub max_peers: u32,
}

impl NetworkConfig {
    /// Defaults, with the directory for key and record.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            listen_addresses: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            port: DEFAULT_PORT,
            enr_addresses: Vec::new(),
            enr_tcp_port: None,
            peers: Vec::new(),
            eproof: 1,
            max_peers: DEFAULT_MAX_PEERS,
        }
    }
}
