use futures::StreamExt as _;
use gantry_domain::id::{OrganizationId, RunId};

use super::*;

struct Lines(Mutex<Vec<String>>);

impl Progress for Lines {
    fn line(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

fn silent() -> Lines {
    Lines(Mutex::default())
}

fn spec() -> AttemptSpec {
    AttemptSpec {
        key: AttemptKey { run: RunId::new(), attempt: 1 },
        organization: OrganizationId::new(),
        image: None,
        command: Some(vec!["npx".to_owned()]),
        folder: None,
        environment: std::collections::BTreeMap::new(),
        resources: gantry_domain::spec::Resources::default(),
        slot: 0,
        network: gantry_domain::spec::Network::Outside,
        workdir: None,
        trace_id: None,
    }
}

#[tokio::test]
async fn an_ordinary_command_is_a_no_op_that_leaves_its_calls() {
    let (fake, spec) = (FakeExecutor::new(), spec());
    fake.prepare(&spec, &silent()).await.unwrap();
    assert_eq!(fake.start(spec.key).await.unwrap().count().await, 0);
    assert_eq!(fake.wait(spec.key).await, Ok(Exit { code: 0, oom_killed: false }));
    assert_eq!(fake.live(), 1);
    fake.destroy(spec.key).await.unwrap();
    assert_eq!(fake.live(), 0);
    assert_eq!(fake.calls_for(spec.key), [Verb::Prepare, Verb::Start, Verb::Wait, Verb::Destroy]);
    assert_eq!(fake.specs().len(), 1);
}

#[tokio::test]
async fn gates_hold_an_attempt_where_the_test_wants_it() {
    let (pulled, finished) = (Gate::new(), Gate::new());
    let (pull, finish) = (pulled.clone(), finished.clone());
    let fake = FakeExecutor::scripted(move |_| Script {
        prepare: Prepare::Hold(pull.clone()),
        progress: vec!["pulling".to_owned()],
        ..Script::exits(3).holds(&finish)
    });
    let (spec, lines) = (spec(), silent());
    let mut prepare = fake.prepare(&spec, &lines);
    assert!(futures::poll!(&mut prepare).is_pending());
    assert_eq!(*lines.0.lock().unwrap(), ["pulling"]);
    pulled.open();
    prepare.await.unwrap();
    let _output = fake.start(spec.key).await.unwrap();
    let mut wait = fake.wait(spec.key);
    assert!(futures::poll!(&mut wait).is_pending());
    finished.open();
    assert_eq!(wait.await.map(|exit| exit.code), Ok(3));
}

#[tokio::test]
async fn a_dropped_prepare_can_only_be_destroyed() {
    let fake =
        FakeExecutor::scripted(|_| Script { prepare: Prepare::Hold(Gate::new()), ..Script::default() });
    let (spec, lines) = (spec(), silent());
    {
        let mut prepare = fake.prepare(&spec, &lines);
        assert!(futures::poll!(&mut prepare).is_pending());
    }
    assert!(matches!(fake.start(spec.key).await, Err(ExecutorError::CallOrder(_))));
    fake.destroy(spec.key).await.unwrap();
    assert_eq!(fake.live(), 0);
}

#[tokio::test]
async fn failures_come_where_they_were_ordered_and_once() {
    let (fake, spec) = (FakeExecutor::new(), spec());
    let error = ExecutorError::Infrastructure("the engine is away".to_owned());
    fake.fail_next(Verb::Destroy, error.clone());
    fake.prepare(&spec, &silent()).await.unwrap();
    assert_eq!(fake.destroy(spec.key).await, Err(error));
    assert_eq!(fake.live(), 1);
    fake.destroy(spec.key).await.unwrap();
    assert_eq!(fake.live(), 0);

    fake.leave_behind(spec.key);
    assert_eq!(fake.leftovers().await, Ok(vec![spec.key]));
    fake.destroy(spec.key).await.unwrap();
    assert_eq!(fake.leftovers().await, Ok(vec![]));
}

#[tokio::test]
async fn a_lost_engine_fails_wait_and_lets_nothing_be_collected_before() {
    let lost = ExecutorError::Infrastructure("the engine died".to_owned());
    let told = lost.clone();
    let fake = FakeExecutor::scripted(move |_| Script { lose_exit: Some(told.clone()), ..Script::default() });
    let spec = spec();
    fake.prepare(&spec, &silent()).await.unwrap();
    let _output = fake.start(spec.key).await.unwrap();
    assert!(matches!(fake.collect(spec.key, &[]).await, Err(ExecutorError::CallOrder(_))));
    assert_eq!(fake.wait(spec.key).await, Err(lost));
}
