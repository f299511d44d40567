//! What the binary says of itself: completions for shells, man pages, the annotated settings file.

use crate::cli::Cli;
use anyhow::{Context, bail};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Arguments of `assay completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell's
    pub shell: Shell,
}

/// Arguments of `assay man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// A command's page, such as node or db-list [default: that of assay itself]
    pub command: Option<String>,
    /// Write every page into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub output: Option<PathBuf>,
}

/// Prints a completion script.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "assay", &mut script);
    print(&script)
}

/// Prints a man page, or writes all of them.
pub fn man(args: &ManArgs) -> anyhow::Result<()> {
    let mut root = Cli::command();
    // Gives the subcommands the names that their pages have.
    root.build();
    if let Some(directory) = &args.output {
        return write_pages(root, directory);
    }
    let command = match &args.command {
        None => root,
        Some(name) => page_of(&root, name)?,
    };
    print(&page(command)?)
}

/// Prints `assay.example.toml`.
pub fn example_config() -> anyhow::Result<()> {
    print(crate::config::example().as_bytes())
}

/// Every command below this one that has a page: `assay db list` has one too, which that of `assay db` names.
fn commands(of: &clap::Command) -> Vec<&clap::Command> {
    let below = of.get_subcommands().filter(|c| c.get_name() != "help");
    below
        .flat_map(|c| std::iter::once(c).chain(commands(c)))
        .collect()
}

/// What a command's page is called: assay-db-list.
fn title(command: &clap::Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page_of(root: &clap::Command, name: &str) -> anyhow::Result<clap::Command> {
    let all = commands(root);
    let short = |command| title(command).trim_start_matches("assay-");
    match all.iter().find(|c| short(c) == name.trim_start_matches("assay-")) {
        Some(found) => Ok((*found).clone()),
        None => {
            let names: Vec<&str> = all.into_iter().map(short).collect();
            bail!("{name:?} is no command: {}", names.join(", "))
        }
    }
}

fn page(command: clap::Command) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(text)
}

fn write_pages(root: clap::Command, directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let write = |name: &str, text: Vec<u8>| {
        let path = directory.join(format!("{name}.1"));
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    };
    for command in commands(&root) {
        write(title(command), page(command.clone())?)?;
    }
    write("assay", page(root)?)
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}
