//! The worker protocol: who may speak it is settled in the extractors, what it says in `gantry_api_types::worker`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use gantry_api_types::problem::ProblemCode;
use gantry_api_types::worker::{
    ArtifactsAnswer, Claim, Finish, Finished, Grant, Heartbeat, HeartbeatAnswer, Leave, LogAnswer,
    OverAnswer, OverQuestion, PROTOCOL, Register, Registered, StateAnswer, StateReport, Welcome,
};
use gantry_domain::log::MAX_CHUNK_BYTES;

use crate::error::{ApiError, ApiResult};
use crate::extract::auth::{Lease, Spoken};
use crate::extract::json::read;
use crate::extract::run::WorkerRunPath;
use crate::extract::{ApiJson, WorkerAuth};
use crate::services::{claim, finish, heartbeat};
use crate::state::App;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/worker/v1/hello", get(hello))
        .route("/worker/v1/register", post(register))
        .route("/worker/v1/heartbeat", post(beat))
        .route("/worker/v1/leave", post(leave))
        .route("/worker/v1/attempts/over", post(over))
        .route("/worker/v1/runs/{run}/claim", post(claim_run))
        .route("/worker/v1/runs/{run}/state", post(state))
        .route("/worker/v1/runs/{run}/logs", post(logs))
        .route("/worker/v1/runs/{run}/artifacts", put(artifacts))
        .route("/worker/v1/runs/{run}/finish", post(finish_run))
}

type Shared = State<Arc<App>>;

async fn register(
    State(app): Shared,
    WorkerAuth(allowed): WorkerAuth,
    _: Spoken,
    body: ApiJson<Register>,
) -> ApiResult<Json<Registered>> {
    if !allowed.pool(&body.value.pool) {
        return Err(ApiError::new(
            ProblemCode::Unauthorized,
            format!("This worker token is not good for pool {}.", body.value.pool),
        ));
    }
    heartbeat::register(&app, body.value).await.map(Json)
}

/// What a worker needs to know before it can begin.
async fn hello(State(app): Shared, _: WorkerAuth, _: Spoken) -> Json<Welcome> {
    Json(Welcome {
        installation: app.installation,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
    })
}

async fn beat(
    State(app): Shared,
    _: WorkerAuth,
    spoken: ApiResult<Spoken>,
    ApiJson { value: mut beat, .. }: ApiJson<Heartbeat>,
) -> ApiResult<Json<HeartbeatAnswer>> {
    let Err(too_far) = spoken else { return heartbeat::heartbeat(&app, beat).await.map(Json) };
    // Its claims would be refused: it ends what it has, leaves what comes to others until the versions fit again, and is
    // listed with the reason.
    beat.paused.get_or_insert(too_far.detail);
    let mut answer = heartbeat::heartbeat(&app, beat).await?;
    answer.draining = true;
    Ok(Json(answer))
}

async fn leave(State(app): Shared, _: WorkerAuth, body: ApiJson<Leave>) -> ApiResult<StatusCode> {
    heartbeat::leave(&app, body.value.worker).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn over(State(app): Shared, _: WorkerAuth, body: ApiJson<OverQuestion>) -> ApiResult<Json<OverAnswer>> {
    heartbeat::over(&app, body.value).await.map(Json)
}

async fn claim_run(
    State(app): Shared,
    WorkerAuth(allowed): WorkerAuth,
    _: Spoken,
    WorkerRunPath(run): WorkerRunPath,
    body: ApiJson<Claim>,
) -> ApiResult<Json<Grant>> {
    claim::claim(&app, run, body.value, &allowed).await.map(Json)
}

async fn state(
    State(app): Shared,
    Lease(token): Lease,
    WorkerRunPath(run): WorkerRunPath,
    body: ApiJson<StateReport>,
) -> ApiResult<Json<StateAnswer>> {
    finish::report_state(&app, run, &token, body.value.state).await.map(Json)
}

async fn logs(
    State(app): Shared,
    Lease(token): Lease,
    WorkerRunPath(run): WorkerRunPath,
    body: Body,
) -> ApiResult<Json<LogAnswer>> {
    // A frame is at most the bytes of a chunk plus 13 for each segment.
    let bytes = read(body, MAX_CHUNK_BYTES + 13 * gantry_domain::log::MAX_CHUNK_SEGMENTS + 12).await?;
    let chunk = gantry_api_types::log::decode_batch(bytes)
        .map_err(|error| ApiError::new(ProblemCode::MalformedBody, error.to_string()))?;
    let run = finish::leased(&app, run, &token).await?;
    let end = app.logs.append(&run, chunk).await?;
    Ok(Json(LogAnswer { end }))
}

async fn artifacts(
    State(app): Shared,
    Lease(token): Lease,
    WorkerRunPath(run): WorkerRunPath,
    body: Body,
) -> ApiResult<Json<ArtifactsAnswer>> {
    let run = finish::leased(&app, run, &token).await?;
    app.artifacts.receive(&app, run, &token, body).await.map(Json)
}

async fn finish_run(
    State(app): Shared,
    Lease(token): Lease,
    WorkerRunPath(run): WorkerRunPath,
    body: ApiJson<Finish>,
) -> ApiResult<Json<Finished>> {
    let run = finish::finish(&app, run, &token, body.value).await?;
    Ok(Json(Finished { status: run.status().into() }))
}
