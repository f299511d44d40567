//! Changing the status inside an answer of `engine_newPayload*` or `engine_forkchoiceUpdated*` (design.md gate rule 8):
//! the values of `status`, `latestValidHash`, `validationError` and `payloadId` are replaced where they stand, every
//! other byte of the answer stays, unknown fields, their order and the white space between them included.

use crate::{ErrorObject, PayloadStatusV1, PayloadValidity};
use assay_types::BlockHash;
use serde::{Deserialize, Deserializer, de::MapAccess, de::Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, ops::Range};

/// Which answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `result` is a `PayloadStatusV1`.
    NewPayload,
    /// `result` is `{payloadStatus, payloadId}`.
    ForkchoiceUpdated,
}

/// An answer, read.
#[derive(Debug)]
pub enum StatusAnswer<'a> {
    /// An error object. It passes as it is.
    Error(ErrorObject),
    /// A status, and where it stands.
    Status(EditableStatus<'a>),
}

/// What the status is to become. `validationError` becomes null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewStatus {
    /// The verdict.
    pub status: PayloadValidity,
    /// `latestValidHash`; null where `None`.
    pub latest_valid_hash: Option<BlockHash>,
    /// Whether a `payloadId` stays; else it becomes null.
    pub keep_payload_id: bool,
}

impl NewStatus {
    /// SYNCING with everything else null: what is lowered (rule 8).
    pub const SYNCING: Self = Self {
        status: PayloadValidity::Syncing,
        latest_valid_hash: None,
        keep_payload_id: false,
    };
}

/// Why an answer could not be read. Nothing may be concluded from such an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the execution client's answer cannot be read: {0}")]
pub struct UnreadableAnswer(String);

/// A status inside an answer.
#[derive(Debug)]
pub struct EditableStatus<'a> {
    body: &'a [u8],
    status: PayloadStatusV1,
    has_payload_id: bool,
    at_status: Range<usize>,
    at_latest_valid_hash: Option<Range<usize>>,
    at_validation_error: Option<Range<usize>>,
    at_payload_id: Option<Range<usize>>,
}

/// Members of a JSON object in order, values as they stand.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut out = Vec::new();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    out.push((key, map.next_value::<&'de RawValue>()?));
                }
                Ok(Members(out))
            }
        }
        d.deserialize_map(ObjectVisitor)
    }
}

impl<'a> Members<'a> {
    fn read(json: &'a str, what: &str) -> Result<Self, UnreadableAnswer> {
        serde_json::from_str(json).map_err(|e| UnreadableAnswer(format!("{what}: {e}")))
    }

    /// The member of that name; twice is an error, since the caller might take the other one.
    fn one(&self, name: &str) -> Result<Option<&'a RawValue>, UnreadableAnswer> {
        let mut found = self.0.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(UnreadableAnswer(format!("{name} stands there twice"))),
            (first, _) => Ok(first.map(|(_, value)| *value)),
        }
    }
}

fn typed<'a, T: Deserialize<'a>>(raw: &'a RawValue, what: &str) -> Result<T, UnreadableAnswer> {
    serde_json::from_str(raw.get()).map_err(|e| UnreadableAnswer(format!("{what}: {e}")))
}

/// Reads an answer.
pub fn read<'a>(shape: Shape, body: &'a [u8]) -> Result<StatusAnswer<'a>, UnreadableAnswer> {
    let text = std::str::from_utf8(body).map_err(|e| UnreadableAnswer(e.to_string()))?;
    let response = Members::read(text, "response")?;
    if let Some(error) = response.one("error")?.filter(|raw| raw.get() != "null") {
        return typed(error, "error").map(StatusAnswer::Error);
    }
    let result = response
        .one("result")?
        .ok_or_else(|| UnreadableAnswer("neither result nor error".into()))?;
    let outer = Members::read(result.get(), "result")?;
    let (status, payload_id) = match shape {
        Shape::NewPayload => (outer, None),
        Shape::ForkchoiceUpdated => {
            let inner = outer.one("payloadStatus")?;
            let inner = inner.ok_or_else(|| UnreadableAnswer("no payloadStatus".into()))?;
            (
                Members::read(inner.get(), "payloadStatus")?,
                outer.one("payloadId")?,
            )
        }
    };
    // `get` borrows from `text`, so the difference of the addresses is the offset in it.
    let at = |raw: &RawValue| {
        let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        start..start + raw.get().len()
    };
    let word = status
        .one("status")?
        .ok_or_else(|| UnreadableAnswer("no status".into()))?;
    let latest_valid_hash = status.one("latestValidHash")?;
    let validation_error = status.one("validationError")?;
    Ok(StatusAnswer::Status(EditableStatus {
        body,
        status: PayloadStatusV1 {
            status: typed(word, "status")?,
            latest_valid_hash: latest_valid_hash.map_or(Ok(None), |raw| typed(raw, "latestValidHash"))?,
            // Only shown to people; whatever kind of JSON stands there does no harm.
            validation_error: validation_error
                .filter(|raw| raw.get() != "null")
                .map(|raw| serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned())),
        },
        has_payload_id: payload_id.is_some_and(|raw| raw.get() != "null"),
        at_status: at(word),
        at_latest_valid_hash: latest_valid_hash.map(at),
        at_validation_error: validation_error.map(at),
        at_payload_id: payload_id.map(at),
    }))
}

