//! A container gets what Gantry decided and nothing else, whatever its run asks for: what the engine says of it is compared,
//! field for field, with `golden/container.json`. There, `$name` stands for what follows from the specification.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod docker_support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use bollard::models::ContainerInspectResponse;
use docker_support::*;
use gantry_domain::spec::{Network, Resources};
use gantry_executor::docker::{DockerExecutor, DockerOptions, NetworkOptions};
use gantry_executor::{AttemptSpec, Executor, ExecutorError, Owner};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

const GOLDEN: &str = include_str!("golden/container.json");
const SECRET: &str = "s3cr3t-never-in-metadata";
const CASES: usize = 80;
const CAPS: Resources = Resources { cpu_millis: 4_000, memory_mb: 8_192, pids: 4_096 };

fn limited() -> DockerOptions {
    let mut options = options();
    options.network = NetworkOptions::default();
    options.slots = 2;
    options.resource_caps = Some(CAPS);
    options
}

fn any_spec() -> impl Strategy<Value = AttemptSpec> {
    let word = prop_oneof![
        4 => "[^\u{0}]{0,20}",
        1 => "[\n\r\t\"'\\\\$`;|&{}\\[\\]=]{1,12}",
        1 => prop::sample::select(vec![
            "--privileged", "--pid=host", "--net=host", "--cap-add=ALL", "-v/:/host", "--device=/dev/mem",
            "--security-opt=seccomp=unconfined", "\n\"}],\"Privileged\":true", "${HOME}", "a\r\nGANTRY_X=1", "\u{1b}[2J", "\u{feff}",
        ]).prop_map(str::to_owned),
    ];
    // Names the kernel takes, among them those that would mean something to a loader or an engine.
    let name = prop_oneof![
        6 => "[A-Za-z_][A-Za-z0-9_]{0,10}",
        1 => prop::sample::select(vec!["PATH", "HOME", "HOSTNAME", "LD_PRELOAD", "DOCKER_HOST", "IFS"]).prop_map(str::to_owned),
        1 => "[^=\u{0}]{1,8}",
    ];
    (
        prop::sample::select(vec![BUSYBOX, TEST_IMAGE]),
        prop::option::of(prop::collection::vec(word.clone(), 0..4)),
        prop::option::of(word.clone()),
        prop::collection::btree_map(name, word, 0..6),
        (10_u32..500_000, 16_u32..1_000_000, 8_u32..40_000, any::<u32>()),
        (any::<bool>(), 0_u32..2, prop::option::of("[0-9a-f]{32}")),
    )
        .prop_map(|(image, arguments, folder, mut environment, numbers, (alone, slot, trace_id))| {
            let (cpu_millis, memory_mb, pids, attempt) = numbers;
            environment.insert("SECRET".to_owned(), SECRET.to_owned());
            let mut made = spec(&["program"]);
            made.image = Some(image.to_owned());
            made.command = arguments.map(|words| [vec!["program".to_owned()], words].concat());
            made.folder = folder;
            made.environment = environment;
            made.resources = Resources { cpu_millis, memory_mb, pids };
            made.key.attempt = attempt;
            made.network = if alone { Network::None } else { Network::Outside };
            (made.slot, made.trace_id) = (slot, trace_id);
            made
        })
}

async fn made(docker: &DockerExecutor, spec: &AttemptSpec) -> ContainerInspectResponse {
    docker.prepare(spec, &Lines::default()).await.unwrap();
    let made = engine().inspect_container(&container_name(spec), None).await.unwrap();
    docker.destroy(spec.key).await.unwrap();
    made
}

#[tokio::test]
async fn whatever_is_asked_for_the_container_is_the_same() {
    let options = limited();
    let owner = options.owner;
    with(options, async |docker| {
        let cores = engine().info().await.unwrap().ncpu.unwrap();
        let mut runner = TestRunner::default();
        for _ in 0..CASES {
            let spec = any_spec().new_tree(&mut runner).unwrap().current();
            let made = made(&docker, &spec).await;
            let image = engine().inspect_image(spec.image.as_deref().unwrap()).await.unwrap();
            let of_image = image.config.and_then(|config| config.env).unwrap_or_default();
            assert_eq!(made.name.as_deref(), Some(format!("/{}", container_name(&spec)).as_str()));
            assert_golden(&made, &spec, owner, cores, &of_image);
        }
    })
    .await;
}

