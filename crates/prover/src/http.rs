//! What both HTTP clients here need: bodies read within bounds, and errors in words.

use reqwest::Response;
use std::error::Error;

/// Characters of an answer's words that are kept.
const MAX_WORDS: usize = 300;
/// Bytes of an error's body that are read.
const MAX_ERROR: usize = 16 * 1024;

/// The body, up to `limit` bytes; `None`: it is longer, or broke off.
pub(crate) async fn read_bounded(response: &mut Response, limit: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Ok(None) => return Some(body),
            Ok(Some(_)) | Err(_) => return None,
        }
    }
}

/// Status and first words of an answer that is an error.
pub(crate) async fn refusal(mut response: Response) -> String {
    let status = response.status();
    let body = read_bounded(&mut response, MAX_ERROR).await.unwrap_or_default();
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let words: String = String::from_utf8_lossy(&body)
        .chars()
        .take(MAX_WORDS)
        .map(clean)
        .collect();
    format!("{status} {words}").trim_end().to_owned()
}

/// An error of a call with its causes (that a certificate is not trusted is the last of four), without the URL.
pub(crate) fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}
