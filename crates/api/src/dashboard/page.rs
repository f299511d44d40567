//! The page: three files in the binary. Its policy lets it load them and talk to this node, and nothing else.

use axum::{
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};

/// The page.
pub(crate) const HTML: &str = include_str!("../../assets/dashboard/index.html");
/// How it looks.
pub(crate) const STYLE: &str = include_str!("../../assets/dashboard/style.css");
/// What it does.
pub(crate) const SCRIPT: &str = include_str!("../../assets/dashboard/script.js");

/// No inline script or style, no frame, no form, no other host: what a peer calls itself is text whatever it says.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
pub(crate) fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A new version of the node brings a new page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::collections::BTreeSet;

    /// What stands between `before` and `after`, everywhere.
    fn between<'a>(text: &'a str, before: &str, after: char) -> BTreeSet<&'a str> {
        text.split(before)
            .skip(1)
            .filter_map(|rest| rest.split_once(after))
            .map(|(found, _)| found)
            .collect()
    }

    #[test]
    fn every_id_that_the_script_asks_for_is_in_the_page() {
        let in_page = between(HTML, " id=\"", '"');
        let calls = ["byId(\"", "say(\"", "show(\"", "pairs(\"", "table(\""];
        let asked: BTreeSet<&str> = calls.iter().flat_map(|call| between(SCRIPT, call, '"')).collect();
        assert!(asked.len() > 10, "{asked:?}");
        for id in &asked {
            assert!(in_page.contains(id), "{id} is not in the page");
        }
        for reference in ["for=\"", "aria-labelledby=\"", "href=\"#"] {
            for id in between(HTML, reference, '"') {
                // `#/` is a place the script shows.
                assert!(
                    id.is_empty() || id.starts_with('/') || in_page.contains(id),
                    "{reference}{id}"
                );
            }
        }
    }

    #[test]
    fn every_route_that_page_and_script_use_is_served() {
        let table: BTreeSet<&str> = crate::server::table(1).iter().map(|route| route.path).collect();
        let mut used = between(SCRIPT, "node(\"", '"');
        used.extend(between(HTML, "src=\"", '"'));
        used.extend(
            between(HTML, "href=\"", '"')
                .into_iter()
                .filter(|link| !link.starts_with('#') && !link.starts_with("data:")),
        );
        assert!(used.len() >= 5, "{used:?}");
        for path in used {
            let path = path.split('?').next().unwrap();
            let served = table.iter().any(|route| {
                let route = route.trim_start_matches('/');
                route == path
                    || (path.ends_with('/')
                        && route.starts_with(path)
                        && route[path.len()..].starts_with('{'))
            });
            assert!(served, "{path} is not served");
        }
    }

    #[test]
    fn topics_are_those_of_this_node_and_each_field_of_a_problem_is_shown() {
        let topics = between(SCRIPT, "TOPICS = [", ']');
        let asked: Vec<&str> = topics
            .iter()
            .flat_map(|list| list.split(','))
            .map(|t| t.trim().trim_matches('"'))
            .collect();
        assert_eq!(asked, ["execution_proof", "gate_verdict", "gate_alarm"]);
    }

    #[test]
    fn nothing_is_inline_and_nothing_is_from_outside() {
        for text in [HTML, STYLE, SCRIPT] {
            for outside in ["http://", "https://", "//cdn", "@import", "url(//"] {
                let found = text.contains(outside);
                // The name space of SVG in a data URL is no address.
                let svg = outside == "http://"
                    && text.matches(outside).count() == text.matches("http://www.w3.org/2000/svg").count();
                assert!(!found || svg, "{outside}");
            }
        }
        assert_eq!(HTML.matches("<script").count(), 1);
        for inline in ["<style", "style=\"", "onclick", "onload", "javascript:"] {
            assert!(!HTML.contains(inline), "{inline}");
        }
        // Peers' words become text and nothing else.
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "setAttribute(\"on",
            "DOMParser",
        ] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
        assert!(!POLICY.contains("unsafe") && !POLICY.contains('*'));
    }
}
