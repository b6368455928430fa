//! A tar holds what the command made and nothing else of the host.

use std::collections::BTreeMap;
use std::io::Read as _;

use futures::{StreamExt as _, TryStreamExt as _};
use gantry_executor::{AttemptKey, Executor};

use crate::{Host, shell, soon};

async fn collect(host: &Host, key: AttemptKey, paths: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let stream = soon(host.executor.collect(key, &paths)).await.unwrap();
    let pieces: Vec<bytes::Bytes> = soon(stream.try_collect()).await.unwrap();
    let tar = pieces.concat();
    let mut archive = tar::Archive::new(&tar[..]);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), content)
    });
    entries.collect()
}

#[tokio::test]
async fn no_link_leads_out() {
    let host = Host::new();
    let secret = host.root.path().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("key.txt"), "private").unwrap();
    let mut spec = shell(
        "mkdir out; echo fine > out/fine.txt
         ln -s $SECRET/key.txt out/file.txt; ln -s $SECRET out/directory; ln -s $SECRET link; mkfifo out/pipe.txt
         ln -s out inner",
    );
    spec.environment.insert("SECRET".to_owned(), secret.to_str().unwrap().to_owned());
    host.run(&spec).await;
    let absolute = format!("{}/**", secret.display());
    let patterns = [
        "out",
        "link",
        "link/key.txt",
        "link/*",
        "out/directory/key.txt",
        "**/*.txt",
        "inner/fine.txt",
        &absolute,
    ];
    let found = collect(&host, spec.key, &patterns).await;
    assert_eq!(found, [("out/fine.txt".to_owned(), b"fine\n".to_vec())].into());
}

#[tokio::test]
async fn a_working_directory_that_became_a_link_is_not_read() {
    let host = Host::new();
    let secret = host.root.path().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("key.txt"), "private").unwrap();
    let mut spec = shell("cd ..; mv work elsewhere; ln -s $SECRET work");
    spec.environment.insert("SECRET".to_owned(), secret.to_str().unwrap().to_owned());
    host.run(&spec).await;
    assert!(collect(&host, spec.key, &[".", "key.txt", "**"]).await.is_empty());
    soon(host.executor.destroy(spec.key)).await.unwrap();
    assert!(secret.join("key.txt").exists(), "destroy followed the link");
}

#[tokio::test]
async fn absolute_paths_of_the_runs_own_directories_are_named_from_the_root() {
    let host = Host::new();
    let spec = shell("echo t > $TMPDIR/t.log; echo w > w.log");
    host.run(&spec).await;
    let directory = host.directory_of(spec.key);
    let tmp = directory.join("tmp/*.log");
    let found = collect(&host, spec.key, &[tmp.to_str().unwrap(), "w.log", "/etc/hostname"]).await;
    let expected = directory.join("tmp/t.log").to_str().unwrap().trim_start_matches('/').to_owned();
    assert_eq!(found, [(expected, b"t\n".to_vec()), ("w.log".to_owned(), b"w\n".to_vec())].into());
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_read_keeps_the_tar_whole() {
    let host = Host::new();
    let spec = shell("head -c 4000000 /dev/zero | tr '\\000' x > a-large.bin; echo after > b.txt");
    host.run(&spec).await;
    let paths = ["*".to_owned()];
    let mut stream = soon(host.executor.collect(spec.key, &paths)).await.unwrap();
    // The header with the size is out, and only a few buffers of the content.
    let mut tar = soon(stream.next()).await.unwrap().unwrap().to_vec();
    let large = host.directory_of(spec.key).join("work/a-large.bin");
    std::fs::File::options().write(true).open(large).unwrap().set_len(100_000).unwrap();
    for piece in soon(stream.try_collect::<Vec<bytes::Bytes>>()).await.unwrap() {
        tar.extend_from_slice(&piece);
    }
    let mut archive = tar::Archive::new(&tar[..]);
    let sizes: Vec<(String, u64)> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path().unwrap().to_str().unwrap().to_owned(), entry.size()))
        .collect();
    assert_eq!(sizes, [("a-large.bin".to_owned(), 4_000_000), ("b.txt".to_owned(), 6)]);
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_reading() {
    let host = Host::new();
    let spec = shell("head -c 4000000 /dev/zero > large.bin");
    host.run(&spec).await;
    let mut stream = soon(host.executor.collect(spec.key, &["*".to_owned()])).await.unwrap();
    soon(stream.next()).await.unwrap().unwrap();
    drop(stream);
    soon(host.executor.destroy(spec.key)).await.unwrap();
    assert!(!host.directory_of(spec.key).exists());
}
