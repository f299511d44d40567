//! The data directory, its database and disk, and the ports of this machine.

use super::{beacon::Network, report::Report, running::Running};
use crate::config::NodeConfig;
use assay_proof_engine::proof_types::ProofTypeRecords;
use assay_store::{Offline, StoreError};
use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
};

/// Free bytes below which a node soon stops keeping proofs, and below which it is time to act.
const FAIL_FREE: u64 = 256 << 20;
const WARN_FREE: u64 = 5 << 30;

pub(super) fn look(config: &NodeConfig, node: Option<&Running>, report: &mut Report) {
    let directory = existing(&config.datadir);
    if writable(directory, report, config) {
        disk(directory, config, report);
    }
    ports(config, node, report);
}

/// The directory, or the nearest above it that is there: the node makes what is missing.
fn existing(datadir: &Path) -> &Path {
    let mut at = datadir;
    while !at.exists() {
        match at.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => at = parent,
            _ => return Path::new("."),
        }
    }
    at
}

fn writable(directory: &Path, report: &mut Report, config: &NodeConfig) -> bool {
    const CHECK: &str = "data directory";
    use rustix::fs::{Access, access};
    let shown = config.datadir.display();
    if !directory.is_dir() {
        report.fail(
            CHECK,
            format_args!("{shown}: {} is no directory", directory.display()),
            "see --datadir",
        );
        return false;
    }
    if let Err(error) = access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        let found = format!("{shown}: {} cannot be written to: {error}", directory.display());
        report.fail(
            CHECK,
            found,
            "give it to the user that the node runs as (chown), or choose another --datadir",
        );
        return false;
    }
    let new = if directory == config.datadir {
        ""
    } else {
        ", which is made at the first start"
    };
    report.ok(CHECK, format_args!("{shown}{new}"));
    true
}

