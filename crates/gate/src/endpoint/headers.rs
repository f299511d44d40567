//! Which headers pass: all but those that belong to one connection (RFC 9110 section 7.6.1), the token of the other
//! side where this side has a secret, and the host, which the execution client may check against its own names.

use http::{
    HeaderMap, HeaderName,
    header::{
        AUTHORIZATION, CONNECTION, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};

const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
const OLD_HOP_BY_HOP: [&str; 3] = ["keep-alive", "proxy-connection", "trailers"];

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    for name in OLD_HOP_BY_HOP {
        headers.remove(name);
    }
}

/// What of a request's headers goes to the execution client, the caller's token only `with_token`.
pub(super) fn of_request(mut headers: HeaderMap, with_token: bool) -> HeaderMap {
    remove_hop_by_hop(&mut headers);
    for name in [HOST, EXPECT] {
        headers.remove(name);
    }
    if !with_token {
        headers.remove(AUTHORIZATION);
    }
    headers
}

/// What of an answer's headers goes to the beacon node.
pub(super) fn of_answer(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Only-Here"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("x-only-here", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("authorization", "Bearer x"),
            ("host", "assay"),
            ("expect", "100-continue"),
            ("content-type", "application/json"),
            ("content-length", "7"),
            ("accept-encoding", "gzip"),
            ("x-kept", "a"),
            ("x-kept", "b"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let mut names: Vec<_> = of_request(headers.clone(), false)
            .keys()
            .map(|n| n.as_str().to_owned())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["accept-encoding", "content-length", "content-type", "x-kept"]
        );
        assert!(of_request(headers.clone(), true).contains_key("authorization"));
        of_answer(&mut headers);
        assert!(headers.contains_key("authorization") && !headers.contains_key("keep-alive"));
        assert_eq!(headers.get_all("x-kept").iter().count(), 2);
    }
}
