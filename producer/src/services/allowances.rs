//! What an organization may use: its own limits where it has any, else the installation's. Looked up once in a while, not
//! once a request.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gantry_domain::id::OrganizationId;
use gantry_domain::identity::OrganizationLimits;
use gantry_ratelimit::Limit;
use gantry_reports::ArchiveLimits;
use tokio::time::Instant;

use crate::config::ProducerConfig;
use crate::state::App;

/// How long what was looked up is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(3);
const MAX_CACHED: usize = 10_000;

/// What holds for one organization; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub requests: Option<Limit>,
    pub run_creations: Option<Limit>,
    /// Runs that are taken on at once.
    pub concurrent_runs: Option<u32>,
    /// Runs that are pending or queued.
    pub queued_runs: Option<u32>,
    /// Of one attempt's log.
    pub log_bytes: u64,
    /// Of one attempt.
    pub artifacts: ArchiveLimits,
}

impl Allowance {
    /// Rates and counts of its own replace the installation's. Sizes are what the installation can bear, so that of two
    /// the smaller holds.
    pub fn of(own: &OrganizationLimits, config: &ProducerConfig) -> Self {
        let rate = |own: Option<u32>, installation: Option<Limit>| {
            own.and_then(NonZeroU32::new).map(|count| Limit::per_minute(count, count)).or(installation)
        };
        let limits = &config.limits;
        let bytes = |installation: u64| own.artifact_bytes.unwrap_or(u64::MAX).min(installation);
        Self {
            requests: rate(own.api_per_minute, config.rate_limits.organization),
            run_creations: rate(own.run_creations_per_minute, config.rate_limits.run_creation),
            concurrent_runs: own.concurrent_runs.or(config.concurrency.organization),
            queued_runs: own.queued_runs.or(config.quotas.queued_runs),
            log_bytes: own.log_bytes.unwrap_or(u64::MAX).min(limits.log_bytes),
            artifacts: ArchiveLimits {
                packed_bytes: bytes(limits.artifact_packed_bytes),
                unpacked_bytes: bytes(limits.artifact_unpacked_bytes),
                entries: limits.artifact_files,
            },
        }
    }
}

/// Allowances looked up a moment ago.
#[derive(Default)]
pub struct Allowances(Mutex<HashMap<OrganizationId, (Allowance, Instant)>>);

impl Allowances {
    fn known(&self) -> MutexGuard<'_, HashMap<OrganizationId, (Allowance, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that is known. When it is too old it is believed once more by everybody but this caller, who looks.
    fn fresh(&self, organization: OrganizationId) -> Option<Allowance> {
        let mut known = self.known();
        let (allowance, at) = known.get_mut(&organization)?;
        if at.elapsed() < BELIEVED_FOR {
            return Some(*allowance);
        }
        *at = Instant::now();
        None
    }

    fn learn(&self, organization: OrganizationId, allowance: Allowance) {
        let mut known = self.known();
        if known.len() >= MAX_CACHED {
            known.retain(|_, (_, at)| at.elapsed() < BELIEVED_FOR);
        }
        known.insert(organization, (allowance, Instant::now()));
    }

    /// What the organization's limits were changed on this replica: holds at once, elsewhere within three seconds.
    pub fn changed(&self, organization: OrganizationId) {
        self.known().remove(&organization);
    }
}

/// What this organization may use. While the store is away, what was last known; before that, what the installation says.
pub async fn of(app: &App, organization: OrganizationId) -> Allowance {
    if let Some(allowance) = app.allowances.fresh(organization) {
        return allowance;
    }
    match app.parts.stores.organizations.get(organization).await {
        Ok(found) => {
            let own = found.map(|found| found.limits).unwrap_or_default();
            let allowance = Allowance::of(&own, &app.config);
            app.allowances.learn(organization, allowance);
            allowance
        }
        Err(error) => {
            tracing::debug!(org.id = %organization, %error, "the organization's limits are not to be had");
            let last = app.allowances.known().get(&organization).map(|(allowance, _)| *allowance);
            last.unwrap_or_else(|| Allowance::of(&OrganizationLimits::default(), &app.config))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organization_has_limits_of_its_own() {
        let mut config = ProducerConfig::default();
        config.concurrency.organization = Some(5);
        let none = Allowance::of(&OrganizationLimits::default(), &config);
        assert_eq!((none.concurrent_runs, none.queued_runs, none.requests), (Some(5), None, None));
        assert_eq!(none.log_bytes, config.limits.log_bytes);
        let own = OrganizationLimits {
            api_per_minute: Some(7),
            run_creations_per_minute: Some(0),
            concurrent_runs: Some(9),
            queued_runs: Some(0),
            artifact_bytes: Some(1_000),
            log_bytes: Some(u64::MAX),
        };
        let own = Allowance::of(&own, &config);
        let seven = NonZeroU32::new(7).unwrap();
        assert_eq!(own.requests, Some(Limit::per_minute(seven, seven)));
        assert_eq!(own.run_creations, None, "a rate of nothing is none of its own");
        assert_eq!((own.concurrent_runs, own.queued_runs), (Some(9), Some(0)));
        assert_eq!((own.artifacts.packed_bytes, own.artifacts.unpacked_bytes), (1_000, 1_000));
        assert_eq!(own.log_bytes, config.limits.log_bytes, "never more than the installation bears");
    }
}
