//! Where a running node listens, written into its data directory: for scripts, tests and `assay devnet`, which let the
//! system choose ports.

use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file's name in the data directory.
pub const FILE: &str = "endpoints.json";

/// A running node's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The process that wrote this.
    pub pid: u32,
    /// Base URL of the HTTP API.
    pub http: String,
    /// URL of the Engine API; empty where none is served.
    pub engine: String,
    /// Base URL of the metrics server of its own, where there is one.
    pub metrics: Option<String>,
    /// Multiaddr with peer id.
    pub p2p: String,
    /// The node's record.
    pub enr: String,
}

impl Endpoints {
    /// Writes the file, whole or not at all.
    pub fn write(&self, datadir: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let draft = datadir.join(format!("{FILE}.new"));
        std::fs::write(&draft, text)?;
        std::fs::rename(draft, datadir.join(FILE))
    }

    /// Reads what the process `pid` wrote; a file left by another one is not there.
    pub fn read(datadir: &Path, pid: Option<u32>) -> Option<Self> {
        let text = std::fs::read(datadir.join(FILE)).ok()?;
        let found: Self = serde_json::from_slice(&text).ok()?;
        pid.is_none_or(|pid| pid == found.pid).then_some(found)
    }
}
