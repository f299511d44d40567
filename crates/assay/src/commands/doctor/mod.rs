//! `assay doctor`: whether a node with these settings would run, or runs, well: a line for each thing looked at, with what to
//! do about it. Nothing is changed anywhere.
//!
//! | file | what is looked at |
//! |---|---|
//! | `report` | findings: how they are kept and printed |
//! | `place` | data directory, database, disk, ports |
//! | `beacon` | the beacon node: there, synced, which network, forks |
//! | `clock` | this machine's clock against the beacon node's |
//! | `execution` | JWT secrets, execution clients |
//! | `engines` | proof engines, keys |
//! | `running` | the node itself, where one runs: health, who calls it, peers, alarms |

mod beacon;
mod clock;
mod engines;
mod execution;
mod place;
mod report;
mod running;

use crate::config::{NodeArgs, resolve};
use anyhow::ensure;
use clap::Args;
use report::Report;
use std::time::Duration;

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `assay doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The findings as one JSON object
    #[arg(long)]
    pub json: bool,
    /// The node's own settings.
    #[command(flatten)]
    pub node: Box<NodeArgs>,
}

/// Looks at everything; an error where something fails.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let mut report = Report::default();
    match resolve(&args.node) {
        Err(error) => report.fail(
            "settings",
            error,
            "mend the setting; `assay node --help` has them all",
        ),
        Ok(config) => {
            report.ok("settings", "they hold together");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let node = running::find(&config).await;
                place::look(&config, node.as_ref(), &mut report);
                let network = beacon::look(&config, &mut report).await;
                let settled = match &network {
                    Some(network) => config.settled(&network.spec),
                    None => Ok(config.provisional()),
                };
                let config = settled.unwrap_or_else(|error| {
                    report.fail(
                        "settings",
                        error,
                        "mend the setting; they do not fit this network",
                    );
                    config.provisional()
                });
                place::database(&config, network.as_ref(), node.as_ref(), &mut report);
                execution::look(&config, network.as_ref(), &mut report).await;
                engines::look(&config, network.as_ref(), &mut report).await;
                running::look(&config, node.as_ref(), network.as_ref(), &mut report).await;
            });
        }
    }
    report.print(args.json)?;
    let failed = report.failed();
    ensure!(failed == 0, "{failed} of {} checks failed", report.len());
    Ok(())
}

/// A client for plain requests.
fn http() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()
}
