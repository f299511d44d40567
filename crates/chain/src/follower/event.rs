//! What a beacon node's event stream tells, read.

use crate::{node_api::RawEvent, view::Checkpoint};
use assay_types::{Epoch, Root};
use serde::Deserialize;

/// The topics every beacon node has.
const BASIC_TOPICS: &[&str] = &["head", "block", "chain_reorg", "finalized_checkpoint"];
/// Topics of Gloas: one says that a payload can be had, the other that it was imported; nodes have one or both.
const GLOAS_TOPICS: &[&str] = &["execution_payload", "execution_payload_available"];

/// How topics are asked for. Nodes differ in what they refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicsForm {
    /// `topics=a&topics=b` instead of `topics=a,b`.
    pub repeated: bool,
    /// With the topics of Gloas.
    pub gloas: bool,
}

impl TopicsForm {
    /// In the order they are tried: all topics first, in either spelling.
    pub const ALL: [Self; 4] = [
        Self {
            repeated: false,
            gloas: true,
        },
        Self {
            repeated: true,
            gloas: true,
        },
        Self {
            repeated: false,
            gloas: false,
        },
        Self {
            repeated: true,
            gloas: false,
        },
    ];

    /// The URL's query.
    pub fn query(self) -> String {
        let mut topics = BASIC_TOPICS.to_vec();
        if self.gloas {
            topics.extend(GLOAS_TOPICS);
        }
        let (start, separator) = if self.repeated {
            ("topics=", "&topics=")
        } else {
            ("topics=", ",")
        };
        format!("{start}{}", topics.join(separator))
    }
}

/// An event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEvent {
    /// `head`: the head moved.
    Head {
        /// Its block.
        block_root: Root,
        /// `execution_optimistic`.
        execution_optimistic: bool,
    },
    /// `block`: a block was imported, on whichever branch.
    Block {
        /// The block.
        block_root: Root,
        /// `execution_optimistic`.
        execution_optimistic: bool,
    },
    /// `chain_reorg`; a `head` event goes with it.
    Reorg {
        /// How many blocks were replaced.
        depth: u64,
        /// The new head.
        block_root: Root,
        /// `execution_optimistic`.
        execution_optimistic: bool,
    },
    /// `finalized_checkpoint`.
    Finalized(Checkpoint),
    /// `execution_payload` or `execution_payload_available`: a Gloas block's envelope can be had.
    Envelope {
        /// The block.
        block_root: Root,
    },
}

#[derive(Deserialize)]
struct Head {
    block: Root,
    #[serde(default)]
    execution_optimistic: bool,
}

#[derive(Deserialize)]
struct Reorg {
    #[serde(with = "assay_types::primitives::quoted")]
    depth: u64,
    new_head_block: Root,
    #[serde(default)]
    execution_optimistic: bool,
}

#[derive(Deserialize)]
struct Finalized {
    block: Root,
    epoch: Epoch,
}

#[derive(Deserialize)]
struct Payload {
    block_root: Root,
}

impl NodeEvent {
    /// Reads an event; `None` for topics that were not asked for. An error says what is wrong with its data.
    pub fn read(raw: &RawEvent) -> Result<Option<Self>, serde_json::Error> {
        let data = raw.data.as_str();
        Ok(Some(match raw.topic.as_str() {
            "head" => {
                let Head {
                    block,
                    execution_optimistic,
                } = serde_json::from_str(data)?;
                Self::Head {
                    block_root: block,
                    execution_optimistic,
                }
            }
            "block" => {
                let Head {
                    block,
                    execution_optimistic,
                } = serde_json::from_str(data)?;
                Self::Block {
                    block_root: block,
                    execution_optimistic,
                }
            }
            "chain_reorg" => {
                let Reorg {
                    depth,
                    new_head_block,
                    execution_optimistic,
                } = serde_json::from_str(data)?;
                Self::Reorg {
                    depth,
                    block_root: new_head_block,
                    execution_optimistic,
                }
            }
            "finalized_checkpoint" => {
                let Finalized { block, epoch } = serde_json::from_str(data)?;
                Self::Finalized(Checkpoint { epoch, root: block })
            }
            "execution_payload" | "execution_payload_available" => Self::Envelope {
                block_root: serde_json::from_str::<Payload>(data)?.block_root,
            },
            _ => return Ok(None),
        }))
    }
}
