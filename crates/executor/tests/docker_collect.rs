//! Files come out of a stopped container byte by byte, whatever they are called, and nothing but files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod docker_support;

use docker_support::*;
use futures::{StreamExt, TryStreamExt};
use gantry_executor::{Executor, ExecutorError};

#[tokio::test]
async fn paths_and_globs_bring_what_they_name() {
    with(options(), async |docker| {
        let mut spec = shell(
            "mkdir -p reports/deep/er 'with space' cypress/reports /tmp/out/x && cd /app && \
             echo 1 >reports/a.xml && echo 2 >reports/deep/er/b.xml && echo 3 >'with space/ünïcode ☃.txt' && \
             echo 4 >cypress/reports/c.html && echo 5 >junit-1.xml && echo 6 >/tmp/out/x/d.xml && echo 7 >/tmp/out/e.log && \
             mkdir -p out-1 out-2 && echo 8 >out-1/f && echo 9 >out-2/g && : >empty",
        );
        spec.image = Some(TEST_IMAGE.to_owned());
        assert_eq!(run(&docker, &spec).await.unwrap().code(), 0);
        for (paths, expected) in [
            (&["reports"][..], &["reports/a.xml", "reports/deep/er/b.xml"][..]),
            (&["./reports//", "reports/a.xml"], &["reports/a.xml", "reports/deep/er/b.xml"]),
            (&["/app/reports", "reports"], &["app/reports/a.xml", "app/reports/deep/er/b.xml"]),
            (&["cypress/reports", "missing", "missing/*.xml", "empty/x", "empty"], &["cypress/reports/c.html", "empty"]),
            (&["*.xml"], &["junit-1.xml"]),
            (&["**/*.xml"], &["junit-1.xml", "reports/a.xml", "reports/deep/er/b.xml"]),
            (&["/tmp/out/**/*.xml"], &["tmp/out/x/d.xml"]),
            (&["/tmp/out"], &["tmp/out/e.log", "tmp/out/x/d.xml"]),
            (&["out-?", "with space"], &["out-1/f", "out-2/g", "with space/ünïcode ☃.txt"]),
            (&["reports/*/er", "../etc/passwd"], &["reports/deep/er/b.xml"]),
            (&["/etc/passwd"], &["etc/passwd"]),
            (&["nothing", "*.nothing"], &[]),
            (&[], &[]),
        ] {
            let files = collected(&docker, spec.key, paths).await;
            let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, expected, "{paths:?}");
        }
        let files = collected(&docker, spec.key, &["out-*"]).await;
        assert_eq!(files, [("out-1/f".to_owned(), b"8\n".to_vec()), ("out-2/g".to_owned(), b"9\n".to_vec())]);
        let everything = collected(&docker, spec.key, &["."]).await;
        assert!(everything.iter().any(|(name, _)| name == "entrypoint.sh"), "the image's own files, too");
    })
    .await;
}

#[tokio::test]
async fn from_the_root_directory_names_stay_whole() {
    with(options(), async |docker| {
        let spec = shell("mkdir -p /r/s; echo x >/r/s/t.out; echo y >/u.out");
        run(&docker, &spec).await.unwrap();
        for paths in [&["r", "*.out"][..], &["/r", "/*.out"], &["**/*.out"]] {
            let files = collected(&docker, spec.key, paths).await;
            let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["r/s/t.out", "u.out"], "{paths:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn links_and_pipes_are_left_out_and_the_rest_comes() {
    with(options(), async |docker| {
        let spec = shell(
            "mkdir r; echo 1 >r/a; ln -s /etc/passwd r/passwd; ln -s / r/root; ln r/a r/hard; mkfifo r/pipe; echo 2 >r/z; ln -s r l",
        );
        run(&docker, &spec).await.unwrap();
        let files = collected(&docker, spec.key, &["r", "l"]).await;
        let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["r/a", "r/z"]);
    })
    .await;
}

#[tokio::test]
async fn long_names_come_whole() {
    with(options(), async |docker| {
        let part = "n".repeat(120);
        let deep = [part.as_str(); 10].join("/");
        let name = format!("{deep}/{}é", "f".repeat(200));
        let script = format!(
            "mkdir -p r/{deep} && echo long >'r/{name}' && printf x >'r/new\nline' && echo s >r/short"
        );
        let spec = shell(&script);
        assert_eq!(run(&docker, &spec).await.unwrap().code(), 0);
        let files = collected(&docker, spec.key, &["r"]).await;
        assert_eq!(
            files,
            [
                ("r/new\nline".to_owned(), b"x".to_vec()),
                (format!("r/{name}"), b"long\n".to_vec()),
                ("r/short".to_owned(), b"s\n".to_vec()),
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn a_huge_file_streams_in_constant_memory() {
    const SIZE: u64 = 400 << 20;
    with(options(), async |docker| {
        let spec = shell(&format!("mkdir r; truncate -s {SIZE} r/huge; echo end >r/z"));
        run(&docker, &spec).await.unwrap();
        let mut pieces = docker.collect(spec.key, &["r".to_owned()]).await.unwrap();
        let (mut total, mut largest) = (0, 0);
        while let Some(piece) = pieces.try_next().await.unwrap() {
            total += piece.len() as u64;
            largest = largest.max(piece.len());
        }
        assert_eq!(total, 512 + SIZE + 512 + 512 + 1024);
        assert!(largest <= 1 << 20, "{largest}");
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak_kb < 150_000, "{peak_kb} kB");
    })
    .await;
}

#[tokio::test]
async fn files_of_a_volume_come_too_and_the_volume_goes() {
    with(options(), async |docker| {
        let base = shell("true");
        run(&docker, &base).await.unwrap();
        let tag = format!("gantry-volume-test:{}", std::process::id());
        let (repo, version) = tag.split_once(':').unwrap();
        let commit = bollard::query_parameters::CommitContainerOptionsBuilder::default()
            .container(&container_name(&base))
            .repo(repo)
            .tag(version)
            .changes("VOLUME /data")
            .build();
        engine().commit_container(commit, bollard::models::ContainerConfig::default()).await.unwrap();

        let mut spec = shell("echo kept >/data/x");
        spec.image = Some(tag.clone());
        run(&docker, &spec).await.unwrap();
        assert_eq!(
            collected(&docker, spec.key, &["/data"]).await,
            [("data/x".to_owned(), b"kept\n".to_vec())]
        );
        let mounts = engine().inspect_container(&container_name(&spec), None).await.unwrap().mounts.unwrap();
        let volume = mounts[0].name.clone().unwrap();
        docker.destroy(spec.key).await.unwrap();
        let gone = engine().inspect_volume(&volume).await;
        assert!(gone.is_err(), "{gone:?}");
        engine()
            .remove_image(&tag, None::<bollard::query_parameters::RemoveImageOptions>, None)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_collection_from_a_container_that_is_gone_fails() {
    with(options(), async |docker| {
        let spec = shell("true");
        run(&docker, &spec).await.unwrap();
        engine().remove_container(&container_name(&spec), None).await.unwrap();
        for path in ["x", "/etc"] {
            let outcome = match docker.collect(spec.key, &[path.to_owned()]).await {
                Ok(mut pieces) => pieces.next().await.unwrap().map(drop),
                Err(error) => Err(error),
            };
            assert!(matches!(outcome, Err(ExecutorError::Infrastructure(_))), "{outcome:?}");
        }
    })
    .await;
}
