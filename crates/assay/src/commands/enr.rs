//! `assay enr`: node records (EIP-778) read, and made from a key file.

use super::files;
use anyhow::{Context, bail, ensure};
use assay_network::{
    NodeKey,
    enr::{
        ATTNETS_ENR_KEY, CGC_ENR_KEY, EPROOF_ENR_KEY, ETH2_ENR_KEY, Enr, EnrExt, EnrForkId, NFD_ENR_KEY,
        QUIC_ENR_KEYS, SYNCNETS_ENR_KEY, next_fork_digest,
    },
};
use assay_types::{Epoch, ForkDigest, ForkVersion};
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

/// Bytes of `attnets` (64 subnets) and of `syncnets` (4).
const ATTNETS_BYTES: usize = 8;
const SYNCNETS_BYTES: usize = 1;

/// Arguments of `assay enr`.
#[derive(Debug, Args)]
pub struct EnrArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: EnrCommand,
}

/// What `assay enr` can do.
#[derive(Debug, Subcommand)]
pub enum EnrCommand {
    /// Print what a node record says
    Decode(DecodeArgs),
    /// Make a node record and sign it with the key of a file; prints the record
    Make(Box<MakeArgs>),
}

/// Arguments of `assay enr decode`.
#[derive(Debug, Args)]
pub struct DecodeArgs {
    /// The record (enr:-…), or a file that holds one, such as node.enr; - for standard input
    #[arg(value_name = "ENR|FILE", default_value = "-")]
    pub record: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `assay enr make`.
#[derive(Debug, Args)]
pub struct MakeArgs {
    /// The secp256k1 key, 64 hex digits: node.key of a data directory
    #[arg(long, value_name = "FILE")]
    pub key_file: PathBuf,
    /// Sequence number; must grow with each change [default: the unix time in seconds]
    #[arg(long, value_name = "NUMBER")]
    pub seq: Option<u64>,
    /// IPv4 address
    #[arg(long, value_name = "IPV4", help_heading = "Reached at")]
    pub ip: Option<Ipv4Addr>,
    /// TCP port
    #[arg(long, value_name = "PORT", requires = "ip", help_heading = "Reached at")]
    pub tcp: Option<u16>,
    /// UDP port of discovery
    #[arg(long, value_name = "PORT", requires = "ip", help_heading = "Reached at")]
    pub udp: Option<u16>,
    /// UDP port of QUIC
    #[arg(long, value_name = "PORT", requires = "ip", help_heading = "Reached at")]
    pub quic: Option<u16>,
    /// IPv6 address
    #[arg(long, value_name = "IPV6", help_heading = "Reached at")]
    pub ip6: Option<Ipv6Addr>,
    /// TCP port over IPv6
    #[arg(long, value_name = "PORT", requires = "ip6", help_heading = "Reached at")]
    pub tcp6: Option<u16>,
    /// UDP port of discovery over IPv6
    #[arg(long, value_name = "PORT", requires = "ip6", help_heading = "Reached at")]
    pub udp6: Option<u16>,
    /// UDP port of QUIC over IPv6
    #[arg(long, value_name = "PORT", requires = "ip6", help_heading = "Reached at")]
    pub quic6: Option<u16>,
    /// Ask a beacon node for the fork and the next one: eth2 and nfd as a node says them now
    #[arg(long, value_name = "URL", conflicts_with_all = ["fork_digest", "next_fork_version", "next_fork_epoch", "nfd"], help_heading = "Network")]
    pub beacon_node: Option<String>,
    /// eth2: digest of the current fork, 4 bytes of hex
    #[arg(
        long,
        value_name = "HEX", value_parser = digest,
        requires = "next_fork_version",
        help_heading = "Network"
    )]
    pub fork_digest: Option<ForkDigest>,
    /// eth2: version of the next fork, or of the current one where none is scheduled
    #[arg(long, value_name = "HEX", requires = "fork_digest", help_heading = "Network")]
    pub next_fork_version: Option<ForkVersion>,
    /// eth2: epoch of the next fork [default: none is scheduled]
    #[arg(
        long,
        value_name = "EPOCH",
        requires = "fork_digest",
        help_heading = "Network"
    )]
    pub next_fork_epoch: Option<u64>,
    /// nfd: digest of the next fork
    #[arg(long, value_name = "HEX", value_parser = digest, help_heading = "Network")]
    pub nfd: Option<ForkDigest>,
    /// cgc: custody group count
    #[arg(long, value_name = "COUNT", help_heading = "Network")]
    pub cgc: Option<u64>,
    /// eproof: 1 for a proof-aware node (EIP-8025), 0 for one that says it is not
    #[arg(long, value_name = "NUMBER", help_heading = "Network")]
    pub eproof: Option<u8>,
    /// attnets: 8 bytes of hex, a bit for each subnet
    #[arg(long, value_name = "HEX", help_heading = "Network")]
    pub attnets: Option<String>,
    /// syncnets: 1 byte of hex
    #[arg(long, value_name = "HEX", help_heading = "Network")]
    pub syncnets: Option<String>,
}

