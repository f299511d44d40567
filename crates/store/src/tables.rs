//! Every table of the database: what its keys and values are and when an entry goes.
//!
//! Integers in keys are big-endian, so that keys sort by number.

use crate::error::TxResult;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

/// Version of what follows. A database of a newer version is refused, one of an older version brought up to this one.
///
/// | version | what it brought |
/// |---|---|
/// | 1 | proofs of `alpha`, each under its payload's request root |
/// | 2 | proofs of `beta` beside them, each under the root of the beacon block it names, marked in the header |
/// | 3 | with each proof of `beta` the request root of the payload that it was verified as a proof of |
pub const SCHEMA_VERSION: u32 = 3;
/// The first version with `Table::Bound`.
pub(crate) const BOUND_SINCE: u32 = 3;
/// The oldest version that can be brought up to `SCHEMA_VERSION`.
pub const OLDEST_SCHEMA_VERSION: u32 = 1;

macro_rules! tables {
    ($($(#[$doc:meta])* $variant:ident / $field:ident: $definition:ident = ($key:ty => $value:ty)),+ $(,)?) => {
        /// The tables, each with key, value and pruning rule.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Table { $($(#[$doc])* $variant),+ }

        impl Table {
            /// Every table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Its name in the file.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field)),+ }
            }
        }

        $(pub(crate) const $definition: TableDefinition<'static, $key, $value> =
            TableDefinition::new(stringify!($field));)+

        /// Every table, open for writing.
        pub(crate) struct Tables<'t> { $(pub(crate) $field: redb::Table<'t, $key, $value>),+ }

        impl<'t> Tables<'t> {
            pub(crate) fn open(tx: &'t WriteTransaction) -> TxResult<Self> {
                Ok(Self { $($field: tx.open_table($definition)?),+ })
            }
        }
    };
}

pub(crate) type ProofKeyBytes = [u8; 49];
pub(crate) type ProofHeaderBytes = [u8; 20];
pub(crate) type ChunkKeyBytes = [u8; 51];
pub(crate) type RootBytes = [u8; 32];
pub(crate) type SlotRootBytes = [u8; 40];
pub(crate) type BlockBytes = [u8; 73];

tables! {
    /// `schema_version` (u32 LE), `genesis_validators_root`, `chain_id` (u64 LE), `config_name`, and the running values
    /// of `Marks`. Never pruned.
    Meta / meta: META = (&'static str => &'static [u8]),
    /// slot u64 ++ root ++ proof type u8 ++ validator index u64 → length u32 LE, its highest bit set in `beta` ++ checksum
    /// u128 LE of the signed proof's SSZ. The root is what the proof names: of a `SignedExecutionProof` its payload's
    /// request root, of a `SignedExecutionProofEnvelope` the beacon block's. Goes when its payload was orphaned by finality, when its slot falls out of
    /// retention, or oldest first beyond `max_db_size`, the serve range excepted.
    Proofs / proofs: PROOFS = (&'static ProofKeyBytes => &'static ProofHeaderBytes),
    /// the key of `Proofs` ++ chunk number u16 → that chunk's bytes. Goes with its proof.
    Chunks / chunks: CHUNKS = (&'static ChunkKeyBytes => &'static [u8]),
    /// key of `Proofs`, of a `beta` proof → request root of the payload that it was verified as a proof of. Written and
    /// removed with the proof: what it counts for hangs on no block that may not be indexed yet, or be so under another root.
    Bound / bound: BOUND = (&'static ProofKeyBytes => &'static RootBytes),
    /// request root, or beacon block root that a `beta` proof names → slot u64: where the proofs are that name it, or were
    /// verified for it. Goes with its last proof, if no block names it, or with the block.
    Payloads / payloads: PAYLOADS = (&'static RootBytes => u64),
    /// block root → slot u64 BE ++ parent root ++ 0 or 1 ++ request root (many blocks may name one payload). Goes when its
    /// slot falls out of retention.
    Blocks / blocks: BLOCKS = (&'static RootBytes => &'static BlockBytes),
    /// slot u64 ++ block root → nothing: blocks by slot. Goes with the block.
    BlocksBySlot / blocks_by_slot: BLOCKS_BY_SLOT = (&'static SlotRootBytes => ()),
    /// slot → root of the canonical block. Rewritten by reorgs; goes when the slot falls out of retention.
    Canonical / canonical: CANONICAL = (u64 => &'static RootBytes),
    /// validator index → slot until which it is contained. Goes when that slot is final.
    Contained / contained: CONTAINED = (u64 => u64),
    /// the gate's key → the gate's bytes. The gate alone removes them.
    Gate / gate: GATE = (&'static RootBytes => &'static [u8]),
    /// name → bytes of small values of the node (the ENR's sequence number, what stood behind the numbers of proof types). Never pruned.
    Node / node: NODE = (&'static str => &'static [u8]),
}

/// `META` keys.
pub(crate) mod meta {
    pub(crate) const SCHEMA_VERSION: &str = "schema_version";
    pub(crate) const GENESIS_VALIDATORS_ROOT: &str = "genesis_validators_root";
    pub(crate) const CHAIN_ID: &str = "chain_id";
    pub(crate) const CONFIG_NAME: &str = "config_name";
    pub(crate) const MARKS: &str = "marks";
    /// Letters of the forms of the request root that nodes ran with on this database, in the order in which they came; `?`
    /// first where it was not written down from the start.
    pub(crate) const REQUEST_FORMS: &str = "request_forms";
}

/// Running values, written in the transaction that changes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marks {
    /// Proofs in the database.
    pub(crate) proofs: u64,
    /// Their SSZ bytes.
    pub(crate) proof_bytes: u64,
    /// Slot of the finalized checkpoint's block.
    pub(crate) finalized_slot: u64,
    /// First slot of the proof serve range.
    pub(crate) serve_range_start: u64,
    /// Nothing below this slot is kept.
    pub(crate) cutoff: u64,
}

impl Marks {
    const LEN: usize = 40;

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let numbers = [
            self.proofs,
            self.proof_bytes,
            self.finalized_slot,
            self.serve_range_start,
            self.cutoff,
        ];
        let mut bytes = [0; Self::LEN];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LEN {
            return None;
        }
        let mut numbers = bytes.chunks_exact(8).map(le_u64);
        Some(Self {
            proofs: numbers.next()??,
            proof_bytes: numbers.next()??,
            finalized_slot: numbers.next()??,
            serve_range_start: numbers.next()??,
            cutoff: numbers.next()??,
        })
    }

    /// From the `meta` table.
    pub(crate) fn read(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> TxResult<Self> {
        match meta.get(meta::MARKS)? {
            None => Ok(Self::default()),
            Some(bytes) => Self::from_bytes(bytes.value())
                .ok_or(crate::error::TxError::Damaged("its running values have no sense")),
        }
    }

    /// From a read transaction.
    pub(crate) fn of(tx: &ReadTransaction) -> TxResult<Self> {
        Self::read(&tx.open_table(META)?)
    }
}

/// A little-endian u64 of exactly eight bytes.
pub(crate) fn le_u64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// A big-endian u64 at the front of a key.
pub(crate) fn be_u64(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(number)
}

/// slot ++ root.
pub(crate) fn slot_root(slot: u64, root: &[u8; 32]) -> SlotRootBytes {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&slot.to_be_bytes());
    key[8..].copy_from_slice(root);
    key
}
