//! JSON-RPC 2.0: requests, responses, batches. Parameters and results stay the bytes they came as until somebody who
//! knows their type reads them.

use crate::ErrorCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};
use std::{borrow::Cow, fmt};

/// Most requests in one batch that we take apart; above it the batch is refused.
pub const MAX_BATCH_REQUESTS: usize = 1_000;

/// A request's id, of whatever JSON kind the caller chose, byte for byte.
#[derive(Clone)]
pub struct Id(Box<RawValue>);

impl Id {
    /// `null`: the id of an answer to something whose id could not be read.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// The id as JSON.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        // A number is always valid JSON; `null` is never reached.
        RawValue::from_string(number.to_string()).map_or_else(|_| Self::null(), Self)
    }
}

impl From<&RawValue> for Id {
    fn from(raw: &RawValue) -> Self {
        Self(raw.to_owned())
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(d).map(Self)
    }
}

/// `error` of a response.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct ErrorObject {
    /// The number; `ErrorCode::from` says what it means.
    pub code: i64,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// More, of any kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl ErrorObject {
    /// An error without data.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code: code.as_i64(),
            message: message.into(),
            data: None,
        }
    }

    /// What the number means.
    pub fn kind(&self) -> ErrorCode {
        ErrorCode::from(self.code)
    }
}

impl From<ErrorCode> for ErrorObject {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.message())
    }
}

/// A request, borrowed from the body it came in.
#[derive(Debug, Clone, Deserialize)]
pub struct Request<'a> {
    /// Absent: a notification, which gets no answer.
    #[serde(borrow, default, deserialize_with = "present")]
    pub id: Option<&'a RawValue>,
    /// The method.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// The parameters as they came.
    #[serde(borrow, default)]
    pub params: Option<&'a RawValue>,
}

/// Keeps `"id": null` (which gets an answer) apart from no id.
fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

impl<'a> Request<'a> {
    /// Reads one request object.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ErrorObject> {
        serde_json::from_slice(bytes).map_err(|e| classify(&e, "request"))
    }

    /// The id to answer with.
    pub fn id(&self) -> Id {
        self.id.map_or_else(Id::null, Id::from)
    }

    /// Whether the caller wants no answer.
    pub fn is_notification(&self) -> bool {
        self.id.is_none()
    }

    /// Reads the parameters (`[]` where there are none); an error says -32602 and why.
    pub fn params_as<T: Deserialize<'a>>(&self) -> Result<T, ErrorObject> {
        serde_json::from_str(self.params.map_or("[]", RawValue::get))
            .map_err(|e| ErrorObject::new(ErrorCode::InvalidParams, format!("{}: {e}", self.method)))
    }
}

/// One HTTP body: a request or several.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// A single request.
    Single(Request<'a>),
    /// A batch in order; an element that is no request holds the error to answer in its place. Never empty.
    Batch(Vec<BatchElement<'a>>),
}

/// An element of a batch.
#[derive(Debug)]
pub struct BatchElement<'a> {
    /// Its bytes.
    pub raw: &'a RawValue,
    /// What it says.
    pub request: Result<Request<'a>, ErrorObject>,
}

impl<'a> Incoming<'a> {
    /// Reads a body. -32700 where it is no JSON, -32600 where it is JSON but no request (an empty batch included).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ErrorObject> {
        if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'[') {
            return Request::parse(bytes).map(Self::Single);
        }
        let elements: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|e| classify(&e, "batch"))?;
        if elements.is_empty() {
            return Err(ErrorObject::new(ErrorCode::InvalidRequest, "the batch is empty"));
        }
        if elements.len() > MAX_BATCH_REQUESTS {
            return Err(ErrorObject::new(
                ErrorCode::InvalidRequest,
                format!(
                    "{} requests in one batch, at most {MAX_BATCH_REQUESTS} are taken",
                    elements.len()
                ),
            ));
        }
        let element = |raw: &'a RawValue| BatchElement {
            raw,
            request: Request::parse(raw.get().as_bytes()),
        };
        Ok(Self::Batch(elements.into_iter().map(element).collect()))
    }
}

fn classify(error: &serde_json::Error, what: &str) -> ErrorObject {
    let code = if error.is_data() {
        ErrorCode::InvalidRequest
    } else {
        ErrorCode::ParseError
    };
    ErrorObject::new(code, format!("{what}: {error}"))
}

/// A request to be sent.
#[derive(Debug, Serialize)]
pub struct OutgoingRequest<'a, P> {
    jsonrpc: &'static str,
    /// To tell answers apart.
    pub id: u64,
    /// The method.
    pub method: &'a str,
    /// The parameters; an array.
    pub params: P,
}

impl<'a, P> OutgoingRequest<'a, P> {
    /// A request.
    pub fn new(id: u64, method: &'a str, params: P) -> Self {
        Self {
            jsonrpc: "2.0",
            id,
            method,
            params,
        }
    }
}

/// An answer to be sent.
#[derive(Debug, Serialize)]
pub struct Response {
    jsonrpc: &'static str,
    /// The request's id.
    pub id: Id,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Result(Box<RawValue>),
    Error(ErrorObject),
}

impl Response {
    /// An answer with a result. A result that cannot be written as JSON becomes error -32603.
    pub fn result<T: Serialize + ?Sized>(id: Id, result: &T) -> Self {
        match to_raw_value(result) {
            Ok(raw) => Self {
                jsonrpc: "2.0",
                id,
                outcome: Outcome::Result(raw),
            },
            Err(e) => Self::error(id, ErrorObject::new(ErrorCode::InternalError, e.to_string())),
        }
    }

    /// An answer with an error.
    pub fn error(id: Id, error: impl Into<ErrorObject>) -> Self {
        Self {
            jsonrpc: "2.0",
            id,
            outcome: Outcome::Error(error.into()),
        }
    }

