//! What has been seen, for rules 1, 3 and 4. Written only after a signature has bound the validator, or a proof passed:
//! nothing an outsider sends gets in here.

use assay_types::{ProofKey, ProofName, Root, Slot, ValidatorIndex};
use lru::LruCache;
use std::{collections::HashSet, hash::Hash};

/// What is known of a message that was seen (rule 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Its signature verified; the proof engine has not spoken, or said that it is valid.
    Signed,
    /// The proof engine said that the proof is valid.
    Valid,
    /// The proof engine said that the proof is invalid, whoever signs it.
    Invalid,
}

struct Try {
    proof_root: Root,
    slot: Slot,
}

struct Seen {
    key: ProofName,
    slot: Slot,
    judgement: Judgement,
}

/// The caches, each of at most `entries`; the least recently used entry goes first. What falls out costs work when it
/// comes again, and changes no outcome of a valid proof: the store still knows the valid ones.
pub(crate) struct Observed {
    entries: usize,
    valid: LruCache<ProofName, Slot>,
    /// The same by payload, whatever the proofs' names are: no rule of gossip, but what is proven.
    proven: LruCache<ProofKey, Slot>,
    tries: LruCache<(ProofName, ValidatorIndex), Try>,
    seen: LruCache<Root, Seen>,
    /// Messages that came unsigned and are valid, and what they prove. Rules 1, 3 and 4 know nothing of them.
    unsigned: LruCache<Root, (ProofKey, Slot)>,
    unsigned_keys: LruCache<ProofKey, Slot>,
    /// Messages that came unsigned and are invalid: for those that come unsigned again, and nobody else.
    unsigned_invalid: LruCache<Root, (ProofKey, Slot)>,
}

fn put<K: Hash + Eq, V>(cache: &mut LruCache<K, V>, entries: usize, key: K, value: V) {
    cache.put(key, value);
    while cache.len() > entries {
        cache.pop_lru();
    }
}

impl Observed {
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            entries: entries.max(1),
            valid: LruCache::unbounded(),
            proven: LruCache::unbounded(),
            tries: LruCache::unbounded(),
            seen: LruCache::unbounded(),
            unsigned: LruCache::unbounded(),
            unsigned_keys: LruCache::unbounded(),
            unsigned_invalid: LruCache::unbounded(),
        }
    }

    /// Rules 3 and 9: a valid proof of this payload and type passed here.
    pub(crate) fn is_valid(&mut self, key: &ProofName) -> bool {
        self.valid.get(key).is_some()
    }

    pub(crate) fn set_valid(&mut self, name: ProofName, key: ProofKey, slot: Slot) {
        put(&mut self.valid, self.entries, name, slot);
        put(&mut self.proven, self.entries, key, slot);
    }

    /// Whether a valid proof of this payload and type passed here, signed or not.
    pub(crate) fn is_proven(&mut self, key: &ProofKey) -> bool {
        self.proven.get(key).is_some() || self.unsigned_keys.get(key).is_some()
    }

    /// Rule 4: a signed proof of this validator came for this payload and type.
    pub(crate) fn has_tried(&mut self, key: ProofName, validator: ValidatorIndex) -> bool {
        self.tries.get(&(key, validator)).is_some()
    }

    /// The same for whoever only asks: nothing is remembered the longer for it.
    pub(crate) fn is_tried(&self, key: ProofName, validator: ValidatorIndex) -> bool {
        self.tries.contains(&(key, validator))
    }

    /// Rule 1.
    pub(crate) fn seen(&mut self, proof_root: &Root) -> Option<Judgement> {
        self.seen.get(proof_root).map(|s| s.judgement)
    }

    /// Marks a message whose signature has verified, for rules 1 and 4. An earlier try of the validator stays.
    pub(crate) fn mark(&mut self, key: ProofName, validator: ValidatorIndex, proof_root: Root, slot: Slot) {
        if !self.has_tried(key, validator) {
            put(
                &mut self.tries,
                self.entries,
                (key, validator),
                Try { proof_root, slot },
            );
        }
        if self.seen(&proof_root).is_none() {
            put(
                &mut self.seen,
                self.entries,
                proof_root,
                Seen {
                    key,
                    slot,
                    judgement: Judgement::Signed,
                },
            );
        }
    }

    /// Takes a mark back: the message was let go without a judgement and may come again.
    pub(crate) fn unmark(&mut self, key: ProofName, validator: ValidatorIndex, proof_root: &Root) {
        if self
            .tries
            .peek(&(key, validator))
            .is_some_and(|t| t.proof_root == *proof_root)
        {
            self.tries.pop(&(key, validator));
        }
        if self
            .seen
            .peek(proof_root)
            .is_some_and(|s| s.judgement == Judgement::Signed)
        {
            self.seen.pop(proof_root);
        }
    }

    /// Remembers what the proof engine said of a message.
    pub(crate) fn judge(&mut self, key: ProofName, proof_root: Root, slot: Slot, judgement: Judgement) {
        let seen = Seen { key, slot, judgement };
        put(&mut self.seen, self.entries, proof_root, seen);
    }

    /// The proof engine called a message valid that came unsigned.
    pub(crate) fn set_unsigned(&mut self, key: ProofKey, proof_root: Root, slot: Slot) {
        put(&mut self.unsigned, self.entries, proof_root, (key, slot));
        put(&mut self.unsigned_keys, self.entries, key, slot);
    }

    /// The proof engine called a message invalid that came unsigned.
    pub(crate) fn set_unsigned_invalid(&mut self, key: ProofKey, proof_root: Root, slot: Slot) {
        put(&mut self.unsigned_invalid, self.entries, proof_root, (key, slot));
    }

    /// Whether this message came unsigned and is invalid.
    pub(crate) fn is_invalid_unsigned(&mut self, proof_root: &Root) -> bool {
        self.unsigned_invalid.get(proof_root).is_some()
    }

    /// Whether this message came unsigned and is valid.
    pub(crate) fn is_valid_unsigned(&mut self, proof_root: &Root) -> bool {
        self.unsigned.get(proof_root).is_some()
    }

    /// Finality moved to `slot`: what is older, and what was orphaned, is forgotten.
    pub(crate) fn prune(&mut self, slot: Slot, orphaned: &HashSet<Root>) {
        // Orphans are told by their payloads: what names a block instead goes by its slot, an epoch or so later.
        let keep = |root: &Root, at: Slot| at >= slot && !orphaned.contains(root);
        let of = |key: &ProofKey| key.new_payload_request_root;
        self.valid.retain(|key, at| keep(&key.root, *at));
        self.proven.retain(|key, at| keep(&of(key), *at));
        self.tries.retain(|(key, _), t| keep(&key.root, t.slot));
        self.seen.retain(|_, s| keep(&s.key.root, s.slot));
        self.unsigned.retain(|_, (key, at)| keep(&of(key), *at));
        self.unsigned_keys.retain(|key, at| keep(&of(key), *at));
        self.unsigned_invalid.retain(|_, (key, at)| keep(&of(key), *at));
    }

    /// Entries of all caches together.
    pub(crate) fn len(&self) -> usize {
        self.valid.len()
            + self.proven.len()
            + self.tries.len()
            + self.seen.len()
            + self.unsigned.len()
            + self.unsigned_keys.len()
            + self.unsigned_invalid.len()
    }
}
