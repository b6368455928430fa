//! What the engine's refusals mean. The only place that reads the engine's prose: its status codes do not tell a missing
//! executable from a broken cgroup, nor, once a pull has begun, a missing image from a dead registry.

use super::engine::EngineFailure;
use crate::ExecutorError;

/// Why an image did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PullProblem {
    NotFound,
    Denied,
    /// The registry or the way to it; may pass.
    Unreachable,
    /// The engine's own disk or storage.
    Engine,
}

/// Engines 20.10 to 29 answer a refused manifest with 404 both for "manifest unknown" and for "pull access denied"; a
/// registry that cannot be reached, like everything that fails after the first layer, comes without a telling status.
pub(super) fn pull_problem(failure: &EngineFailure) -> PullProblem {
    let text = failure.message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if failure.is(400) || says(&["invalid reference format"]) {
        return PullProblem::NotFound;
    }
    if says(&["no space left on device", "failed to register layer", "read-only file system"]) {
        return PullProblem::Engine;
    }
    if failure.is(401)
        || failure.is(403)
        || says(&[
            "access denied",
            "access to the resource is denied",
            "denied:",
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "authorization failed",
            "403 forbidden",
            "http 401 response",
            "http 403 response",
        ])
    {
        return PullProblem::Denied;
    }
    // "dial tcp: lookup registry.example: no such host" is not a missing image.
    if failure.is(404)
        || says(&[
            "manifest unknown",
            "manifest_unknown",
            "name unknown",
            "name_unknown",
            "no matching manifest",
            "no match for platform",
            "http 404 response",
        ])
        || text.ends_with(": not found")
    {
        return PullProblem::NotFound;
    }
    PullProblem::Unreachable
}

/// A failed pull as the run's outcome.
pub(super) fn pull_error(image: &str, failure: &EngineFailure) -> ExecutorError {
    let reason = &failure.message;
    match pull_problem(failure) {
        PullProblem::NotFound => ExecutorError::ImageNotFound(format!(
            "there is no image {image}: check its name and tag ({reason})"
        )),
        PullProblem::Denied => ExecutorError::ImageDenied(format!(
            "the registry does not let this worker pull {image}, or it does not exist there: check its name and the \
             engine's registry credentials ({reason})"
        )),
        PullProblem::Unreachable => ExecutorError::RegistryUnreachable(format!(
            "the registry of {image} cannot be reached from the engine: check its address and the network ({reason})"
        )),
        PullProblem::Engine => ExecutorError::Infrastructure(format!(
            "the Docker engine could not store {image}: free disk space on its host ({reason})"
        )),
    }
}

/// A refused start as the run's outcome.
pub(super) fn start_error(program: &str, failure: EngineFailure) -> ExecutorError {
    let text = failure.message.to_ascii_lowercase();
    let says = |phrase: &str| text.contains(phrase);
    if says("docker-init") || says("tini") {
        return ExecutorError::Infrastructure(format!(
            "the Docker engine has no docker-init: install tini on its host, or switch `init` off ({})",
            failure.message
        ));
    }
    if says("error setting rlimit") {
        return ExecutorError::Infrastructure(format!(
            "the Docker engine may not raise the limit of open files: lower `nofile` ({})",
            failure.message
        ));
    }
    if says("cwd") || says("chdir") || says("is not a directory: unknown") {
        return ExecutorError::BadCommand(
            "the working directory of the image cannot be entered: check its WORKDIR".to_owned(),
        );
    }
    if says("exec:") || says("exec format error") || says("no such file or directory: unknown") {
        return ExecutorError::BadCommand(if says("permission denied") || says("is a directory") {
            format!("{program} is in the image but cannot be executed: check its mode (126)")
        } else if says("exec format error") {
            format!("{program} is not a program of this machine's architecture, or lacks its `#!` line (126)")
        } else {
            format!("{program} is not in the image: check the command and the image's PATH (127)")
        });
    }
    failure.infrastructure()
}

/// Whether a container could not start because its network was removed behind our back.
pub(super) fn network_is_gone(failure: &EngineFailure) -> bool {
    failure.is(404) && failure.message.contains("network") && failure.message.contains("not found")
}

/// Whether a path in a container is not there; a path *through* a file is answered with 500 and the system's words.
pub(super) fn path_is_missing(failure: &EngineFailure) -> bool {
    failure.is(404) || failure.message.contains("not a directory")
}

