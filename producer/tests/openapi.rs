//! `openapi.json` in the repository says what the code does.

use std::path::Path;

#[test]
fn the_committed_document_is_the_one_the_code_generates() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi.json");
    let generated = gantry_producer::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("GANTRY_UPDATE").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "openapi.json is stale: run `GANTRY_UPDATE=1 cargo test -p gantry-producer --test openapi` and commit it"
    );
}

#[test]
fn every_route_is_documented_with_its_errors() {
    let document = serde_json::to_value(gantry_producer::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 15, "{}", paths.len());
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let open = operation["security"] == serde_json::json!([{}]);
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{method} {path} has no summary");
            if !open {
                let refused = &operation["responses"]["4XX"]["content"]["application/problem+json"];
                assert!(refused.is_object(), "{method} {path} does not document its errors");
            }
        }
    }
}
