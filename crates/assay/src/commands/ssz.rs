//! `assay ssz`: any container of EIP-8025 or the beacon chain decoded, encoded and hashed, and the payload of a block.

use super::files::{self, Encoding};
use anyhow::Context;
use assay_types::{
    ContainerContext, ForkName, NewPayloadRequestForm, Preset, Revision, Spec, containers,
    inspect::{self, Encoded},
    spec::ConfigMap,
};
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Flags of `assay ssz`.
#[derive(Debug, Args)]
pub struct SszArgs {
    /// What to do with the container.
    #[command(subcommand)]
    pub command: SszCommand,
}

/// What `assay ssz` can do.
#[derive(Debug, Subcommand)]
pub enum SszCommand {
    /// Print the hash_tree_root of a container, and nothing else
    Root(ContainerArgs),
    /// Print a container as the Beacon API's JSON
    Decode(ContainerArgs),
    /// Write the SSZ bytes of a container given as the Beacon API's JSON
    Encode {
        /// The container.
        #[command(flatten)]
        container: ContainerArgs,
        /// Where the bytes go: SSZ, or .ssz_snappy by the ending; - for standard output
        #[arg(long, short, value_name = "FILE", default_value = "-")]
        output: PathBuf,
    },
    /// Print a SignedBeaconBlock's payload: block root, slot, block hash, parent hash, NewPayloadRequest root
    Payload(PayloadArgs),
    /// Print the names that --type takes
    Types,
}

/// A container in a file.
#[derive(Debug, Args)]
pub struct ContainerArgs {
    /// The container: SSZ, .ssz_snappy or .json; - for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// The container's name, e.g. SignedExecutionProof; `assay ssz types` lists them
    #[arg(long = "type", value_name = "NAME")]
    pub name: String,
    /// Fork whose container is meant
    #[arg(long, value_name = "FORK", default_value_t = ForkName::Gloas)]
    pub fork: ForkName,
    /// The network's values.
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// A block in a file.
#[derive(Debug, Args)]
pub struct PayloadArgs {
    /// The SignedBeaconBlock: SSZ, .ssz_snappy or .json; - for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// From Gloas on: the SignedExecutionPayloadEnvelope of the block, in a file of any of these kinds
    #[arg(long, value_name = "FILE")]
    pub envelope: Option<PathBuf>,
    /// The block's fork; found from the block where it is not given
    #[arg(long, value_name = "FORK")]
    pub fork: Option<ForkName>,
    /// The network's values.
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// What a container's shape depends on besides its name and fork.
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// State of the EIP-8025 texts: alpha or beta
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<Revision>,
    /// Preset of the network: mainnet or minimal
    #[arg(long, value_name = "PRESET", default_value_t = Preset::Mainnet)]
    pub preset: Preset,
    /// How a Gloas NewPayloadRequest merkleises: A, B or C
    #[arg(long, value_name = "FORM")]
    pub form: Option<NewPayloadRequestForm>,
    /// One protocol value by its upper-case name, e.g. MAX_PROOF_SIZE=307200; may be repeated
    #[arg(long = "spec", value_name = "KEY=VALUE")]
    pub spec: Vec<String>,
}

impl NetworkArgs {
    /// The preset's values, then `--spec`, then the flags of their own.
    fn spec(&self) -> anyhow::Result<Spec> {
        let base = match self.preset {
            Preset::Mainnet => Spec::mainnet(),
            Preset::Minimal => Spec::minimal(),
        };
        let overrides: ConfigMap = crate::config::spec_overrides(None, self.revision, &self.spec)?;
        let mut spec = Spec::from_config(&base.to_config(), &overrides)?;
        if let Some(form) = self.form {
            spec.new_payload_request_form = form;
        }
        Ok(spec)
    }
}

/// Runs one of them; an error where the bytes are not the container asked for.
pub fn run(args: &SszArgs) -> anyhow::Result<()> {
    match &args.command {
        SszCommand::Root(args) => {
            let (context, bytes) = container(args)?;
            files::print_line(inspect::root(&args.name, &context, &bytes).with_context(|| label(&args.file))?)
        }
        SszCommand::Decode(args) => {
            let (context, bytes) = container(args)?;
            let json = inspect::decode(&args.name, &context, &bytes).with_context(|| label(&args.file))?;
            files::print_line(format_args!("{json:#}"))
        }
        SszCommand::Encode {
            container: args,
            output,
        } => {
            let (_, text) = files::read(&args.file)?;
            let bytes = encode(args, &context(args)?, &text)?;
            files::write(output, &bytes)
        }
        SszCommand::Payload(args) => {
            let block = encoded(&args.file)?;
            let envelope = args.envelope.as_deref().map(encoded).transpose()?;
            let summary = inspect::payload_summary(args.fork, &args.network.spec()?, block, envelope)
                .with_context(|| {
                    let preset = args.network.preset;
                    let fork = args.fork.map_or_else(String::new, |fork| format!(" of {fork}, --fork, and"));
                    format!(
                        "{} (read as a block{fork} of preset {preset}, --preset; from Gloas on its payload is in --envelope)",
                        label(&args.file)
                    )
                })?;
            files::print_line(serde_json::to_string_pretty(&summary)?)
        }
        SszCommand::Types => containers::names().try_for_each(files::print_line),
    }
}

/// What an error calls a file.
fn label(file: &Path) -> String {
    if file == Path::new("-") {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

/// The fork's revision; where none was asked for and that one has no such container, the other's.
fn context(args: &ContainerArgs) -> anyhow::Result<ContainerContext> {
    let spec = args.network.spec()?;
    let of_fork = ContainerContext::new(args.fork, &spec);
    if args.network.revision.is_some() || containers::lookup(&args.name, &of_fork).is_ok() {
        return Ok(of_fork);
    }
    let mut others = Revision::ALL
        .iter()
        .map(|revision| ContainerContext::with_revision(args.fork, &spec, *revision));
    let has_it = |context: &ContainerContext| containers::lookup(&args.name, context).is_ok();
    Ok(others.find(has_it).unwrap_or(of_fork))
}

/// The container's SSZ bytes, whichever way it stands in the file.
fn container(args: &ContainerArgs) -> anyhow::Result<(ContainerContext, Vec<u8>)> {
    let context = context(args)?;
    let (encoding, bytes) = files::read(&args.file)?;
    let bytes = match encoding {
        Encoding::Json => encode(args, &context, &bytes)?,
        Encoding::Ssz | Encoding::SszSnappy => bytes,
    };
    Ok((context, bytes))
}

fn encode(args: &ContainerArgs, context: &ContainerContext, text: &[u8]) -> anyhow::Result<Vec<u8>> {
    let value: Value = serde_json::from_slice(text).with_context(|| label(&args.file))?;
    inspect::encode(&args.name, context, &value).with_context(|| label(&args.file))
}

fn encoded(file: &Path) -> anyhow::Result<Encoded> {
    let (encoding, bytes) = files::read(file)?;
    Ok(match encoding {
        Encoding::Json => Encoded::Json(serde_json::from_slice(&bytes).with_context(|| label(file))?),
        Encoding::Ssz | Encoding::SszSnappy => Encoded::Ssz(Bytes::from(bytes)),
    })
}
