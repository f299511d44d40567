//! The parts of a node, each started when what it needs is there.

use super::{
    Node, disk, engine,
    engine_side::{Early, EngineSide},
    entries, observer, proving, secondary,
    tasks::{end_of, until},
    version, waiting, warnings,
};
use crate::{config::NodeConfig, endpoints::Endpoints};
use anyhow::Context;
use assay_api::{ApiState, EventSink, NodeCollector, NodeInfo, Upstream};
use assay_chain::{
    Chain, ChainView, NodeBlocks, NodeBlocksConfig, SystemClock,
    follower::{Bootstrap, Follower},
};
use assay_gate::{
    GateHandle, GateMetrics, ProofRecall, ProofService,
    endpoint::{self, EndpointConfig, EndpointContext},
};
use assay_network::{NetworkConfig, NetworkParts, PeerAddress, ProofSync, ProofSyncConfig, enr::Enr};
use assay_proof_engine::RequestBook;
use assay_prover::{KeySigner, OwnProofs, RecentRequests};
use assay_store::{Store, StoreConfig};
use assay_types::spec::ConfigMap;
use assay_verification::{KnownProofs, ProofSigner, UnsignedProofs, Verifier, VerifierConfig, VerifierParts};
use parking_lot::Mutex;
use prometheus_client::{metrics::info::Info, registry::Registry};
use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Proofs of one type at the proof engines at once.
const ENGINE_CALLS: usize = 8;

/// What is read of the settings before the network's values are known.
pub(super) struct Prepared {
    pub(super) engine_side: Option<(EngineSide, Early)>,
    pub(super) key_signers: Vec<Arc<dyn KeySigner>>,
    pub(super) peers: Vec<PeerAddress>,
    pub(super) boot_nodes: Vec<Enr>,
}

/// The network's settings, but for the peers given.
pub(super) fn network_config(config: &NodeConfig) -> NetworkConfig {
    let mut network = NetworkConfig {
        listen_addresses: config.listen_addresses.clone(),
        port: config.port,
        discovery_port: config.discovery_port,
        quic_port: config.quic_port,
        disable_quic: config.disable_quic,
        enable_mplex: config.enable_mplex,
        disable_discovery: config.disable_discovery,
        target_peers: config.target_peers,
        enr_addresses: config.enr_addresses.clone(),
        enr_tcp_port: config.enr_tcp_port,
        enr_udp_port: config.enr_udp_port,
        enr_quic_port: config.enr_quic_port,
        ..NetworkConfig::new(&config.datadir)
    };
    network.rpc.envelopes = config.envelope_requests;
    network
}

