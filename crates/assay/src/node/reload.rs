//! Settings read anew on SIGHUP. The gate's take effect at once and without losing what it knows; all others need a new
//! start, which is said.

use crate::config::{NodeArgs, NodeConfig, resolve};
use assay_gate::GateHandle;

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

/// Reads the settings anew and gives the gate its own. Gives the settings that are in force afterwards; `verifies` as in
/// `NodeConfig::gate`.
pub(super) async fn reload(
    args: &NodeArgs,
    before: NodeConfig,
    gate: &GateHandle,
    verifies: bool,
) -> NodeConfig {
    let read = match resolve(args) {
        Ok(read) => read,
        Err(error) => {
            tracing::error!(%error, "SIGHUP: settings cannot be used; those before stay in force");
            return before;
        }
    };
    let gate_config = match read.gate(verifies) {
        Ok(gate_config) => gate_config,
        Err(error) => {
            tracing::error!(%error, "SIGHUP: settings cannot be used; those before stay in force");
            return before;
        }
    };
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
        let mut config = resolve(&args).unwrap();
        let stop = CancellationToken::new();
        let (gate, writer) = GateHandle::open(
            GateConfig::default(),
            Arc::new(InMemory::default()),
            None,
            stop.clone(),
        )
        .unwrap();

        write("import-policy = 'require-proofs'\nproof-lag = 3\nhttp-port = 9\n");
        let read = resolve(&args).unwrap();
        assert_eq!(others_changed(&config, &read), ["http-port"]);
        config = reload(&args, config, &gate, true).await;
        let now = gate.config();
        assert_eq!((now.policy, now.proof_lag), (ImportPolicy::RequireProofs, 3));

        for unusable in [
            "import-policy = 'proofs-only'\n",
            "import-policy = 'accept-proofs'\nproof-lag = 3\n",
            "[",
        ] {
            write(unusable);
            config = reload(&args, config, &gate, true).await;
            assert_eq!(gate.config(), now, "{unusable}");
        }
        write("import-policy = 'accept-proofs'\n");
        reload(&args, config, &gate, true).await;
        assert_eq!(gate.config().policy, ImportPolicy::AcceptProofs);
        stop.cancel();
        writer.await.unwrap();
    }
}
