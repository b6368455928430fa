//! One run is one trace, whatever it runs on: from the caller's own span through accept, dispatch and the queue to the
//! worker's steps, the engine's, and back to the producer.

use std::collections::BTreeMap;
use std::process::Command;

use futures::TryStreamExt as _;
use gantry_api_types::request::CreateRun;
use gantry_api_types::run::Status;
use gantry_client::{ApiClient, LogQuery, Transport};
use gantry_domain::id::RunId;
use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::collector::{Collector, Span};
use crate::eventually;

/// A secret that the installation must have, for a trace that must not: `GANTRY_SECRETS_TRACED`.
pub const SECRET: (&str, &str) = ("TRACED", "s3cret-of-the-traced-run");
const VARIABLE: &str = "variable-of-the-traced-run";
const COMMAND: &str = "command-of-the-traced-run";

const CALLER: &str = "b7ad6b7169203331";

/// As the caller of one test run only would send it.
fn traceparent() -> (String, String) {
    let trace = format!("{:032x}", rand::random::<u128>() | 1);
    (format!("00-{trace}-{CALLER}-01"), trace)
}

thread_local! {
    static PARENT: std::cell::RefCell<Option<HeaderValue>> = const { std::cell::RefCell::new(None) };
}

fn with_parent(headers: &mut HeaderMap) {
    PARENT.with_borrow(|parent| {
        if let Some(parent) = parent {
            headers.insert("traceparent", parent.clone());
        }
    });
}

/// What executes the run.
#[derive(Debug, Clone, Copy)]
pub enum Executor<'a> {
    Process,
    /// A container of this image, which the engine must not have yet.
    Docker {
        image: &'a str,
    },
}

/// Creates a run at `url` as part of a trace, waits for its end, and for its spans at the collector, to which everything
/// there must report. Answers the run's id and its spans.
pub async fn one_run_is_one_trace(
    url: &str,
    key: &str,
    executor: Executor<'_>,
    collector: &Collector,
) -> (RunId, Vec<Span>) {
    let client = ApiClient::new(Transport::http(url).unwrap().with_headers(with_parent), key);
    let (image, moment) = match executor {
        Executor::Process => (None, 0),
        // So that it is seen while it is there.
        Executor::Docker { image } => (Some(image.to_owned()), 3),
    };
    let script = format!(": {COMMAND}; echo told $TRACEPARENT; echo done > traced.txt; sleep {moment}");
    let at_most_once = Some(image.is_none());
    let request = CreateRun {
        image,
        command: Some(["sh", "-c", &script].map(str::to_owned).to_vec()),
        variables: BTreeMap::from([("OF_THE_RUN".to_owned(), VARIABLE.to_owned())]),
        secrets: vec![SECRET.0.to_owned()],
        artifacts: Some(vec!["traced.txt".to_owned()]),
        // Its start is told before; that of the container while it runs.
        at_most_once,
        ..CreateRun::default()
    };
    let (parent, trace) = traceparent();
    // The test's own future stays on its thread.
    PARENT.set(Some(HeaderValue::from_str(&parent).unwrap()));
    let created = client.create_run(&request, None).await;
    PARENT.set(None);
    let id: RunId = created.unwrap().id.parse().unwrap();
    if let Executor::Docker { .. } = executor {
        let label = eventually("the run's container", || async { trace_label(id) }).await;
        assert_eq!(label, trace, "the container's label");
    }
    let run = eventually("the run's end", || async {
        let run = client.get_run(id).await.unwrap();
        run.status.is_final().then_some(run)
    })
    .await;
    assert_eq!(run.status, Status::Passed, "{run:?}");

    let log: Vec<_> = client.logs(id, LogQuery::default(), None).await.unwrap().try_collect().await.unwrap();
    let log = String::from_utf8_lossy(&log.concat()).into_owned();
    let told = log
        .lines()
        .find_map(|line| line.strip_prefix("told "))
        .expect("what the command was told")
        .to_owned();
    let spans = eventually("all spans at the collector", || async {
        let spans = collector.trace(&trace);
        // The last ones of each process: those before them were sent with them, or earlier.
        ["attempt", "dispatch", "publish", "finish", "destroy", "POST /worker/v1/runs/{run}/finish"]
            .iter()
            .all(|name| spans.iter().any(|span| span.name == *name))
            .then_some(spans)
    })
    .await;
    assert_eq!(told.split('-').nth(1), Some(trace.as_str()), "the command is told of its trace: {told}");
    assert_story(&spans, id, &told);
    if let Executor::Docker { image } = executor {
        assert_engine(&spans, image);
    }
    for hidden in [SECRET.1, VARIABLE, COMMAND, key] {
        assert!(!collector.heard_of(hidden), "{hidden:?} went to the collector");
    }
    (id, spans)
}

