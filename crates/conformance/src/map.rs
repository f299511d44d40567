//! `specs/conformance.toml`: which crate's test runs which file, and which arrays of it.

use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Map {
    pub(crate) known: Known,
    /// Patterns of arrays that hold no cases.
    pub(crate) ignored: Vec<String>,
    pub(crate) file: Vec<Entry>,
}

/// Values of the keys `kind` and `expected` that tests understand. What `type` may say, the types crate knows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    pub(crate) kind: Vec<String>,
    pub(crate) expected: Vec<String>,
}

/// One row: files, who runs them, and the arrays in them that are run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) path: String,
    #[serde(rename = "crate")]
    pub(crate) in_crate: String,
    pub(crate) test: String,
    pub(crate) arrays: Vec<String>,
}

impl Map {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    pub(crate) fn is_ignored(&self, array: &str) -> bool {
        self.ignored.iter().any(|pattern| matches(pattern, array))
    }
}

impl Entry {
    pub(crate) fn runs(&self, in_crate: &str, test: &str) -> bool {
        self.in_crate == in_crate && self.test == test
    }

    pub(crate) fn has_array(&self, array: &str) -> bool {
        self.arrays.iter().any(|pattern| matches(pattern, array))
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters, none included.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| matches(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("ssz_static/*.json", "ssz_static/ExecutionProof.json", true),
            ("ssz_static/*.json", "ssz_invalid/invalid.json", false),
            ("*/progressive", "ExecutionProof/progressive", true),
            ("*/progressive", "progressive", false),
            ("*.value*", "cases[].value[].proof_types", true),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
