//! A container gets what Gantry decided and nothing else, whatever its run asks for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod docker_support;

use std::collections::{BTreeMap, HashMap};

use bollard::models::{ContainerInspectResponse, HostConfig};
use docker_support::*;
use gantry_domain::id::WorkerId;
use gantry_domain::spec::{Network, Resources};
use gantry_executor::docker::{DockerOptions, NetworkOptions};
use gantry_executor::{AttemptSpec, Executor, Owner};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const SECRET: &str = "s3cr3t-never-in-metadata";

fn any_spec() -> impl Strategy<Value = AttemptSpec> {
    let word = prop_oneof![
        "[^\u{0}]{0,20}",
        Just("--privileged".to_owned()),
        Just("--pid=host".to_owned()),
        Just("-v/:/host".to_owned()),
        Just("\n\"}],\"Privileged\":true".to_owned()),
    ];
    let name = "[A-Z_][A-Z0-9_]{0,10}";
    (
        prop::option::of(prop::collection::vec(word.clone(), 0..4)),
        prop::option::of(word.clone()),
        prop::collection::btree_map(name, word, 0..5),
        (10_u32..500_000, 16_u32..1_000_000, 8_u32..40_000, any::<u32>()),
    )
        .prop_map(|(arguments, folder, mut environment, (cpu_millis, memory_mb, pids, attempt))| {
            environment.insert("SECRET".to_owned(), SECRET.to_owned());
            let mut made = spec(&["program"]);
            made.command = arguments.map(|words| [vec!["program".to_owned()], words].concat());
            made.folder = folder;
            made.environment = environment;
            made.resources = Resources { cpu_millis, memory_mb, pids };
            made.key.attempt = attempt;
            made
        })
}

#[tokio::test]
async fn whatever_is_asked_for_the_container_is_the_same() {
    let mut options = options();
    options.resource_caps = Some(Resources { cpu_millis: 4_000, memory_mb: 8_192, pids: 4_096 });
    let owner = options.owner;
    with(options, async |docker| {
        let mut runner = TestRunner::default();
        for _ in 0..60 {
            let spec = any_spec().new_tree(&mut runner).unwrap().current();
            docker.prepare(&spec, &Lines::default()).await.unwrap();
            let made = engine().inspect_container(&container_name(&spec), None).await.unwrap();
            docker.destroy(spec.key).await.unwrap();
            assert_golden(&made, &spec, owner);
        }
    })
    .await;
}

