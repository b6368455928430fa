use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_mail::{
    Line, Mail, Mailer, OutboxOptions, SendError, SmtpCredentials, SmtpMailer, SmtpOptions, SmtpSecurity,
    Undelivered, outbox,
};

use crate::server::{Mood, Server};

pub fn mail(to: &str) -> Mail {
    Mail::new(
        to.parse().unwrap(),
        Line::new("Häuser\r\nBcc: x@example.com"),
        "Hello Ännchen\n.\n..\nBye".to_owned(),
        "<p>Hello</p>".to_owned(),
    )
}

pub fn options(server: &Server, security: SmtpSecurity) -> SmtpOptions {
    SmtpOptions {
        port: Some(server.address.port()),
        hello: Some("gantry.example.com".to_owned()),
        ..SmtpOptions::new("127.0.0.1", security, "Gantry <gantry@example.com>".parse().unwrap())
    }
}

fn plain(server: &Server) -> SmtpMailer {
    SmtpMailer::new(options(server, SmtpSecurity::Plain)).unwrap()
}

/// With limits that a test can wait for.
fn hasty(server: &Server) -> SmtpMailer {
    let limit = Duration::from_secs(1);
    let options = options(server, SmtpSecurity::Plain);
    SmtpMailer::new(SmtpOptions { connect_timeout: limit, send_timeout: limit * 2, ..options }).unwrap()
}

#[tokio::test]
async fn a_message_arrives_as_it_was_written() {
    let server = Server::start(Mood::default()).await;
    plain(&server).send(&mail("anna@example.com")).await.unwrap();
    let received = server.received().remove(0);
    assert_eq!(
        (received.from.as_str(), &received.to[..]),
        ("gantry@example.com", &["anna@example.com".to_owned()][..])
    );
    let (head, body) = received.data.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("From: Gantry <gantry@example.com>\r\n"), "{head}");
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    let decoded = body.replace("=C3=84", "Ä");
    assert!(decoded.contains("Hello Ännchen\r\n.\r\n..\r\nBye"), "{body}");
    assert_eq!(server.log(|log| log.commands[0].clone()), "EHLO gantry.example.com");
}

#[tokio::test]
async fn connections_are_kept_between_messages_and_limited() {
    let server = Server::start(Mood::default()).await;
    let mailer = Arc::new(
        SmtpMailer::new(SmtpOptions {
            connections: NonZeroUsize::new(2).unwrap(),
            ..options(&server, SmtpSecurity::Plain)
        })
        .unwrap(),
    );
    let sends = (0..20).map(|n| {
        let mailer = mailer.clone();
        async move { mailer.send(&mail(&format!("user{n}@example.com"))).await }
    });
    futures::future::try_join_all(sends).await.unwrap();
    assert_eq!(server.received().len(), 20);
    assert!(server.log(|log| log.connections) <= 2);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    let server = Server::start(Mood { one_each: true, ..Mood::default() }).await;
    let mailer = plain(&server);
    for n in 1..=3 {
        mailer.send(&mail("anna@example.com")).await.unwrap();
        assert_eq!(server.received().last().unwrap().connection, n);
    }
}

#[tokio::test]
async fn an_unknown_recipient_is_refused_for_good() {
    let server = Server::start(Mood { unknown: Some("nobody@example.com"), ..Mood::default() }).await;
    let mailer = plain(&server);
    let error = mailer.send(&mail("nobody@example.com")).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Refused(reason) if reason.as_str().contains("5.1.1 no such mailbox")),
        "{error:?}"
    );
    assert!(!error.to_string().contains('\u{7}'), "what a server says is made one visible line");
    mailer.send(&mail("anna@example.com")).await.unwrap();
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_server_that_asks_for_patience_is_tried_again_by_the_outbox() {
    let server = Server::start(Mood { greylists: 2, ..Mood::default() }).await;
    let mailer = plain(&server);
    let first = mailer.send(&mail("anna@example.com")).await.unwrap_err();
    assert!(first.may_pass() && first.to_string().contains("greylisted"), "{first}");
    let options = OutboxOptions { first_wait: Duration::from_millis(10), ..OutboxOptions::default() };
    let (outbox, task) = outbox(Arc::new(mailer), options);
    outbox.post(mail("anna@example.com")).unwrap();
    drop(outbox);
    assert_eq!(task.run(std::future::pending()).await, Undelivered(0));
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_may_pass_and_the_message_stays_the_same() {
    let server = Server::start(Mood { drops_in_data: 1, ..Mood::default() }).await;
    let mailer = plain(&server);
    let message = mail("anna@example.com");
    assert!(mailer.send(&message).await.unwrap_err().may_pass());
    assert!(server.received().is_empty());
    mailer.send(&message).await.unwrap();
    mailer.send(&message).await.unwrap();
    let ids = server.received().into_iter().map(|received| {
        received.data.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned()
    });
    let ids = ids.collect::<Vec<_>>();
    assert_eq!(ids, [format!("Message-ID: <{}@example.com>", message.id()), ids[0].clone()]);
}

#[tokio::test]
async fn a_silent_or_dripping_server_costs_a_bounded_time() {
    for mood in [Mood { silent: true, ..Mood::default() }, Mood { drips: true, ..Mood::default() }] {
        let server = Server::start(mood).await;
        let start = Instant::now();
        let error = hasty(&server).send(&mail("anna@example.com")).await.unwrap_err();
        assert!(error.may_pass() && error.to_string().contains("in time"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_connection_that_was_given_up_half_way_is_not_used_again() {
    let server = Server::start(Mood { silent_after_data: true, ..Mood::default() }).await;
    let mailer = hasty(&server);
    for connection in 1..=2 {
        let error = mailer.send(&mail("anna@example.com")).await.unwrap_err();
        assert!(error.may_pass(), "it may have been taken: {error}");
        assert_eq!(server.received().last().unwrap().connection, connection);
    }
}

#[tokio::test]
async fn nobody_there_may_pass() {
    let server = Server::start(Mood::default()).await;
    let mailer = plain(&server);
    drop(server);
    // The listener is gone as soon as its task has noticed.
    let error = loop {
        match mailer.send(&mail("anna@example.com")).await {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(error.may_pass());
}

#[tokio::test]
async fn a_server_may_want_to_know_who_sends() {
    let server = Server::start(Mood { user: Some(("gantry", "s3cret")), ..Mood::default() }).await;
    let with = |password: Option<&str>| {
        let credentials = password
            .map(|password| SmtpCredentials { username: "gantry".to_owned(), password: password.to_owned() });
        SmtpMailer::new(SmtpOptions { credentials, ..options(&server, SmtpSecurity::Plain) }).unwrap()
    };
    with(Some("s3cret")).send(&mail("anna@example.com")).await.unwrap();
    assert_eq!(server.received()[0].user.as_deref(), Some("gantry"));
    let error = with(Some("wrong")).send(&mail("anna@example.com")).await.unwrap_err();
    assert!(error.may_pass() && error.to_string().contains("535"), "an operator can mend that: {error}");
    assert!(!error.to_string().contains("wrong"));
    assert!(with(None).send(&mail("anna@example.com")).await.is_err());
    assert_eq!(server.received().len(), 1);
}
