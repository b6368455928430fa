//! `amqps`: an authority of one's own is trusted when it is named, and only then.

use gantry_domain::spec::Pool;
use gantry_queue::{Queue as _, RabbitQueue};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::broker::{Broker, free_ports};
use crate::setup::{is_unavailable, message, next, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_authority_is_trusted_and_an_unknown_one_is_not() {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();

    let broker = Broker::new();
    let directory = broker.directory().to_owned();
    let file = |name: &str, content: String| {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let ca = file("ca.pem", authority_certificate.pem());
    let cert = file("cert.pem", certificate.pem());
    let key = file("key.pem", key.serialize_pem());
    let [port] = free_ports();
    let settings = format!(
        r#"[{{rabbit, [{{ssl_listeners, [{port}]}}, {{ssl_options, [{{cacertfile, {ca:?}}}, {{certfile, {cert:?}}},
            {{keyfile, {key:?}}}, {{verify, verify_none}}, {{fail_if_no_peer_cert, false}}]}}]}}]."#
    );
    let mut broker = broker.with_advanced(&settings);
    broker.start().await;

    let pool = Pool::default();
    let mut trusting = options(&format!("amqps://guest:guest@localhost:{port}/"));
    let doubting = RabbitQueue::connect(trusting.clone()).await.unwrap();
    assert!(is_unavailable(&doubting.publish(&pool, message()).await));
    trusting.ca_file = Some(ca);
    let queue = RabbitQueue::connect(trusting.clone()).await.unwrap();
    let expected = message();
    queue.publish(&pool, expected.clone()).await.unwrap();
    let mut consumer = queue.consume(&pool).await.unwrap();
    assert_eq!(next(&mut consumer).await.message, expected);
    // The right certificate of another host.
    trusting.uri = format!("amqps://guest:guest@127.0.0.1:{port}/");
    let elsewhere = RabbitQueue::connect(trusting).await.unwrap();
    assert!(is_unavailable(&elsewhere.depth(&pool).await));
}