    /// From what a handler returned.
    pub fn from_outcome<T: Serialize>(id: Id, outcome: Result<T, ErrorObject>) -> Self {
        match outcome {
            Ok(result) => Self::result(id, &result),
            Err(error) => Self::error(id, error),
        }
    }

    /// The answer as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_else(|_| {
            br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"Internal error"}}"#.to_vec()
        })
    }
}

/// Why an answer could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The callee answered with an error.
    #[error(transparent)]
    Rpc(#[from] ErrorObject),
    /// No JSON-RPC response, one to another request, or a result of another shape.
    #[error("{0}")]
    Malformed(String),
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<ErrorObject>,
}

/// Reads the answer to request `id`.
pub fn read_answer<T: DeserializeOwned>(id: u64, body: &[u8]) -> Result<T, AnswerError> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|e| AnswerError::Malformed(format!("no JSON-RPC response: {e}")))?;
    if let Some(error) = answer.error {
        return Err(error.into());
    }
    // Some servers write ids back as strings; an answer on a connection of its own cannot be another's, but one that
    // names another number is a fault worth showing.
    match answer.id.map(|raw| raw.get().trim_matches('"')) {
        Some(text) if text == id.to_string() => {}
        other => {
            return Err(AnswerError::Malformed(format!(
                "answer to request {}, not {id}",
                other.unwrap_or("null")
            )));
        }
    }
    let result = answer
        .result
        .ok_or_else(|| AnswerError::Malformed("neither result nor error".to_owned()))?;
    serde_json::from_str(result.get()).map_err(|e| AnswerError::Malformed(format!("result: {e}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_kind_come_back_as_they_were() {
        for id in [
            "1",
            "\"a\\u0062\"",
            "null",
            "1.50",
            "[1, 2]",
            "{\"a\" : 1}",
            "123456789012345678901234567890",
        ] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m","params":[]}}"#);
            let Incoming::Single(request) = Incoming::parse(body.as_bytes()).unwrap() else {
                panic!()
            };
            assert!(!request.is_notification(), "{id}");
            let answer = Response::result(request.id(), "x").to_json();
            assert_eq!(
                String::from_utf8(answer).unwrap(),
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"x"}}"#)
            );
        }
    }

    #[test]
    fn bodies() {
        let code = |body: &str| Incoming::parse(body.as_bytes()).unwrap_err().kind();
        assert_eq!(code(""), ErrorCode::ParseError);
        assert_eq!(code("{"), ErrorCode::ParseError);
        assert_eq!(code("[1,"), ErrorCode::ParseError);
        assert_eq!(code("{} x"), ErrorCode::InvalidRequest);
        assert_eq!(code("5"), ErrorCode::InvalidRequest);
        assert_eq!(code("[]"), ErrorCode::InvalidRequest);
        for twice in [
            r#"{"method":"a","method":"b","id":1}"#,
            r#"{"method":"a","params":[],"params":[1],"id":1}"#,
            r#"{"method":"a","id":1,"id":2}"#,
        ] {
            assert_eq!(code(twice), ErrorCode::InvalidRequest, "{twice}");
        }
        assert_eq!(code(r#"{"id":1,"params":[]}"#), ErrorCode::InvalidRequest);
        assert_eq!(code(r#"{"id":1,"method":5}"#), ErrorCode::InvalidRequest);
        let big = format!("[{}1]", "1,".repeat(MAX_BATCH_REQUESTS));
        assert_eq!(code(&big), ErrorCode::InvalidRequest);

        let notification = Request::parse(br#"{"method":"m"}"#).unwrap();
        assert!(notification.is_notification());
        assert_eq!(notification.params_as::<Vec<u8>>().unwrap(), Vec::<u8>::new());
        let wrong = Request::parse(br#"{"id":1,"method":"m","params":{"a":1}}"#).unwrap();
        assert_eq!(
            wrong.params_as::<Vec<u8>>().unwrap_err().kind(),
            ErrorCode::InvalidParams
        );
    }

    #[test]
    fn batches_keep_order_and_name_bad_elements() {
        let body = br#" [ {"id":1,"method":"a"} , 7, {"id":2,"method":"b","params":[{"x" : [1]}]} ]"#;
        let Incoming::Batch(elements) = Incoming::parse(body).unwrap() else {
            panic!()
        };
        assert_eq!(elements.len(), 3);
        assert_eq!(elements[0].request.as_ref().unwrap().method, "a");
        assert_eq!(
            elements[1].request.as_ref().unwrap_err().kind(),
            ErrorCode::InvalidRequest
        );
        assert_eq!(
            elements[2].raw.get(),
            r#"{"id":2,"method":"b","params":[{"x" : [1]}]}"#
        );
    }

    #[test]
    fn answers() {
        let read = |body: &str| read_answer::<Option<u64>>(3, body.as_bytes());
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":3,"result":5}"#).unwrap(), Some(5));
        assert_eq!(read(r#"{"id":"3","result":null,"error":null}"#).unwrap(), None);
        for bad in [
            "",
            "[]",
            r#"{"id":3}"#,
            r#"{"id":4,"result":5}"#,
            r#"{"id":3,"result":"x"}"#,
            r#"{"result":5}"#,
        ] {
            assert!(matches!(read(bad), Err(AnswerError::Malformed(_))), "{bad}");
        }
        let Err(AnswerError::Rpc(error)) =
            read(r#"{"id":null,"error":{"code":-38001,"message":"no","data":{"a":1}}}"#)
        else {
            panic!()
        };
        assert_eq!(error.kind(), ErrorCode::UnknownPayload);
        assert_eq!(error.data.unwrap().get(), r#"{"a":1}"#);
    }
}