/// Runs one of them.
pub fn run(args: &EnrArgs) -> anyhow::Result<()> {
    match &args.command {
        EnrCommand::Decode(args) => decode(args),
        EnrCommand::Make(args) => make(args),
    }
}

fn decode(args: &DecodeArgs) -> anyhow::Result<()> {
    let text = if args.record.trim_start().starts_with("enr:") {
        args.record.clone()
    } else {
        let (_, bytes) = files::read(args.record.as_ref())?;
        String::from_utf8(bytes).context("a node record is text")?
    };
    let text = text.trim();
    // The parser checks the signature too.
    let enr: Enr = text
        .parse()
        .map_err(|why| anyhow::anyhow!("no node record, or its signature is not its key's: {why}"))?;
    let told = told(&enr);
    if args.json {
        return files::print_line(format_args!("{:#}", Value::Object(told)));
    }
    for (name, value) in &told {
        match value {
            Value::Null => {}
            Value::String(text) => files::print_line(format_args!("{name}: {text}"))?,
            Value::Array(list) => {
                let all: Vec<String> = list
                    .iter()
                    .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                    .collect();
                files::print_line(format_args!("{name}: {}", all.join(" ")))?;
            }
            Value::Object(fields) => {
                for (field, value) in fields {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    files::print_line(format_args!("{name}.{field}: {value}"))?;
                }
            }
            other => files::print_line(format_args!("{name}: {other}"))?,
        }
    }
    Ok(())
}

