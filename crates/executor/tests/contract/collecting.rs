//! Files come back as one tar, named as the run asked for them.

use std::collections::BTreeMap;
use std::io::Read as _;

use futures::TryStreamExt as _;

use crate::{Act, Backend, destroy, run, soon, spec};

async fn collect(backend: &impl Backend, files: Act, paths: &[&str]) -> BTreeMap<String, String> {
    let spec = spec(backend, &files);
    assert_eq!(run(backend, &spec).await.1.code, 0);
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let stream = soon(backend.executor().collect(spec.key, &paths)).await.unwrap();
    let pieces: Vec<bytes::Bytes> = soon(stream.try_collect()).await.unwrap();
    destroy(backend, spec.key).await;
    let tar = pieces.concat();
    assert!(tar.len() >= 1024 && tar.ends_with(&[0; 1024]), "a tar ends with two empty blocks");
    let mut archive = tar::Archive::new(&tar[..]);
    let files = archive.entries().unwrap().map(Result::unwrap).filter(|e| e.header().entry_type().is_file());
    let mut found = BTreeMap::new();
    for mut file in files {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let path = file.path().unwrap().to_str().unwrap().to_owned();
        assert_eq!(found.insert(path.clone(), text), None, "{path} is there twice");
    }
    found
}

fn files() -> Act {
    Act::Write(vec![
        ("junit.xml", "one"),
        ("reports/deep/er/a.xml", "two"),
        ("reports/b.txt", ""),
        ("other/c.xml", "three"),
        ("other/d.txt", "four"),
    ])
}

pub async fn paths_directories_and_globs_are_collected(backend: &impl Backend) {
    let found = collect(backend, files(), &["junit.xml", "reports", "**/*.xml", "not-there"]).await;
    let expected = [
        ("junit.xml", "one"),
        ("reports/deep/er/a.xml", "two"),
        ("reports/b.txt", ""),
        ("other/c.xml", "three"),
    ];
    assert_eq!(found, expected.map(|(path, text)| (path.to_owned(), text.to_owned())).into());
    let found = collect(backend, files(), &["./other/*.txt"]).await;
    assert_eq!(found, [("other/d.txt".to_owned(), "four".to_owned())].into());
}

pub async fn nothing_to_collect_is_an_empty_tar(backend: &impl Backend) {
    assert!(collect(backend, files(), &["nothing", "no/where/*.xml", "**/*.nope"]).await.is_empty());
    assert!(collect(backend, files(), &[]).await.is_empty());
}
