//! What a JSON-RPC body asks for, found while its bytes pass: the method's name and the id of a single request, or that
//! it is a batch. No body is held for it and no value is built, so a call can be on its way to the execution client
//! before its last byte has come.
//!
//! What two readers could understand differently is `Ambiguous` and must not be forwarded as anything: the gate would
//! judge one call and the execution client run another.

use assay_engine_api::Id;
use memchr::memchr2;
use serde_json::value::RawValue;

/// Longest method name that is looked at; longer ones are no method of anybody's.
const MAX_METHOD_BYTES: usize = 256;
/// Longest id that is given back in an error of our own; a longer one is answered as `null`.
const MAX_ID_BYTES: usize = 4096;
/// Longest top-level key that is compared.
const MAX_KEY_BYTES: usize = 64;
/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 1024;

/// What is known so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sniffed {
    /// Not enough bytes yet.
    Undecided,
    /// A request object with a method.
    Method,
    /// A request object that has ended without a method, or whose method is no string.
    NoMethod,
    /// An array.
    Batch,
    /// Neither an object nor an array.
    NotJsonRpc,
    /// A second `method`, bytes after the end of the object, or deeper nesting than is followed.
    Ambiguous,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first byte that is no white space.
    Start,
    /// In the object, before a key or its end.
    Key,
    /// Inside a key.
    InKey,
    /// After a key.
    Colon,
    /// Before a value.
    Value,
    /// Inside a value that is no string, or below the top level.
    InValue,
    /// Inside a string that is, or is part of, a value.
    InString,
    /// After the end of the object.
    End,
    /// Nothing more to learn.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Method,
    Id,
    Other,
}

/// Reads chunks of a body.
#[derive(Debug)]
pub(crate) struct Sniffer {
    place: Place,
    depth: usize,
    /// The last byte was a backslash inside a string.
    escaped: bool,
    key: Vec<u8>,
    field: Field,
    /// Bytes of the value of `method` or `id`; `None` where it is too long.
    value: Option<Vec<u8>>,
    method: Option<String>,
    id: Option<Id>,
    known: Sniffed,
}

impl Sniffer {
    /// Before the first byte.
    pub(crate) fn new() -> Self {
        Self {
            place: Place::Start,
            depth: 0,
            escaped: false,
            key: Vec::new(),
            field: Field::Other,
            value: None,
            method: None,
            id: None,
            known: Sniffed::Undecided,
        }
    }

    /// What is known.
    pub(crate) fn known(&self) -> Sniffed {
        self.known
    }

    /// The method's name.
    pub(crate) fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// The id, `null` where it has not come (yet) or is none.
    pub(crate) fn id(&self) -> Id {
        self.id.clone().unwrap_or_else(Id::null)
    }

    /// The next bytes of the body.
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Sniffed {
        let mut rest = chunk;
        while let Some((&byte, after)) = rest.split_first() {
            match self.place {
                Place::Stop => break,
                Place::InKey | Place::InString if !self.escaped && byte != b'"' && byte != b'\\' => {
                    // Hex strings of megabytes: jump to the next byte that means something.
                    let run = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    let (text, after) = rest.split_at(run);
                    self.keep(text);
                    rest = after;
                }
                _ => {
                    self.step(byte);
                    rest = after;
                }
            }
        }
        self.known
    }

    /// The body has ended.
    pub(crate) fn end(&mut self) -> Sniffed {
        if self.known == Sniffed::Undecided {
            self.known = Sniffed::NotJsonRpc;
        }
        self.known
    }

    fn keep(&mut self, text: &[u8]) {
        if self.place == Place::InKey {
            // A key that is cut off is longer than any that is compared, so it still compares unequal.
            let room = (MAX_KEY_BYTES + 1).saturating_sub(self.key.len());
            self.key.extend_from_slice(text.get(..room).unwrap_or(text));
        } else if let Some(value) = &mut self.value {
            let most = if self.field == Field::Method {
                MAX_METHOD_BYTES
            } else {
                MAX_ID_BYTES
            };
            if value.len() + text.len() > most {
                self.value = None;
            } else {
                value.extend_from_slice(text);
            }
        }
    }

    fn stop(&mut self, known: Sniffed) {
        self.known = known;
        self.place = Place::Stop;
    }

    /// JSON that is no JSON. What is already known stays: the execution client will say what is wrong.
    fn malformed(&mut self) {
        let known = if self.known == Sniffed::Undecided {
            Sniffed::NotJsonRpc
        } else {
            self.known
        };
        self.stop(known);
    }

