//! The OpenAPI document is what the node serves.

use crate::support::{NodeProcess, World, get};
use serde_json::{Value, json};

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_in_the_document_and_what_is_in_it_is_served() {
    let world = World::new(1).await;
    let node = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    world.connect(&[&node]);
    world.block().await;
    let (status, document) = get(&node.http("/openapi.json")).await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 16, "{paths:?}");
    let client = reqwest::Client::new();
    for (path, operations) in paths {
        let url = node.http(&path.replace("{block_id}", "head").replace("{peer_id}", "x"));
        for method in METHODS {
            if path == "/eth/v1/events" && method == "GET" {
                // A stream that lasts: without topics it is an error of ours.
                assert_eq!(client.get(&url).send().await.unwrap().status(), 400);
                continue;
            }
            let answer = client
                .request(method.parse().unwrap(), &url)
                .body("")
                .send()
                .await
                .unwrap();
            let status = answer.status().as_u16();
            let documented = operations.get(method.to_ascii_lowercase());
            match documented {
                None => {
                    assert_eq!(status, 405, "{method} {path} is not in the document");
                    assert!(answer.headers().contains_key("allow"), "{method} {path}");
                }
                Some(operation) => {
                    let told = operation["responses"].get(status.to_string());
                    assert!(told.is_some(), "{method} {path}: {status} is not in the document");
                    let kinds = told.unwrap()["content"].as_object().cloned().unwrap_or_default();
                    let kind = answer
                        .headers()
                        .get("content-type")
                        .map(|v| v.to_str().unwrap().split(';').next().unwrap().to_owned());
                    match kind {
                        Some(kind) => assert!(kinds.contains_key(&kind), "{method} {path}: {kind}"),
                        None => assert!(kinds.is_empty(), "{method} {path} {status} without a body"),
                    }
                }
            }
        }
    }
    for (page, path) in named_in_the_guide() {
        let there = |own: &str| own == path || own.starts_with(&format!("{path}/"));
        assert!(paths.keys().any(|own| there(own)), "{page}: no {path}");
    }
    // A path that is not in the document is the beacon node's, or nobody's.
    for path in ["/assay/v1/nothing", "/eth/v1/beacon/states/head/nothing"] {
        assert_eq!(get(&node.http(path)).await.0, 404, "{path}");
    }
    // The containers are those that are posted.
    let block = world.block().await;
    let signed = serde_json::to_value(world.signed_proof(&block, 1, 500, 1)).unwrap();
    let schemas = &document["components"]["schemas"];
    assert_eq!(names(&schemas["SignedExecutionProof"]), keys(&signed));
    assert_eq!(names(&schemas["ExecutionProof"]), keys(&signed["message"]));
}

fn names(schema: &Value) -> Vec<String> {
    keys(&schema["properties"])
}

fn keys(object: &Value) -> Vec<String> {
    let mut keys: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

/// Paths of our own in the README and the pages of `docs/`, up to what stands for something; with the page.
fn named_in_the_guide() -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let pages = docs
        .map(|file| file.unwrap().path())
        .chain([root.join("README.md")]);
    let mut found = Vec::new();
    for page in pages.filter(|page| page.extension().is_some_and(|e| e == "md")) {
        let text = std::fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices("/assay/v1/") {
            let end = |c: char| !c.is_ascii_alphanumeric() && !"/_".contains(c);
            let path = text[at..].split(end).next().unwrap_or_default();
            // `/assay/v1/payloads/1234`: what begins with a digit stands for something.
            let named = path.split('/').filter(|part| !part.is_empty());
            let own: Vec<&str> = named
                .take_while(|part| !part.starts_with(|c: char| c.is_ascii_digit()))
                .collect();
            found.push((page.display().to_string(), format!("/{}", own.join("/"))));
        }
    }
    assert!(found.len() > 10, "{found:?}");
    found
}