fn assert_golden(
    made: &ContainerInspectResponse,
    spec: &AttemptSpec,
    owner: Owner,
    cores: i64,
    of_image: &[String],
) {
    let golden = serde_json::from_str(GOLDEN).unwrap();
    let mut expected = fill(golden, &values(made, spec, owner, cores));
    let mut actual = said(made);
    // Newer engines hide more.
    for list in ["MaskedPaths", "ReadonlyPaths"] {
        let paths = |value: Value| -> BTreeSet<String> { serde_json::from_value(value).unwrap() };
        let (least, all) =
            (paths(expected["HostConfig"][list].take()), paths(actual["HostConfig"][list].take()));
        assert!(least.is_subset(&all), "{list}: {all:?}");
    }
    // Ours, and what is the image's and not ours.
    let environment: BTreeSet<String> = serde_json::from_value(actual["Config"]["Env"].take()).unwrap();
    expected["Config"]["Env"].take();
    let ours = spec.environment.iter().map(|(name, value)| format!("{name}={value}"));
    let named =
        |entry: &&String| entry.split_once('=').is_some_and(|(name, _)| !spec.environment.contains_key(name));
    assert_eq!(environment, ours.chain(of_image.iter().filter(named).cloned()).collect());
    assert_eq!(actual, expected, "for {spec:?}\n{}", serde_json::to_string_pretty(&actual).unwrap());
    // The values are in the environment, and nowhere else.
    let mut rest = made.clone();
    rest.config.as_mut().unwrap().env = None;
    assert!(!format!("{rest:?}").contains(SECRET));
}

/// What the engine says of the container's configuration; what is not set, whichever way it says so, is left out.
fn said(made: &ContainerInspectResponse) -> Value {
    prune(json!({ "Config": made.config, "HostConfig": made.host_config, "Mounts": made.mounts }))
        .expect("there is something")
}

fn prune(value: Value) -> Option<Value> {
    let kept = match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter_map(|(name, value)| Some((name, prune(value)?)));
            Value::Object(fields.collect())
        }
        Value::Array(items) if items.iter().all(|item| *item == json!(0)) => Value::Null,
        other => other,
    };
    let unset = [json!(null), json!(false), json!(0), json!(""), json!([]), json!({})];
    (!unset.contains(&kept)).then_some(kept)
}

/// What follows from a specification.
fn values(
    made: &ContainerInspectResponse,
    spec: &AttemptSpec,
    owner: Owner,
    cores: i64,
) -> BTreeMap<&'static str, Value> {
    let memory = i64::from(spec.resources.memory_mb.min(CAPS.memory_mb)) << 20;
    let cpus = i64::from(spec.resources.cpu_millis.min(CAPS.cpu_millis)).min(cores * 1000) * 1_000_000;
    let (program, arguments, directory) = match &spec.command {
        Some(words) => (&words[..1], words[1..].to_vec(), None),
        None => {
            let arguments = ["/app/entrypoint.sh".to_owned()].into_iter().chain(spec.folder.clone());
            (&["/bin/sh".to_owned()][..], arguments.collect(), Some("/app"))
        }
    };
    // An image may say where a command of its own choice begins.
    let working = directory.or_else(|| (spec.image.as_deref() == Some(TEST_IMAGE)).then_some("/app"));
    let mode = made.host_config.as_ref().and_then(|host| host.network_mode.clone()).unwrap_or_default();
    let network = match spec.network {
        Network::None => "none".to_owned(),
        Network::Outside => {
            let worker = owner.worker.to_string().to_lowercase();
            format!("gantry-{}{:03x}", &worker[worker.len() - 5..], spec.slot)
        }
    };
    assert_eq!(mode, network);
    let mut labels = BTreeMap::from([
        ("gantry.installation", owner.installation.to_string()),
        ("gantry.worker", owner.worker.to_string()),
        ("gantry.organization", spec.organization.to_string()),
        ("gantry.run", spec.key.run.to_string()),
        ("gantry.attempt", spec.key.attempt.to_string()),
    ]);
    labels.extend(spec.trace_id.clone().map(|id| ("gantry.trace", id)));
    BTreeMap::from([
        ("$image", json!(spec.image)),
        ("$program", json!(program)),
        ("$arguments", json!(arguments)),
        ("$directory", json!(working)),
        ("$labels", json!(labels)),
        ("$network", json!(network)),
        ("$memory", json!(memory)),
        ("$cpus", json!(cpus)),
        ("$pids", json!(spec.resources.pids.min(CAPS.pids))),
    ])
}

fn fill(golden: Value, values: &BTreeMap<&str, Value>) -> Value {
    match golden {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, fill(value, values)))
            .filter(|(_, value)| !value.is_null() && *value != json!([]))
            .collect(),
        Value::String(text) => values.get(text.as_str()).cloned().unwrap_or(Value::String(text)),
        other => other,
    }
}

