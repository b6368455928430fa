//! Images that are not there: how they come, and what is said when they don't. The registry is on the loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod docker_support;
#[path = "docker_support/registry.rs"]
mod registry;

use std::time::{Duration, Instant};

use docker_support::*;
use gantry_executor::docker::{DockerExecutor, DockerOptions};
use gantry_executor::{AttemptSpec, Executor, ExecutorError, RegistryLogin};
use registry::Registry;

fn quick() -> DockerOptions {
    let mut options = options();
    options.pull.backoff = Duration::from_millis(20);
    options.pull.report_every = Duration::from_millis(200);
    options
}

fn with_image(image: &str) -> AttemptSpec {
    let mut spec = spec(&["/random"]);
    spec.image = Some(image.to_owned());
    spec
}

async fn failure(docker: &DockerExecutor, image: &str) -> ExecutorError {
    let spec = with_image(image);
    let error = docker.prepare(&spec, &Lines::default()).await.unwrap_err();
    docker.destroy(spec.key).await.unwrap();
    error
}

async fn remove_image(image: &str) {
    engine().remove_image(image, None::<bollard::query_parameters::RemoveImageOptions>, None).await.unwrap();
}

#[tokio::test]
async fn a_missing_image_is_pulled_once_and_then_used() {
    let registry = Registry::start().await;
    with(quick(), async |docker| {
        let image = registry.image("ok");
        let lines = Lines::default();
        docker.prepare(&with_image(&image), &lines).await.unwrap();
        let lines = lines.all();
        assert_eq!(lines.first().unwrap(), &format!("pulling {image}"));
        assert!(lines.last().unwrap().starts_with(&format!("pulled {image} in ")), "{lines:?}");

        let asked = registry.requests("ok", "manifests");
        let quiet = Lines::default();
        docker.prepare(&with_image(&image), &quiet).await.unwrap();
        assert_eq!(registry.requests("ok", "manifests"), asked, "an image that is there is never pulled");
        assert_eq!(quiet.all(), Vec::<String>::new());
        for key in docker.leftovers().await.unwrap() {
            docker.destroy(key).await.unwrap();
        }

        let pruned = docker.prune_images(Duration::from_secs(3600), 0).await.unwrap();
        assert_eq!(pruned, Vec::<String>::new(), "it was used a moment ago");
        assert_eq!(
            docker.prune_images(Duration::ZERO, 1).await.unwrap(),
            Vec::<String>::new(),
            "one is kept"
        );
        assert_eq!(docker.prune_images(Duration::ZERO, 0).await.unwrap(), std::slice::from_ref(&image));
        assert!(engine().inspect_image(&image).await.is_err());
        assert!(engine().inspect_image(BUSYBOX).await.is_ok(), "what others pulled stays");

        let by_digest = registry.by_digest("ok");
        docker.prepare(&with_image(&by_digest), &Lines::default()).await.unwrap();
        for key in docker.leftovers().await.unwrap() {
            docker.destroy(key).await.unwrap();
        }
        remove_image(&by_digest).await;
    })
    .await;
}

/// `ann:a registry's password`.
const LOGIN: &str = "Basic YW5uOmEgcmVnaXN0cnkncyBwYXNzd29yZA==";
const PASSWORD: &str = "a registry's password";

fn as_user(image: &str, password: Option<&str>) -> AttemptSpec {
    let login = |password: &str| RegistryLogin {
        registry: image.split('/').next().unwrap().to_owned(),
        username: "ann".to_owned(),
        password: password.to_owned(),
    };
    AttemptSpec { registry: password.map(login), ..with_image(image) }
}

#[tokio::test]
async fn a_private_image_is_for_who_may_pull_it_also_once_the_engine_has_it() {
    let registry = Registry::asking_for(Some(LOGIN)).await;
    with(quick(), async |docker| {
        let image = registry.image("ok");
        let prepare = async |password: Option<&str>| {
            let spec = as_user(&image, password);
            let lines = Lines::default();
            let prepared = docker.prepare(&spec, &lines).await;
            let told = format!("{prepared:?} {:?} {spec:?}", lines.all());
            assert!(!told.contains(PASSWORD), "{told}");
            (spec.key, prepared)
        };
        for password in [None, Some("another password")] {
            let (key, refused) = prepare(password).await;
            assert!(matches!(refused, Err(ExecutorError::ImageDenied(_))), "{refused:?}");
            docker.destroy(key).await.unwrap();
        }
        let (key, pulled) = prepare(Some(PASSWORD)).await;
        pulled.unwrap();
        let asked = registry.requests("ok", "manifests");
        let (again, prepared) = prepare(Some(PASSWORD)).await;
        prepared.unwrap();
        assert_eq!(registry.requests("ok", "manifests"), asked, "who may have it need not ask again");
        for password in [None, Some("another password")] {
            let (key, refused) = prepare(password).await;
            assert!(matches!(refused, Err(ExecutorError::ImageDenied(_))), "{refused:?}");
            docker.destroy(key).await.unwrap();
        }
        let container = engine()
            .inspect_container(&format!("gantry-{}-{}", key.run, key.attempt).to_ascii_lowercase(), None)
            .await
            .map(|container| format!("{container:?}"));
        let container = container.unwrap_or_else(|error| panic!("{error}"));
        assert!(!container.contains(PASSWORD) && !container.contains("YW5uOmEg"), "{container}");
        for key in [key, again] {
            docker.destroy(key).await.unwrap();
        }
        remove_image(&image).await;
    })
    .await;
}