fn assert_golden(made: &ContainerInspectResponse, spec: &AttemptSpec, owner: Owner) {
    let host = made.host_config.clone().unwrap();
    let empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    let blank = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    assert_eq!(host.privileged, Some(false));
    assert_eq!(host.cap_drop.as_deref(), Some(&["ALL".to_owned()][..]));
    assert!(empty(&host.cap_add) && empty(&host.group_add));
    assert_eq!(host.security_opt.as_deref(), Some(&["no-new-privileges:true".to_owned()][..]));
    assert!(
        empty(&host.binds) && empty(&host.volumes_from) && host.mounts.as_ref().is_none_or(Vec::is_empty)
    );
    assert!(made.mounts.as_ref().is_none_or(Vec::is_empty));
    assert!(host.devices.as_ref().is_none_or(Vec::is_empty) && empty(&host.device_cgroup_rules));
    assert!(host.device_requests.as_ref().is_none_or(Vec::is_empty));
    assert!(
        blank(&host.pid_mode)
            && blank(&host.uts_mode)
            && blank(&host.userns_mode)
            && blank(&host.cgroup_parent)
    );
    assert_eq!(host.ipc_mode.as_deref(), Some("private"));
    assert_eq!(host.network_mode.as_deref(), Some("none"));
    assert!(host.port_bindings.as_ref().is_none_or(HashMap::is_empty) && empty(&host.links));
    assert!(host.sysctls.as_ref().is_none_or(HashMap::is_empty) && empty(&host.extra_hosts));
    assert_ne!(host.oom_kill_disable, Some(true));
    assert_eq!(host.log_config.as_ref().unwrap().typ.as_deref(), Some("none"));
    assert!(host.masked_paths.as_ref().is_some_and(|paths| paths.contains(&"/proc/kcore".to_owned())));
    assert!(host.readonly_paths.as_ref().is_some_and(|paths| paths.contains(&"/proc/sys".to_owned())));
    assert_limits(&host, spec);

    let config = made.config.as_ref().unwrap();
    let labels: BTreeMap<_, _> = config.labels.clone().unwrap_or_default().into_iter().collect();
    let expected = BTreeMap::from(
        [
            ("gantry.installation", owner.installation.to_string()),
            ("gantry.worker", owner.worker.to_string()),
            ("gantry.organization", spec.organization.to_string()),
            ("gantry.run", spec.key.run.to_string()),
            ("gantry.attempt", spec.key.attempt.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    assert_eq!(labels, expected);
    assert_eq!(made.name.as_deref(), Some(format!("/{}", container_name(spec)).as_str()));
    assert_eq!((config.tty, config.open_stdin), (Some(false), Some(false)));
    let program = if spec.command.is_some() { "program" } else { "/bin/sh" };
    assert_eq!(config.entrypoint.as_deref(), Some(&[program.to_owned()][..]));
    if let Some(command) = &spec.command {
        assert_eq!(config.cmd.clone().unwrap_or_default(), command[1..]);
    }
    let environment = config.env.clone().unwrap_or_default();
    for (name, value) in &spec.environment {
        assert!(environment.contains(&format!("{name}={value}")), "{name}");
    }
    // The values are in the environment, and nowhere else.
    let mut rest = made.clone();
    rest.config.as_mut().unwrap().env = None;
    assert!(!format!("{rest:?}").contains(SECRET));
}

fn assert_limits(host: &HostConfig, spec: &AttemptSpec) {
    let memory = i64::from(spec.resources.memory_mb.min(8_192)) << 20;
    assert_eq!((host.memory, host.memory_swap), (Some(memory), Some(memory)));
    assert_eq!(host.pids_limit, Some(i64::from(spec.resources.pids.min(4_096))));
    let cpus = host.nano_cpus.unwrap();
    assert!(cpus > 0 && cpus <= i64::from(spec.resources.cpu_millis.min(4_000)) * 1_000_000);
    assert_eq!(host.shm_size, Some(64 << 20));
    let files = &host.ulimits.as_ref().unwrap()[0];
    assert_eq!((files.name.as_deref(), files.soft), (Some("nofile"), files.hard));
}

#[tokio::test]
async fn inside_there_are_no_privileges_and_no_host() {
    with(options(), async |docker| {
        let script = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ulimit -n; hostname; \
                      ls /dev | grep -cE '^(sd|vd|nvme|kmsg|mem)'; ls /sys/class/net; cat /proc/1/comm; \
                      mount -t tmpfs x /mnt 2>/dev/null && echo mounted; chroot / true 2>/dev/null && echo chrooted; \
                      ls /var/run/docker.sock 2>/dev/null; (echo x >/proc/sys/kernel/core_pattern) 2>/dev/null && echo wrote; :";
        let ran = run_once(&docker, &shell(script)).await.unwrap();
        // The kernel lists capabilities in an order of its own.
        let mut lines: Vec<_> = ran.stdout().lines().map(|line| line.replace('\t', " ")).collect();
        lines[..4].sort();
        assert_eq!(
            lines,
            [
                "CapBnd: 0000000000000000",
                "CapEff: 0000000000000000",
                "NoNewPrivs: 1",
                "Seccomp: 2",
                "16384",
                "gantry",
                "0",
                "lo",
                "docker-init"
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn a_fork_bomb_meets_its_limit() {
    with(options(), async |docker| {
        let mut spec = shell("i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo all");
        spec.resources.pids = 20;
        let ran = run_once(&docker, &spec).await.unwrap();
        assert!(!ran.stdout().contains("all") && ran.stderr().contains("fork"), "{ran:?}");
    })
    .await;
}

fn with_networks() -> DockerOptions {
    let mut options = options();
    options.network = NetworkOptions::default();
    options.slots = 2;
    options
}

async fn networks_of(owner: Owner) -> Vec<bollard::models::Network> {
    let label = format!("gantry.installation={}", owner.installation);
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = bollard::query_parameters::ListNetworksOptionsBuilder::default().filters(&filters).build();
    engine().list_networks(Some(options)).await.unwrap()
}

#[tokio::test]
async fn each_slot_has_a_network_of_its_own_that_is_made_once() {
    let options = with_networks();
    let owner = options.owner;
    with(options.clone(), async |docker| {
        docker.warm_up().await.unwrap();
        let made = networks_of(owner).await;
        assert_eq!(made.len(), 2);
        for network in &made {
            let bridge = &network.options.as_ref().unwrap()["com.docker.network.bridge.name"];
            assert!(bridge.starts_with("gantry-") && bridge.len() <= 15, "{bridge}");
            let subnet = network.ipam.clone().unwrap().config.unwrap()[0].subnet.clone().unwrap();
            assert!(subnet.starts_with("10.213.") && subnet.ends_with("/28"), "{subnet}");
            assert_eq!(network.labels.as_ref().unwrap()["gantry.worker"], owner.worker.to_string());
        }
        let ids = |networks: &[bollard::models::Network]| {
            let mut ids: Vec<_> = networks.iter().map(|network| network.id.clone()).collect();
            ids.sort();
            ids
        };
        let again = connect(options.clone()).await;
        again.warm_up().await.unwrap();
        assert_eq!(ids(&networks_of(owner).await), ids(&made), "a later life takes them over");

        let mut other = options.clone();
        other.owner.worker = WorkerId::new();
        other.slots = 1;
        let other = connect(other).await;
        other.warm_up().await.unwrap();
        assert_eq!(networks_of(owner).await.len(), 1, "idle ones of other workers are removed");

        let ran = run_once(&docker, &shell("ls /sys/class/net")).await.unwrap();
        assert_eq!(ran.stdout(), "eth0\nlo\n", "who still needs its network makes it again");
        other.close().await.unwrap();
    })
    .await;
    assert_eq!(networks_of(owner).await.len(), 0, "closing removes them");
}

#[tokio::test]
async fn a_run_without_network_has_only_itself() {
    with(with_networks(), async |docker| {
        let mut spec =
            shell("ls /sys/class/net; tail -n +2 /proc/net/route; nc -w 2 192.0.2.1 80 </dev/null");
        assert_eq!(run_once(&docker, &spec).await.unwrap().stdout().lines().next(), Some("eth0"));
        spec.key.attempt = 2;
        spec.network = Network::None;
        let ran = run_once(&docker, &spec).await.unwrap();
        assert_eq!((ran.stdout().as_str(), ran.code()), ("lo\n", 1), "{ran:?}");
        assert!(ran.stderr().contains("unreachable"), "{ran:?}");
    })
    .await;
}

#[tokio::test]
async fn runs_cannot_reach_each_other() {
    with(with_networks(), async |docker| {
        let listener = shell("while :; do echo reached | nc -l -p 8080; done");
        docker.prepare(&listener, &Lines::default()).await.unwrap();
        let _output = docker.start(listener.key).await.unwrap();
        let address = {
            let found = engine().inspect_container(&container_name(&listener), None).await.unwrap();
            let networks = found.network_settings.unwrap().networks.unwrap();
            networks.into_values().next().unwrap().ip_address.unwrap()
        };
        let script = format!(
            "i=0; while [ $i -lt 3 ]; do nc -w 1 {address} 8080 </dev/null; i=$((i+1)); done; wget -q -T 2 -O - http://{address}:8080/; echo done"
        );
        let mut visitor = shell(&script);
        visitor.slot = 1;
        let ran = run_once(&docker, &visitor).await.unwrap();
        assert_eq!(ran.stdout(), "done\n");
        // The listener does answer: to itself.
        let own = bollard::models::ExecConfig {
            cmd: Some(["sh", "-c", "nc -w 2 127.0.0.1 8080"].map(str::to_owned).to_vec()),
            attach_stdout: Some(true),
            ..Default::default()
        };
        let exec = engine().create_exec(&container_name(&listener), own).await.unwrap();
        let bollard::exec::StartExecResults::Attached { mut output, .. } =
            engine().start_exec(&exec.id, None).await.unwrap()
        else {
            panic!("attached")
        };
        let answer = futures::StreamExt::next(&mut output).await.unwrap().unwrap();
        assert_eq!(answer.into_bytes(), "reached\n");
    })
    .await;
}
