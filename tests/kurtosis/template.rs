//! As much of Go's templates as the package's own use: `range` over a list of the data, fields of the element and of the
//! root, `len`.

use anyhow::{Context, bail};
use serde_json::Value as Json;

/// Fills `template` with `data`.
pub(crate) fn render(template: &str, data: &Json) -> anyhow::Result<String> {
    let mut out = String::new();
    body(template, data, data, &mut out)?;
    Ok(out)
}

fn body(template: &str, root: &Json, dot: &Json, out: &mut String) -> anyhow::Result<()> {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, after) = after.split_once("}}").context("{{ is not closed")?;
        let trims = action.starts_with('-');
        out.push_str(if trims { before.trim_end() } else { before });
        let action = action.trim_start_matches('-').trim_end_matches('-').trim();
        rest = after;
        if let Some(list) = action.strip_prefix("range ") {
            let (inner, after) = rest.split_once("{{- end }}").context("range has no end")?;
            for element in value(list, root, dot)?.as_array().context("range over no list")? {
                body(inner, root, element, out)?;
            }
            rest = after;
        } else if let Some(list) = action.strip_prefix("len ") {
            let list = value(list, root, dot)?.as_array().context("len of no list")?;
            out.push_str(&list.len().to_string());
        } else {
            match value(action, root, dot)? {
                Json::String(text) => out.push_str(text),
                other => out.push_str(&other.to_string()),
            }
        }
    }
    out.push_str(rest);
    Ok(())
}

fn value<'a>(path: &str, root: &'a Json, dot: &'a Json) -> anyhow::Result<&'a Json> {
    let (from, field) = match path.trim().split_once('.').context("no field")? {
        ("$", field) => (root, field),
        ("", field) => (dot, field),
        (other, _) => bail!("{other} is not known here"),
    };
    from.get(field)
        .with_context(|| format!("the data has no {field}"))
}