    fn step(&mut self, byte: u8) {
        let white = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.place {
            Place::Start if white => {}
            Place::Start => match byte {
                b'{' => self.place = Place::Key,
                b'[' => self.stop(Sniffed::Batch),
                _ => self.stop(Sniffed::NotJsonRpc),
            },
            Place::Key if white || byte == b',' => {}
            Place::Key => match byte {
                b'"' => {
                    self.key.clear();
                    self.place = Place::InKey;
                }
                b'}' => self.object_ended(),
                _ => self.malformed(),
            },
            Place::InKey => self.in_string(byte),
            Place::Colon if white => {}
            Place::Colon if byte == b':' => self.place = Place::Value,
            Place::Colon => self.malformed(),
            Place::Value if white => {}
            Place::Value => {
                self.field = field_of(&self.key);
                self.value = (self.field != Field::Other).then(Vec::new);
                self.place = Place::InValue;
                self.in_value(byte);
            }
            Place::InValue => self.in_value(byte),
            Place::InString => self.in_string(byte),
            Place::End if white => {}
            Place::End => self.stop(Sniffed::Ambiguous),
            Place::Stop => {}
        }
    }

    fn in_string(&mut self, byte: u8) {
        let ends = byte == b'"' && !self.escaped;
        self.escaped = byte == b'\\' && !self.escaped;
        if self.place == Place::InKey {
            if ends {
                self.place = Place::Colon;
            } else {
                self.keep(&[byte]);
            }
            return;
        }
        self.keep(&[byte]);
        if ends {
            self.place = Place::InValue;
        }
    }

    fn in_value(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.keep(b"\"");
                self.place = Place::InString;
            }
            b'{' | b'[' => {
                self.keep(&[byte]);
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    // What comes after it, a second method too, is not followed.
                    self.stop(Sniffed::Ambiguous);
                }
            }
            b'}' | b']' if self.depth > 0 => {
                self.keep(&[byte]);
                self.depth -= 1;
            }
            b',' if self.depth == 0 => {
                self.place = Place::Key;
                self.value_ended();
            }
            b'}' => {
                self.place = Place::End;
                self.value_ended();
                if self.place == Place::End {
                    self.object_ended();
                }
            }
            b']' => self.malformed(),
            _ => self.keep(&[byte]),
        }
    }

    fn value_ended(&mut self) {
        let value = self.value.take();
        match self.field {
            Field::Other => {}
            Field::Method if self.known != Sniffed::Undecided => self.stop(Sniffed::Ambiguous),
            Field::Method => {
                let name = value.and_then(|value| serde_json::from_slice::<String>(&value).ok());
                self.known = if name.is_some() {
                    Sniffed::Method
                } else {
                    Sniffed::NoMethod
                };
                self.method = name;
            }
            // The callee may answer with either; ours is only shown in errors of our own.
            Field::Id => {
                let text = value.and_then(|value| String::from_utf8(value).ok());
                let raw = text.and_then(|text| RawValue::from_string(text.trim().to_owned()).ok());
                self.id = Some(raw.as_deref().map_or_else(Id::null, Id::from));
            }
        }
    }

    fn object_ended(&mut self) {
        self.place = Place::End;
        if self.known == Sniffed::Undecided {
            self.known = Sniffed::NoMethod;
        }
    }
}

