//! `assay health`: whether the node with this data directory is well, by its exit code; for containers and supervisors.

use crate::{config::default_datadir, endpoints::Endpoints};
use anyhow::{Context, bail};
use clap::Args;
use std::{path::PathBuf, time::Duration};

/// Longest wait for the answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `assay health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The node's data directory [default: ~/.assay]
    #[arg(long, value_name = "DIR", env = "ASSAY_DATADIR")]
    pub datadir: Option<PathBuf>,
}

/// Asks the node that wrote its addresses there: well where it answers, catching up included.
pub fn run(args: &HealthArgs) -> anyhow::Result<()> {
    let datadir = args.datadir.clone().unwrap_or_else(default_datadir);
    let endpoints = Endpoints::read(&datadir, None)
        .with_context(|| format!("no node has been started in {}", datadir.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let url = format!("{}/eth/v1/node/health", reachable(&endpoints.http));
    let status = runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok::<_, reqwest::Error>(client.get(&url).send().await?.status())
    })?;
    if !status.is_success() {
        bail!("{url}: {status}");
    }
    Ok(())
}

/// An address of all interfaces is one to listen on; loopback is one of them.
fn reachable(url: &str) -> String {
    url.replace("//0.0.0.0:", "//127.0.0.1:")
        .replace("//[::]:", "//[::1]:")
}
