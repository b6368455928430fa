use std::sync::Arc;

use gantry_outgoing::{Answer, Outgoing, OutgoingError, OutgoingOptions, OutgoingRequest};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::server::{Fickle, OUTSIDE};

/// Asks `https://HOST:PORT/` of a server whose certificate is for `certified`, which is trusted or not.
async fn ask(host: &str, certified: &str, trusted: bool) -> Result<Answer, OutgoingError> {
    let listener = TcpListener::bind((OUTSIDE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec![certified.to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsealed").await.unwrap();
        // The client may have gone with its answer.
        let _ = stream.shutdown().await;
    };
    let options = OutgoingOptions {
        allowed: OUTSIDE.parse().unwrap(),
        authorities: trusted.then(|| certificate.pem().into_bytes()),
        resolver: Fickle::new([&[OUTSIDE]]),
        ..OutgoingOptions::default()
    };
    let outgoing = Outgoing::new(options).unwrap();
    let target = format!("https://{host}:{port}/").parse().unwrap();
    tokio::join!(outgoing.send(OutgoingRequest::get(target)), serve).0
}

#[tokio::test]
async fn the_certificate_is_for_the_name_that_was_given_not_the_address_it_led_to() {
    assert_eq!(ask("hooks.example", "hooks.example", true).await.unwrap().body, "sealed");
    assert_eq!(ask("hooks.example.", "hooks.example", true).await.unwrap().body, "sealed");
    assert_eq!(ask(OUTSIDE, OUTSIDE, true).await.unwrap().body, "sealed");
    for (host, certified) in
        [("hooks.example", "other.example"), ("hooks.example", OUTSIDE), (OUTSIDE, "hooks.example")]
    {
        let error = ask(host, certified, true).await.unwrap_err();
        assert!(matches!(error, OutgoingError::Tls { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_told_nothing() {
    let error = ask("hooks.example", "hooks.example", false).await.unwrap_err();
    assert!(matches!(error, OutgoingError::Tls { .. }), "{error:?}");
}

#[test]
fn authorities_that_are_none_are_refused() {
    for pem in ["", "not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let options = OutgoingOptions { authorities: Some(pem.into()), ..OutgoingOptions::default() };
        assert!(Outgoing::new(options).is_err(), "{pem}");
    }
}