/// What the engine says of the run's container.
fn trace_label(id: RunId) -> Option<String> {
    let filter = format!("label=gantry.run={id}");
    let listed = ["ps", "-a", "--filter", &filter, "--format", "{{.Label \"gantry.trace\"}}"];
    let output = Command::new("docker").args(listed).output().expect("docker is installed");
    assert!(output.status.success(), "docker ps: {}", String::from_utf8_lossy(&output.stderr));
    let labels = String::from_utf8(output.stdout).expect("text");
    let mut labels = labels.lines();
    let first = labels.next()?;
    assert_eq!(labels.next(), None, "one attempt, one container");
    Some(first.to_owned())
}

/// Creating says that the image is missing, so there are two of those.
fn assert_engine(spans: &[Span], image: &str) {
    let prepare = only(spans, "prepare");
    let pull = only(spans, "pull");
    assert_eq!((&pull.parent, pull.attribute("container.image.name")), (&prepare.id, image));
    let creates: Vec<_> = spans.iter().filter(|span| span.name == "create").collect();
    assert_eq!(creates.len(), 2, "{creates:?}");
    for create in creates {
        assert_eq!(create.parent, prepare.id, "{create:?}");
    }
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    found[0]
}

fn assert_story(spans: &[Span], id: RunId, told: &str) {
    let accept = only(spans, "POST /api/v1/runs");
    assert_eq!(accept.parent, CALLER, "the caller's trace goes on");
    assert_eq!((accept.kind, accept.attribute("http.response.status_code")), (SpanKind::Server, "202"));
    let dispatch = only(spans, "dispatch");
    assert_eq!(dispatch.parent, accept.id);
    let publish = only(spans, "publish");
    assert_eq!((&publish.parent, publish.kind), (&dispatch.id, SpanKind::Producer));
    assert_eq!(publish.attribute("messaging.destination.name"), "default");
    let attempt = only(spans, "attempt");
    assert_eq!((&attempt.parent, attempt.kind), (&publish.id, SpanKind::Consumer));
    assert_eq!((attempt.attribute("attempt"), attempt.attribute("ending")), ("1", "exited"));
    assert_eq!(
        told.split('-').nth(2),
        Some(attempt.id.as_str()),
        "the command is told of its attempt: {told}"
    );
    for (step, call) in [
        ("claim", Some("POST /worker/v1/runs/{run}/claim")),
        ("prepare", None),
        ("starting", None),
        ("start", None),
        ("wait", None),
        ("collect", Some("PUT /worker/v1/runs/{run}/artifacts")),
        ("finish", Some("POST /worker/v1/runs/{run}/finish")),
        ("destroy", None),
    ] {
        let span = only(spans, step);
        // A start that need not be told first is told while the command is waited for.
        let told_late = step == "starting" && span.parent == only(spans, "wait").id;
        assert!(told_late || span.parent == attempt.id, "{step}: {span:?}");
        if let Some(call) = call {
            let call = only(spans, call);
            assert_eq!((&call.parent, call.kind), (&span.id, SpanKind::Server), "{step} calls the producer");
        }
    }
    let organization = accept.attribute("org.id");
    assert!(organization.starts_with("org_"), "{accept:?}");
    for span in spans {
        assert_eq!(span.attribute("run.id"), id.to_string(), "{span:?}");
        // Whose run it is, a worker learns from its claim.
        if span.name != "claim" {
            assert_eq!(span.attribute("org.id"), organization, "{span:?}");
        }
        assert!(!span.failed, "{span:?}");
    }
}
