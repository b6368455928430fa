//! What most fault tests begin and end with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use gantry_api_types::request::{CreateRun, Priority};
use gantry_api_types::run::{Run, Status};
use gantry_client::ApiClient;
use gantry_domain::id::RunId;
use gantry_tests::cluster::{Cluster, Plan};
use gantry_tests::eventually;
use gantry_tests::faults::{Allowed, Checked, Checker, Load, Promise, effects_file};

/// A deployment, the file of effects, and when something went wrong.
pub struct Deployment {
    pub cluster: Cluster,
    pub effects: PathBuf,
    pub faults: Vec<SystemTime>,
}

impl Deployment {
    pub async fn start(plan: Plan) -> Self {
        let cluster = Cluster::start(plan).await.unwrap();
        let effects = effects_file(cluster.scratch());
        Self { cluster, effects, faults: Vec::new() }
    }

    /// Four submitters of short runs, well below what two workers can do, through the balancer, until told to stop.
    pub fn load(&self) -> Load {
        Load::start(
            vec![self.cluster.client()],
            4,
            &self.effects,
            (20, 400),
            Duration::from_millis(200),
            None,
        )
    }

    /// From now on recovery is measured.
    pub fn fault(&mut self) {
        self.faults.push(SystemTime::now());
    }

    pub async fn check(&self, promised: &BTreeMap<String, Promise>, allowed: Allowed) -> Checked {
        let (cluster, effects, faults) = (&self.cluster, &*self.effects, &*self.faults);
        let checked = Checker { cluster, promised, effects, allowed, faults }.check().await;
        cluster.broker_is_empty().await;
        checked
    }

    /// A run that goes before all others, goes on until its effect is written, and what was promised about it.
    pub async fn submit(&self, i: u64, sleep: Duration) -> (RunId, Promise) {
        let (request, promise) = gantry_tests::faults::fake_run(i, sleep, &self.effects);
        let request = CreateRun { priority: Some(Priority::High), ..request };
        let run = self.cluster.client().create_run(&request, None).await.unwrap();
        (run.id.parse().unwrap(), promise)
    }
}

pub async fn reaches(client: &ApiClient, id: RunId, status: Status) -> Run {
    eventually(&format!("{id} is {}", status.as_str()), || async {
        let run = client.get_run(id).await.ok()?;
        assert!(!run.status.is_final() || run.status == status, "{run:?}");
        (run.status == status).then_some(run)
    })
    .await
}

pub async fn ended(client: &ApiClient, id: RunId) -> Run {
    eventually(&format!("{id} ended"), || async {
        client.get_run(id).await.ok().filter(|run| run.status.is_final())
    })
    .await
}