/// Whether an image reference was refused for its form, with a container or a pull.
pub(super) fn is_bad_reference(failure: &EngineFailure) -> bool {
    failure.is(400) && failure.message.contains("invalid reference format")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: Option<u16>, message: &str) -> EngineFailure {
        EngineFailure { what: "pull the image", status, message: message.to_owned() }
    }

    #[test]
    fn a_refused_pull_is_told_apart_on_every_engine() {
        use PullProblem::{Denied, Engine, NotFound, Unreachable};
        for (status, message, expected) in [
            // 20.10 to 28 with graph drivers
            (
                Some(404),
                "manifest for busybox:nosuch not found: manifest unknown: manifest unknown",
                NotFound,
            ),
            (
                Some(404),
                "pull access denied for nosuch, repository does not exist or may require 'docker login': denied: \
                 requested access to the resource is denied",
                Denied,
            ),
            (
                Some(500),
                "Get \"https://reg.example/v2/\": dial tcp: lookup reg.example on 10.0.0.1:53: no such host",
                Unreachable,
            ),
            (
                Some(500),
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                Unreachable,
            ),
            (
                Some(500),
                "Head \"https://reg.example/v2/a/manifests/1\": unauthorized: authentication required",
                Denied,
            ),
            (Some(500), "Head \"https://reg.example/v2/a/manifests/1\": no basic auth credentials", Denied),
            (Some(500), "error parsing HTTP 403 response body: denied: not yours", Denied),
            (
                Some(500),
                "error parsing HTTP 404 response body: no error details found in HTTP response body",
                NotFound,
            ),
            (
                Some(500),
                "Get \"https://reg.example/v2/\": net/http: request canceled (Client.Timeout exceeded)",
                Unreachable,
            ),
            (Some(500), "toomanyrequests: You have reached your pull rate limit", Unreachable),
            (Some(400), "invalid reference format: repository name must be lowercase", NotFound),
            (Some(404), "no matching manifest for linux/amd64 in the manifest list entries", NotFound),
            // the containerd image store
            (
                Some(404),
                "failed to resolve reference \"docker.io/library/busybox:nosuch\": docker.io/library/busybox:nosuch: \
                 not found",
                NotFound,
            ),
            (
                Some(404),
                "pull access denied, repository does not exist or may require authorization: server message: \
                 insufficient_scope: authorization failed",
                Denied,
            ),
            (
                Some(500),
                "failed to do request: Head \"https://reg.example/v2/a/manifests/1\": dial tcp: i/o timeout",
                Unreachable,
            ),
            (
                Some(500),
                "unknown: {\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"no such manifest\"}]}",
                NotFound,
            ),
            // after the first layer
            (None, "unexpected EOF", Unreachable),
            (
                None,
                "error pulling image configuration: download failed after attempts=6: dial tcp: i/o timeout",
                Unreachable,
            ),
            (None, "write /var/lib/docker/tmp/GetImageBlob1: no space left on device", Engine),
            (None, "failed to register layer: Error processing tar file(exit status 1)", Engine),
            (None, "no matching manifest for linux/arm64/v8 in the manifest list entries", NotFound),
        ] {
            assert_eq!(pull_problem(&failure(status, message)), expected, "{message}");
        }
    }

    #[test]
    fn a_command_that_cannot_start_is_told_from_an_engine_that_cannot_start_it() {
        let prefix = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start \
                      container process: ";
        let start = |status, message: &str| {
            start_error("tool", failure(Some(status), &format!("{prefix}{message}: unknown")))
        };
        for (status, message) in [
            (400, "exec: \"tool\": executable file not found in $PATH"),
            (404, "exec: \"/tool\": stat /tool: no such file or directory"),
            (500, "exec: \"/tool\": permission denied"),
            (400, "exec /tool: exec format error"),
            (400, "exec: \"/etc\": is a directory"),
            (400, "chdir to cwd (\"/x\") set in config.json failed: permission denied"),
        ] {
            assert!(matches!(start(status, message), ExecutorError::BadCommand(_)), "{message}");
        }
        for message in [
            "error during container init: error setting rlimit type 7: operation not permitted",
            "exec: \"docker-init\": executable file not found in $PATH",
            "unable to apply cgroup configuration: mkdir /sys/fs/cgroup/memory/x: no space left on device",
        ] {
            assert!(matches!(start(400, message), ExecutorError::Infrastructure(_)), "{message}");
        }
    }
}