/// Everything that a record says; `null` where it does not say it, or says what cannot be read.
fn told(enr: &Enr) -> Map<String, Value> {
    let bytes = |key: &str| enr.get_decodable::<Bytes>(key).and_then(Result::ok);
    let port = |key: &str| enr.get_decodable::<u16>(key).and_then(Result::ok);
    let all = |list: Vec<assay_network::Multiaddr>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let known = [
        "id",
        "secp256k1",
        "ip",
        "tcp",
        "udp",
        "ip6",
        "tcp6",
        "udp6",
        QUIC_ENR_KEYS[0],
        QUIC_ENR_KEYS[1],
        ETH2_ENR_KEY,
        ATTNETS_ENR_KEY,
        SYNCNETS_ENR_KEY,
        CGC_ENR_KEY,
        NFD_ENR_KEY,
        EPROOF_ENR_KEY,
    ];
    let other: Map<String, Value> = enr
        .iter()
        .filter(|(key, _)| !known.iter().any(|k| k.as_bytes() == key.as_slice()))
        .map(|(key, rlp)| {
            (
                String::from_utf8_lossy(key).into_owned(),
                json!(format!("0x{}", hex::encode(rlp))),
            )
        })
        .collect();
    let eth2 = enr.fork_id().map(|id| {
        json!({
            "fork_digest": format!("0x{}", id.fork_digest),
            "next_fork_version": id.next_fork_version.to_string(),
            "next_fork_epoch": match id.next_fork_epoch {
                Epoch::FAR_FUTURE => json!("none is scheduled"),
                epoch => json!(epoch.0),
            },
        })
    });
    let subnets = |key: &str| {
        let bits = bytes(key)?;
        let set = (0..bits.len() * 8)
            .filter(|n| bits[n / 8] >> (n % 8) & 1 == 1)
            .collect::<Vec<_>>();
        Some(json!({ "bits": format!("0x{}", hex::encode(&bits)), "subnets": set }))
    };
    let has = |key: &str| enr.get_raw_rlp(key).is_some();
    let fields = json!({
        "seq": enr.seq(),
        "identity_scheme": enr.id(),
        "node_id": format!("0x{}", hex::encode(enr.node_id().raw())),
        "peer_id": enr.peer_id().map(|id| id.to_string()),
        "ip": enr.ip4(),
        "tcp": enr.tcp4(),
        "udp": enr.udp4(),
        "quic": port(QUIC_ENR_KEYS[0]),
        "ip6": enr.ip6(),
        "tcp6": enr.tcp6(),
        "udp6": enr.udp6(),
        "quic6": port(QUIC_ENR_KEYS[1]),
        "eth2": eth2,
        "attnets": subnets(ATTNETS_ENR_KEY),
        "syncnets": subnets(SYNCNETS_ENR_KEY),
        "cgc": enr.custody_group_count(),
        "nfd": enr.next_fork_digest().map(|digest| format!("0x{digest}")),
        "eproof": has(EPROOF_ENR_KEY).then(|| enr.eproof()),
        "tcp_addresses": all(enr.tcp_multiaddrs()),
        "quic_addresses": all(enr.quic_multiaddrs()),
        "discovery_addresses": all(enr.udp_multiaddrs()),
        "other": if other.is_empty() { Value::Null } else { Value::Object(other) },
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn make(args: &MakeArgs) -> anyhow::Result<()> {
    let key = NodeKey::from_file(&args.key_file)?;
    let attnets = bits("--attnets", args.attnets.as_deref(), ATTNETS_BYTES)?;
    let syncnets = bits("--syncnets", args.syncnets.as_deref(), SYNCNETS_BYTES)?;
    let (fork_id, nfd) = forks(args)?;
    for (flag, ip) in [
        ("--ip", args.ip.map(IpAddr::V4)),
        ("--ip6", args.ip6.map(IpAddr::V6)),
    ] {
        ensure!(
            ip.is_none_or(|ip| !ip.is_unspecified()),
            "{flag}: nobody can reach that address"
        );
    }
    let seconds = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |d| d.as_secs())
    };
    let mut builder = Enr::builder();
    builder.seq(args.seq.unwrap_or_else(seconds));
    if let Some(id) = fork_id {
        builder.add_value(ETH2_ENR_KEY, &id.to_ssz_bytes().as_slice());
    }
    if let Some(bits) = &attnets {
        builder.add_value(ATTNETS_ENR_KEY, &bits.as_slice());
    }
    if let Some(bits) = &syncnets {
        builder.add_value(SYNCNETS_ENR_KEY, &bits.as_slice());
    }
    if let Some(eproof) = &args.eproof {
        builder.add_value(EPROOF_ENR_KEY, eproof);
    }
    if let Some(nfd) = &nfd {
        builder.add_value(NFD_ENR_KEY, &nfd.0.as_slice());
    }
    if let Some(cgc) = &args.cgc {
        builder.add_value(CGC_ENR_KEY, cgc);
    }
    args.ip.map(|ip| builder.ip4(ip));
    args.tcp.map(|port| builder.tcp4(port));
    args.udp.map(|port| builder.udp4(port));
    args.ip6.map(|ip| builder.ip6(ip));
    args.tcp6.map(|port| builder.tcp6(port));
    args.udp6.map(|port| builder.udp6(port));
    for (key, port) in QUIC_ENR_KEYS.iter().zip([args.quic, args.quic6]) {
        port.map(|port| builder.add_value(*key, &port));
    }
    let enr = builder
        .build(&key.enr_key()?)
        .map_err(|error| anyhow::anyhow!("the record cannot be made: {error}"))?;
    files::print_line(enr.to_base64())
}

/// A fork digest, with or without `0x`.
fn digest(text: &str) -> Result<ForkDigest, String> {
    let digits = text.trim_start_matches("0x");
    digits
        .parse()
        .map_err(|_| format!("{text:?}: 4 bytes of hex expected"))
}

fn bits(flag: &str, text: Option<&str>, len: usize) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(text) = text else { return Ok(None) };
    let bytes = hex::decode(text.trim_start_matches("0x")).with_context(|| format!("{flag} {text:?}"))?;
    if bytes.len() != len {
        bail!("{flag} {text:?}: {len} bytes of hex expected");
    }
    Ok(Some(bytes))
}

/// `eth2` and `nfd`: as given, or as the beacon node's network has them now.
fn forks(args: &MakeArgs) -> anyhow::Result<(Option<EnrForkId>, Option<ForkDigest>)> {
    if let Some(url) = &args.beacon_node {
        let (spec, genesis) = super::signing_context::from_beacon_node(url, &Default::default())?;
        let root = genesis.genesis_validators_root;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let ms = now.saturating_sub(genesis.genesis_time).saturating_mul(1000);
        let slot = ms.checked_div(spec.slot_duration_ms).unwrap_or_default();
        let epoch = spec.epoch_at_slot(assay_types::Slot(slot));
        let id = EnrForkId::at(&spec, &root, epoch);
        return Ok((Some(id), Some(next_fork_digest(&spec, &root, epoch))));
    }
    let id = args
        .fork_digest
        .zip(args.next_fork_version)
        .map(|(fork_digest, next_fork_version)| EnrForkId {
            fork_digest,
            next_fork_version,
            next_fork_epoch: args.next_fork_epoch.map_or(Epoch::FAR_FUTURE, Epoch),
        });
    Ok((id, args.nfd))
}