fn disk(directory: &Path, config: &NodeConfig, report: &mut Report) {
    const CHECK: &str = "disk";
    let Ok(disk) = rustix::fs::statvfs(directory) else {
        return;
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let held = std::fs::metadata(config.datadir.join("proofs.redb")).map_or(0, |m| m.len());
    let needed = config.max_db_size.unwrap_or(0).saturating_sub(held);
    let mib = free >> 20;
    let advice =
        "free some, or bound the proofs with --max-db-size; `assay db prune --compact` gives room back";
    if free < FAIL_FREE {
        report.fail(
            CHECK,
            format_args!("{mib} MiB free: proofs cannot be kept for long"),
            advice,
        );
    } else if free < WARN_FREE || free < needed {
        let found = format!("{mib} MiB free, the proofs may take {} MiB more", needed >> 20);
        report.warn(CHECK, found, advice);
    } else {
        report.ok(CHECK, format_args!("{mib} MiB free"));
    }
}

/// What is in the database, and whether it is of the network that the beacon node is on.
pub(super) fn database(
    config: &NodeConfig,
    network: Option<&Network>,
    node: Option<&Running>,
    report: &mut Report,
) {
    const CHECK: &str = "database";
    let path = config.datadir.join("proofs.redb");
    if !path.exists() {
        report.ok(CHECK, "none yet");
        return;
    }
    match Offline::open(&path).and_then(|offline| offline.summary()) {
        Ok(summary) => {
            let found = format!("proofs of {}", summary.identity);
            let held = (
                summary.identity.genesis_validators_root,
                summary.identity.chain_id,
            );
            match network {
                Some(network) if held != (network.genesis_validators_root, network.spec.chain_id) => report.fail(
                    CHECK,
                    format_args!(
                        "{found}, and the beacon node is on another network (chain id {}, genesis validators root {})",
                        network.spec.chain_id, network.genesis_validators_root
                    ),
                    "choose another --datadir, or the beacon node of that network: the node does not start so",
                ),
                _ => report.ok(CHECK, found),
            }
            proof_types(config, network, &path, report);
        }
        Err(StoreError::Locked { .. }) if node.is_some() => report.ok(CHECK, "the running node has it"),
        Err(error) => report.fail(CHECK, error, "`assay db verify` says more"),
    }
}

/// Whether the numbers of proof types stand for what they stood for when these proofs were verified.
fn proof_types(config: &NodeConfig, network: Option<&Network>, path: &Path, report: &mut Report) {
    let entries = match network {
        Some(network) => config.entries_on(&network.spec),
        None => config.provisional_entries(),
    };
    let kept = Offline::open(path).and_then(|offline| offline.reader().node_value(ProofTypeRecords::NAME));
    // What else is wrong here is told elsewhere.
    let records = entries.and_then(|entries| config.records_of(&entries));
    let (Ok(now), Ok(Some(kept))) = (records, kept) else {
        return;
    };
    let kept = match ProofTypeRecords::from_bytes(&kept) {
        Ok(kept) => kept,
        Err(error) => {
            report.fail("database", error, "`assay db verify` says more");
            return;
        }
    };
    let differing = kept.differences(&now);
    for (proof_type, difference) in kept.other_judges(&now) {
        if differing.iter().all(|(other, _)| *other != proof_type) {
            report.warn(
                format_args!("proof type {proof_type} in the database"),
                difference,
                "what is kept was judged by others: the same number must stand for the same program there",
            );
        }
    }
    for (proof_type, differences) in differing {
        let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
        report.fail(
            format_args!("proof type {proof_type} in the database"),
            all.join("; "),
            format_args!(
                "the node does not start while proofs of it are kept: put the entry back, give the new program a number of \
                 its own, or remove them by `assay db forget-type {proof_type}`"
            ),
        );
    }
}

/// The ports that the settings name: free, or the running node's.
fn ports(config: &NodeConfig, node: Option<&Running>, report: &mut Report) {
    let mut tcp = vec![("HTTP API (--http-port)", config.http_address, config.http_port)];
    let served = !config.execution_endpoint.is_empty() || config.engine_jwt.is_some();
    if served {
        tcp.push((
            "Engine API (--engine-port)",
            config.engine_address,
            config.engine_port,
        ));
    }
    if let Some(port) = config.metrics_port {
        tcp.push(("metrics (--metrics-port)", config.metrics_address, port));
    }
    let mut udp = Vec::new();
    for ip in &config.listen_addresses {
        tcp.push(("libp2p (--port)", *ip, config.port));
        if !config.disable_discovery {
            udp.push((
                "discovery (--discovery-port)",
                *ip,
                config.discovery_port.unwrap_or(config.port),
            ));
        }
        if !config.disable_quic {
            let quic = config.quic_port.unwrap_or(config.port.saturating_add(1));
            // Port 0 stays 0.
            let quic = if config.port == 0 && config.quic_port.is_none() {
                0
            } else {
                quic
            };
            udp.push(("QUIC (--quic-port)", *ip, quic));
        }
    }
    let tcp = tcp
        .into_iter()
        .map(|(what, ip, port)| (what, "TCP", ip, port, bind_tcp(ip, port)));
    let udp = udp
        .into_iter()
        .map(|(what, ip, port)| (what, "UDP", ip, port, bind_udp(ip, port)));
    let mut free = Vec::new();
    for (what, kind, ip, port, bound) in tcp.chain(udp) {
        let address = SocketAddr::new(ip, port);
        let check = format!("port {kind} {address}, {what}");
        match bound {
            _ if port == 0 => {}
            Ok(()) => free.push((port, kind)),
            Err(ErrorKind::AddrInUse) if node.is_some_and(|node| node.may_have(kind, port)) => {
                free.push((port, kind));
            }
            Err(ErrorKind::AddrInUse) => report.fail(
                check,
                "another program has it",
                format_args!("end that program (`ss -lpn` names it) or choose another port"),
            ),
            Err(ErrorKind::AddrNotAvailable) => {
                report.fail(
                    check,
                    "this machine has no such address",
                    "0.0.0.0 is every address of this machine",
                );
            }
            Err(ErrorKind::PermissionDenied) => {
                report.fail(
                    check,
                    "this user may not listen there",
                    "ports below 1024 are the system's: choose another",
                );
            }
            Err(other) => report.fail(check, other, "choose another address or port"),
        }
    }
    if !free.is_empty() {
        let all: Vec<String> = free.iter().map(|(port, kind)| format!("{port} {kind}")).collect();
        let whose = if node.is_some() {
            "free, or the running node's"
        } else {
            "free"
        };
        report.ok("ports", format_args!("{} {whose}", all.join(", ")));
    }
}

fn bind_tcp(ip: IpAddr, port: u16) -> Result<(), ErrorKind> {
    TcpListener::bind((ip, port)).map(drop).map_err(|e| e.kind())
}

fn bind_udp(ip: IpAddr, port: u16) -> Result<(), ErrorKind> {
    UdpSocket::bind((ip, port)).map(drop).map_err(|e| e.kind())
}