impl EditableStatus<'_> {
    /// The status as it came.
    pub fn status(&self) -> &PayloadStatusV1 {
        &self.status
    }

    /// Whether the answer names a payload that is being built.
    pub fn has_payload_id(&self) -> bool {
        self.has_payload_id
    }

    /// The whole answer with another status.
    pub fn with(&self, new: &NewStatus) -> Vec<u8> {
        let word = format!("\"{}\"", new.status);
        let hash = new
            .latest_valid_hash
            .map_or_else(|| "null".to_owned(), |hash| format!("\"{hash}\""));
        let mut edits: Vec<(Range<usize>, String)> = vec![(self.at_status.clone(), word)];
        match &self.at_latest_valid_hash {
            Some(at) => edits.push((at.clone(), hash)),
            // Absent means null; a hash is put after the status.
            None if new.latest_valid_hash.is_some() => {
                let end = self.at_status.end;
                edits.push((end..end, format!(",\"latestValidHash\":{hash}")));
            }
            None => {}
        }
        edits.extend(self.at_validation_error.clone().map(|at| (at, "null".to_owned())));
        if !new.keep_payload_id {
            edits.extend(self.at_payload_id.clone().map(|at| (at, "null".to_owned())));
        }
        edits.sort_by_key(|(at, _)| (at.start, at.end));
        let mut out = Vec::with_capacity(self.body.len() + 96);
        let mut copied = 0;
        for (at, text) in edits {
            out.extend_from_slice(self.body.get(copied..at.start).unwrap_or_default());
            out.extend_from_slice(text.as_bytes());
            copied = at.end;
        }
        out.extend_from_slice(self.body.get(copied..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    const HASH: &str = "0xaf31e2979ac1256e1e90fdedb1c3cccc8b69b0ae8b78edcb47e325f98568609c";

    fn edit(shape: Shape, body: &str, new: &NewStatus) -> String {
        let StatusAnswer::Status(status) = read(shape, body.as_bytes()).unwrap() else {
            panic!("{body}")
        };
        String::from_utf8(status.with(new)).unwrap()
    }

    #[test]
    fn lowering_keeps_every_other_byte() {
        let body = format!(
            "{{ \"z\":[1 ,2],\"id\": \"a\\u0062\",\n \"result\" : {{\"payloadId\" : \"0x0102030405060708\", \"new\":{{\"status\":\"VALID\"}},\
             \"payloadStatus\":{{\"w\":1e3,\"validationError\":\"old\" ,\"status\":\"VALID\",\"latestValidHash\": \"{HASH}\"}}}},\"jsonrpc\":\"2.0\" }}\r\n"
        );
        assert_eq!(
            edit(Shape::ForkchoiceUpdated, &body, &NewStatus::SYNCING),
            "{ \"z\":[1 ,2],\"id\": \"a\\u0062\",\n \"result\" : {\"payloadId\" : null, \"new\":{\"status\":\"VALID\"},\
             \"payloadStatus\":{\"w\":1e3,\"validationError\":null ,\"status\":\"SYNCING\",\"latestValidHash\": null}},\"jsonrpc\":\"2.0\" }\r\n"
        );
        let body = format!(r#"{{"id":1,"result":{{"status":"VALID","latestValidHash":"{HASH}"}}}}"#);
        assert_eq!(
            edit(Shape::NewPayload, &body, &NewStatus::SYNCING),
            r#"{"id":1,"result":{"status":"SYNCING","latestValidHash":null}}"#
        );
    }

    #[test]
    fn raising_names_the_hash_and_keeps_the_build() {
        let hash: BlockHash = HASH.parse().unwrap();
        let new = NewStatus {
            status: PayloadValidity::Valid,
            latest_valid_hash: Some(hash),
            keep_payload_id: true,
        };
        let body = r#"{"result":{"payloadStatus":{"status":"SYNCING"},"payloadId":"0x01"}}"#;
        let raised = edit(Shape::ForkchoiceUpdated, body, &new);
        assert_eq!(
            raised,
            format!(
                r#"{{"result":{{"payloadStatus":{{"status":"VALID","latestValidHash":"{HASH}"}},"payloadId":"0x01"}}}}"#
            )
        );
        let StatusAnswer::Status(again) = read(Shape::ForkchoiceUpdated, raised.as_bytes()).unwrap() else {
            panic!()
        };
        assert_eq!(again.status(), &PayloadStatusV1::valid(hash));
        assert!(again.has_payload_id());
    }

    #[test]
    fn errors_and_unreadable_answers() {
        let error = r#"{"id":1,"error":{"code":-38002,"message":"m","data":5},"result":null}"#;
        assert!(
            matches!(read(Shape::NewPayload, error.as_bytes()), Ok(StatusAnswer::Error(e)) if e.code == -38002)
        );
        assert!(matches!(
            read(
                Shape::NewPayload,
                br#"{"error":null,"result":{"status":"ACCEPTED"}}"#
            ),
            Ok(StatusAnswer::Status(_))
        ));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"result":null}"#,
            r#"{"result":{}}"#,
            r#"{"result":{"status":"Valid"}}"#,
            r#"{"result":{"status":"VALID","status":"VALID"}}"#,
            r#"{"result":{"status":"VALID"},"result":{"status":"SYNCING"}}"#,
            r#"{"result":{"status":"VALID","latestValidHash":"0x12"}}"#,
            r#"{"result":{"status":"VALID"}"#,
            "\u{feff}{\"result\":{\"status\":\"VALID\"}}",
        ] {
            assert!(read(Shape::NewPayload, bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read(Shape::ForkchoiceUpdated, br#"{"result":{"status":"VALID"}}"#).is_err());
        assert!(
            read(
                Shape::NewPayload,
                b"{\"result\":{\"status\":\"VALID\",\"x\":\"\xff\"}}"
            )
            .is_err()
        );
    }
}
