//! What was started, held against the binary's own command line and against itself.

use crate::interpreter::Asked;
use anyhow::{Context, bail, ensure};
use assay::{
    cli::{Cli, Command},
    config::{NodeConfig, keys, resolve},
    prover::ProverArgs,
    snoop::SnoopArgs,
};
use clap::Parser;
use serde_json::Value as Json;
use std::{collections::BTreeSet, path::Path};

/// Where the image has the binary; the Dockerfile is held against it too.
const BINARY: &str = "/usr/local/bin/assay";

/// All that was asked of the plan.
pub(crate) struct Network {
    asked: Vec<Asked>,
    returned: String,
}

/// An Assay between beacon node and execution client.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) config: NodeConfig,
    service: Json,
}

impl Network {
    pub(crate) fn new(asked: Vec<Asked>, returned: String) -> Self {
        Self { asked, returned }
    }

    fn services(&self) -> impl Iterator<Item = (usize, &Json)> {
        let all = self.asked.iter().enumerate();
        all.filter(|(_, asked)| asked.kind == "service")
            .map(|(place, asked)| (place, &asked.with))
    }

    fn artifacts(&self) -> impl Iterator<Item = (usize, &Json)> {
        let all = self.asked.iter().enumerate();
        all.filter(|(_, asked)| asked.kind == "artifact")
            .map(|(place, asked)| (place, &asked.with))
    }

    /// A service's configuration.
    pub(crate) fn service(&self, name: &str) -> Option<&Json> {
        self.services()
            .find(|(_, s)| s["name"] == name)
            .map(|(_, s)| &s["config"])
    }

