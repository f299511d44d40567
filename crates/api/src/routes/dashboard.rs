//! GET `/dashboard`, `/dashboard/style.css`, `/dashboard/script.js`: the page for operators. GET `/` is the page too:
//! all that it names is relative to where both are.

use crate::{dashboard::page, openapi::Operation};
use axum::response::Response;
use serde_json::json;

pub(crate) async fn html() -> Response {
    page::file("text/html; charset=utf-8", page::HTML)
}

pub(crate) async fn style() -> Response {
    page::file("text/css; charset=utf-8", page::STYLE)
}

pub(crate) async fn script() -> Response {
    page::file("text/javascript; charset=utf-8", page::SCRIPT)
}

pub(crate) fn describe(id: &'static str, kind: &str) -> Operation {
    Operation::new(id, "A file of the dashboard").answer(200, "OK", &[(kind, json!({ "type": "string" }))])
}
