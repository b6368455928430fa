//! Listing and downloading: ranges, prefixes, and names that try something.

use axum::http::StatusCode;
use serde_json::json;

use crate::setup::Setup;
use crate::tar_files::tar;

#[tokio::test]
async fn a_file_is_served_to_be_saved_and_never_to_run() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    setup.upload(&held, tar(&[("report/index.html", b"<script>alert(1)</script>")])).await;
    let page = setup.get(&held, "/artifacts/report/index.html").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.bytes, b"<script>alert(1)</script>");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("content-length"), "25");
    assert_eq!(
        page.header("content-disposition"),
        "attachment; filename=\"index.html\"; filename*=UTF-8''index.html"
    );
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert!(page.header("content-security-policy").starts_with("sandbox"));
    assert!(!page.header("content-security-policy").contains("allow"));
    assert_eq!(page.header("accept-ranges"), "bytes");
}

#[tokio::test]
async fn ranges_of_a_file_are_served() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    setup
        .upload(&held, tar(&[("before", &[1; 5000]), ("file", &content), ("z", &[2; 5000]), ("empty", b"")]))
        .await;
    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=999999-", 999_999..1_000_000),
        ("bytes=-10", 999_990..1_000_000),
        ("bytes=500-800000", 500..800_001),
        ("bytes=999000-2000000", 999_000..1_000_000),
    ] {
        let answer = setup.get_with(&held, "/artifacts/file", &[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        let expected = format!("bytes {}-{}/1000000", part.start, part.end - 1);
        assert_eq!(answer.header("content-range"), expected);
        assert_eq!(answer.header("content-length"), part.len().to_string());
        assert!(answer.bytes == content[part], "{range}");
    }
    for whole in ["bytes=0-1,5-6", "bytes=5-2", "lines=1-2", "nonsense"] {
        let answer = setup.get_with(&held, "/artifacts/file", &[("range", whole)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{whole}");
        assert!(answer.bytes == content);
    }
    let conditional = [("range", "bytes=0-0"), ("if-range", "\"some version\"")];
    let answer = setup.get_with(&held, "/artifacts/file", &conditional).await;
    assert_eq!((answer.status, answer.bytes.len()), (StatusCode::OK, 1_000_000));
    for (file, length) in [("file", 1_000_000), ("empty", 0)] {
        let answer =
            setup.get_with(&held, &format!("/artifacts/{file}"), &[("range", "bytes=1000000-")]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable")
        );
        assert_eq!(answer.header("content-range"), format!("bytes */{length}"));
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    let empty = setup.get(&held, "/artifacts/empty").await;
    assert_eq!((empty.status, empty.header("content-length")), (StatusCode::OK, "0"));
}

#[tokio::test]
async fn names_are_data_and_nothing_else() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    let names = [
        "<img src=x onerror=alert(1)>.png",
        "100%25.txt",
        "a b+c&d=e?f#g.txt",
        "back\\slash.txt",
        "dir with space/übersicht 日本.html",
        "quote\".txt\u{202e}gpj",
        "{\"json\": 1}.json",
        "~/.bashrc",
    ];
    let files: Vec<_> = names.iter().map(|name| (*name, name.as_bytes())).collect();
    let answer = setup.upload(&held, tar(&files)).await;
    assert_eq!(answer.json()["count"], names.len(), "{}", answer.text());
    let listed = setup.get(&held, "/artifacts").await;
    assert_eq!(listed.header("content-type"), "application/json");
    let mut expected: Vec<_> = names.to_vec();
    expected.sort_unstable();
    let listed = listed.json();
    let paths: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|item| item["path"].as_str().unwrap()).collect();
    assert_eq!(paths, expected);
    for name in names {
        let escaped: String = name.split('/').map(escape).collect::<Vec<_>>().join("/");
        for url in [escaped, escape(name)] {
            let file = setup.get(&held, &format!("/artifacts/{url}")).await;
            assert_eq!((file.status, file.bytes.as_slice()), (StatusCode::OK, name.as_bytes()), "{url}");
            let disposition = file.header("content-disposition");
            assert!(disposition.starts_with("attachment; filename=\""), "{disposition}");
            assert_eq!(disposition.matches('"').count(), 2, "{disposition}");
            assert!(!disposition.contains(['<', '>', '\\']), "{disposition}");
        }
    }
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn a_path_that_is_not_there_is_not_found_however_it_is_written() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    setup.upload(&held, tar(&[("dir/a.txt", b"a")])).await;
    for path in [
        "dir/b.txt",
        "dir",
        "dir/",
        "/dir/a.txt",
        "dir//a.txt",
        "./dir/a.txt",
        "dir/../dir/a.txt",
        "../artifact-index",
        "..%2fartifact-index",
        "%2e%2e/%2e%2e/gantry.db",
        "../../../../../../etc/passwd",
        "dir/a.txt%00",
        "%ff",
        "dir/A.txt",
    ] {
        let answer = setup.get(&held, &format!("/artifacts/{path}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "not_found"), "{path}");
    }
}

#[tokio::test]
async fn a_list_can_be_narrowed_to_a_prefix() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    let paths: Vec<_> = ["a/1", "a/2", "a/3", "b/1", "ü/1"].into();
    let files: Vec<_> = paths.iter().map(|path| (*path, &b"x"[..])).collect();
    setup.upload(&held, tar(&files)).await;
    let first = setup.json(&held, "/artifacts?prefix=a/&limit=2").await;
    assert_eq!((&first["items"][0]["path"], &first["items"][1]["path"]), (&json!("a/1"), &json!("a/2")));
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = setup.json(&held, &format!("/artifacts?prefix=a/&limit=2&cursor={cursor}")).await;
    assert_eq!(second["items"].as_array().unwrap().len(), 1);
    assert_eq!((&second["items"][0]["path"], &second["next_cursor"]), (&json!("a/3"), &json!(null)));
    assert_eq!(setup.json(&held, "/artifacts?prefix=%C3%BC").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(setup.json(&held, "/artifacts?prefix=none").await["items"], json!([]));
    assert_eq!(setup.json(&held, "/artifacts?cursor=4000000").await["items"], json!([]));
    for query in ["cursor=-1", "limit=101", "attempt=x", "sort=size"] {
        let refused = setup.get(&held, &format!("/artifacts?{query}")).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_parameter"),
            "{query}"
        );
    }
}

#[tokio::test]
async fn nobody_elses_artifacts_are_there() {
    let mut setup = Setup::new().await;
    let held = setup.running().await;
    setup.upload(&held, tar(&[("a.txt", b"a")])).await;
    assert_eq!(setup.get(&held, "/artifacts/a.txt").await.status, StatusCode::OK);
    setup.as_stranger().await;
    for below in ["/artifacts", "/artifacts/a.txt", "/tests"] {
        let answer = setup.get(&held, below).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "not_found"), "{below}");
    }
}
