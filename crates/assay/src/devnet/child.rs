//! One node's process: started with flags, found by the addresses it writes down, ended by its process id.

use crate::endpoints::Endpoints;
use anyhow::{Context, bail};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, ChildStdin, Command};

/// How long a node may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the nodes live.
pub(super) struct Home {
    path: PathBuf,
    temporary: bool,
    keep: std::cell::Cell<bool>,
}

impl Home {
    pub(super) fn new(given: Option<&Path>) -> anyhow::Result<Self> {
        let (path, temporary) = match given {
            Some(path) => (path.to_owned(), false),
            None => {
                let name = format!(
                    "assay-devnet-{}-{}",
                    std::process::id(),
                    assay_simulator::simulation::now_ms()
                );
                (std::env::temp_dir().join(name), true)
            }
        };
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self {
            path,
            temporary,
            keep: std::cell::Cell::new(false),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it on disk: something went wrong and the logs are wanted.
    pub(super) fn keep(&self) {
        self.keep.set(true);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary && !self.keep.get() {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A running `assay node`.
pub(super) struct NodeProcess {
    pub(super) index: usize,
    pub(super) endpoints: Endpoints,
    child: Child,
    /// Held open for as long as this lives: its end tells the node that this process is gone, whatever ended it.
    _stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl NodeProcess {
    /// Starts this very program as a node and waits until it says where it listens.
    pub(super) async fn start(
        index: usize,
        datadir: &Path,
        flags: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(datadir).with_context(|| datadir.display().to_string())?;
        let log = datadir.join("node.log");
        let output = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = Command::new(std::env::current_exe().context("this program's path")?);
        command.arg("node").arg("--datadir").arg(datadir);
        for (flag, value) in flags {
            command.arg(flag).arg(value);
        }
        // Settings of the caller's environment are meant for other nodes.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|n| n.starts_with("ASSAY_")) {
                command.env_remove(name);
            }
        }
        let mut child = command
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(output)
            // A Ctrl-C in the terminal is for this process, which ends the nodes in their turn.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("node {} could not be started", index + 1))?;
        let mut node = Self {
            index,
            endpoints: Endpoints::default(),
            // Out of `Child`, which closes it before it waits.
            _stdin: child.stdin.take(),
            child,
            log,
        };
        node.endpoints = node.wait_for_endpoints(datadir).await?;
        Ok(node)
    }

    async fn wait_for_endpoints(&mut self, datadir: &Path) -> anyhow::Result<Endpoints> {
        let started = Instant::now();
        loop {
            self.check_alive()?;
            if let Some(endpoints) = Endpoints::read(datadir, self.child.id()) {
                return Ok(endpoints);
            }
            if started.elapsed() > START_TIMEOUT {
                bail!("node {} did not come up:\n{}", self.index + 1, self.last_lines());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// An error where the process has ended.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "node {} ended with {status}:\n{}",
                self.index + 1,
                self.last_lines()
            );
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Asks it to end, and ends it where it does not.
    pub(super) async fn stop(&mut self) {
        if let Some(pid) = self.child.id() {
            crate::signals::terminate(pid);
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                node = self.index + 1,
                "did not end within {STOP_TIMEOUT:?}; killed"
            );
            let _ = self.child.kill().await;
        }
    }
}
