//! A hostile container on the engine we ship: what it tries, and that it gets nowhere. The same container on an engine as Docker
//! ships it gets everywhere: that is what the filter is there for, and how these tests show that they could fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _};
use gantry_domain::id::{InstallationId, OrganizationId, RunId, WorkerId};
use gantry_domain::spec::{Network, Resources};
use gantry_executor::docker::{DockerExecutor, DockerOptions};
use gantry_executor::{AttemptKey, AttemptSpec, Executor, Output, OutputStream, Owner, Progress};
use gantry_tests::eventually;
use gantry_tests::neighbourhood::{Kind, MACHINE, NEVER, Neighbourhood, Place, REACHABLE};

/// Tries everything at once; a packet that is dropped costs the whole patience. Says one line for each thing it got.
const ATTACK: &str = r#"
    gateway=$(ip route | sed -n 's/^default via \([0-9.]*\) .*/\1/p')
    visit() { said=$(nc -w 4 "$2" "$3" </dev/null 2>/dev/null); [ -z "$said" ] || echo "reached $1: $said"; }
    for target; do
      what=${target%%=*} place=${target#*=}
      address=${place%:*} port=${place##*:}
      case $address in
        gateway) address=$gateway ;;
        *[a-z]*)
          address=$(nslookup "$address" 2>/dev/null | sed -n '/^Name/,$p' | grep -oE '([0-9]+[.]){3}[0-9]+' | head -n 1)
          [ -n "$address" ] || continue
          echo "resolved $what" ;;
      esac
      visit "$what" "$address" "$port" &
    done
    wait
    find / -xdev -type s -exec echo socket {} ';' 2>/dev/null
    sed -n 's/^\([0-9a-f]*\) .* \(eth[0-9]*\)$/ipv6 \1 \2/p' /proc/net/if_inet6 2>/dev/null
    echo done
"#;

struct Quiet;

impl Progress for Quiet {
    fn line(&self, _: String) {}
}

fn run_of(slot: u32, words: Vec<String>) -> AttemptSpec {
    AttemptSpec {
        key: AttemptKey { run: RunId::new(), attempt: 1 },
        organization: OrganizationId::new(),
        image: Some("busybox:1.36".to_owned()),
        command: Some(words),
        folder: None,
        environment: BTreeMap::new(),
        resources: Resources { cpu_millis: 1000, memory_mb: 128, pids: 400 },
        registry: None,
        network: Network::Outside,
        slot,
        workdir: None,
        trace_id: None,
    }
}

fn shell(slot: u32, script: &str, arguments: Vec<String>) -> AttemptSpec {
    let words = ["sh", "-c", script, "sh"].map(str::to_owned).into_iter().chain(arguments);
    run_of(slot, words.collect())
}

/// The worker's own way to this engine.
async fn worker(near: &Neighbourhood, filtered_egress: bool) -> DockerExecutor {
    let owner = Owner { installation: InstallationId::new(), worker: WorkerId::new() };
    let options = DockerOptions { slots: 2, filtered_egress, ..DockerOptions::new(near.host(), owner) };
    DockerExecutor::connect(options).await.unwrap()
}

async fn start(worker: &DockerExecutor, spec: &AttemptSpec) -> OutputStream {
    worker.prepare(spec, &Quiet).await.unwrap();
    worker.start(spec.key).await.unwrap()
}

