//! How long every call of the store takes and whether it succeeds, whatever the backend: each trait once more, around
//! another store.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use gantry_domain::id::{
    AuditId, InstallationId, InvitationId, KeyId, OrganizationId, ProjectId, RunId, SessionId, UserId,
    WorkerId,
};
use gantry_domain::identity::lockout::{Failures, Subject};
use gantry_domain::identity::{
    ApiKey, AuditEntry, Email, Invitation, Organization, PasswordReset, SecretHash, Session, User,
};
use gantry_domain::log::LogChunk;
use gantry_domain::project::Project;
use gantry_domain::results::{TestResult, TestStatus};
use gantry_domain::role::Role;
use gantry_domain::run::Run;
use gantry_domain::spec::Pool;
use gantry_domain::time::Timestamp;
use gantry_domain::worker::Worker;
use metrics::Unit;

use crate::{
    Accepted, Acquired, ApiKeyStore, Append, Attempt, AuditFilter, AuditStore, AuthStore, Bootstrap, Changed,
    Deleted, DispatchStore, DocumentKind, Durability, Group, Idempotency, InvitationStore, LeaseRef, Limit,
    ListFilter, LogKey, LogStore, NewRun, OrganizationStore, Page, PasswordResetStore, PoolDepth, Presented,
    ProjectStore, Renewal, Result, RunStore, Sealing, SessionStore, SetAside, SignInStore, Stores,
    TestResultStore, Transition, UserStore, WorkerStore,
};

const SECONDS: &str = "gantry_store_call_seconds";

impl Stores {
    /// The same stores, measured as `gantry_store_call_seconds`.
    #[must_use]
    pub fn measured(self) -> Self {
        metrics::describe_histogram!(
            SECONDS,
            Unit::Seconds,
            "Time that calls of the store took, by operation and result (ok or error)"
        );
        metrics::describe_histogram!(
            "gantry_store_commit_seconds",
            Unit::Seconds,
            "Time that a commit of the embedded store took"
        );
        metrics::describe_histogram!(
            "gantry_store_batch_commands",
            Unit::Count,
            "Writes that shared a commit, or a round trip"
        );
        metrics::describe_counter!(
            "gantry_store_retries_total",
            Unit::Count,
            "Calls of a store on a server that were tried again"
        );
        metrics::counter!("gantry_store_retries_total").absolute(0);
        metrics::describe_counter!(
            "gantry_store_unreadable_total",
            Unit::Count,
            "Stored documents that could not be read and were set aside, by kind"
        );
        for kind in [DocumentKind::Run, DocumentKind::Worker] {
            metrics::counter!("gantry_store_unreadable_total", "kind" => kind.as_str()).absolute(0);
        }
        Self {
            runs: Arc::new(Measured(self.runs)),
            dispatch: Arc::new(Measured(self.dispatch)),
            logs: Arc::new(Measured(self.logs)),
            tests: Arc::new(Measured(self.tests)),
            workers: Arc::new(Measured(self.workers)),
            auth: Arc::new(Measured(self.auth)),
            organizations: Arc::new(Measured(self.organizations)),
            users: Arc::new(Measured(self.users)),
            keys: Arc::new(Measured(self.keys)),
            sessions: Arc::new(Measured(self.sessions)),
            invitations: Arc::new(Measured(self.invitations)),
            resets: Arc::new(Measured(self.resets)),
            sign_ins: Arc::new(Measured(self.sign_ins)),
            audit: Arc::new(Measured(self.audit)),
            projects: Arc::new(Measured(self.projects)),
        }
    }
}

struct Measured<S: ?Sized>(Arc<S>);

async fn timed<T>(operation: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
    let begun = Instant::now();
    let answer = call.await;
    let result = if answer.is_ok() { "ok" } else { "error" };
    metrics::histogram!(SECONDS, "operation" => operation, "result" => result).record(begun.elapsed());
    answer
}

