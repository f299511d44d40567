//! `assay db import`.

use super::{Database, Lines, explained, manifest::Manifest, progress::Progress};
use crate::config::shown_endpoint;
use anyhow::{Context, bail, ensure};
use assay_store::{BATCH_BYTES, BlockUpdate, Editor, KeptAs, PutOutcome, RecordKey};
use assay_types::{ForkName, Revision, Root};
use bytes::Bytes;
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use std::{path::PathBuf, time::Duration};

/// Longest wait for a node's verdict of one proof.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Refusals that are told.
const TOLD: usize = 10;
/// Most bytes of an answer that are shown.
const SHOWN: usize = 300;

/// Arguments of `assay db import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Directory that `assay db export` wrote
    #[arg(value_name = "DIR")]
    pub export: PathBuf,
    /// HTTP API of a running node that the proofs are posted to, which verifies each as any other:
    /// http://127.0.0.1:5152. It takes proofs of payloads that it knows, back to finality
    #[arg(long, value_name = "URL", conflicts_with_all = ["database", "unverified"])]
    pub to_node: Option<String>,
    /// Which database.
    #[command(flatten)]
    pub database: Database,
    /// Take the proofs into a stopped node's database as they are: nothing verifies them, they are served to peers and
    /// count for the gate. For exports of your own alone. What is looked at: that each file is what the list says, and that the
    /// list's blocks, head, proofs and entries of proof types contradict neither each other nor the database. What is not: signatures, the proofs
    /// themselves, and whether the blocks are of the chain
    #[arg(long)]
    pub unverified: bool,
    /// What became of them, as JSON
    #[arg(long)]
    pub json: bool,
}

/// What became of the proofs.
#[derive(Debug, Default)]
struct Outcome {
    taken: u64,
    known: u64,
    too_old: u64,
    refused: Vec<String>,
    refused_count: u64,
}

impl Outcome {
    fn refuse(&mut self, text: String) {
        self.refused_count += 1;
        if self.refused.len() < TOLD {
            self.refused.push(text);
        }
    }
}

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let manifest = Manifest::read(&args.export)?;
    let outcome = match &args.to_node {
        Some(url) => post_all(args, &manifest, url)?,
        None if args.unverified => take_all(args, &manifest)?,
        None => bail!(
            "nothing would verify these proofs: give --to-node URL, so that a running node judges each, or --unverified for \
             an export of your own (proofs in a database are served to peers and count for the gate)"
        ),
    };
    let mut lines = Lines::new();
    // A node answers alike to a proof that it had.
    let by_node = args.to_node.is_some();
    if args.json {
        lines.line(json!({
            "taken": outcome.taken,
            "known": (!by_node).then_some(outcome.known),
            "too_old": outcome.too_old,
            "refused": outcome.refused_count,
        }))?;
    } else if by_node {
        lines.line(format_args!(
            "{} taken or known to the node already, {} refused",
            outcome.taken, outcome.refused_count
        ))?;
    } else {
        lines.line(format_args!(
            "{} taken, {} known already, {} below what is kept, {} refused",
            outcome.taken, outcome.known, outcome.too_old, outcome.refused_count
        ))?;
    }
    lines.end()?;
    ensure!(
        outcome.refused_count == 0,
        "{} proofs were not taken: {}",
        outcome.refused_count,
        outcome.refused.join("; ")
    );
    Ok(())
}

