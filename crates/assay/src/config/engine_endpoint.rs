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

/// An endpoint's text without credentials and query, whatever it is: for errors.
pub(crate) fn shown_endpoint(text: &str) -> String {
    let text = text.split_once(['?', '#']).map_or(text, |(shown, _)| shown);
    let (before, rest) = match text.find("://") {
        Some(at) => text.split_at(at + "://".len()),
        None => ("", text),
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{before}{host}{path}")
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
            .map_err(|_| {
                format!(
                    "{:?}: proof types are numbers from 0 to 255 joined by '+'",
                    shown_endpoint(text)
                )
            })?;
        let url = |url: &str| match Url::parse(url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
            _ => Err(format!(
                "{:?} is not `dev`, `native`, an http or https URL (a proof node), or one with `engine+` before it (JSON-RPC)",
                shown_endpoint(text)
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
        for (text, shown) in [
            (
                "1@engine+http://user:secret@n:1/base?key=secret#x",
                "1@engine+http://n:1/base",
            ),
            ("ftp://u:secret@n", "ftp://n"),
            ("http://a@secret@n/@x", "http://n/@x"),
            ("dev", "dev"),
        ] {
            assert_eq!(shown_endpoint(text), shown);
        }
        let error = "300@ftp://u:secret@n".parse::<EngineEndpoint>().unwrap_err();
        assert!(!error.contains("secret") && error.contains("ftp://n"), "{error}");
        let error = "ftp://u:secret@n".parse::<EngineEndpoint>().unwrap_err();
        assert!(!error.contains("secret") && error.contains("ftp://n"), "{error}");
    }
}
