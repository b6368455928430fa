//! Ways inward, all of which must be closed.

use std::process::Command;

use gantry_outgoing::{Limits, Outgoing, OutgoingError, OutgoingOptions, OutgoingRequest, Target};

use crate::server::{Fickle, INSIDE, OUTSIDE, Say, Server, outgoing, outgoing_with};

/// Nobody listens there.
const PROXY: &str = "http://127.0.0.1:1/";

fn hook(target: Target) -> OutgoingRequest {
    OutgoingRequest::post_json(target, "{}")
}

fn is_not_public(error: &OutgoingError) -> bool {
    matches!(error, OutgoingError::NotPublic { .. })
}

#[tokio::test]
async fn an_address_inside_is_not_asked() {
    let inside = Server::start(INSIDE, Say::ok("secret")).await;
    let port = inside.address.port();
    let outgoing = outgoing();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::1]",
    ] {
        let target: Target = format!("http://{host}:{port}/").parse().unwrap();
        assert!(is_not_public(&outgoing.check(&target).unwrap_err()), "{host}");
        assert!(is_not_public(&outgoing.send(hook(target)).await.unwrap_err()), "{host}");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_name_of_this_machine_is_not_asked() {
    let inside = Server::start(INSIDE, Say::ok("secret")).await;
    // With the resolver of the system.
    let outgoing = Outgoing::new(OutgoingOptions::default()).unwrap();
    let error = outgoing.send(hook(inside.named("localhost"))).await.unwrap_err();
    assert!(is_not_public(&error), "{error:?}");
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_leads_where_it_was_checked() {
    let (outside, inside) = Server::pair(Say::ok("outside"), Say::ok("secret")).await;
    let resolver = Fickle::new([&[OUTSIDE], &[INSIDE]]);
    let outgoing = outgoing_with(resolver.clone(), Limits::default());
    let answer = outgoing.send(hook(outside.named("rebind.example"))).await.unwrap();
    assert_eq!((&answer.body[..], resolver.asked()), (&b"outside"[..], 1), "asked once, connected to that");
    let error = outgoing.send(hook(outside.named("rebind.example"))).await.unwrap_err();
    assert!(is_not_public(&error), "every request is checked anew: {error:?}");
    assert_eq!((outside.connections(), inside.connections(), resolver.asked()), (1, 0, 2));
}

#[tokio::test]
async fn a_name_that_leads_inside_in_part_is_not_asked_at_all() {
    let (outside, inside) = Server::pair(Say::ok("outside"), Say::ok("secret")).await;
    for answer in [
        &[OUTSIDE, INSIDE][..],
        &[INSIDE, OUTSIDE],
        &[OUTSIDE, "::1"],
        &[OUTSIDE, "::ffff:127.0.0.1"],
        &[OUTSIDE, "fe80::1"],
    ] {
        let outgoing = outgoing_with(Fickle::new([answer]), Limits::default());
        let error = outgoing.send(hook(outside.named("both.example"))).await.unwrap_err();
        assert!(is_not_public(&error), "{answer:?}");
    }
    assert_eq!((outside.connections(), inside.connections()), (0, 0));
}

#[tokio::test]
async fn metadata_addresses_are_not_asked_whatever_they_are_called() {
    for address in [
        "169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "64:ff9b::a9fe:a9fe",
    ] {
        let outgoing = outgoing_with(Fickle::new([&[address]]), Limits::default());
        let target = "http://metadata.example/latest/meta-data/".parse().unwrap();
        let error = outgoing.send(OutgoingRequest::get(target)).await.unwrap_err();
        assert_eq!(error, OutgoingError::NotPublic { address: address.parse().unwrap() });
        assert!(!error.to_string().contains(address), "whoever gave the name is not told where it leads");
    }
}

#[tokio::test]
async fn a_redirect_inward_is_not_followed() {
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let inside = Server::start(INSIDE, Say::ok("secret")).await;
        let location = inside.url("/secret").origin();
        let redirect = Say::Text(format!(
            "HTTP/1.1 {status}\r\nLocation: {location}/secret\r\nContent-Length: 0\r\n\r\n"
        ));
        let outside = Server::start(OUTSIDE, redirect).await;
        let error = outgoing().send(hook(outside.url("/hook"))).await.unwrap_err();
        assert!(
            matches!(error, OutgoingError::Redirected(code) if status.starts_with(code.as_str())),
            "{error:?}"
        );
        assert!(!error.may_pass());
        assert_eq!((outside.connections(), inside.connections()), (1, 0));
    }
}

#[tokio::test]
async fn unknown_names_and_names_inside_look_the_same_from_outside() {
    let unknown = outgoing_with(Fickle::new([]), Limits::default());
    let inside = outgoing_with(Fickle::new([&["10.0.0.7"]]), Limits::default());
    let empty = outgoing_with(Fickle::new([&[]]), Limits::default());
    let target: Target = "http://db.internal/".parse().unwrap();
    let mut texts = Vec::new();
    for outgoing in [unknown, inside, empty] {
        texts.push(outgoing.send(hook(target.clone())).await.unwrap_err().to_string());
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
}

#[tokio::test]
async fn ports_of_other_servers_are_not_asked() {
    // Nothing is connected to: the address is allowed for one port, and public nowhere.
    let allowed = "127.0.0.2:25".parse().unwrap();
    let outgoing = Outgoing::new(OutgoingOptions { allowed, ..OutgoingOptions::default() }).unwrap();
    let check = |url: &str| outgoing.check(&url.parse().unwrap());
    assert_eq!(check("http://127.0.0.2:25/"), Ok(()), "allowed by the operator");
    assert!(is_not_public(&check("http://127.0.0.2:26/").unwrap_err()));
    for port in [1, 22, 25, 53, 110, 445, 1023] {
        assert_eq!(check(&format!("http://8.8.8.8:{port}/")), Err(OutgoingError::Port(port)));
    }
    for port in [80, 443, 1024, 8080, 65535] {
        assert_eq!(check(&format!("http://8.8.8.8:{port}/")), Ok(()));
    }
}

/// Runs itself again with proxies in the environment, which a process cannot change for itself without harm.
#[tokio::test]
async fn a_proxy_of_the_environment_is_not_asked() {
    if std::env::var_os("http_proxy").is_none_or(|proxy| proxy != PROXY) {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "inward::a_proxy_of_the_environment_is_not_asked"])
            .envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, PROXY)))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
        return;
    }
    let outside = Server::start(OUTSIDE, Say::ok("outside")).await;
    let answer = outgoing().send(hook(outside.url("/hook"))).await.unwrap();
    assert_eq!(answer.body, "outside");
    assert!(outside.asked()[0].starts_with("POST /hook HTTP/1.1\r\n"), "not the form for proxies");
}