macro_rules! measured {
    ($store:ident as $group:literal {
        $(fn $name:ident($($argument:ident: $kind:ty),* $(,)?) -> $answer:ty;)*
    }) => {
        #[async_trait]
        impl $store for Measured<dyn $store> {
            $(async fn $name(&self, $($argument: $kind),*) -> Result<$answer> {
                timed(concat!($group, ".", stringify!($name)), self.0.$name($($argument),*)).await
            })*
        }
    };
}

measured!(RunStore as "runs" {
    fn accept(run: NewRun) -> Accepted;
    fn repeated(organization: OrganizationId, idempotency: &Idempotency) -> Option<Accepted>;
    fn get(organization: OrganizationId, id: RunId) -> Option<Run>;
    fn find(id: RunId) -> Option<Run>;
    fn transition(next: &Run, durability: Durability) -> Transition;
    fn renew(worker: WorkerId, leases: &[LeaseRef], expires_at: Timestamp) -> Vec<Renewal>;
    fn expired(now: Timestamp, limit: u32) -> Vec<Run>;
    fn leased(worker: Option<WorkerId>, limit: u32) -> Vec<Run>;
    fn list(
        organization: OrganizationId,
        filter: &ListFilter,
        after: Option<RunId>,
        limit: u32,
    ) -> Page<Run, RunId>;
    fn groups(organization: OrganizationId, after: Option<&str>, limit: u32) -> Page<Group, String>;
    fn delete(organization: OrganizationId, id: RunId) -> Deleted;
    fn due(now: Timestamp, limit: u32) -> (Vec<Run>, Option<Timestamp>);
    fn unclaimed(before: Timestamp, limit: u32) -> Vec<Run>;
    fn waiting_since(before: Timestamp, limit: u32) -> Vec<Run>;
    fn logs_due(before: Timestamp, limit: u32) -> Vec<Run>;
    fn ahead_of(run: &Run) -> u64;
    fn forget_idempotency(before: Timestamp) -> u64;
    fn set_aside(organization: OrganizationId, limit: u32) -> Vec<SetAside>;
    fn import(runs: Vec<Run>) -> ();
});

measured!(DispatchStore as "dispatch" {
    fn ready(pool: &Pool, limit: u32) -> Vec<Run>;
    fn acquire(run: RunId, limits: &[Limit]) -> Acquired;
    fn release(run: RunId, keys: &[String]) -> ();
    fn holders() -> Vec<(String, RunId)>;
    fn blocked_on(key: &str, limit: u32) -> Vec<Run>;
    fn blocking_keys() -> Vec<String>;
    fn depths() -> Vec<PoolDepth>;
    fn organization_depths(organization: OrganizationId) -> Vec<PoolDepth>;
});

measured!(LogStore as "logs" {
    fn append(key: LogKey, chunk: &LogChunk) -> Append;
    fn read(key: LogKey, from: u64, max_bytes: usize) -> Vec<LogChunk>;
    fn end(key: LogKey) -> u64;
    fn clear(key: LogKey) -> ();
});

measured!(TestResultStore as "tests" {
    fn put(key: LogKey, results: &[TestResult]) -> ();
    fn list(key: LogKey, statuses: &[TestStatus], from: u32, limit: u32) -> Vec<(u32, TestResult)>;
});

measured!(WorkerStore as "workers" {
    fn put(worker: &Worker) -> Worker;
    fn get(id: WorkerId) -> Option<Worker>;
    fn list() -> Vec<Worker>;
    fn set_draining(id: WorkerId, draining: bool) -> bool;
    fn forget(id: Option<WorkerId>, before: Timestamp) -> u64;
});

measured!(AuthStore as "auth" {
    fn installation() -> InstallationId;
    fn bootstrap(first: &Bootstrap) -> bool;
    fn first_organization() -> Option<Organization>;
    fn operators() -> Option<OrganizationId>;
    fn check() -> ();
});

measured!(OrganizationStore as "organizations" {
    fn found(organization: &Organization) -> ();
    fn get(id: OrganizationId) -> Option<Organization>;
    fn update(next: &Organization) -> Changed<Organization>;
    fn role(id: OrganizationId, user: UserId) -> Option<Role>;
    fn of_user(user: UserId) -> Vec<Organization>;
});

