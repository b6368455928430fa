//! How often one address may call this replica: the limit that holds before anybody knows who calls. A flood from one
//! place costs a look into a table, and nobody else anything.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures::future::Either;
use gantry_ratelimit::{Decision, Limit};
use gantry_service_kit::reconciler::{Outcome, ReconcileError, Reconciler};
use governor::middleware::NoOpMiddleware;
use tower::{Layer, Service};
use tower_governor::governor::{Governor, GovernorConfig, GovernorConfigBuilder};
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};

use crate::error::ApiError;
use crate::extract::{ClientAddress, rate};
use crate::http::is_operations;
use crate::state::App;

/// Counts what each address asks of this replica.
#[derive(Clone)]
pub struct AddressLimit {
    config: Arc<GovernorConfig<ByAddress, NoOpMiddleware>>,
    limit: Limit,
}

/// Whom a request is counted for.
#[derive(Debug, Clone)]
pub struct ByAddress {
    proxies: usize,
}

impl KeyExtractor for ByAddress {
    type Key = IpAddr;

    fn extract<T>(&self, request: &axum::http::Request<T>) -> Result<IpAddr, GovernorError> {
        Ok(ClientAddress::of(request.headers(), request.extensions(), self.proxies).network())
    }
}

impl AddressLimit {
    /// Of whoever is behind `proxies` trusted proxies.
    pub fn new(limit: Limit, proxies: usize) -> Option<Self> {
        let config = GovernorConfigBuilder::default()
            .period(limit.per / limit.count.get())
            .burst_size(limit.burst.get())
            .key_extractor(ByAddress { proxies })
            .finish()?;
        Some(Self { config: Arc::new(config), limit })
    }

    /// Around everything but probes and metrics, which must answer whoever floods us.
    pub fn layer<S>(&self) -> impl Layer<S, Service = ByPath<S>> + Clone + Send + Sync + 'static
    where
        S: Clone + Send + Sync + 'static,
    {
        let limit = self.limit;
        let governed =
            GovernorLayer::new(self.config.clone()).error_handler(move |error| refuse(limit, &error));
        tower::layer::layer_fn(move |inner: S| ByPath { governed: governed.layer(inner.clone()), inner })
    }
}

fn refuse(limit: Limit, error: &GovernorError) -> Response {
    let GovernorError::TooManyRequests { wait_time, .. } = error else {
        return ApiError::internal(error.to_string()).into_response();
    };
    metrics::counter!("gantry_rate_limited_total", "limit" => "address").increment(1);
    // Told in whole seconds, rounded down.
    let retry_after = Duration::from_secs(wait_time + 1);
    let reset = limit.per.mul_f64(f64::from(limit.burst.get()) / f64::from(limit.count.get()));
    let decision = Decision { allowed: false, limit: limit.burst.get(), remaining: 0, retry_after, reset };
    let mut response = ApiError::rate_limited(rate::seconds(retry_after)).into_response();
    rate::tell(response.headers_mut(), &decision);
    response
}

/// One service twice: with the limit, and without.
#[derive(Clone)]
pub struct ByPath<S> {
    governed: Governor<ByAddress, NoOpMiddleware, S, Body>,
    inner: S,
}

impl<S> Service<Request> for ByPath<S>
where
    S: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future =
        Either<S::Future, <Governor<ByAddress, NoOpMiddleware, S, Body> as Service<Request>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        std::task::ready!(self.inner.poll_ready(cx))?;
        self.governed.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if is_operations(request.uri().path()) {
            Either::Left(self.inner.call(request))
        } else {
            Either::Right(self.governed.call(request))
        }
    }
}

/// Forgets addresses that have their whole burst again.
pub struct Sweep(pub Arc<App>);

#[async_trait]
impl Reconciler for Sweep {
    fn name(&self) -> &'static str {
        "address-limits"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(20)
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        let Some(limit) = &self.0.addresses else { return Ok(Outcome::idle()) };
        let limiter = limit.config.limiter();
        let before = limiter.len();
        limiter.retain_recent();
        limiter.shrink_to_fit();
        Ok(Outcome::did(before.saturating_sub(limiter.len()) as u64))
    }
}
