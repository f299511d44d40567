//! For tests alone: reads reference vectors, hands out their cases, and keeps account of what was run.
//!
//! In: the folder named by `ASSAY_VECTORS` (default `shared/vectors` beside the repository's root) and
//! `specs/conformance.toml`, which says which crate's test runs which file. Out: a line for each file with what was run,
//! run in part, and skipped; a failure for a case that fails, for an array of a file that its test left aside, for a
//! folder that is missing although it was named, and for a file without cases.
//!
//! Each crate concerned has a test target `conformance`; its tests look so:
//!
//! ```no_run
//! # use assay_conformance::{Failure, Outcome, Target};
//! fn ssz_static() -> Result<(), Failure> {
//!     Target::open(env!("CARGO_MANIFEST_DIR"), "assay-types")?.run("ssz_static", |file| {
//!         file.cases("cases", |case| {
//!             let (ssz, root) = (case.ssz("ssz")?, case.array::<32>("root")?);
//!             // decode, encode, hash, compare: `Err(why)` is a failure, told with the case's name
//!             Ok(Outcome::Run)
//!         })
//!     })
//! }
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `map` | `specs/conformance.toml`, and which paths its patterns match |
//! | `target` | where the vectors are; running the files of a test; the guard over all of them |
//! | `file` | one file of vectors: its arrays, what was visited, the account |
//! | `case` | one case: values by key, bytes inline or in files beside |

mod case;
mod file;
mod map;
mod target;

pub use case::Case;
pub use file::{Outcome, VectorFile};
pub use target::Target;

/// What a conformance test ends with when it fails; printed as it is, line by line.
pub struct Failure(pub String);

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self(why)
    }
}
