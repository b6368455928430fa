//! Two versions side by side, as in a rolling upgrade or its way back: older workers with newer producers, then the
//! reverse, and every mixture in between. Nothing accepted is lost, nothing that can be read is set aside, and what
//! cannot be read is set aside, counted and listed, while everything else goes on.
//!
//! Which version a process plays is decided on the wire and in the store: see [`dress`].

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod broker_line;
mod documents;
mod dress;
mod fleet;
mod worker_line;

use std::time::Duration;

use gantry_api_types::fleet::WorkerStatus;
use gantry_api_types::run::Status;
use gantry_domain::id::RunId;
use gantry_tests::eventually;
use gantry_tests::faults::{Allowed, Checker, Load, Row};

use crate::broker_line::Spoil;
use crate::dress::Version::{Newer, NextProtocol, Older};
use crate::fleet::Fleet;

const NEXT_VERSION: &str = r#"{"v":2,"all":"else is different"}"#;
const GARBAGE: &str = "none of ours";

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_upgrade_and_its_way_back_lose_nothing() {
    let mut fleet = Fleet::start(Newer).await;
    let waiting = [fleet.submit(0).await, fleet.submit(1).await, fleet.submit(2).await];
    let kept = fleet.make_unreadable(&waiting[..2], [NEXT_VERSION, GARBAGE]).await;
    fleet.add_worker(Older).await;
    fleet.add_worker(Older).await;
    fleet.cluster.workers_online(2).await;
    let client = fleet.cluster.client();
    let altering = fleet.alter_documents();
    let load = Load::start(vec![client], 2, &fleet.effects, (20, 100), Duration::from_millis(300), None);

    // Older workers, newer producers. What cannot be read keeps nobody waiting.
    fleet.passes(waiting[2]).await;
    fleet.goes_on(&load).await;
    fleet.lists_unreadable(&waiting[..2]).await;
    // Into the reverse, one process after another.
    fleet.restart_worker(0, Newer).await;
    fleet.goes_on(&load).await;
    fleet.restart_producer(0, Older).await;
    fleet.goes_on(&load).await;
    // As if the next processes were of a version that reads it.
    fleet.make_readable(&waiting[..2], &kept).await;
    fleet.restart_worker(1, Newer).await;
    fleet.goes_on(&load).await;
    fleet.restart_producer(1, Older).await;
    fleet.goes_on(&load).await;
    for run in &waiting[..2] {
        fleet.passes(*run).await;
    }
    fleet.lists_unreadable(&[]).await;
    fleet.has_published();
    assert_eq!(fleet.unreadable_messages().await, 0.0, "a readable message was set aside");

    fleet.messages_that_nobody_can_read(&load).await;
    fleet.a_worker_of_the_next_protocol(&load).await;

    let altered = altering.stop().await;
    assert!(altered > 20, "{altered} documents were altered while runs went on");
    let (mut promised, _) = load.stop().await;
    promised.append(&mut fleet.promised);
    let checker = Checker {
        cluster: &fleet.cluster,
        promised: &promised,
        effects: &fleet.effects,
        allowed: Allowed::Nothing,
        faults: &[],
    };
    let checked = checker.check().await;
    fleet.cluster.broker_is_empty().await;
    Row::new("two versions side by side through a rolling restart", 1, 0).report(&checked);
}

impl Fleet {
    /// They are dead-lettered and counted, and their runs are published again.
    async fn messages_that_nobody_can_read(&mut self, load: &Load) {
        let hows = [Spoil::NextVersion, Spoil::Garbage, Spoil::NextVersion];
        for (i, how) in hows.into_iter().enumerate() {
            self.of_producers[i % 2].spoil(how);
        }
        let spoiled =
            |fleet: &Self| -> Vec<_> { fleet.of_producers.iter().flat_map(|line| line.spoiled()).collect() };
        self.keeps_busy_until("three spoiled messages", |fleet| spoiled(fleet).len() == hows.len()).await;
        let spoiled = spoiled(self);
        self.goes_on(load).await;
        let client = self.cluster.client();
        for message in &spoiled {
            let run: RunId = message.run.parse().unwrap();
            eventually("a run whose message could not be read", || async {
                client.get_run(run).await.ok().filter(|run| run.status == Status::Passed)
            })
            .await;
        }
        let mut bodies: Vec<_> = spoiled.into_iter().map(|message| message.body).collect();
        eventually("the messages listed", || async {
            (client.set_aside().await.ok()?.messages == Some(3)).then_some(())
        })
        .await;
        let mut dead = self.take_dead(bodies.len()).await;
        bodies.sort();
        dead.sort();
        assert_eq!(dead, bodies, "what was set aside is what could not be read, and nothing else");
        assert_eq!(self.unreadable_messages().await, 3.0);
    }

    /// Workers upgraded before the producers wait, with a reason that people see; so do those whose producers went back.
    async fn a_worker_of_the_next_protocol(&mut self, load: &Load) {
        let early = self.add_worker(NextProtocol).await;
        eventually("the worker says what it waits for", || async {
            self.cluster.workers[early].log().contains("upgrade the producers first").then_some(())
        })
        .await;
        self.goes_on(load).await;
        assert_eq!(self.status_of(early).await, None, "it is none of the fleet yet");
        self.producers_are(NextProtocol);
        self.becomes(early, WorkerStatus::Online).await;
        self.works(early).await;
        self.producers_are(Older);
        let note = self.becomes(early, WorkerStatus::Paused).await;
        assert!(note.contains("upgrade the producers first"), "{note}");
        self.goes_on(load).await;
        self.producers_are(NextProtocol);
        self.becomes(early, WorkerStatus::Online).await;
        self.works(early).await;
    }
}