/// Some servers take keys in any case (Go's decoder does), and any may be written with escapes.
fn field_of(key: &[u8]) -> Field {
    let decoded;
    let mut name = key;
    if key.contains(&b'\\') {
        decoded = serde_json::from_slice::<String>(&[b"\"", key, b"\""].concat()).unwrap_or_default();
        name = decoded.as_bytes();
    }
    if name.eq_ignore_ascii_case(b"method") {
        Field::Method
    } else if name.eq_ignore_ascii_case(b"id") {
        Field::Id
    } else {
        Field::Other
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn whole(body: &str, size: usize) -> (Sniffed, Option<String>, String) {
        let mut sniffer = Sniffer::new();
        for chunk in body.as_bytes().chunks(size.max(1)) {
            sniffer.feed(chunk);
        }
        let known = sniffer.end();
        (
            known,
            sniffer.method().map(str::to_owned),
            sniffer.id().to_string(),
        )
    }

    /// Some decoders go deeper, and take the last of two methods.
    #[test]
    fn a_method_behind_what_is_too_deep_is_not_overlooked() {
        for (depth, expected) in [(MAX_DEPTH, Sniffed::Method), (MAX_DEPTH + 1, Sniffed::Ambiguous)] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let (known, ..) = whole(&format!(r#"{{"method":"eth_x","x":{deep},"id":1}}"#), 7);
            assert_eq!(known, expected, "{depth}");
            let twice = format!(r#"{{"method":"eth_x","x":{deep},"method":"engine_newPayloadV4"}}"#);
            assert_eq!(whole(&twice, 7).0, Sniffed::Ambiguous, "{depth}");
        }
    }

    #[test]
    fn bodies() {
        let m = |name: &str, id: &str| (Sniffed::Method, Some(name.to_owned()), id.to_owned());
        let none = |known| (known, None, "null".to_owned());
        for (body, expected) in [
            (
                r#"{"jsonrpc":"2.0","method":"engine_newPayloadV4","params":[{"method":"x"}],"id":1}"#,
                m("engine_newPayloadV4", "1"),
            ),
            (
                r#" { "id" : "a\"b" , "params":["}","\\"], "method" : "m" } "#,
                m("m", r#""a\"b""#),
            ),
            (
                r#"{"params":{"method":"inner","a":[[{}]]},"METHOD":"m","Id":[1, {"a":2}]}"#,
                m("m", r#"[1, {"a":2}]"#),
            ),
            (r#"{"\u006dethod":"\u006d","id":null}"#, m("m", "null")),
            (r#"{"method":"m"}"#, m("m", "null")),
            // Malformed after the method: the execution client's to refuse.
            (r#"{"method":"m","params":[}"#, m("m", "null")),
            (r#"{"method":"m","params":["#, m("m", "null")),
            (r#"[{"method":"m"}]"#, none(Sniffed::Batch)),
            ("\n\t[", none(Sniffed::Batch)),
            ("", none(Sniffed::NotJsonRpc)),
            ("  ", none(Sniffed::NotJsonRpc)),
            ("null", none(Sniffed::NotJsonRpc)),
            ("\u{feff}{}", none(Sniffed::NotJsonRpc)),
            ("{]", none(Sniffed::NotJsonRpc)),
            (r#"{"a" 1}"#, none(Sniffed::NotJsonRpc)),
            (r#"{"method""#, none(Sniffed::NotJsonRpc)),
            ("{}", none(Sniffed::NoMethod)),
            (r#"{"params":[]}"#, none(Sniffed::NoMethod)),
            (r#"{"method":5,"params":[]}"#, none(Sniffed::NoMethod)),
            (r#"{"method":null}"#, none(Sniffed::NoMethod)),
        ] {
            for size in [1, 2, 3, 7, 1000] {
                assert_eq!(whole(body, size), expected, "{body} in chunks of {size}");
            }
        }
        for body in [
            r#"{"method":"eth_a","params":[],"method":"engine_newPayloadV4"}"#,
            r#"{"method":"eth_a","Method":"engine_newPayloadV4"}"#,
            r#"{"method":"eth_a","m\u0065thod":"engine_newPayloadV4"}"#,
            r#"{"method":"eth_a"}{"method":"engine_newPayloadV4"}"#,
            r#"{"method":"eth_a"} x"#,
            r#"{"method":5,"method":"engine_newPayloadV4"}"#,
        ] {
            for size in [1, 5, 1000] {
                assert_eq!(whole(body, size).0, Sniffed::Ambiguous, "{body}");
            }
        }
        let long = format!(r#"{{"method":"{}"}}"#, "m".repeat(MAX_METHOD_BYTES));
        assert_eq!(whole(&long, 100).0, Sniffed::NoMethod);
        let long = format!(r#"{{"id":"{}","method":"m"}}"#, "i".repeat(MAX_ID_BYTES));
        assert_eq!(whole(&long, 100), m("m", "null"));
        let long = format!(r#"{{"{}method":"m"}}"#, "method".repeat(MAX_KEY_BYTES));
        assert_eq!(whole(&long, 100).0, Sniffed::NoMethod);
        let deep = format!(r#"{{"method":"m","params":{}"#, "[".repeat(MAX_DEPTH * 2));
        assert_eq!(whole(&deep, 100).0, Sniffed::Ambiguous);
    }

    #[test]
    fn the_method_is_known_before_the_parameters_have_come() {
        let mut sniffer = Sniffer::new();
        assert_eq!(
            sniffer.feed(br#"{"jsonrpc":"2.0","id":7,"method":"m""#),
            Sniffed::Undecided
        );
        assert_eq!(sniffer.feed(b","), Sniffed::Method);
        assert_eq!(sniffer.id().to_string(), "7");
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(|b| json!(b)),
            any::<i64>().prop_map(|n| json!(n)),
            ".{0,12}".prop_map(|s| json!(s)),
            Just(json!(null)),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|v| json!(v)),
                proptest::collection::hash_map("[a-z\"\\\\{}\\[\\]]{0,6}", inner, 0..4)
                    .prop_map(|m| json!(m)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_request_is_understood_as_a_parser_does(
            method in ".{0,20}", id in value(), params in value(), pretty: bool, size in 1usize..40, order in 0usize..6,
        ) {
            let parts = [("method", json!(method)), ("id", id.clone()), ("params", params)];
            let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
            let write = |v: &serde_json::Value| {
                if pretty { serde_json::to_string_pretty(v).unwrap() } else { v.to_string() }
            };
            let members: Vec<String> =
                orders[order].iter().map(|i| format!("\"{}\":{}", parts[*i].0, write(&parts[*i].1))).collect();
            let (known, found, found_id) = whole(&format!("{{{}}}", members.join(",")), size);
            prop_assert_eq!(known, Sniffed::Method);
            prop_assert_eq!(found.as_deref(), Some(method.as_str()));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&found_id).unwrap(), id);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, size in 1usize..9) {
            let mut sniffer = Sniffer::new();
            for chunk in bytes.chunks(size) {
                sniffer.feed(chunk);
            }
            sniffer.end();
        }
    }
}
