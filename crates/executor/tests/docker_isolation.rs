//! What a run finds when it looks around in its container, and whom it meets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod docker_support;

use std::collections::HashMap;

use docker_support::*;
use gantry_domain::id::WorkerId;
use gantry_domain::spec::Network;
use gantry_executor::docker::{DockerOptions, NetworkOptions};
use gantry_executor::{Executor, Owner};

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
