//! The binary under the name `json_rpc_snoop`: what ethereum-package puts between a beacon node and its execution client
//! (`./json_rpc_snoop -b=0.0.0.0 -p=8561 http://<el>:8551`). These arguments; every other setting is the environment's.

use crate::{
    config::{NodeArgs, resolve_in_slot, warn_of_unknown_variables},
    logging, node, signals,
    traces::Traces,
};
use anyhow::Context;
use clap::Parser;
use std::{net::IpAddr, path::Path};
use tokio_util::sync::CancellationToken;

/// The name.
pub const NAME: &str = "json_rpc_snoop";

/// Its arguments.
#[derive(Debug, Clone, Parser)]
#[command(
    name = NAME,
    version = env!("ASSAY_VERSION"),
    about = "Assay in the place of an Engine API snooper: settings come from ASSAY_* variables, see `assay node --help`"
)]
pub struct SnoopArgs {
    /// Address to listen on
    #[arg(short, long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
    /// Port to listen on
    #[arg(short, long, value_name = "PORT", default_value_t = 3000)]
    pub port: u16,
    /// The execution client's port: its Engine API, or any other, which everything then passes to
    #[arg(value_name = "URL")]
    pub url: String,
}

/// Whether a program called so is this one.
pub fn is_meant(program: Option<&std::ffi::OsStr>) -> bool {
    program.and_then(|program| Path::new(program).file_stem()) == Some(std::ffi::OsStr::new(NAME))
}

/// Runs until SIGINT or SIGTERM.
pub fn run(args: SnoopArgs) -> anyhow::Result<()> {
    let settings = NodeArgs {
        config: std::env::var_os("ASSAY_CONFIG").map(Into::into),
        execution_endpoint: vec![args.url],
        engine_address: Some(args.bind_address),
        engine_port: Some(args.port),
        ..NodeArgs::default()
    };
    let config = resolve_in_slot(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(node::BLOCKING_THREADS)
        .build()
        .context("tokio runtime")?;
    let traces = Traces::of(config.otlp_endpoint.as_deref(), &runtime)?;
    logging::init(&config.log_level, config.log_format, traces.as_ref())?;
    warn_of_unknown_variables();
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let slot = node::slot::run(config, stop.clone());
        tokio::pin!(slot);
        tokio::select! {
            outcome = &mut slot => return outcome,
            () = signals::ended() => stop.cancel(),
        }
        slot.await
    });
    drop(traces);
    // Work on blocking threads that does not end by itself is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_arguments_of_a_snooper() {
        let args = SnoopArgs::try_parse_from([
            "./json_rpc_snoop",
            "-b=0.0.0.0",
            "-p=8561",
            "http://172.16.0.8:8551",
        ]);
        let args = args.unwrap();
        assert_eq!(
            (
                args.bind_address.to_string().as_str(),
                args.port,
                args.url.as_str()
            ),
            ("0.0.0.0", 8561, "http://172.16.0.8:8551")
        );
        for (program, meant) in [
            ("./json_rpc_snoop", true),
            ("/usr/local/bin/json_rpc_snoop", true),
            ("assay", false),
            ("", false),
        ] {
            assert_eq!(is_meant(Some(program.as_ref())), meant, "{program}");
        }
    }
}