#[tokio::test]
async fn what_could_mean_something_else_is_refused() {
    with(options(), async |docker| {
        let environment = |name: &str, value: &str| {
            let mut spec = spec(&["true"]);
            spec.environment.insert(name.to_owned(), value.to_owned());
            spec
        };
        let mut folder = spec(&["true"]);
        (folder.command, folder.folder) = (None, Some("a\0b".to_owned()));
        let refused = [
            spec(&["echo", "a\0b"]),
            spec(&[]),
            spec(&[""]),
            folder,
            environment("A", "b\0c"),
            environment("A\0", "b"),
            environment("LD_PRELOAD=/evil.so", "b"),
            environment("", "b"),
        ];
        for spec in refused {
            let outcome = docker.prepare(&spec, &Lines::default()).await;
            assert!(matches!(outcome, Err(ExecutorError::BadCommand(_))), "{spec:?}: {outcome:?}");
            not_made(&docker, &spec).await;
        }
        for image in [
            "--pid=host",
            "busybox:1.36 --privileged",
            "busybox:1.36\n",
            "BUSYBOX",
            "a\0b",
            "../../etc",
            "sha256:",
        ] {
            let mut spec = spec(&["true"]);
            spec.image = Some(image.to_owned());
            let outcome = docker.prepare(&spec, &Lines::default()).await;
            assert!(matches!(outcome, Err(ExecutorError::ImageNotFound(_))), "{image:?}: {outcome:?}");
            not_made(&docker, &spec).await;
        }
    })
    .await;
}

async fn not_made(docker: &DockerExecutor, spec: &AttemptSpec) {
    assert!(engine().inspect_container(&container_name(spec), None).await.is_err());
    docker.destroy(spec.key).await.unwrap();
}

/// An image that says as much as an image can.
const DEMANDING: &str = "FROM busybox:1.36\n\
    LABEL gantry.run=another gantry.installation=another gantry.attempt=7 gantry.worker=another\n\
    ENV SECRET=of-the-image ONLY=of-the-image\n\
    VOLUME /data\nEXPOSE 22\nHEALTHCHECK CMD touch /checked\nUSER 1000:1000\nSTOPSIGNAL SIGUSR1\n\
    ENTRYPOINT [\"/bin/false\"]\nCMD [\"of-the-image\"]\n";

/// Gone when the test is.
struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "--force", &self.0]).stdout(Stdio::null()).status();
    }
}

#[tokio::test]
async fn an_image_demands_in_vain() {
    let image = Image(format!("gantry-demanding:{}", std::process::id()));
    let mut build = Command::new("docker")
        .args(["build", "--quiet", "--tag", &image.0, "-"])
        .env("DOCKER_BUILDKIT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the docker command (`scripts/services start docker` installs it)");
    build.stdin.take().unwrap().write_all(DEMANDING.as_bytes()).unwrap();
    assert!(build.wait().unwrap().success());
    let options = limited();
    let owner = options.owner;
    with(options, async |docker| {
        let mut spec = shell("echo $SECRET $ONLY; id -u; ls /checked 2>/dev/null; sleep 1");
        spec.image = Some(image.0.clone());
        spec.environment.insert("SECRET".to_owned(), SECRET.to_owned());
        let ran = run(&docker, &spec).await.unwrap();
        assert_eq!(ran.stdout(), format!("{SECRET} of-the-image\n1000\n"));
        let made = engine().inspect_container(&container_name(&spec), None).await.unwrap();
        let volumes: Vec<String> =
            made.mounts.iter().flatten().filter_map(|mount| mount.name.clone()).collect();
        docker.destroy(spec.key).await.unwrap();
        // Its volume is one of nobody else's, and is gone with the container.
        assert_eq!(volumes.len(), 1);
        assert!(made.mounts.iter().flatten().all(|mount| mount.driver.as_deref() == Some("local")));
        assert!(engine().inspect_volume(&volumes[0]).await.is_err());

        let cores = engine().info().await.unwrap().ncpu.unwrap();
        let golden = serde_json::from_str(GOLDEN).unwrap();
        let mut expected = fill(golden, &values(&made, &spec, owner, cores));
        let mut actual = said(&made);
        for list in ["MaskedPaths", "ReadonlyPaths"] {
            (expected["HostConfig"][list], actual["HostConfig"][list]) = (json!(null), json!(null));
        }
        assert_eq!(actual["HostConfig"], expected["HostConfig"]);
        for ours in ["Labels", "Entrypoint", "Cmd", "Healthcheck", "Hostname", "WorkingDir"] {
            assert_eq!(actual["Config"][ours], expected["Config"][ours], "{ours}");
        }
        assert!(made.network_settings.unwrap().ports.unwrap_or_default().values().all(Option::is_none));
    })
    .await;
}
