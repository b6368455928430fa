//! A start that knows something: that it is alone, or that its queue is empty.

use futures::StreamExt as _;
use futures::stream;

use crate::error::{ApiError, ApiResult};
use crate::services::{dispatch, tidy};
use crate::state::App;

const BATCH: u32 = 500;
/// Enough that their writes share a commit.
const TOGETHER: usize = 64;

/// Ends every lease: no former worker can still be at work.
pub async fn recover_alone(app: &App) -> ApiResult<()> {
    loop {
        let leased = app.parts.stores.runs.leased(None, BATCH).await?;
        if leased.is_empty() {
            break;
        }
        let mut ended = stream::iter(leased).map(|run| tidy::lose(app, run, None)).buffer_unordered(TOGETHER);
        let mut progress = false;
        while let Some(result) = ended.next().await {
            progress |= result?;
        }
        if !progress {
            return Err(ApiError::internal("leases of a former process cannot be ended"));
        }
    }
    Ok(())
}

/// Publishes every queued run again.
pub async fn publish_again(app: &App) -> ApiResult<()> {
    let all = app.now() + std::time::Duration::from_secs(365 * 86_400);
    for run in app.parts.stores.runs.unclaimed(all, u32::MAX).await? {
        dispatch::publish(app, &run).await;
    }
    Ok(())
}
