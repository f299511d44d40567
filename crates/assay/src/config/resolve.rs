//! From file, environment and flags to settings.

use super::{
    NodeArgs, NodeConfig,
    checks::{check, check_but_secrets},
    entries::{Layer, put_together},
};
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use std::path::{Path, PathBuf};

/// Settings that do not hold together, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file, a variable or a flag cannot be read as what it should be.
    #[error("settings: {0}")]
    Read(String),
    /// The settings file is not there.
    #[error("settings file {0} cannot be read: {1}")]
    File(PathBuf, std::io::Error),
    /// A value that no node could run with.
    #[error("--{flag}: {why}")]
    Value {
        /// The flag's name.
        flag: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// The settings' names, as the file and (in capitals) the environment have them.
pub fn keys() -> Vec<String> {
    let defaults = serde_json::to_value(NodeConfig::default()).unwrap_or_default();
    defaults
        .as_object()
        .map(|o| o.keys().cloned().collect())
        .unwrap_or_default()
}

/// Variables beginning with `ASSAY_` that no setting is called after, tests' own aside.
fn unknown_variables() -> Vec<String> {
    const OTHERS: [&str; 3] = ["config", "vectors", "jwt-secret"];
    let keys = keys();
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            name.strip_prefix("ASSAY_").is_some_and(|rest| {
                let key = rest.to_ascii_lowercase().replace('_', "-");
                !keys.contains(&key) && !OTHERS.contains(&key.as_str())
            })
        })
        .collect()
}

/// Logs the variables that look like settings and are none.
pub fn warn_of_unknown_variables() {
    for name in unknown_variables() {
        tracing::warn!(variable = name, "no setting is called so");
    }
}

/// Flags over environment over file over defaults, entries of proof types put together; then checked.
pub fn resolve(args: &NodeArgs) -> Result<NodeConfig, ConfigError> {
    let config = read(args)?;
    check(&config)?;
    Ok(config)
}

/// As `resolve`, for a node that stands in a snooper's slot: callers' tokens may do for the secret that no file holds there.
pub(crate) fn resolve_in_slot(args: &NodeArgs) -> Result<NodeConfig, ConfigError> {
    let config = read(args)?;
    check_but_secrets(&config)?;
    Ok(config)
}

fn read(args: &NodeArgs) -> Result<NodeConfig, ConfigError> {
    let file = args.config.as_deref();
    let mut layers = Vec::new();
    if let Some(path) = file {
        // Read here, so that a file that is not there is an error and not an empty one.
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::File(path.to_owned(), e))?;
        layers.push((Figment::from(Toml::string(&text)), Source::File(path)));
    }
    let known = keys();
    let env = Env::prefixed("ASSAY_")
        .map(|key| key.as_str().to_ascii_lowercase().replace('_', "-").into())
        .filter(move |key| known.iter().any(|k| k == key.as_str()));
    layers.push((Figment::from(env), Source::Environment));
    layers.push((Figment::from(Serialized::defaults(args)), Source::Flags));
    let explained = |error| ConfigError::Read(explain(error, file));
    let defaults = Figment::from(Serialized::defaults(NodeConfig::default()));
    let laid_over = layers
        .iter()
        .fold(defaults, |under, (layer, _)| under.merge(layer));
    let config = laid_over.extract().map_err(explained)?;
    let mut of_entries = Vec::new();
    for (layer, source) in layers {
        let layer: Layer = layer.extract().map_err(explained)?;
        of_entries.push((layer, move |key: &str| source.place(key)));
    }
    put_together(config, of_entries)
}

/// Where settings come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    File(&'a Path),
    Environment,
    Flags,
}

impl Source<'_> {
    /// How a setting is called there.
    fn place(self, key: &str) -> String {
        match self {
            Self::File(path) => format!("{key} in {}", path.display()),
            Self::Environment => variable(key),
            Self::Flags => format!("--{key}"),
        }
    }
}

fn variable(key: &str) -> String {
    format!("ASSAY_{}", key.to_ascii_uppercase().replace('-', "_"))
}

/// What is wrong with which setting, and where it was given.
fn explain(errors: figment::Error, file: Option<&Path>) -> String {
    let one = |error: figment::Error| {
        let given_by = error.metadata.as_ref().map_or("", |m| m.name.as_ref());
        let setting = error.path.join(".");
        let place = if given_by.starts_with("TOML") {
            let key = if setting.is_empty() {
                String::new()
            } else {
                format!("{setting} in ")
            };
            format!(
                "{key}{}",
                file.unwrap_or(Path::new("the settings file")).display()
            )
        } else if given_by.contains("environment") {
            variable(&setting)
        } else {
            format!("--{setting}")
        };
        format!("{place}: {}", error.kind.to_string().trim_end())
    };
    let all: Vec<String> = errors.into_iter().map(one).collect();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn entries_of_file_and_flags_are_put_together_and_other_settings_laid_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assay.toml");
        let text = "proof-engine-endpoint = \"dev\"\nproof-engine-types = [\"1=a\"]\nboot-nodes = [\"enr:a\"]\n\
                    [[proof-type]]\ntype = 1\nsystem = \"sp1\"\n[[proof-type]]\ntype = 2\nname = \"b\"\n";
        std::fs::write(&path, text).unwrap();
        let config = resolve(&NodeArgs {
            config: Some(path),
            proof_type: vec!["3:sp1:name=c".into(), "2:name=b".into()],
            proof_engine_types: vec!["1=a".into(), "3=c".into()],
            boot_nodes: vec!["enr:b".into()],
            ..NodeArgs::default()
        })
        .unwrap();
        let entries = config.provisional_entries().unwrap();
        let named: Vec<_> = entries
            .iter()
            .map(|e| (e.proof_type(), e.name(), e.system()))
            .collect();
        assert_eq!(
            named,
            [
                (1, Some("a"), Some("sp1")),
                (2, Some("b"), None),
                (3, Some("c"), Some("sp1"))
            ]
        );
        assert_eq!(config.proof_engine_types, ["1=a", "3=c"]);
        assert_eq!(config.proof_type.len(), 3);
        assert_eq!(config.boot_nodes, ["enr:b"]);
    }
}