#[tokio::test]
async fn an_image_is_not_named_by_the_beginning_of_its_id() {
    with(quick(), async |docker| {
        let id = engine().inspect_image(BUSYBOX).await.unwrap().id.unwrap();
        let hex = id.trim_start_matches("sha256:");
        for name in [id.as_str(), &hex[..12], hex] {
            let spec = with_image(name);
            let refused = docker.prepare(&spec, &Lines::default()).await;
            assert!(refused.is_err(), "{name}");
            docker.destroy(spec.key).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn not_found_denied_and_unreachable_are_told_apart() {
    let registry = Registry::start().await;
    with(quick(), async |docker| {
        let began = Instant::now();
        let error = failure(&docker, &registry.image("missing")).await;
        assert!(matches!(error, ExecutorError::ImageNotFound(_)), "{error:?}");
        let once = registry.requests("missing", "manifests");
        for repository in ["denied", "unauthorized"] {
            let error = failure(&docker, &registry.image(repository)).await;
            assert!(matches!(error, ExecutorError::ImageDenied(_)), "{repository}: {error:?}");
            assert!(registry.requests(repository, "manifests") <= once, "no second try");
        }
        for image in ["127.0.0.1:1/nobody:1", "registry.invalid/nobody:1"] {
            let error = failure(&docker, image).await;
            assert!(matches!(error, ExecutorError::RegistryUnreachable(_)), "{image}: {error:?}");
        }
        for image in ["UPPERcase", "a:b:c", "busybox@sha256:12"] {
            let error = failure(&docker, image).await;
            assert!(matches!(error, ExecutorError::ImageNotFound(_)), "{image}: {error:?}");
        }
        assert!(began.elapsed() < GENEROUS);
    })
    .await;
}

#[tokio::test]
async fn only_what_may_pass_is_tried_again() {
    let registry = Registry::start().await;
    with(quick(), async |docker| {
        let image = registry.image("flaky");
        let lines = Lines::default();
        let spec = with_image(&image);
        docker.prepare(&spec, &lines).await.unwrap();
        docker.destroy(spec.key).await.unwrap();
        remove_image(&image).await;

        let error = failure(&docker, &registry.image("down")).await;
        assert!(matches!(error, ExecutorError::RegistryUnreachable(_)), "{error:?}");
        let missing = failure(&docker, &registry.image("missing")).await;
        assert!(matches!(missing, ExecutorError::ImageNotFound(_)), "{missing:?}");
        assert_eq!(
            registry.requests("down", "manifests"),
            3 * registry.requests("missing", "manifests"),
            "three tries against one"
        );
    })
    .await;
}

#[tokio::test]
async fn a_registry_that_hangs_frees_the_slot() {
    let registry = Registry::start().await;
    let mut impatient = quick();
    impatient.pull.no_progress = Duration::from_secs(1);
    with(impatient, async |docker| {
        for repository in ["silent", "stalls"] {
            let began = Instant::now();
            let error = failure(&docker, &registry.image(repository)).await;
            assert!(
                matches!(&error, ExecutorError::RegistryUnreachable(text) if text.contains("sent nothing")),
                "{repository}: {error:?}"
            );
            assert!(began.elapsed() < Duration::from_secs(15), "{repository}: {:?}", began.elapsed());
        }
    })
    .await;

    let registry = Registry::start().await;
    let mut hurried = quick();
    hurried.pull.total = Duration::from_millis(700);
    with(hurried, async |docker| {
        let error = failure(&docker, &registry.image("slow")).await;
        assert!(
            matches!(&error, ExecutorError::RegistryUnreachable(text) if text.contains("within")),
            "{error:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn attempts_share_a_pull_and_see_its_progress() {
    let registry = Registry::start().await;
    with(quick(), async |docker| {
        let image = registry.image("slow");
        let specs = [with_image(&image), with_image(&image), with_image(&image)];
        let lines = [Lines::default(), Lines::default(), Lines::default()];
        let cancelled = {
            let (docker, spec) = (docker.clone(), specs[0].clone());
            tokio::spawn(async move { docker.prepare(&spec, &Lines::default()).await })
        };
        // The one that began the pull goes away while the others wait for it.
        let leave = async {
            while registry.requests("slow", "blobs") == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            cancelled.abort();
        };
        let (second, third, ()) =
            tokio::join!(docker.prepare(&specs[1], &lines[1]), docker.prepare(&specs[2], &lines[2]), leave);
        second.unwrap();
        third.unwrap();
        let seen = lines[1].all();
        assert!(seen.iter().any(|line| line.contains(" layers, ") && line.ends_with(" MB")), "{seen:?}");
        assert!(seen.len() >= 4 && seen.len() < 40, "{seen:?}");
        for spec in &specs {
            docker.destroy(spec.key).await.unwrap();
        }
        remove_image(&image).await;
        assert_eq!(registry.requests("slow", "broken"), 0);

        let alone = registry.image("ok");
        docker.prepare(&with_image(&alone), &Lines::default()).await.unwrap();
        assert_eq!(registry.requests("slow", "tag"), registry.requests("ok", "tag"));
        for key in docker.leftovers().await.unwrap() {
            docker.destroy(key).await.unwrap();
        }
        remove_image(&alone).await;
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_pull_ends_on_the_engine_too() {
    let registry = Registry::start().await;
    with(quick(), async |docker| {
        // Once layers come; engines before 23 wait for a silent registry's manifest without looking at their caller.
        let spec = with_image(&registry.image("slow"));
        let task = {
            let (docker, spec) = (docker.clone(), spec.clone());
            tokio::spawn(async move { docker.prepare(&spec, &Lines::default()).await })
        };
        while registry.requests("slow", "blobs") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        task.abort();
        let _ = task.await;
        docker.destroy(spec.key).await.unwrap();
        tokio::time::timeout(GENEROUS, async {
            while registry.requests("slow", "broken") == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the engine goes on pulling");
        assert!(engine().inspect_image(spec.image.as_deref().unwrap()).await.is_err());
    })
    .await;
}
