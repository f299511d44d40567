//! Maps that hold so much and no more.

use std::{collections::HashMap, hash::Hash, time::Instant};

/// Puts `value` under `key`. Where that would be more than `most` entries, the one that `ends` first goes.
pub(crate) fn insert<K: Copy + Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    most: usize,
    key: K,
    value: V,
    ends: impl Fn(&V) -> Instant,
) {
    if map.len() >= most && !map.contains_key(&key) {
        let first = map.iter().min_by_key(|(_, v)| ends(v)).map(|(k, _)| *k);
        if let Some(first) = first {
            map.remove(&first);
        }
    }
    map.insert(key, value);
}
