//! `engine_exchangeCapabilities`: adding to a list of methods inside an answer (design.md gate rule 12), every byte
//! outside the list kept.

use crate::methods::EXCHANGE_CAPABILITIES;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Why a list could not be added to: the answer is passed on as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoList {
    /// The callee answered with an error.
    #[error("it is an error")]
    Error,
    /// No JSON-RPC answer with a list of names.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// The answer in `body` with `ours` in its list, each name once, the method itself left out.
pub fn with_methods(body: &[u8], ours: &[&str]) -> Result<Vec<u8>, NoList> {
    let unreadable = |e: serde_json::Error| NoList::Unreadable(e.to_string());
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    if answer.error.is_some_and(|error| error.get() != "null") {
        return Err(NoList::Error);
    }
    let result = answer
        .result
        .ok_or_else(|| NoList::Unreadable("no result".to_owned()))?
        .get();
    let names: Vec<String> = serde_json::from_str(result).map_err(unreadable)?;
    let mut union: Vec<&str> = Vec::with_capacity(names.len() + ours.len());
    for name in names.iter().map(String::as_str).chain(ours.iter().copied()) {
        if name != EXCHANGE_CAPABILITIES && !union.contains(&name) {
            union.push(name);
        }
    }
    let list = serde_json::to_vec(&union).map_err(unreadable)?;
    // The result is a slice of the body.
    let start = result.as_ptr() as usize - body.as_ptr() as usize;
    let mut out = Vec::with_capacity(body.len() + list.len());
    out.extend_from_slice(body.get(..start).unwrap_or_default());
    out.extend_from_slice(&list);
    out.extend_from_slice(body.get(start + result.len()..).unwrap_or_default());
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_union_in_place() {
        let ours = ["engine_a", "engine_b"];
        let with = |body: &str| with_methods(body.as_bytes(), &ours).map(|b| String::from_utf8(b).unwrap());
        for (body, expected) in [
            (
                r#"{"result":[],"x":1}"#,
                r#"{"result":["engine_a","engine_b"],"x":1}"#,
            ),
            (
                r#" {"id": 7, "result" : [ "engine_b", "eth_x","eth_x" ] , "error":null}"#,
                r#" {"id": 7, "result" : ["engine_b","eth_x","engine_a"] , "error":null}"#,
            ),
            (
                r#"{"result":["engine_exchangeCapabilities"]}"#,
                r#"{"result":["engine_a","engine_b"]}"#,
            ),
        ] {
            assert_eq!(with(body).unwrap(), expected);
        }
        assert_eq!(with(r#"{"error":{"code":-32601}}"#), Err(NoList::Error));
        for body in ["", "[]", "{}", r#"{"result":null}"#, r#"{"result":[1]}"#] {
            assert!(matches!(with(body), Err(NoList::Unreadable(_))), "{body}");
        }
    }
}
