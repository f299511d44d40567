//! The network that a payload's transactions are signed for: the first field of every typed transaction (EIP-2930, EIP-1559,
//! EIP-4844, EIP-7702) is its chain id, and a payload of one network can hold none of another's.

use alloy_rlp::{Decodable, Header};
use assay_types::ExecutionPayload;

/// Type bytes of the transactions whose first field is the chain id.
const TYPED: std::ops::RangeInclusive<u8> = 1..=4;

/// The chain id of the payload's transactions, where every typed one has another than `chain_id`, and there is one. A
/// proposer can put single transactions of other networks into a payload of this one; that is for the execution client to
/// judge.
pub fn foreign_chain_id(payload: &ExecutionPayload, chain_id: u64) -> Option<u64> {
    let mut foreign = None;
    for id in payload.transactions.iter().filter_map(|t| chain_id_of(t)) {
        if id == chain_id {
            return None;
        }
        foreign.get_or_insert(id);
    }
    foreign
}

/// `None` for a legacy transaction, one of an unknown type, and one that cannot be read.
fn chain_id_of(transaction: &[u8]) -> Option<u64> {
    let (kind, mut fields) = transaction.split_first()?;
    if !TYPED.contains(kind) {
        return None;
    }
    let header = Header::decode(&mut fields).ok()?;
    if !header.list {
        return None;
    }
    u64::decode(&mut fields).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(kind: u8, chain_id: u64) -> Vec<u8> {
        let mut fields = Vec::new();
        alloy_rlp::Encodable::encode(&chain_id, &mut fields);
        fields.extend_from_slice(&[0x80, 0x80]);
        let mut out = vec![kind];
        Header {
            list: true,
            payload_length: fields.len(),
        }
        .encode(&mut out);
        out.extend_from_slice(&fields);
        out
    }

    #[test]
    fn what_a_payloads_transactions_say() {
        let legacy = vec![0xc2, 0x80, 0x80];
        for (transactions, foreign) in [
            (vec![], None),
            (vec![legacy.clone()], None),
            (vec![typed(2, 5)], None),
            (vec![typed(2, 1)], Some(1)),
            (vec![legacy.clone(), typed(4, 77), typed(3, 78)], Some(77)),
            // One of this network: a bad transaction in a payload of this one.
            (vec![typed(2, 1), typed(1, 5)], None),
            (vec![typed(9, 1)], None),
            (
                vec![vec![2], vec![2, 0x80], vec![2, 0xc1], vec![3, 0xf8, 0xff]],
                None,
            ),
            (vec![typed(1, u64::MAX)], Some(u64::MAX)),
        ] {
            let payload = ExecutionPayload {
                transactions: transactions.iter().cloned().map(Into::into).collect(),
                ..ExecutionPayload::default()
            };
            assert_eq!(foreign_chain_id(&payload, 5), foreign, "{transactions:?}");
        }
    }
}
