//! Settings read anew on SIGHUP. The gate's take effect at once and without losing what it knows; all others need a new
//! start, which is said.

use crate::config::{NodeArgs, NodeConfig, resolve};
use assay_gate::GateHandle;
use assay_proof_engine::ProofTypes;
use assay_types::{ProofType, Spec};

/// Settings that take effect without a new start.
const RELOADED: [&str; 11] = [
    "import-policy",
    "required-proofs",
    "required-proof-types",
    "proof-lag",
    "on-missing-proofs",
    "missing-proofs-grace-slots",
    "wait-for-proofs",
    "execution-slow-after",
    "recursive-proofs",
    "alert-after-slots",
    "trusted-checkpoint",
];

/// What runs, and settings have to fit.
pub(super) struct Running<'a> {
    /// The gate.
    pub(super) gate: &'a GateHandle,
    /// As in `NodeConfig::gate`.
    pub(super) verifies: bool,
    /// The network.
    pub(super) spec: &'a Spec,
    /// What stands behind the numbers of proof types.
    pub(super) proof_types: &'a ProofTypes,
}

/// Reads the settings anew and gives the gate its own. Gives the settings that are in force afterwards.
pub(super) async fn reload(args: &NodeArgs, before: NodeConfig, running: &Running<'_>) -> NodeConfig {
    let gate = running.gate;
    let read = resolve(args).and_then(|read| {
        let read = read.settled(running.spec)?;
        let gate_config = read.gate(running.verifies)?;
        let proof_types = read.entries_on(running.spec)?;
        Ok((read, gate_config, proof_types))
    });
    let (read, gate_config, proof_types) = match read {
        Ok(read) => read,
        Err(error) => {
            tracing::error!(%error, "SIGHUP: settings cannot be used; those before stay in force");
            return before;
        }
    };
    let changed = changed_entries(running.proof_types, &proof_types);
    for (proof_type, what) in &changed {
        tracing::error!(
            proof_type,
            what,
            "SIGHUP: the entry of a proof type never changes while a node runs: a new start is needed for another name, key, \
             guest or version, and for another program a number of its own; the settings before stay in force"
        );
    }
    if !changed.is_empty() {
        return before;
    }
    if gate_config.policy.has_execution_client() != gate.config().policy.has_execution_client() {
        tracing::error!(
            now = %gate.config().policy, asked = %gate_config.policy,
            "SIGHUP: to and from proofs-only only a new start leads; the settings before stay in force"
        );
        return before;
    }
    for setting in others_changed(&before, &read) {
        tracing::warn!(setting, "SIGHUP: this setting takes effect at the next start");
    }
    if gate_config == gate.config() {
        tracing::info!("SIGHUP: the gate's settings are as before");
    } else {
        gate.reconfigure(gate_config).await;
    }
    read
}

/// Types that both know, and what stands otherwise there.
fn changed_entries(before: &ProofTypes, now: &ProofTypes) -> Vec<(ProofType, String)> {
    let both = before.iter().filter_map(|old| {
        let new = now.get(old.proof_type())?;
        (old.record() != new.record()).then(|| (old.proof_type(), format!("{old}; asked: {new}")))
    });
    both.collect()
}

/// Settings that differ and are not taken over.
fn others_changed(before: &NodeConfig, now: &NodeConfig) -> Vec<String> {
    let values = |config: &NodeConfig| serde_json::to_value(config).unwrap_or_default();
    let (before, now) = (values(before), values(now));
    let keys = now
        .as_object()
        .map(|o| o.keys().cloned().collect::<Vec<_>>())
        .unwrap_or_default();
    keys.into_iter()
        .filter(|key| !RELOADED.contains(&key.as_str()) && before.get(key) != now.get(key))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_gate::{GateConfig, ImportPolicy, persistence::InMemory};
    use std::sync::Arc;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn the_gates_settings_take_effect_and_what_cannot_be_used_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("assay.toml");
        let client =
            "execution-endpoint = 'http://127.0.0.1:1'\nexecution-jwt = 'x'\nproof-engine-endpoint = 'dev'\n";
        let write = |text: &str| std::fs::write(&file, format!("{client}{text}")).unwrap();
        let args = NodeArgs {
            config: Some(file.clone()),
            ..NodeArgs::default()
        };
        write("");
        let spec = Spec::minimal();
        let mut config = resolve(&args).unwrap().settled(&spec).unwrap();
        let proof_types = config.entries_on(&spec).unwrap();
        let stop = CancellationToken::new();
        let (gate, writer) = GateHandle::open(
            GateConfig::default(),
            Arc::new(InMemory::default()),
            None,
            stop.clone(),
        )
        .unwrap();

        let running = Running {
            gate: &gate,
            verifies: true,
            spec: &spec,
            proof_types: &proof_types,
        };
        write("import-policy = 'require-proofs'\nproof-lag = 3\nhttp-port = 9\nrevision = 'beta'\n");
        let read = resolve(&args).unwrap().settled(&spec).unwrap();
        // The revision is the network's topics, names and roots: it is said, and comes with the next start.
        assert_eq!(others_changed(&config, &read), ["http-port", "revision"]);
        config = reload(&args, config, &running).await;
        let now = gate.config();
        assert_eq!((now.policy, now.proof_lag), (ImportPolicy::RequireProofs, 3));

        for unusable in [
            "import-policy = 'proofs-only'\n",
            "import-policy = 'accept-proofs'\nproof-lag = 3\n",
            // What stands behind a number never changes.
            "import-policy = 'accept-proofs'\nproof-type = ['1:version=2']\n",
            "import-policy = 'accept-proofs'\nproof-engine-types = ['1=another']\n",
            "[",
        ] {
            write(unusable);
            config = reload(&args, config, &running).await;
            assert_eq!(gate.config(), now, "{unusable}");
        }
        // A number more does, at the next start.
        write("import-policy = 'accept-proofs'\nproof-types = [1, 9]\nproof-type = ['9:version=2']\n");
        let read = resolve(&args).unwrap().settled(&spec).unwrap();
        assert_eq!(
            changed_entries(&proof_types, &read.entries_on(&spec).unwrap()),
            []
        );
        reload(&args, config, &running).await;
        assert_eq!(gate.config().policy, ImportPolicy::AcceptProofs);
        stop.cancel();
        writer.await.unwrap();
    }
}
