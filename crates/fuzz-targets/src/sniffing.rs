//! The gate's look at a body while it passes. What it takes the method to be must be what a JSON reader takes it to be:
//! else the gate would judge one call and the execution client run another.

// The reader is no part of the gate's interface; it stands in a file of its own and is compiled here as it is.
#[path = "../../gate/src/endpoint/sniff.rs"]
mod sniff;

use crate::Seen;
use assay_engine_api::Incoming;
use sniff::{Sniffed, Sniffer};

/// The first byte is the size of the pieces, the rest a body.
pub(crate) fn engine_sniff(data: &[u8]) -> Seen {
    let Some((size, body)) = data.split_first() else {
        return Seen::Refused;
    };
    let whole = sniffed(body, body.len());
    for size in [usize::from(*size), 1] {
        assert_eq!(sniffed(body, size), whole, "in pieces of {size}");
    }
    let (known, method, _) = whole;
    assert_ne!(known, Sniffed::Undecided);
    assert_eq!(
        method.is_some() && known != Sniffed::Ambiguous,
        known == Sniffed::Method
    );
    match Incoming::parse(body) {
        Ok(Incoming::Single(request)) => {
            assert_ne!(known, Sniffed::Batch);
            if known == Sniffed::Method || (plain(body) && request.method.len() < SHORT_METHOD) {
                assert_eq!(
                    (known, method.as_deref()),
                    (Sniffed::Method, Some(request.method.as_ref()))
                );
            }
        }
        Ok(Incoming::Batch(_)) => assert_eq!(known, Sniffed::Batch),
        Err(_) => {}
    }
    Seen::accepted(known == Sniffed::Method)
}

/// A method of fewer bytes is below the reader's limit however it is escaped.
const SHORT_METHOD: usize = 40;

/// Whether a body is too small to be nested too deep, and has one member only that could be read as the method.
fn plain(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    body.len() < 1000 && text.matches("method").count() == 1 && !text.contains("\\u")
}

fn sniffed(body: &[u8], size: usize) -> (Sniffed, Option<String>, String) {
    let mut sniffer = Sniffer::new();
    for piece in body.chunks(size.max(1)) {
        let known = sniffer.feed(piece);
        assert_eq!(known, sniffer.known());
    }
    let known = sniffer.end();
    (
        known,
        sniffer.method().map(str::to_owned),
        sniffer.id().to_string(),
    )
}
