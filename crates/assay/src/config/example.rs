//! The annotated settings file, made of the flags' own help and the settings' own defaults. `assay.example.toml` is this
//! text; a test holds it against it.

use super::{NodeArgs, NodeConfig};
use clap::Args;

/// Values for settings that have no default, or one that only suits the machine it was made on.
const EXAMPLES: [(&str, &str); 40] = [
    ("datadir", "\"/var/lib/assay\""),
    ("network-config", "\"/etc/assay/config.yaml\""),
    ("revision", "\"alpha\""),
    ("spec", "[\"MAX_PROOF_SIZE=409600\"]"),
    ("execution-endpoint", "[\"http://127.0.0.1:8551\"]"),
    ("execution-jwt", "[\"/etc/assay/jwt.hex\"]"),
    ("engine-jwt", "\"/etc/assay/jwt.hex\""),
    ("secondary-beacon-node", "[\"http://127.0.0.1:5062\"]"),
    ("secondary-engine-jwt", "[\"/etc/assay/second-jwt.hex\"]"),
    ("required-proof-types", "[1, 2]"),
    (
        "trusted-checkpoint",
        "\"0x8ef5ba0e4d5d9d29be2b5c6e2a4f3b8e7c61a0d9f4e2b3c5a6978877665544ff:123456\"",
    ),
    ("discovery-port", "9100"),
    ("quic-port", "9101"),
    ("boot-nodes", "[\"enr:-...\"]"),
    (
        "peer",
        "[\"/ip4/192.0.2.7/tcp/9100/p2p/16Uiu2HA...\", \"enr:-...\"]",
    ),
    ("enr-address", "[\"192.0.2.1\"]"),
    ("enr-tcp-port", "9100"),
    ("enr-udp-port", "9100"),
    ("enr-quic-port", "9101"),
    ("metrics-port", "5154"),
    ("proof-engine-endpoint", "[\"http://127.0.0.1:3000\"]"),
    ("proof-engine-jwt", "\"/etc/assay/engine-jwt.hex\""),
    ("proof-engine-types", "[\"5=reth-sp1\", \"6=reth-zisk\"]"),
    (
        "native-verifier",
        "[\"5:sp1:vk=/etc/assay/sp1.vk:sha256=0x...:guest=output-sha256\"]",
    ),
    (
        "proof-type",
        "[{ type = 5, name = \"reth-sp1\", version = \"1.9.3\" }]",
    ),
    ("prove-types", "[1]"),
    ("keystores", "\"/etc/assay/validators\""),
    ("secrets", "\"/etc/assay/secrets\""),
    ("password-file", "\"/etc/assay/password.txt\""),
    ("web3-signer-url", "\"https://127.0.0.1:9000\""),
    ("web3-signer-public-keys", "[\"0x...\"]"),
    ("web3-signer-ca", "\"/etc/assay/signer-ca.pem\""),
    ("web3-signer-client-cert", "\"/etc/assay/client.pem\""),
    ("web3-signer-client-key", "\"/etc/assay/client.key\""),
    ("max-db-size", "\"20GiB\""),
    // Two that change what they say when shown by their default alone.
    ("proof-types", "[1, 2, 3]"),
    ("listen-address", "[\"0.0.0.0\"]"),
    ("dev-seed", "\"assay-dev\""),
    ("log-level", "\"info\""),
    ("otlp-endpoint", "\"http://127.0.0.1:4318\""),
];

/// Columns of a comment's text.
const WIDTH: usize = 116;

const HEAD: &str = "\
# Settings of `assay node`, for --config FILE. Every line below that sets something is a comment and shows the default,
# or an example where there is none: uncomment what you change. Each setting is also a flag (--http-port) and an
# environment variable (ASSAY_HTTP_PORT); flags win over the environment, the environment over this file. What
# they say of proof types' numbers (proof-type, native-verifier, proof-engine-types) is put together instead.
#
# On SIGHUP the settings of the gate (import-policy to alert-after-slots) are read again and take effect at once.
# Made by `assay example-config`.
";

/// The file's text: every setting once, in the order and groups of `assay node --help`.
pub fn example() -> String {
    let mut text = HEAD.to_owned();
    let command = NodeArgs::augment_args(clap::Command::new("node"));
    let defaults = toml::Value::try_from(NodeConfig::default()).unwrap_or(toml::Value::Boolean(false));
    let mut group: Option<&str> = None;
    for arg in command.get_arguments() {
        let Some(name) = arg
            .get_long()
            .filter(|name| *name != "config" && !arg.is_hide_set())
        else {
            continue;
        };
        let heading = arg.get_help_heading().unwrap_or("Data");
        if group.replace(heading) != Some(heading) {
            text.push_str(&format!("\n#\n# {heading}\n#\n"));
        }
        let example = EXAMPLES
            .iter()
            .find(|(of, _)| *of == name)
            .map(|(_, value)| (*value).to_owned());
        let default = defaults.get(name).map(ToString::to_string);
        let value = example.or(default).unwrap_or_default();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let mut values: Vec<String> = Vec::new();
        for possible in arg.get_possible_values() {
            if let Some(help) = possible.get_help() {
                values.push(format!("  {}: {help}", possible.get_name()));
            }
        }
        text.push('\n');
        for line in wrap(&help).into_iter().chain(values) {
            text.push_str(&format!("# {line}\n"));
        }
        text.push_str(&format!("#{name} = {value}\n"));
    }
    text
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines
            .last()
            .is_some_and(|line| !line.is_empty() && line.len() + 1 + word.len() > WIDTH);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
