//! Who may talk to the public API, and through how many proxies: names, origins, hops.

use gantry_service_kit::config::Source;

/// What the public API believes of what a request says about where it comes from and where it wants to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// Proxies in front of us, each of which adds what it saw to the end of `X-Forwarded-For`; 0 means that the header is
    /// a stranger's claim.
    pub trusted_proxies: usize,
}

/// More can only be a mistake.
const MAX_PROXIES: usize = 16;

impl HttpConfig {
    /// Reads `http.*`; errors are kept in `source`.
    pub fn read(source: &mut Source) -> Self {
        let trusted_proxies = source.parse("http.trusted_proxies", 0);
        if trusted_proxies > MAX_PROXIES {
            source.reject("http.trusted_proxies", format!("give 0 to {MAX_PROXIES}"));
        }
        Self { trusted_proxies }
    }
}
