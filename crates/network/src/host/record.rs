//! The node's record and identity, as the chain and the network change them.

use super::{identity, task::Host};
use crate::enr::{EnrContent, EnrForkId};
use libp2p::Multiaddr;

impl Host {
    /// The record's fork entry follows the chain.
    pub(super) fn refresh_record(&mut self) {
        let chain = &self.parts.chain;
        let epoch = chain.spec().epoch_at_slot(chain.current_slot());
        let fork_id = EnrForkId::at(chain.spec(), &chain.genesis().genesis_validators_root, epoch);
        let content = EnrContent {
            fork_id,
            ..self.parts.enr.content().clone()
        };
        match self.parts.enr.update(content) {
            Ok(false) => return,
            Ok(true) => tracing::info!(enr = %self.parts.enr.enr(), "node record changed"),
            // It holds all the same until the next start.
            Err(error) => tracing::error!(%error, "the node record changed and cannot be kept"),
        }
        self.refresh_identity();
    }

    pub(super) fn refresh_identity(&self) {
        let listening: Vec<Multiaddr> = self.parts.swarm.listeners().cloned().collect();
        let identity = identity(*self.parts.swarm.local_peer_id(), &self.parts.enr, &listening);
        *self.parts.shared.identity.write() = identity;
    }
}
