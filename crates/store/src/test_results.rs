use async_trait::async_trait;
use gantry_domain::results::{TestResult, TestStatus};

use crate::{LogKey, Result};

/// Test results of attempts.
#[async_trait]
pub trait TestResultStore: Send + Sync {
    /// Stores the results of an attempt in place of any earlier ones; the order is kept.
    async fn put(&self, key: LogKey, results: &[TestResult]) -> Result<()>;

    /// Results with one of `statuses` (all when empty) from position `from` on, each with its position.
    async fn list(
        &self,
        key: LogKey,
        statuses: &[TestStatus],
        from: u32,
        limit: u32,
    ) -> Result<Vec<(u32, TestResult)>>;
}