/// Into the database itself.
fn take_all(args: &ImportArgs, manifest: &Manifest) -> anyhow::Result<Outcome> {
    let path = args.database.path();
    let identity = manifest.identity();
    let editor = match path.exists() {
        true => Editor::open(&path),
        false => Editor::create(&path, &identity),
    }
    .map_err(explained)?;
    let here = editor.identity();
    ensure!(
        (here.genesis_validators_root, here.chain_id)
            == (identity.genesis_validators_root, identity.chain_id),
        "{} holds proofs of {here}, the export is of {identity}",
        path.display()
    );
    manifest.check()?;
    for block in &manifest.blocks {
        let known = editor.block(&block.block_root).map_err(explained)?;
        ensure!(
            known.is_none_or(|known| block.agrees_with(&known)),
            "block {} of the list is not the one that {} has under this root",
            block.block_root,
            path.display()
        );
    }
    // Before the proofs: a database that has them has what they are proofs of.
    super::entries::adopt(&editor, &path, manifest.entries())?;
    let mut outcome = Outcome::default();
    let mut progress = Progress::new("import");
    let all = manifest.proofs.len() as u64;
    let payloads = manifest.payloads();
    let mut batch: Vec<(RecordKey, KeptAs, Bytes)> = Vec::new();
    let mut held = 0;
    let take = |batch: &mut Vec<(RecordKey, KeptAs, Bytes)>, outcome: &mut Outcome| -> anyhow::Result<()> {
        for stored in editor.take_proofs(batch)? {
            match stored {
                Some(PutOutcome::Stored) => outcome.taken += 1,
                Some(PutOutcome::AlreadyStored) => outcome.known += 1,
                None => outcome.too_old += 1,
            }
        }
        batch.clear();
        Ok(())
    };
    // First: which payload a proof is of, and whether that is canonical, is told by the index.
    let blocks: Vec<BlockUpdate> = manifest.blocks.iter().map(|block| block.update()).collect();
    editor.take_blocks(&blocks, manifest.head)?;
    for (at, proof) in manifest.proofs.iter().enumerate() {
        let read = proof.read(&args.export);
        match read.and_then(|(name, ssz)| Ok((name, proof.kept_as(&name, &payloads)?, ssz))) {
            Ok((name, kept_as, ssz)) => {
                held += ssz.len();
                batch.push((proof.key(&name), kept_as, ssz));
            }
            Err(error) => outcome.refuse(format!("{error:#}")),
        }
        if held >= BATCH_BYTES {
            take(&mut batch, &mut outcome)?;
            held = 0;
        }
        progress.at(at as u64 + 1, all);
    }
    take(&mut batch, &mut outcome)?;
    Ok(outcome)
}

/// Through a node's door.
fn post_all(args: &ImportArgs, manifest: &Manifest, url: &str) -> anyhow::Result<Outcome> {
    let base = url.trim_end_matches('/');
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    runtime.block_on(async {
        same_chain(&client, base, manifest).await?;
        let mut outcome = Outcome::default();
        let mut progress = Progress::new("import");
        let all = manifest.proofs.len() as u64;
        for (at, proof) in manifest.proofs.iter().enumerate() {
            match proof.read(&args.export) {
                Ok((name, ssz)) => match post(&client, base, name.revision, ssz).await? {
                    None => outcome.taken += 1,
                    Some(why) => outcome.refuse(format!("{}: {why}", proof.file)),
                },
                Err(error) => outcome.refuse(format!("{error:#}")),
            }
            progress.at(at as u64 + 1, all);
        }
        Ok(outcome)
    })
}

/// Whether the node is on the export's chain.
async fn same_chain(client: &reqwest::Client, base: &str, manifest: &Manifest) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Data {
        genesis_validators_root: Root,
    }
    #[derive(Deserialize)]
    struct Genesis {
        data: Data,
    }
    let url = format!("{base}/eth/v1/beacon/genesis");
    // The error's own words hold the URL with its query, which may be a token.
    let shown = |error: reqwest::Error| anyhow::Error::new(error.without_url()).context(shown_endpoint(&url));
    let answer = client.get(&url).send().await.map_err(shown)?;
    let genesis: Genesis = answer
        .error_for_status()
        .map_err(shown)?
        .json()
        .await
        .map_err(shown)?;
    ensure!(
        genesis.data.genesis_validators_root == manifest.genesis_validators_root,
        "the node at {} is on another chain (genesis validators root {}) than the export ({})",
        shown_endpoint(base),
        genesis.data.genesis_validators_root,
        manifest.genesis_validators_root
    );
    Ok(())
}

/// Why the node did not take it; nothing where it did.
async fn post(
    client: &reqwest::Client,
    base: &str,
    revision: Revision,
    ssz: Bytes,
) -> anyhow::Result<Option<String>> {
    // SSZ does not say which revision it is; of a fork the node takes no more than that.
    let fork = match revision {
        Revision::Alpha => ForkName::Fulu,
        Revision::Beta => ForkName::Gloas,
    };
    let url = format!("{base}/eth/v1/beacon/execution_proofs");
    let sent = client
        .post(&url)
        .header("content-type", "application/octet-stream")
        .header("eth-consensus-version", fork.to_string())
        .body(ssz)
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| shown_endpoint(&url))?;
    let status = sent.status();
    if status.is_success() {
        return Ok(None);
    }
    let text = sent.text().await.unwrap_or_default();
    let text: String = text.chars().take(SHOWN).collect();
    Ok(Some(format!("{status} {text}")))
}
