//! From file, environment and flags to settings.

use super::{
    NodeArgs, NodeConfig,
    checks::{check, check_but_secrets},
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

/// Flags over environment over file over defaults; then checked.
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
    let mut figment = Figment::from(Serialized::defaults(NodeConfig::default()));
    if let Some(path) = &args.config {
        // Read here, so that a file that is not there is an error and not an empty one.
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::File(path.clone(), e))?;
        figment = figment.merge(Toml::string(&text));
    }
    let known = keys();
    let env = Env::prefixed("ASSAY_")
        .map(|key| key.as_str().to_ascii_lowercase().replace('_', "-").into())
        .filter(move |key| known.iter().any(|k| k == key.as_str()));
    figment
        .merge(env)
        .merge(Serialized::defaults(args))
        .extract()
        .map_err(|e| ConfigError::Read(explain(e, args.config.as_deref())))
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
            format!("ASSAY_{}", setting.to_ascii_uppercase().replace('-', "_"))
        } else {
            format!("--{setting}")
        };
        format!("{place}: {}", error.kind.to_string().trim_end())
    };
    let all: Vec<String> = errors.into_iter().map(one).collect();
    all.join("; ")
}
