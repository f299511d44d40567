//! The node's record and identity, as the chain and the network change them.

use super::{
    CUSTODY_GROUP_COUNT, identity,
    listen::{Learned, Reachability},
    task::Host,
};
use crate::{
    discovery::{Discovery, Rules, is_global},
    enr::{EnrContent, EnrForkId, FuluEntries, LocalEnr, UnkeptEnr, next_fork_digest},
};
use assay_chain::Chain;
use assay_types::{Epoch, ForkName};
use libp2p::Multiaddr;
use parking_lot::RwLock;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Our record and what it is made of.
pub(super) struct Record {
    pub(super) enr: LocalEnr,
    pub(super) eproof: u8,
    pub(super) reach: Reachability,
    pub(super) learned: Learned,
    /// What others' records must be like, which follows the fork too.
    pub(super) rules: Arc<RwLock<Rules>>,
    pub(super) discovery: Option<Discovery>,
    /// The last change, while it is written down.
    pub(super) keeping: Option<JoinHandle<()>>,
}

impl Record {
    /// Writes a change down beside the task, after the one before it.
    fn keep(&mut self, change: UnkeptEnr) {
        let before = self.keeping.take();
        self.keeping = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let kept = tokio::task::spawn_blocking(move || change.keep()).await;
            // It holds all the same until the next start.
            if let Ok(Err(error)) = kept {
                tracing::error!(%error, "the node record changed and cannot be kept");
            }
        }));
    }

    /// Waits until the last change is written down.
    pub(super) async fn kept(&mut self) {
        if let Some(keeping) = self.keeping.take() {
            let _ = keeping.await;
        }
    }
}

/// What our record should say now.
pub(super) fn content(chain: &dyn Chain, eproof: u8, reach: &Reachability, learned: &Learned) -> EnrContent {
    let (spec, root) = (chain.spec(), chain.genesis().genesis_validators_root);
    let epoch = spec.epoch_at_slot(chain.current_slot());
    let scheduled = |fork: ForkName| {
        spec.fork_schedule
            .iter()
            .any(|(name, _, epoch)| *name == fork && *epoch != Epoch::FAR_FUTURE)
    };
    let (v4, v6) = reach.told(learned);
    EnrContent {
        fork_id: EnrForkId::at(spec, &root, epoch),
        fulu: scheduled(ForkName::Fulu).then(|| FuluEntries {
            next_fork_digest: next_fork_digest(spec, &root, epoch),
            custody_group_count: CUSTODY_GROUP_COUNT,
        }),
        eproof,
        v4,
        v6,
    }
}

impl Host {
    /// The record follows the chain's forks, and what discovery finds out about our address.
    pub(super) fn refresh_record(&mut self) {
        let chain = &self.parts.chain;
        let epoch = chain.spec().epoch_at_slot(chain.current_slot());
        let digests = self.parts.topics.schedule().joined_at_epoch(epoch);
        let record = &mut self.parts.record;
        if record.rules.read().digests != digests {
            record.rules.write().digests = digests;
        }
        let mut seen = 0;
        if let Some(discovery) = &record.discovery {
            let theirs = discovery.enr();
            if theirs.seq() != record.enr.enr().seq() {
                record.learned = Learned {
                    v4: theirs.udp4_socket(),
                    v6: theirs.udp6_socket(),
                };
                seen = theirs.seq();
            }
        }
        let content = content(
            self.parts.chain.as_ref(),
            record.eproof,
            &record.reach,
            &record.learned,
        );
        match record.enr.update(content, seen) {
            Ok(None) => return,
            Ok(Some(change)) => {
                tracing::info!(enr = %record.enr.enr(), "node record changed");
                record.keep(change);
            }
            Err(error) => {
                tracing::error!(%error, "the node record cannot be changed");
                return;
            }
        }
        if let Some(discovery) = &record.discovery {
            discovery.set_enr(record.enr.enr().clone());
        }
        record.rules.write().global = is_global(record.enr.enr());
        self.refresh_identity();
    }

    pub(super) fn refresh_identity(&self) {
        let listening: Vec<Multiaddr> = self.parts.swarm.listeners().cloned().collect();
        let identity = identity(
            *self.parts.swarm.local_peer_id(),
            &self.parts.record.enr,
            &listening,
        );
        *self.parts.shared.identity.write() = identity;
    }
}
