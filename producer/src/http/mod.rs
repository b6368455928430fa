//! What stands between the network and the routes: by which names we are called, which pages may call, how often one
//! address may, and what browsers are told about every answer. Nothing here knows what a route does.

mod addresses;
mod begun;
mod cors;
mod headers;
mod hosts;
mod origins;

use std::sync::Arc;

use axum::Router;
use axum::middleware;

pub use self::addresses::{AddressLimit, Sweep};
pub use self::begun::layer as begun;
pub use self::headers::layer as headers;

use crate::state::App;

/// Puts the guards of the public API around its routes, the outermost last.
pub fn guard(router: Router<Arc<App>>, app: &Arc<App>) -> Router<Arc<App>> {
    let router = router.layer(middleware::from_fn_with_state(app.clone(), origins::check));
    let router = match &app.addresses {
        Some(limit) => router.layer(limit.layer()),
        None => router,
    };
    let router = router.layer(middleware::from_fn_with_state(app.clone(), hosts::check));
    match cors::layer(&app.config.http.cors_origins) {
        // Outside the others, so that a listed page can read why it was refused.
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// Whether a path is for whoever operates the installation: probes and scrapers, which come by address, and often.
fn is_operations(path: &str) -> bool {
    path == "/metrics" || path == "/health" || path.starts_with("/health/")
}
