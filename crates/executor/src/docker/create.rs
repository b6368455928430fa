//! The container of an attempt. Everything in it is decided here; a specification only fills in numbers, the image, the
//! command and the environment.

use std::borrow::Cow;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use super::labels;
use super::options::DockerOptions;
use super::pull::complete_reference;
use crate::{AttemptSpec, ExecutorError};

const MIB: i64 = 1024 * 1024;
/// Where images of the entrypoint convention keep `entrypoint.sh`.
const CONVENTION_DIR: &str = "/app";

/// What this executor refuses before it talks to the engine.
pub(super) fn image_of(spec: &AttemptSpec) -> Result<Cow<'_, str>, ExecutorError> {
    let texts = spec.command.iter().flatten().chain(&spec.folder);
    if texts.chain(spec.environment.values()).any(|text| text.contains('\0')) {
        return Err(ExecutorError::BadCommand("a command or variable holds a NUL byte".to_owned()));
    }
    // The engine takes NAME=VALUE as one text: a name with a `=` would be another name.
    if spec.environment.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return Err(ExecutorError::BadCommand(
            "a variable has no name, or one with `=` or NUL in it".to_owned(),
        ));
    }
    if spec.workdir.is_some() {
        return Err(ExecutorError::Unsupported(
            "`workdir` is a directory of the host, which containers never see: leave it out, or use the process executor"
                .to_owned(),
        ));
    }
    let image = spec.image.as_deref().ok_or_else(|| {
        ExecutorError::Unsupported(
            "the docker executor needs an image: name one, or set the project's default".to_owned(),
        )
    })?;
    // An engine takes these for the beginning of the id of an image that it has, whosever that is.
    if image.starts_with("sha256:") {
        return Err(ExecutorError::ImageNotFound(format!(
            "{image} is the id of an image: name it by its reference, such as registry.example/name:tag"
        )));
    }
    let like_an_id = !image.is_empty() && image.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(if like_an_id { complete_reference(image).into() } else { image.into() })
}

/// The program and its arguments.
pub(super) fn argv(spec: &AttemptSpec) -> Result<Vec<String>, ExecutorError> {
    match &spec.command {
        Some(words) if words.first().is_none_or(String::is_empty) => {
            Err(ExecutorError::BadCommand("the command is empty: name the program to run".to_owned()))
        }
        Some(words) => Ok(words.clone()),
        None => {
            let mut words = vec!["/bin/sh".to_owned(), format!("{CONVENTION_DIR}/entrypoint.sh")];
            words.extend(spec.folder.clone());
            Ok(words)
        }
    }
}

/// The whole description of the container.
pub(super) fn container(
    spec: &AttemptSpec,
    image: &str,
    network: &str,
    options: &DockerOptions,
    cpus: u32,
) -> Result<ContainerCreateBody, ExecutorError> {
    let mut argv = argv(spec)?;
    // The program goes into the entrypoint: only then do neither the image's ENTRYPOINT nor its CMD have a say.
    let arguments = argv.split_off(1);
    Ok(ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(argv),
        cmd: Some(arguments),
        working_dir: spec.command.is_none().then(|| CONVENTION_DIR.to_owned()),
        env: Some(spec.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        hostname: Some("gantry".to_owned()),
        tty: Some(false),
        open_stdin: Some(false),
        attach_stdin: Some(false),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        // An image's health check would run beside the command, at its expense.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
        labels: Some(labels::of_attempt(options.owner, spec)),
        host_config: Some(host_config(spec, network, options, cpus)),
        ..Default::default()
    })
}

fn host_config(spec: &AttemptSpec, network: &str, options: &DockerOptions, cpus: u32) -> HostConfig {
    let mut resources = spec.resources;
    if let Some(caps) = options.resource_caps {
        resources.cpu_millis = resources.cpu_millis.min(caps.cpu_millis);
        resources.memory_mb = resources.memory_mb.min(caps.memory_mb);
        resources.pids = resources.pids.min(caps.pids);
    }
    // The engine refuses more cores than it has.
    let cpu_millis = resources.cpu_millis.min(cpus.saturating_mul(1000));
    let memory = i64::from(resources.memory_mb) * MIB;
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(Vec::new()),
        privileged: Some(false),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        pids_limit: Some(i64::from(resources.pids)),
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some(i64::from(cpu_millis) * 1_000_000),
        ulimits: Some(vec![ResourcesUlimits {
            name: Some("nofile".to_owned()),
            soft: Some(i64::from(options.nofile)),
            hard: Some(i64::from(options.nofile)),
        }]),
        oom_kill_disable: Some(false),
        network_mode: Some(network.to_owned()),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        shm_size: Some(64 * MIB),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        init: Some(options.init),
        auto_remove: Some(false),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        publish_all_ports: Some(false),
        ..Default::default()
    }
}
