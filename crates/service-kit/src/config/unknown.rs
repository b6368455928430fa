//! Names that nobody asked for.

/// The known name that `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (likeness(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// What all variables begin with says nothing about how alike two are.
fn likeness(name: &str, candidate: &str) -> f64 {
    let [name, candidate] =
        [name, candidate].map(|name| name.strip_prefix("GANTRY_").unwrap_or(name).to_lowercase());
    let is_under =
        |separator: char| candidate.strip_suffix(&name).is_some_and(|table| table.ends_with(separator));
    if is_under('.') || is_under('_') {
        return 0.9;
    }
    strsim::normalized_damerau_levenshtein(&name, &candidate)
}

/// Kubernetes describes every service of the namespace in each pod's environment: a service called `gantry-producer`
/// brings `GANTRY_PRODUCER_PORT=tcp://…`. Those are not settings.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    if name.ends_with("_PORT") && is_url {
        return true;
    }
    let Some((_, rest)) =
        name.rsplit_once("_PORT_").filter(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
    else {
        return is_port_detail(name);
    };
    rest.ends_with("_TCP") || rest.ends_with("_UDP") || rest.ends_with("_SCTP") || is_port_detail(name)
}

/// `…_PORT_8080_TCP_ADDR`, `…_PROTO`, `…_PORT`.
fn is_port_detail(name: &str) -> bool {
    let Some((before, detail)) = name.rsplit_once('_') else { return false };
    matches!(detail, "ADDR" | "PROTO" | "PORT")
        && ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            before.strip_suffix(protocol).is_some_and(|port| {
                port.rsplit_once("_PORT_")
                    .is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
            })
        })
}