async fn lines(worker: &DockerExecutor, spec: &AttemptSpec) -> BTreeSet<String> {
    let output: Vec<Output> = start(worker, spec).await.try_collect().await.unwrap();
    worker.destroy(spec.key).await.unwrap();
    let text: Vec<u8> = output.iter().flat_map(|piece| piece.bytes.iter().copied()).collect();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

/// The first line that says this.
async fn says(output: &mut OutputStream, wanted: &str) -> String {
    let mut said = String::new();
    while let Some(piece) = output.next().await {
        said += &String::from_utf8_lossy(&piece.unwrap().bytes);
        if let Some(line) = said.lines().find(|line| line.contains(wanted)) {
            return line.to_owned();
        }
    }
    unreachable!("it never said {wanted:?}: {said}");
}

/// What to try: everything near, by address and by name, and the engine's machine by each of its addresses.
fn targets(near: &Neighbourhood, other_run: &[String]) -> Vec<String> {
    let mut targets = other_run.to_vec();
    for Place { name, address, .. } in &near.around_it {
        targets.push(format!("{name}={address}"));
        targets.push(format!("{name}-by-name={name}.near:{}", address.port()));
    }
    for Place { name, address, .. } in &near.inside {
        for (way, at) in [
            ("gateway", "gateway".to_owned()),
            ("bridge", "172.17.0.1".to_owned()),
            ("uplink", MACHINE.to_string()),
        ] {
            targets.push(format!("{name}-at-{way}={at}:{}", address.port()));
        }
    }
    targets
}

/// Another run, in the worker's other slot, that answers on a port: where to try it, and its output.
async fn another_run(worker: &DockerExecutor) -> (AttemptSpec, OutputStream, Vec<String>) {
    let script = "while :; do echo other-run | nc -l -p 8080; done & \
        i=0; until nc -w 1 127.0.0.1 8080 </dev/null | grep -q other-run; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done; \
        echo answers at $(ip -4 addr show eth0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'); wait";
    let spec = shell(1, script, vec![]);
    let mut output = start(worker, &spec).await;
    let line = says(&mut output, "answers at ").await;
    let address = line.rsplit(' ').next().unwrap().to_owned();
    assert!(address.starts_with("10.213."), "{line}");
    let container = format!("gantry-{}-1", spec.key.run).to_lowercase();
    let tries = vec![
        format!("other-run={address}:8080"),
        format!("other-run-by-name={container}:8080"),
        format!("other-run-by-host-name=gantry:8081"),
    ];
    (spec, output, tries)
}

fn names(places: &[Place]) -> BTreeSet<&'static str> {
    places.iter().map(|place| place.name).collect()
}

