//! One validator of one state.

use super::{NodeApi, SLOW_REQUEST_TIMEOUT};
use crate::validators::{RawValidator, StateId, StateValidator, ValidatorSource};
use assay_types::{Epoch, PublicKeyBytes, ValidatorIndex};
use async_trait::async_trait;
use serde::Deserialize;

#[derive(Deserialize)]
struct ValidatorEntry {
    #[serde(with = "assay_types::primitives::quoted")]
    index: ValidatorIndex,
    validator: ValidatorFields,
}

#[derive(Deserialize)]
struct ValidatorFields {
    pubkey: PublicKeyBytes,
    activation_epoch: Epoch,
    exit_epoch: Epoch,
}

fn found(index: ValidatorIndex, entry: ValidatorEntry) -> StateValidator {
    if entry.index != index {
        return StateValidator::Failed(format!(
            "asked for validator {index}, the beacon node told of {}",
            entry.index
        ));
    }
    StateValidator::Found(RawValidator {
        pubkey: entry.validator.pubkey,
        activation_epoch: entry.validator.activation_epoch,
        exit_epoch: entry.validator.exit_epoch,
    })
}

#[async_trait]
impl ValidatorSource for NodeApi {
    /// One validator by index. 404 means "no such state" as well as "no such validator"; the list form tells the two
    /// apart, so that nobody is called absent because a state is.
    async fn validator(&self, state: StateId, index: ValidatorIndex) -> StateValidator {
        let path = format!("/eth/v1/beacon/states/{state}/validators");
        let one = self
            .get_json_within::<ValidatorEntry>(&format!("{path}/{index}"), "", SLOW_REQUEST_TIMEOUT)
            .await;
        match one {
            Ok(answer) => return found(index, answer.data),
            // Some nodes refuse an index beyond their registry as a bad request.
            Err(error) if error.is_not_found() || error.is_refusal() => {}
            Err(error) => return StateValidator::Failed(error.to_string()),
        }
        let list = self
            .get_json_within::<Vec<ValidatorEntry>>(&path, &format!("id={index}"), SLOW_REQUEST_TIMEOUT)
            .await;
        match list.map(|answer| answer.data) {
            Ok(entries) if entries.is_empty() => StateValidator::Absent,
            Ok(entries) => match entries.into_iter().find(|entry| entry.index == index) {
                Some(entry) => found(index, entry),
                // A node that does not know the filter tells of everybody else.
                None => StateValidator::Failed(format!("the beacon node does not tell of validator {index}")),
            },
            Err(error) if error.is_not_found() => StateValidator::NoState,
            Err(error) => StateValidator::Failed(error.to_string()),
        }
    }
}