    /// When a service was added.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.services()
            .find(|(_, s)| s["name"] == name)
            .map(|(place, _)| place)
    }

    /// The templates of a rendered artifact.
    pub(crate) fn templates(&self, name: &str) -> Option<&Json> {
        self.artifacts()
            .find(|(_, a)| a["name"] == name)
            .map(|(_, a)| &a["templates"])
    }

    /// File name and template of assertoor's test.
    pub(crate) fn assertoor_test(&self) -> Option<(&String, &Json)> {
        self.templates("assay-assertoor")?.as_object()?.iter().next()
    }

    /// Services of our binary with this command.
    fn ours(&self, command: &str) -> Vec<&Json> {
        let ours = self.services().map(|(_, service)| service);
        ours.filter(|service| {
            service["name"]
                .as_str()
                .is_some_and(|n| n.contains("snooper-engine") || n.starts_with("assay-"))
                && service["config"]["cmd"][0] == command
        })
        .collect()
    }

    /// The nodes, their flags read as the binary reads them.
    pub(crate) fn nodes(&self) -> anyhow::Result<Vec<Node>> {
        let read = |service: &Json| {
            let name = text(&service["name"])?.to_owned();
            match cli(service).with_context(|| name.clone())? {
                Command::Node(args) => Ok(Node {
                    config: resolve(&args).with_context(|| name.clone())?,
                    service: service["config"].clone(),
                    name,
                }),
                _ => bail!("{name} is no node"),
            }
        };
        self.ours("node").into_iter().map(read).collect()
    }

    /// The provers, as `nodes`.
    pub(crate) fn provers(&self) -> anyhow::Result<Vec<(String, ProverArgs, Json)>> {
        let read = |service: &Json| {
            let name = text(&service["name"])?.to_owned();
            match cli(service).with_context(|| name.clone())? {
                Command::Prover(args) => Ok((name, *args, service["config"].clone())),
                _ => bail!("{name} is no prover"),
            }
        };
        self.ours("prover").into_iter().map(read).collect()
    }

    /// Everything that can be held against something.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (place, service) in self.services() {
            let name = text(&service["name"])?;
            ensure!(is_service_name(name), "{name} is no name of a service");
            for (_, artifact) in entries(&service["config"]["files"]) {
                // A directory that persists is made by Kurtosis.
                if let Some(artifact) = artifact.as_str() {
                    let known = self
                        .artifacts()
                        .any(|(made, a)| made < place && a["name"] == artifact);
                    ensure!(known, "{name}: there is no artifact {artifact} yet");
                }
            }
        }
        for node in self.nodes()? {
            self.check_node(&node).with_context(|| node.name.clone())?;
        }
        for (name, args, service) in self.provers()? {
            self.check_prover(&args, &service).with_context(|| name)?;
        }
        for wait in self.asked.iter().filter(|asked| asked.kind == "wait") {
            let (name, recipe) = (text(&wait.with["service_name"])?, &wait.with["recipe"]);
            let Some(port) = recipe["port_id"].as_str() else {
                continue;
            };
            let service = self
                .service(name)
                .with_context(|| format!("{name} is waited for, and is not there"))?;
            ensure!(service["ports"][port].is_object(), "{name} has no port {port}");
        }
        Ok(())
    }

    fn check_node(&self, node: &Node) -> anyhow::Result<()> {
        let (config, service) = (&node.config, &node.service);
        ensure!(
            service["entrypoint"][0] == BINARY,
            "{} is not the binary",
            service["entrypoint"]
        );
        for (id, number) in [
            ("engine-rpc", config.engine_port),
            ("http", config.http_port),
            ("tcp-discovery", config.port),
            ("udp-discovery", config.discovery_port.unwrap_or(config.port)),
            ("quic-discovery", config.quic_port.unwrap_or(config.port + 1)),
        ] {
            let declared = &service["ports"][id]["number"];
            ensure!(
                *declared == number,
                "port {id} is {declared}, the flags say {number}"
            );
        }
        for (what, address) in [
            ("--engine-address", config.engine_address),
            ("--http-address", config.http_address),
        ] {
            ensure!(
                address.is_unspecified(),
                "{what} {address}: nobody else reaches it"
            );
        }
        ensure!(
            service["ports"]["http"]["wait"].is_null(),
            "it has no HTTP API before there is a beacon node"
        );
        self.reaches(&config.beacon_node)?;
        for url in &config.execution_endpoint {
            self.reaches(url)?;
        }
        for endpoint in config.proof_engine_endpoint.iter().filter(|e| e.contains("://")) {
            self.reaches(endpoint)?;
        }
        let files = config
            .execution_jwt
            .iter()
            .map(Path::new)
            .chain(config.engine_jwt.as_deref());
        for file in files {
            is_mounted(service, file)?;
        }
        Ok(())
    }

    fn check_prover(&self, args: &ProverArgs, service: &Json) -> anyhow::Result<()> {
        ensure!(
            service["entrypoint"][0] == BINARY,
            "{} is not the binary",
            service["entrypoint"]
        );
        let declared = &service["ports"]["metrics"]["number"];
        let number = args.metrics_port.context("it has no metrics")?;
        ensure!(
            *declared == number,
            "port metrics is {declared}, the flags say {number}"
        );
        ensure!(
            args.metrics_address.is_unspecified(),
            "nobody else reaches its metrics"
        );
        self.reaches(&args.beacon_node)?;
        self.reaches(args.post_to.as_deref().context("it posts to its beacon node")?)?;
        for directory in [&args.signer.keystores, &args.signer.secrets] {
            is_mounted(service, directory.as_deref().context("it has no keys")?)?;
        }
        ensure!(
            service["user"]["uid"] == 0,
            "the passwords can be read by root alone"
        );
        Ok(())
    }

    /// Whether a service has this host, by name or address, and this port.
    fn reaches(&self, url: &str) -> anyhow::Result<()> {
        let rest = url
            .strip_prefix("http://")
            .with_context(|| format!("{url} is no URL"))?;
        let (host, port) = rest
            .trim_end_matches('/')
            .split_once(':')
            .with_context(|| format!("{url} has no port"))?;
        let port: u16 = port.parse().with_context(|| url.to_owned())?;
        let service = self
            .services()
            .find(|(_, s)| s["name"] == host || s["ip_address"] == host);
        let (_, service) = service.with_context(|| format!("{url}: there is no service {host}"))?;
        let open = entries(&service["config"]["ports"]).any(|(_, p)| p["number"] == port);
        ensure!(open, "{url}: {host} has no port {port}");
        Ok(())
    }

    /// The path of a URL that is reached.
    pub(crate) fn path_of_url(&self, url: &str) -> anyhow::Result<String> {
        let rest = url.strip_prefix("http://").context("no URL")?;
        let (host, path) = rest.split_once('/').context("no path")?;
        self.reaches(&format!("http://{host}"))?;
        Ok(format!("/{}", path.split('?').next().unwrap_or_default()))
    }

    /// Paths that a node serves.
    pub(crate) fn routes(&self) -> BTreeSet<&'static str> {
        assay::api::paths().into_iter().collect()
    }

    /// What `run` gave back, as text.
    pub(crate) fn returned(&self) -> &str {
        &self.returned
    }

    fn for_ours(&mut self, mut change: impl FnMut(&mut Json)) {
        for asked in self.asked.iter_mut().filter(|asked| asked.kind == "service") {
            let name = asked.with["name"].as_str().unwrap_or_default().to_owned();
            if name.contains("snooper-engine") || name.starts_with("assay-") {
                change(&mut asked.with["config"]);
            }
        }
    }

    /// A fault: other words in command and entry point.
    pub(crate) fn replace_in_command(&mut self, from: &str, to: &str) {
        self.for_ours(|config| {
            for list in ["cmd", "entrypoint"] {
                for word in config[list].as_array_mut().into_iter().flatten() {
                    *word = word.as_str().unwrap_or_default().replace(from, to).into();
                }
            }
        });
    }

    /// A fault: words that begin so are not there.
    pub(crate) fn remove_from_command(&mut self, start: &str) {
        self.for_ours(|config| {
            if let Some(cmd) = config["cmd"].as_array_mut() {
                cmd.retain(|word| !word.as_str().unwrap_or_default().starts_with(start));
            }
        });
    }

    /// A fault: nothing is mounted there.
    pub(crate) fn remove_file(&mut self, path: &str) {
        self.for_ours(|config| {
            if let Some(files) = config["files"].as_object_mut() {
                files.remove(path);
            }
        });
    }

    /// A fault: nobody made this artifact.
    pub(crate) fn forget_artifact(&mut self, name: &str) {
        self.asked
            .retain(|asked| asked.kind != "artifact" || asked.with["name"] != name);
    }
}

