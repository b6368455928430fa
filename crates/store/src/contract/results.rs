use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::results::{TestResult, TestStatus};

use crate::{LogKey, Stores};

fn key() -> LogKey {
    LogKey { organization: OrganizationId::new(), run: RunId::new(), attempt: 1 }
}

/// Mostly passes, a failure now and then.
fn results(count: u32) -> Vec<TestResult> {
    (0..count)
        .map(|i| TestResult {
            file: (i % 2 == 0).then(|| format!("tests/test_{}.py", i / 100)),
            suite: format!("suite {}", i % 7),
            name: format!("test ä {i}"),
            status: match i % 450 {
                7 => TestStatus::Failed,
                9 => TestStatus::Skipped,
                200 => TestStatus::Flaky,
                _ => TestStatus::Passed,
            },
            duration_ms: i.into(),
            message: (i % 450 == 7).then(|| "expected 1\nwas 2".to_owned()),
            retries: i % 3,
        })
        .collect()
}

pub async fn results_keep_their_order(stores: Stores) {
    let (key, results) = (key(), results(1234));
    assert_eq!(stores.tests.list(key, &[], 0, 10).await.unwrap(), []);
    stores.tests.put(key, &results).await.unwrap();
    let mut all = Vec::new();
    loop {
        let page = stores.tests.list(key, &[], all.len() as u32, 170).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let wanted: Vec<_> = (0..).zip(results).collect();
    assert_eq!(all, wanted);
    let other = LogKey { organization: OrganizationId::new(), ..key };
    assert_eq!(stores.tests.list(other, &[], 0, 10).await.unwrap(), []);
}

pub async fn results_are_replaced_as_a_whole(stores: Stores) {
    let key = key();
    let other = LogKey { attempt: 2, ..key };
    stores.tests.put(key, &results(500)).await.unwrap();
    stores.tests.put(other, &results(3)).await.unwrap();
    stores.tests.put(key, &results(2)).await.unwrap();
    assert_eq!(stores.tests.list(key, &[], 0, 1000).await.unwrap().len(), 2);
    stores.tests.put(key, &[]).await.unwrap();
    assert_eq!(stores.tests.list(key, &[], 0, 1000).await.unwrap(), []);
    assert_eq!(stores.tests.list(other, &[], 0, 1000).await.unwrap().len(), 3);
}

pub async fn results_are_found_by_status(stores: Stores) {
    let (key, results) = (key(), results(2000));
    stores.tests.put(key, &results).await.unwrap();
    for statuses in
        [vec![TestStatus::Failed], vec![TestStatus::Failed, TestStatus::Flaky], TestStatus::ALL.to_vec()]
    {
        let wanted: Vec<_> =
            (0..).zip(results.clone()).filter(|(_, result)| statuses.contains(&result.status)).collect();
        let (mut found, mut from) = (Vec::new(), 0);
        loop {
            let page = stores.tests.list(key, &statuses, from, 3.max(wanted.len() as u32 / 4)).await.unwrap();
            let Some((last, _)) = page.last() else { break };
            from = last + 1;
            found.extend(page);
        }
        assert_eq!(found, wanted);
    }
}
