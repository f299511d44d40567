//! Whose keys these are: validators by public key, as the beacon node's head state has them, and whether they are active.

use assay_chain::{NodeApi, node_api::NodeError};
use assay_types::{Epoch, PublicKeyBytes, ValidatorIndex};
use serde::Deserialize;

/// A validator whose key is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    /// Its place in the registry.
    pub index: ValidatorIndex,
    /// Its key.
    pub pubkey: PublicKeyBytes,
    /// `activation_epoch`.
    pub activation_epoch: Epoch,
    /// `exit_epoch`.
    pub exit_epoch: Epoch,
}

/// Where a validator stands at an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not in the registry.
    Unknown,
    /// Not active yet.
    Pending,
    /// Active: it may sign.
    Active,
    /// Not active any more.
    Exited,
}

impl Validator {
    /// `activation_epoch <= epoch < exit_epoch`, or on which side of it.
    pub fn standing(&self, epoch: Epoch) -> Standing {
        if epoch < self.activation_epoch {
            Standing::Pending
        } else if epoch < self.exit_epoch {
            Standing::Active
        } else {
            Standing::Exited
        }
    }
}

#[derive(Deserialize)]
struct Entry {
    #[serde(with = "assay_types::primitives::quoted")]
    index: ValidatorIndex,
    validator: Fields,
}

#[derive(Deserialize)]
struct Fields {
    pubkey: PublicKeyBytes,
    activation_epoch: Epoch,
    exit_epoch: Epoch,
}

/// Asks the beacon node for one validator; `None`: the head state has no such validator.
pub async fn look_up(api: &NodeApi, pubkey: &PublicKeyBytes) -> Result<Option<Validator>, NodeError> {
    let path = format!(
        "/eth/v1/beacon/states/head/validators/0x{}",
        hex::encode(pubkey.0)
    );
    let entry: Entry = match api.get_json(&path, "").await {
        Ok(answer) => answer.data,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    if entry.validator.pubkey != *pubkey {
        return Err(NodeError::Body(
            "the beacon node told of another validator".to_owned(),
        ));
    }
    Ok(Some(Validator {
        index: entry.index,
        pubkey: *pubkey,
        activation_epoch: entry.validator.activation_epoch,
        exit_epoch: entry.validator.exit_epoch,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_from_activation_until_exit() {
        let validator = Validator {
            index: 9,
            pubkey: PublicKeyBytes([0; 48]),
            activation_epoch: Epoch(2),
            exit_epoch: Epoch(4),
        };
        let standing = |epoch| validator.standing(Epoch(epoch));
        assert_eq!(
            [1, 2, 3, 4].map(standing),
            [
                Standing::Pending,
                Standing::Active,
                Standing::Active,
                Standing::Exited
            ]
        );
    }
}
