//! `assay health`: whether the node with this data directory is well, by its exit code; for containers and supervisors.

use super::files;
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
    let shown = datadir.display();
    let endpoints = Endpoints::read(&datadir, None)
        .with_context(|| format!("no node has been started in {shown} (--datadir says where)"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let base = reachable(&endpoints.http);
    let asked = runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        let answer = client.get(format!("{base}/eth/v1/node/health")).send().await?;
        Ok::<_, reqwest::Error>(answer.status().as_u16())
    });
    let of = format!("the node of {shown} (process {}, {base})", endpoints.pid);
    match asked {
        Ok(200) => files::print_line(format_args!("{of} is well")),
        Ok(206) => files::print_line(format_args!("{of} runs and catches up with the chain")),
        Ok(503) => bail!(
            "{of} runs and has not heard of the chain yet: does its beacon node answer? `assay doctor` says more"
        ),
        Ok(status) => bail!("{of} answers {status}: is something else listening there now?"),
        Err(error) if error.is_connect() => bail!("{of} does not run any more: nobody listens there"),
        Err(error) if error.is_timeout() => bail!("{of} gave no answer within {TIMEOUT:?}"),
        Err(error) => Err(error).context(of),
    }
}

/// An address of all interfaces is one to listen on; loopback is one of them.
pub(crate) fn reachable(url: &str) -> String {
    url.replace("//0.0.0.0:", "//127.0.0.1:")
        .replace("//[::]:", "//[::1]:")
}