/// What was reached, without what was said there.
fn reached(lines: &BTreeSet<String>) -> BTreeSet<String> {
    let all =
        lines.iter().filter_map(|line| Some(line.strip_prefix("reached ")?.split_once(": ")?.0.to_owned()));
    all.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_gantry_dind_reaches_the_outside_and_nothing_near() {
    let near = tokio::task::block_in_place(|| Neighbourhood::start(Kind::GantryDind)).unwrap();
    tokio::task::block_in_place(|| near.prove_that_all_listen()).unwrap();
    assert!(near.is_filtered().unwrap());
    let worker = worker(&near, true).await;
    worker.check().await.expect("the engine says that it filters");
    let (other, _output, tries) = another_run(&worker).await;

    let seen = |near: &Neighbourhood| -> Vec<usize> {
        let forbidden = near.around_it.iter().filter(|place| !REACHABLE.contains(&place.name));
        forbidden.chain(&near.inside).map(Place::visits).collect()
    };
    let before = seen(&near);
    let got = lines(&worker, &shell(0, ATTACK, targets(&near, &tries))).await;
    assert!(got.contains("done"), "{got:?}");
    // Names are known to it, or asking by name would prove nothing.
    for name in names(&near.around_it) {
        assert!(got.contains(&format!("resolved {name}-by-name")), "{name}: {got:?}");
    }
    let allowed = REACHABLE.iter().flat_map(|name| [(*name).to_owned(), format!("{name}-by-name")]);
    assert_eq!(reached(&got), allowed.collect(), "{got:?}");
    assert!(!got.iter().any(|line| line.starts_with("socket ") || line.starts_with("ipv6 ")), "{got:?}");
    assert_eq!(seen(&near), before, "nobody near so much as saw a connection");

    // What an image's name makes the engine do is the run's doing as well.
    for place in near.around_it.iter().filter(|place| NEVER.contains(&place.name)) {
        assert!(!near.engine_reaches(place).unwrap(), "{}", place.name);
    }
    assert_eq!(seen(&near), before);

    // A run that may talk to nobody reaches not even what others may.
    let mut alone = shell(0, ATTACK, targets(&near, &tries));
    alone.network = Network::None;
    assert_eq!(lines(&worker, &alone).await, BTreeSet::from(["done".to_owned()]));

    worker.destroy(other.key).await.unwrap();
    worker.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_an_engine_without_a_filter_reaches_everything() {
    let near = tokio::task::block_in_place(|| Neighbourhood::start(Kind::Plain)).unwrap();
    assert!(!near.is_filtered().unwrap());
    let refusing = worker(&near, true).await;
    let refused = refusing.check().await.unwrap_err().to_string();
    assert!(refused.contains("allow_unverified_egress"), "{refused}");
    let unstarted = shell(0, "true", vec![]);
    let refused = refusing.prepare(&unstarted, &Quiet).await.unwrap_err();
    assert!(refused.to_string().contains("gantry-dind"), "{refused}");
    refusing.destroy(unstarted.key).await.unwrap();
    refusing.close().await.unwrap();

    for place in &near.around_it {
        assert!(near.engine_reaches(place).unwrap(), "{}", place.name);
    }
    let worker = worker(&near, false).await;
    let got = lines(&worker, &shell(0, ATTACK, targets(&near, &[]))).await;
    let mut everything: BTreeSet<String> = BTreeSet::new();
    for name in names(&near.around_it) {
        everything.extend([name.to_owned(), format!("{name}-by-name")]);
    }
    for name in names(&near.inside) {
        everything.extend(["gateway", "bridge", "uplink"].map(|way| format!("{name}-at-{way}")));
    }
    assert_eq!(reached(&got), everything, "{got:?}");
    worker.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_does_not_outlive_its_filter() {
    let near = tokio::task::block_in_place(|| Neighbourhood::start(Kind::GantryDind)).unwrap();
    let chains = [
        ["iptables", "FORWARD"],
        ["iptables", "GANTRY-EGRESS"],
        ["ip6tables", "GANTRY-INPUT"],
        ["iptables", "GANTRY-OUTPUT"],
    ];
    for [tables, chain] in chains {
        let (flushed, said) = near.on_the_machine(&[tables, "-w", "-t", "mangle", "-F", chain]).unwrap();
        // It may be restored at once: the engine may still be at the one before.
        assert!(flushed, "{tables} {chain}: {said}");
        eventually("the filter restored", || async { near.is_filtered().unwrap().then_some(()) }).await;
    }
    assert!(near.log().contains("restoring it") && near.engine_answers(), "{}", near.log());

    // The same, where nothing can be restored any more.
    let programs = "for each in iptables iptables-legacy; do \
        program=$(readlink -f \"$(command -v $each)\") && mount --bind /bin/false \"$program\" || exit 1; done";
    let (broken, said) = near
        .on_the_machine(&["sh", "-c", &format!("iptables -w -t mangle -F GANTRY-EGRESS && {programs}")])
        .unwrap();
    assert!(broken, "{said}");
    eventually("the engine ended", || async { (!near.engine_answers()).then_some(()) }).await;
    assert!(near.log().contains("ending the engine"), "{}", near.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_does_not_start_with_a_filter_that_is_not_what_was_meant() {
    for (variable, value, why) in [
        ("GANTRY_DIND_DENY", "10.0.0.0/8,pods", "'pods' is no IPv4 address or range"),
        ("GANTRY_DIND_DENY", "10.1.2.3/8", "the first of the range"),
        ("GANTRY_DIND_DENY", "fd00::/8", "'fd00::/8' is no IPv4 address or range"),
        ("GANTRY_DIND_ALLOW", "0.0.0.0/0", "'0.0.0.0/0' is no IPv4 address or range"),
        ("GANTRY_DIND_ALLOW", "169.254.169.254", "never reached, whatever is allowed"),
        ("GANTRY_DIND_ALLOW", "10.0.0.1:99999", "no port from 1 to 65535"),
        ("GANTRY_DIND_DNS", "kube-dns", "'kube-dns' is no IPv4 address"),
        ("GANTRY_DIND_DENNY", "10.0.0.0/8", "unknown setting: GANTRY_DIND_DENNY"),
    ] {
        let engine = concat!(env!("CARGO_MANIFEST_DIR"), "/../docker/dind/engine");
        // What it would do if it did start stays in a network of its own.
        let ended = std::process::Command::new("unshare")
            .args(["--net", engine, "--version"])
            .env(variable, value)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && said.contains(why), "{variable}={value}: {said}");
        assert!(said.contains("not started without its egress filter"), "{said}");
    }
}
