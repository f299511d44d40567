//! `--proof-engine-endpoint`: which backend, where, and for which proof types.

use assay_types::ProofType;
use reqwest::Url;
use std::str::FromStr;

/// How an endpoint is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineKind {
    /// Development proofs, made and checked in this process.
    Dev,
    /// Verifiers in this process, those of `--native-verifier`.
    Native,
    /// A proof node's HTTP API.
    ProofNode(Url),
    /// The Engine API's proof methods.
    EngineApi(Url),
}

/// `[TYPES@]dev`, `[TYPES@]native`, `[TYPES@]http(s)://…` (a proof node) or `[TYPES@]engine+http(s)://…` (JSON-RPC); TYPES are numbers joined
/// by `+`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEndpoint {
    /// The types it is asked for; `None`: all of `--proof-types`, for `native` those that have a verifier.
    pub proof_types: Option<Vec<ProofType>>,
    /// What and where.
    pub kind: EngineKind,
}

impl FromStr for EngineEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_types = |t: &&str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit() || b == b'+');
        // A URL may hold an @ too, but nothing before it is digits alone.
        let (types, place) = match text.split_once('@') {
            Some((types, place)) if is_types(&types) => (Some(types), place),
            _ => (None, text),
        };
        let proof_types = types
            .map(|types| types.split('+').map(str::parse).collect::<Result<Vec<_>, _>>())
            .transpose()
            .map_err(|_| format!("{text:?}: proof types are numbers from 0 to 255 joined by '+'"))?;
        let url = |url: &str| match Url::parse(url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
            _ => Err(format!(
                "{text:?} is not `dev`, `native`, an http or https URL (a proof node), or one with `engine+` before it (JSON-RPC)"
            )),
        };
        let kind = match place.strip_prefix("engine+") {
            Some(rest) => EngineKind::EngineApi(url(rest)?),
            None if place == "dev" => EngineKind::Dev,
            None if place == "native" => EngineKind::Native,
            None => EngineKind::ProofNode(url(place)?),
        };
        Ok(Self { proof_types, kind })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn endpoints() {
        let at = |text: &str| Url::parse(text).unwrap();
        for (text, types, kind) in [
            ("dev", None, EngineKind::Dev),
            ("1+2@dev", Some(vec![1, 2]), EngineKind::Dev),
            ("native", None, EngineKind::Native),
            ("5@native", Some(vec![5]), EngineKind::Native),
            ("http://n:3000", None, EngineKind::ProofNode(at("http://n:3000"))),
            (
                "5@https://user:pw@n/base",
                Some(vec![5]),
                EngineKind::ProofNode(at("https://user:pw@n/base")),
            ),
            ("http://u@n", None, EngineKind::ProofNode(at("http://u@n"))),
            (
                "7+0@engine+http://n:8551",
                Some(vec![7, 0]),
                EngineKind::EngineApi(at("http://n:8551")),
            ),
        ] {
            let read: EngineEndpoint = text.parse().unwrap();
            assert_eq!((read.proof_types, read.kind), (types, kind), "{text}");
        }
        for text in [
            "",
            "Dev",
            "1@",
            "@dev",
            "1+@dev",
            "300@dev",
            "n:3000",
            "engine+dev",
            "engine+native",
            "engine+ftp://n",
            "ftp://n",
            "engine://n",
            "http://",
        ] {
            assert!(text.parse::<EngineEndpoint>().is_err(), "{text:?}");
        }
    }
}