measured!(UserStore as "users" {
    fn add(user: &User) -> bool;
    fn get(id: UserId) -> Option<User>;
    fn by_email(email: &Email) -> Option<User>;
    fn several(ids: &[UserId]) -> Vec<User>;
    fn update(next: &User) -> Changed<User>;
});

measured!(ApiKeyStore as "keys" {
    fn add(key: &ApiKey) -> ();
    fn by_hash(secret_hash: &SecretHash) -> Option<ApiKey>;
    fn look_up(secret_hash: &SecretHash) -> Option<Presented<ApiKey>>;
    fn get(organization: OrganizationId, id: KeyId) -> Option<ApiKey>;
    fn list(
        organization: OrganizationId,
        owner: Option<UserId>,
        after: Option<KeyId>,
        limit: u32,
    ) -> Page<ApiKey, KeyId>;
    fn update(next: &ApiKey) -> Changed<ApiKey>;
    fn used(id: KeyId, at: Timestamp) -> ();
});

measured!(SessionStore as "sessions" {
    fn add(session: &Session) -> ();
    fn by_family(family_hash: &SecretHash) -> Option<Session>;
    fn look_up(
        id: SessionId,
        user: UserId,
        organization: OrganizationId,
    ) -> Option<Presented<Session>>;
    fn get(user: UserId, id: SessionId) -> Option<Session>;
    fn of_user(user: UserId, limit: u32) -> Vec<Session>;
    fn update(next: &Session) -> Changed<Session>;
    fn forget(expired_before: Timestamp) -> u64;
});

measured!(InvitationStore as "invitations" {
    fn add(invitation: &Invitation) -> bool;
    fn by_token(token_hash: &SecretHash) -> Option<Invitation>;
    fn open(organization: OrganizationId, email: &Email) -> Option<Invitation>;
    fn get(organization: OrganizationId, id: InvitationId) -> Option<Invitation>;
    fn list(
        organization: OrganizationId,
        after: Option<InvitationId>,
        limit: u32,
    ) -> Page<Invitation, InvitationId>;
    fn update(next: &Invitation) -> Changed<Invitation>;
});

measured!(ProjectStore as "projects" {
    fn add(project: &Project) -> bool;
    fn get(organization: OrganizationId, id: ProjectId) -> Option<Project>;
    fn by_name(organization: OrganizationId, name: &str) -> Option<Project>;
    fn list(
        organization: OrganizationId,
        after: Option<ProjectId>,
        limit: u32,
    ) -> Page<Project, ProjectId>;
    fn update(next: &Project) -> Changed<Project>;
    fn delete(organization: OrganizationId, id: ProjectId) -> bool;
    fn with_secrets(after: Option<ProjectId>, limit: u32) -> Page<Sealing, ProjectId>;
    fn with_retention(after: Option<ProjectId>, limit: u32) -> Page<Project, ProjectId>;
});

measured!(PasswordResetStore as "resets" {
    fn add(reset: &PasswordReset) -> ();
    fn by_token(token_hash: &SecretHash) -> Option<PasswordReset>;
    fn update(next: &PasswordReset) -> Changed<PasswordReset>;
    fn forget(expired_before: Timestamp) -> u64;
});

measured!(SignInStore as "sign_ins" {
    fn attempt(subject: &Subject, now: Timestamp) -> Attempt;
    fn take_back(subject: &Subject, counted: Failures, before: Option<Failures>) -> ();
    fn forgive(subject: &Subject) -> ();
    fn failures(subject: &Subject) -> Option<Failures>;
    fn forget(before: Timestamp) -> u64;
});

measured!(AuditStore as "audit" {
    fn append(entry: &AuditEntry) -> ();
    fn list(
        organization: Option<OrganizationId>,
        filter: &AuditFilter,
        after: Option<AuditId>,
        limit: u32,
    ) -> Page<AuditEntry, AuditId>;
});