impl Node {
    pub(super) async fn with_network(
        config: &NodeConfig,
        bootstrap: Bootstrap,
        overrides: ConfigMap,
        prepared: Prepared,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let Prepared {
            engine_side,
            key_signers,
            peers,
            boot_nodes,
        } = prepared;
        let Bootstrap {
            api: beacon,
            spec: network_spec,
            genesis,
            ..
        } = bootstrap;
        let config = &config.settled(&network_spec)?;
        let proof_types = Arc::new(config.entries_on(&network_spec)?);
        let (spec, overrides) = config.with_own_types(&network_spec, &overrides);
        let mut tasks = JoinSet::new();
        let mut registry = Registry::default();

        // Disk first: it says at once whether another process, or another chain, has this directory.
        let store = Store::open(
            config.datadir.join("proofs.redb"),
            StoreConfig {
                retention_epochs: config.retention_epochs,
                max_db_size: config.max_db_size,
                ..StoreConfig::new(&spec, genesis.genesis_validators_root)
            },
        )?;

        entries::keep(&store, &proof_types, config).await?;
        // Before anything new is indexed.
        let last_known = store.newest_canonical_slot().await?;

        let view = Arc::new(ChainView::new(
            spec.clone(),
            genesis,
            Arc::new(SystemClock),
            beacon.clone(),
        ));
        let chain: Arc<dyn Chain> = view.clone();
        tasks.spawn(until(stop, assay_store::follow(store.clone(), chain.clone())));

        let requests = RequestBook::default();
        let (engine, engine_metrics) = engine::from_config(config, &proof_types, &spec, &requests)?;
        engine_metrics.register(registry.sub_registry_with_prefix("assay_proof_engine"));
        let known: Arc<dyn KnownProofs> = Arc::new(store.clone());
        // Where nothing is verified, nothing can be missing.
        let verifies = !engine.proof_types().is_empty();
        let gate_config = config.gate(verifies)?;
        let recall = ProofRecall {
            known: known.clone(),
            proof_types: engine.proof_types(),
        };
        // Longer than the rest: the endpoint's last answers wait for what they put on disk.
        let writer_stop = CancellationToken::new();
        let (gate, gate_writer) = GateHandle::open(
            gate_config,
            Arc::new(store.clone()),
            Some(recall),
            writer_stop.clone(),
        )?;
        tasks.spawn(async move {
            let _ = gate_writer.await;
        });
        let (seen_in_blocks, seen) = observer::SeenInBlocks::new(gate.clone());
        tasks.spawn(until(
            stop,
            observer::feed_gate(gate.clone(), chain.clone(), seen),
        ));
        let mut follower = Follower::new(beacon.clone(), view.clone(), overrides);
        // Without an execution client there are no calls to answer, and no finality that would empty the gate's tree.
        if engine_side.is_some() {
            follower = follower.observed_by(seen_in_blocks);
        }
        tasks.spawn(follower.run(stop.clone()));

        let verifier = Verifier::start(
            VerifierConfig {
                containment_epochs: config.containment_epochs,
                engine_calls: ENGINE_CALLS,
                ..VerifierConfig::default()
            },
            VerifierParts {
                chain: chain.clone(),
                engine: engine.clone(),
                known,
                containment: Arc::new(store.clone()),
                store: Arc::new(store.clone()),
            },
        );
        let (publisher, publish_queue) = assay_network::publisher();
        let events = Arc::new(EventSink::default());
        let sync = ProofSync::new(
            &spec,
            ProofSyncConfig {
                required_proofs: config.required_proofs,
                retention_epochs: config.retention_epochs,
                last_known,
                waiting: Some(waiting::of(&gate)),
                envelopes: config.envelope_requests,
                ..ProofSyncConfig::new(engine.proof_types())
            },
        );
        sync.set_counted(config.required_proofs, config.counted_types().to_vec());
        let own_status = sync.clone();
        // The order is part of the design: what is not durable is told to nobody.
        verifier.add_sink(Arc::new(gate.clone()));
        verifier.add_sink(Arc::new(publisher));
        verifier.add_sink(Arc::new(sync.clone()));
        verifier.add_sink(events.clone());
        let own_proofs = Arc::new(OwnProofs::default());
        verifier.add_sink(own_proofs.clone());
        verifier
            .metrics()
            .register(registry.sub_registry_with_prefix("assay_verification"));

        let recent = Arc::new(RecentRequests::default());
        let signer = proving::start(
            config,
            proving::ProvingParts {
                chain: chain.clone(),
                beacon: beacon.clone(),
                engine: engine.clone(),
                intake: verifier.intake(),
                recent: recent.clone(),
                own_proofs,
                key_signers,
            },
            &mut registry,
            &mut tasks,
            stop,
        );
        // Nobody signs in a node without keys: what comes unsigned counts for this node alone.
        let signer = signer.map(|signer| signer as Arc<dyn ProofSigner>);
        let unsigned = UnsignedProofs::new(verifier.intake(), signer);

        let blocks = Arc::new(NodeBlocks::new(
            beacon.clone(),
            view.clone(),
            NodeBlocksConfig::default(),
        ));
        tasks.spawn(blocks.clone().run(stop.clone()));
        let network = assay_network::start(
            NetworkConfig {
                peers,
                boot_nodes,
                ..network_config(config)
            },
            NetworkParts {
                chain: chain.clone(),
                intake: verifier.intake(),
                publish: publish_queue,
                store: store.clone(),
                blocks,
                sync,
                shutdown: stop.clone(),
            },
            &mut registry,
        )
        .await?;
        let network_handle = network.handle.clone();
        tasks.spawn(async move {
            let _ = network.task.await;
        });

        let endpoint = match engine_side {
            Some((side, early)) => {
                let (_, values) = watch::channel(Some(endpoint::Network {
                    spec: spec.clone(),
                    genesis,
                }));
                // Without a proof engine the methods are the execution client's, and where it alone judges tokens.
                let proofs = (!engine.proof_types().is_empty() && side.judges_tokens())
                    .then(|| ProofService::new(engine.clone(), unsigned.clone()));
                if let Some(proofs) = &proofs {
                    tasks.spawn(proofs.clone().take_finished(stop.clone()));
                }
                let context = EndpointContext {
                    proofs,
                    gate: gate.clone(),
                    network: values,
                    observer: Arc::new(observer::Observer::new(
                        view.clone(),
                        engine.clone(),
                        config.prover.then_some(recent),
                    )),
                };
                let mut named = Vec::new();
                for (node, watch) in secondary::nodes(config, side.secondary(), genesis)? {
                    named.push(node);
                    tasks.spawn(until(stop, watch));
                }
                let endpoint_config = EndpointConfig {
                    others: named,
                    ..side.config()
                };
                let running = endpoint::run(endpoint_config, context, stop.clone()).await?;
                early.end();
                Some(Arc::new(running))
            }
            None => None,
        };

        let gate_metrics = GateMetrics::default();
        gate_metrics.register(registry.sub_registry_with_prefix("assay"));
        let slots = spec.clone();
        let slot_start_ms = move |slot| {
            slots
                .timestamp_at_slot(genesis.genesis_time, slot)
                .saturating_mul(1000)
        };
        tasks.spawn(until(stop, gate_metrics.follow(gate.clone(), slot_start_ms)));

        let info = NodeInfo {
            version: version(),
            proof_types: engine.proof_types(),
            entries: proof_types.clone(),
            insecure_proofs: engine.is_insecure(),
            serves_engine_api: endpoint.is_some(),
            max_db_size: config.max_db_size,
        };
        let counted = endpoint.as_ref().map(|e| e.stats());
        // Weak: at the end the endpoint is waited for by its owner.
        let online = endpoint.as_ref().map(Arc::downgrade);
        let execution_offline = Arc::new(move || {
            let endpoint = online.as_ref().and_then(Weak::upgrade);
            endpoint.is_some_and(|e| !e.execution_client_is_up())
        });
        let (disk_free, offline, gated) = (
            disk::free(config.datadir.clone()),
            execution_offline.clone(),
            gate.clone(),
        );
        let serves_engine_api = info.serves_engine_api;
        registry.register(
            "assay_build",
            "The program that runs",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry
            .sub_registry_with_prefix("assay")
            .register_collector(Box::new(NodeCollector {
                gate: gate.clone(),
                chain: chain.clone(),
                store: store.clone(),
                endpoint: Arc::new(move || counted.as_ref().map(|c| c.snapshot().each()).unwrap_or_default()),
                execution_up: Arc::new(move || {
                    let behind = serves_engine_api && gated.config().policy.has_execution_client();
                    behind.then(|| !offline())
                }),
                disk_free: disk_free.clone(),
                max_db_size: config.max_db_size,
                insecure_proofs: info.insecure_proofs,
            }));
        let state = ApiState {
            chain,
            intake: verifier.intake(),
            store: store.clone(),
            gate: gate.clone(),
            network: network_handle.clone(),
            requests,
            unsigned,
            events,
            upstream: Upstream::new(config.beacon_node.parse()?)?,
            registry: Arc::new(Mutex::new(registry)),
            info: Arc::new(info),
            execution_offline,
            engines: Arc::new(move || engine_metrics.health()),
            disk_free,
        };
        let http_address = SocketAddr::new(config.http_address, config.http_port);
        let http = assay_api::serve(http_address, state.clone(), stop.clone()).await?;
        let metrics = match config.metrics_port {
            Some(port) => {
                let address = SocketAddr::new(config.metrics_address, port);
                Some(assay_api::serve_metrics(address, state.registry, stop.clone()).await?)
            }
            None => None,
        };

        let identity = network_handle.identity();
        let endpoints = Endpoints {
            pid: std::process::id(),
            http: format!("http://{}", http.address),
            engine: endpoint
                .as_ref()
                .map(|e| format!("http://{}", e.local_addr()))
                .unwrap_or_default(),
            metrics: metrics.as_ref().map(|m| format!("http://{}", m.address)),
            p2p: identity
                .p2p_addresses
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
            enr: identity.enr,
        };
        endpoints
            .write(&config.datadir)
            .with_context(|| config.datadir.display().to_string())?;
        for server in [Some(http), metrics].into_iter().flatten() {
            tasks.spawn(async move {
                let _ = server.task.await;
            });
        }
        tasks.spawn(end_of(endpoint, stop.clone(), writer_stop));
        warnings::tell(config, engine.as_ref(), &proof_types, &endpoints, &network_spec);
        let node = Self {
            endpoints,
            verifier,
            store,
            tasks,
            gate,
            sync: own_status,
            config: config.clone(),
            proof_types,
            verifies,
            beacon,
            spec: network_spec,
            stop: stop.clone(),
        };
        node.trust_checkpoint()?;
        Ok(node)
    }
}
