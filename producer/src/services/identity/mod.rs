//! People, their organizations and their credentials: signing in, belonging, inviting. Every change is the domain's successor
//! stored by compare-and-set, and written into the audit log.

pub mod audit;
mod change;
pub mod invitations;
pub mod keys;
mod limits;
mod live_keys;
pub mod organizations;
pub mod passwords;
mod post;
pub mod profile;
pub mod sessions;
pub mod sign_up;

use std::sync::{Arc, Mutex, PoisonError};

use gantry_credentials::key::BadKey;
use gantry_credentials::password::Passwords;
use gantry_domain::id::{InstallationId, OrganizationId};
use gantry_domain::time::Clock;
use gantry_mail::OutboxTask;
use gantry_service_kit::shutdown::{Shutdown, TaskGroup};
use gantry_store::{AuthStore, StoreError};
use tokio::sync::{OnceCell, Semaphore};

pub use self::live_keys::LiveKeys;
pub use self::post::Post;
use crate::access::Credentials;
use crate::config::identity::IdentityConfig;
use crate::error::{ApiError, ApiResult};
use crate::state::App;

/// Written at once.
const LETTERS: usize = 64;

/// Why a producer cannot look after people.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the thread for passwords does not start: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Keys(#[from] BadKey),
    #[error("mail cannot be sent as configured: {0}")]
    Mail(String),
}

/// What looking after people takes, beside the store.
pub struct IdentityService {
    pub keys: LiveKeys,
    pub passwords: Passwords,
    pub credentials: Credentials,
    /// `None`: mail is off.
    pub post: Option<Post>,
    /// The organization that the installation began with; never another once there is one.
    operators: OnceCell<OrganizationId>,
    /// Until it is begun.
    sending: Mutex<Option<OutboxTask>>,
    /// Letters that are being written.
    writing: Arc<Semaphore>,
}

impl IdentityService {
    pub fn new(
        config: &IdentityConfig,
        installation: InstallationId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        let (post, sending) = Post::new(config)?.unzip();
        Ok(Self {
            keys: LiveKeys::new(config.signing_keys.as_ref(), installation, clock)?,
            passwords: Passwords::start(config.waiting_passwords).map_err(IdentityError::Thread)?,
            credentials: Credentials::default(),
            post,
            operators: OnceCell::new(),
            sending: Mutex::new(sending),
            writing: Arc::new(Semaphore::new(LETTERS)),
        })
    }

    /// Sends mail until the shutdown; a second call does nothing.
    pub fn spawn(&self, group: &TaskGroup, shutdown: &Shutdown) {
        let task = self.sending.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stop = shutdown.clone();
        if let Some(task) = task {
            group.spawn("mail", async move {
                task.run(async { stop.triggered().await }).await;
            });
        }
    }

    pub fn tokens(&self) -> Arc<gantry_credentials::jwt::AccessTokens> {
        self.keys.tokens()
    }

    /// Goes on after the request was answered, so that how long it takes tells nothing. Refused when too much of that is
    /// under way.
    pub fn later(
        &self,
        app: &Arc<App>,
        work: impl Future<Output = ApiResult<()>> + Send + 'static,
    ) -> ApiResult<()> {
        let busy = || ApiError::unavailable("The mail server", "too much mail is being written");
        let place = self.writing.clone().try_acquire_owned().map_err(|_| busy())?;
        let group =
            app.tasks.get().ok_or_else(|| ApiError::unavailable("This server", "it has not begun"))?;
        group.spawn("letter", async move {
            let _place = place;
            if let Err(error) = work.await {
                tracing::error!(?error, "a letter was not written");
            }
        });
        Ok(())
    }

    /// The organization that operates the installation: the one it began with.
    pub async fn operators(&self, auth: &dyn AuthStore) -> Result<Option<OrganizationId>, StoreError> {
        if let Some(known) = self.operators.get() {
            return Ok(Some(*known));
        }
        let first = auth.operators().await?;
        if let Some(first) = first {
            // Another caller may have been faster, with the same answer.
            let _ = self.operators.set(first);
        }
        Ok(first)
    }
}
