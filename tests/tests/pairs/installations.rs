//! What the scenarios run against.

use std::any::Any;

use gantry_client::ApiClient;
use gantry_tests::Installation;
use gantry_tests::cluster::{Addresses, Cluster, OwnNames, Plan};

/// Runs that may wait: more than other scenarios keep waiting.
pub const QUOTA: usize = 40;

/// A running installation, and clients of two of its replicas (the same one where there is only one).
pub struct Running {
    pub here: ApiClient,
    pub there: ApiClient,
    /// Ends it when dropped.
    _all: Box<dyn Any + Send>,
}

/// `gantry up` with these settings instead of what is embedded.
pub async fn embedded(outside: &[&str]) -> Running {
    let names = OwnNames::new();
    let mut installation =
        Installation::new("fake").unwrap().set("GANTRY_SLOTS", "4").set("GANTRY_CONCURRENCY_GROUP", "1");
    installation = installation.set("GANTRY_QUOTAS_QUEUED_RUNS", &QUOTA.to_string());
    for &setting in outside {
        let value = match setting {
            "GANTRY_QUEUE" => Addresses::private().amqp,
            "GANTRY_STORE" => Addresses::private().store(&names),
            "GANTRY_REDIS" => Addresses::private().redis.unwrap(),
            "GANTRY_BLOBS" => format!("file://{}", installation.scratch().join("elsewhere").display()),
            other => panic!("{other}"),
        };
        installation = installation.set(setting, &value);
        match setting {
            "GANTRY_QUEUE" => installation = installation.set("GANTRY_QUEUE_PREFIX", names.prefix()),
            "GANTRY_REDIS" => installation = installation.set("GANTRY_REDIS_PREFIX", names.prefix()),
            _ => {}
        }
    }
    let up = installation.up().unwrap();
    let client = up.client().unwrap();
    // Fields are dropped in order: the process before its directory.
    Running { here: client.clone(), there: client, _all: Box::new((up, installation)) }
}

pub async fn deployed() -> Running {
    start(Plan::over(Addresses::private())).await
}

pub async fn deployed_without_redis() -> Running {
    start(Plan::over(Addresses { redis: None, ..Addresses::private() })).await
}

async fn start(plan: Plan) -> Running {
    let plan = plan
        .patient()
        .producers_with("GANTRY_CONCURRENCY_GROUP", "1")
        .producers_with("GANTRY_QUOTAS_QUEUED_RUNS", &QUOTA.to_string());
    let cluster = Cluster::start(plan).await.unwrap();
    Running { here: cluster.client_of(0), there: cluster.client_of(1), _all: Box::new(cluster) }
}