fn cli(service: &Json) -> anyhow::Result<Command> {
    let cmd = service["config"]["cmd"].as_array().context("no command")?;
    let words: Vec<&str> = cmd.iter().map(text).collect::<anyhow::Result<_>>()?;
    // Kurtosis puts the container's address there.
    let words = words
        .iter()
        .map(|word| word.replace("KURTOSIS_IP_ADDR_PLACEHOLDER", "172.16.0.250"));
    let words = std::iter::once("assay".to_owned()).chain(words);
    Ok(Cli::try_parse_from(words)?.command)
}

/// A snooper's command line and environment, as the package makes them, are the binary's.
pub(crate) fn slot_is_accepted(config: &Json, port: u16) -> anyhow::Result<()> {
    let cmd = config["cmd"].as_array().context("no command")?;
    let words: Vec<&str> = cmd.iter().map(text).collect::<anyhow::Result<_>>()?;
    ensure!(words.first() == Some(&"./json_rpc_snoop"), "{words:?}");
    let args = SnoopArgs::try_parse_from(words)?;
    ensure!(
        args.port == port && args.bind_address.is_unspecified(),
        "{args:?}"
    );
    let known: BTreeSet<String> = keys().into_iter().chain(["jwt-secret".to_owned()]).collect();
    let mut seen = 0;
    for (name, _) in entries(&config["env_vars"]) {
        let key = name
            .strip_prefix("ASSAY_")
            .with_context(|| format!("{name} is no setting"))?;
        let key = key.to_ascii_lowercase().replace('_', "-");
        ensure!(known.contains(&key), "{name} is no setting");
        seen += 1;
    }
    ensure!(seen > 0, "the slot has no settings");
    Ok(())
}

/// The arguments that the README gives for the slot: its first block of YAML.
pub(crate) fn way_one(readme: &Path) -> anyhow::Result<Json> {
    let text = std::fs::read_to_string(readme).with_context(|| readme.display().to_string())?;
    let (_, rest) = text.split_once("```yaml\n").context("no YAML")?;
    let (yaml, _) = rest.split_once("```").context("the YAML does not end")?;
    Ok(serde_saphyr::from_str(yaml)?)
}

fn is_mounted(service: &Json, path: &Path) -> anyhow::Result<()> {
    let mounted = entries(&service["files"]).any(|(mount, _)| path.starts_with(mount));
    ensure!(mounted, "nothing is mounted where {} is", path.display());
    Ok(())
}

/// As Kurtosis asks (RFC 1035).
fn is_service_name(name: &str) -> bool {
    let inner = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (1..=63).contains(&name.len())
        && inner
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
}

fn text(value: &Json) -> anyhow::Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}

fn entries(value: &Json) -> impl Iterator<Item = (&String, &Json)> {
    value.as_object().into_iter().flatten()
}
