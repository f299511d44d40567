//! No two servers of one node listen at one place.

use super::{ConfigError, ImportPolicyName, NodeConfig};
use std::net::IpAddr;

/// A place that is listened on by TCP, and the setting it comes from.
struct Listener {
    flag: &'static str,
    ip: IpAddr,
    port: u16,
    /// Whether `::` is every IPv4 address too.
    is_dual: bool,
}

impl Listener {
    /// Whether the other cannot listen beside it; port 0 is another one each time.
    fn excludes(&self, other: &Self) -> bool {
        let covers = |a: &Self, b: &Self| {
            a.ip == b.ip
                || a.ip.is_unspecified() && (a.ip.is_ipv4() == b.ip.is_ipv4() || a.ip.is_ipv6() && a.is_dual)
        };
        self.port != 0 && self.port == other.port && (covers(self, other) || covers(other, self))
    }
}

/// TCP ports of different settings are different ones, where their addresses overlap.
pub(super) fn check_ports(config: &NodeConfig) -> Result<(), ConfigError> {
    let server = |flag, ip, port| Listener {
        flag,
        ip,
        port,
        is_dual: true,
    };
    let mut listeners: Vec<Listener> = config
        .listen_addresses
        .iter()
        .map(|ip| Listener {
            is_dual: false,
            ..server("port", *ip, config.port)
        })
        .collect();
    // Several addresses of libp2p are its own matter.
    let of_libp2p = listeners.len();
    listeners.push(server("http-port", config.http_address, config.http_port));
    if !config.execution_endpoint.is_empty() || config.import_policy == ImportPolicyName::ProofsOnly {
        listeners.push(server("engine-port", config.engine_address, config.engine_port));
    }
    if let Some(port) = config.metrics_port {
        listeners.push(server("metrics-port", config.metrics_address, port));
    }
    for (at, second) in listeners.iter().enumerate().skip(of_libp2p) {
        if let Some(first) = listeners.iter().take(at).find(|first| first.excludes(second)) {
            return Err(ConfigError::Value {
                flag: second.flag,
                why: format!(
                    "TCP port {} of {} is that of --{} ({}) too: choose another for one of them",
                    second.port, second.ip, first.flag, first.ip
                ),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::config::checks::check;

    #[test]
    fn two_servers_on_one_port_are_refused_by_both_names() {
        type Change = fn(&mut NodeConfig);
        fn with_client(c: &mut NodeConfig) {
            c.execution_endpoint = vec!["http://127.0.0.1:8551".into()];
            c.execution_jwt = vec!["jwt.hex".into()];
        }
        let table: &[(Change, Option<[&str; 2]>)] = &[
            (
                |c| (c.port, c.http_port) = (31000, 31000),
                Some(["port", "http-port"]),
            ),
            (
                |c| {
                    with_client(c);
                    (c.http_port, c.engine_port) = (31005, 31005);
                },
                Some(["http-port", "engine-port"]),
            ),
            (
                |c| (c.metrics_port, c.http_port) = (Some(31005), 31005),
                Some(["http-port", "metrics-port"]),
            ),
            (
                |c| {
                    (c.metrics_port, c.http_port) = (Some(31005), 31005);
                    c.http_address = "::".parse().unwrap();
                },
                Some(["http-port", "metrics-port"]),
            ),
            // Where no Engine API is served, on other addresses, on ports that the system chooses, of another protocol.
            (|c| (c.http_port, c.engine_port) = (31005, 31005), None),
            (
                |c| {
                    (c.metrics_port, c.http_port) = (Some(31005), 31005);
                    c.metrics_address = "127.0.0.2".parse().unwrap();
                },
                None,
            ),
            (
                |c| {
                    (c.port, c.http_port) = (31005, 31005);
                    c.listen_addresses = vec!["::".parse().unwrap()];
                },
                None,
            ),
            (|c| (c.port, c.http_port, c.metrics_port) = (0, 0, Some(0)), None),
            (
                |c| c.listen_addresses = vec!["0.0.0.0".parse().unwrap(), "::".parse().unwrap()],
                None,
            ),
            (|c| c.discovery_port = Some(5152), None),
        ];
        for (at, (change, flags)) in table.iter().enumerate() {
            let mut config = NodeConfig::default();
            change(&mut config);
            match (check(&config), flags) {
                (Ok(()), None) => {}
                (Err(error), Some([first, second])) => {
                    let error = error.to_string();
                    assert!(error.starts_with(&format!("--{second}:")), "{at}: {error}");
                    assert!(error.contains(&format!("--{first} ")), "{at}: {error}");
                }
                (other, _) => assert!(other.is_ok() && flags.is_none(), "{at}: {other:?}"),
            }
        }
    }
}
