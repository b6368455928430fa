use gantry_mail::{Mailer, SmtpCredentials, SmtpMailer, SmtpOptions, SmtpSecurity};

use crate::server::{Mood, Server, Tls};
use crate::smtp::{mail, options};

const USER: (&str, &str) = ("gantry", "s3cret");

fn mailer(server: &Server, security: SmtpSecurity, trusted: bool) -> SmtpMailer {
    let (username, password) = (USER.0.to_owned(), USER.1.to_owned());
    let credentials = Some(SmtpCredentials { username, password });
    let authorities = trusted.then(|| server.authority.clone());
    SmtpMailer::new(SmtpOptions { credentials, authorities, ..options(server, security) }).unwrap()
}

#[tokio::test]
async fn mail_is_encrypted_from_the_first_byte_or_after_starttls() {
    for (tls, security) in [(Tls::Upgraded, SmtpSecurity::StartTls), (Tls::Implicit, SmtpSecurity::Tls)] {
        let server = Server::start(Mood { tls, user: Some(USER), ..Mood::default() }).await;
        let mailer = mailer(&server, security, true);
        mailer.send(&mail("anna@example.com")).await.unwrap();
        mailer.send(&mail("berta@example.com")).await.unwrap();
        let received = server.received();
        assert!(received.iter().all(|mail| mail.encrypted && mail.user.as_deref() == Some("gantry")));
        assert_eq!((received.len(), received[1].connection), (2, 1));
    }
}

#[tokio::test]
async fn what_somebody_says_between_starttls_and_the_handshake_is_not_believed() {
    let injects = Some("\r\n250-trust me\r\n250 AUTH PLAIN");
    let server =
        Server::start(Mood { tls: Tls::Upgraded, injects, user: Some(USER), ..Mood::default() }).await;
    let mailer = mailer(&server, SmtpSecurity::StartTls, true);
    let error = mailer.send(&mail("anna@example.com")).await.unwrap_err();
    assert!(error.may_pass() && error.to_string().contains("between STARTTLS and the handshake"), "{error}");
    let commands = server.log(|log| log.commands.clone());
    assert_eq!(commands, ["EHLO gantry.example.com", "STARTTLS"], "no credentials, nothing in the clear");
}

#[tokio::test]
async fn a_server_that_cannot_encrypt_is_told_nothing() {
    let server = Server::start(Mood { user: Some(USER), ..Mood::default() }).await;
    let error =
        mailer(&server, SmtpSecurity::StartTls, true).send(&mail("anna@example.com")).await.unwrap_err();
    assert!(error.may_pass() && error.to_string().contains("STARTTLS"), "{error}");
    let commands = server.log(|log| log.commands.clone());
    assert!(commands.iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{commands:?}");
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_told_nothing() {
    for (tls, security) in [(Tls::Upgraded, SmtpSecurity::StartTls), (Tls::Implicit, SmtpSecurity::Tls)] {
        let server = Server::start(Mood { tls, user: Some(USER), ..Mood::default() }).await;
        let error = mailer(&server, security, false).send(&mail("anna@example.com")).await.unwrap_err();
        assert!(error.may_pass(), "{error}");
        let commands = server.log(|log| log.commands.clone());
        assert!(commands.iter().all(|line| line.starts_with("EHLO") || line == "STARTTLS"), "{commands:?}");
    }
}

#[tokio::test]
async fn the_certificate_is_for_the_host_that_was_configured() {
    let named = Some("mail.example.com");
    let server = Server::start(Mood { tls: Tls::Implicit, named, ..Mood::default() }).await;
    let error = mailer(&server, SmtpSecurity::Tls, true).send(&mail("anna@example.com")).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert!(server.log(|log| log.commands.is_empty()));
}
