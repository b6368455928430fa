"""What every pod and container satisfies."""

import re

from overlay import POD, containers_of, name_of, namespace_of, pod_of

# What is privileged: the engine that carries runs out, in its worker's pod or once per node; and the one directory of a node that they meet in then.
PRIVILEGED = (("gantry-worker", "engine"), ("gantry-engine", "engine"))
SOCKET, AT_SOCKET = "/run/gantry-engine", ("gantry-worker", "gantry-engine")
RESOURCES = ("cpu", "memory", "ephemeral-storage")


def check(overlay):
    for thing in overlay.objects:
        labels(overlay, thing)
    for workload in overlay.workloads():
        pod(overlay, workload)
        for container, path, stays in containers_of(workload):
            image(overlay, workload, container, path)
            resources(overlay, workload, container, path)
            security(overlay, workload, container, path)
            if stays:
                probes(overlay, workload, container, path)
                first_process(overlay, workload, container, path)


def labels(overlay, thing):
    if thing["kind"] in ("ConfigMap", "Secret"):
        return
    have = thing["metadata"].get("labels") or {}
    if have.get("app.kubernetes.io/part-of") != "gantry":
        overlay.problem(thing, ("metadata", "labels"), "has no label app.kubernetes.io/part-of: gantry")


def pod(overlay, workload):
    spec = pod_of(workload)

    def wrong(field, message):
        overlay.problem(workload, (*POD, field), message)

    if spec.get("automountServiceAccountToken") is not False:
        wrong("automountServiceAccountToken", "mounts a token that nobody needs: automountServiceAccountToken: false")
    if spec.get("enableServiceLinks") is not False:
        wrong("enableServiceLinks", "gets the addresses of all services as variables: enableServiceLinks: false")
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            wrong(field, f"{field}: is on the node")
    if (spec.get("securityContext") or {}).get("seccompProfile", {}).get("type") != "RuntimeDefault":
        wrong("securityContext", "has no seccomp profile RuntimeDefault")
    if not spec.get("terminationGracePeriodSeconds"):
        wrong("terminationGracePeriodSeconds", "does not say how long it may take to end")
    replicated = workload["kind"] == "Deployment" or (workload["spec"].get("replicas") or 1) > 1
    if replicated and not spec.get("topologySpreadConstraints"):
        wrong("topologySpreadConstraints", "may have all its pods on one node: no topologySpreadConstraints")
    if workload["kind"] == "Deployment" and workload["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable") != 0:
        overlay.problem(workload, ("spec", "strategy"), "takes pods away before others are there: maxUnavailable: 0")
    for number, volume in enumerate(spec.get("volumes", [])):
        if "hostPath" in volume and (volume["hostPath"]["path"] != SOCKET or name_of(workload) not in AT_SOCKET):
            overlay.problem(workload, (*POD, "volumes", volume["name"]), "mounts a path of the node")
        if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
            overlay.problem(workload, (*POD, "volumes", volume["name"]), f"volume {volume['name']} has no sizeLimit")


def image(overlay, workload, container, path):
    name = container.get("image", "")
    tag = name.rpartition("/")[2].partition("@")[0].partition(":")[2]
    if "@sha256:" not in name and tag in ("", "latest"):
        written = name.partition(":")[0] if not tag else name
        overlay.problem(workload, (*path, "image"), f"image {name} is not pinned", written)


def resources(overlay, workload, container, path):
    for kind in ("requests", "limits"):
        given = (container.get("resources") or {}).get(kind) or {}
        missing = [each for each in RESOURCES if each not in given]
        if missing:
            overlay.problem(workload, (*path, "resources", kind), f"{container['name']}: no {kind} of {', '.join(missing)}")


def security(overlay, workload, container, path):
    own = container.get("securityContext") or {}
    of_pod = pod_of(workload).get("securityContext") or {}

    def wrong(field, message):
        overlay.problem(workload, (*path, "securityContext", field), f"{container['name']}: {message}")

    if (name_of(workload), container["name"]) in PRIVILEGED:
        namespace = overlay.get("Namespace", None, namespace_of(workload))
        level = ((namespace or {}).get("metadata", {}).get("labels") or {}).get("pod-security.kubernetes.io/enforce")
        if level != "privileged":
            wrong("privileged", f"namespace {namespace_of(workload)} does not let it start")
        return
    if own.get("privileged"):
        wrong("privileged", "is privileged")
    if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True or own.get("runAsUser", of_pod.get("runAsUser")) in (None, 0):
        wrong("runAsUser", "may be root: runAsNonRoot and a runAsUser other than 0")
    if own.get("readOnlyRootFilesystem") is not True:
        wrong("readOnlyRootFilesystem", "may write to its root file system")
    if own.get("allowPrivilegeEscalation") is not False:
        wrong("allowPrivilegeEscalation", "may gain privileges")
    if (own.get("capabilities") or {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
        wrong("capabilities", "keeps capabilities: drop: [ALL], and add none")


def probes(overlay, workload, container, path):
    sidecar = "initContainers" in path
    for kind in ("startupProbe", "livenessProbe") + (() if sidecar else ("readinessProbe",)):
        if not container.get(kind):
            overlay.problem(workload, path, f"{container['name']}: no {kind}")
    live, ready = ((container.get(each) or {}).get("httpGet", {}).get("path") for each in ("livenessProbe", "readinessProbe"))
    if live and live == ready:
        overlay.problem(workload, (*path, "livenessProbe", "httpGet", "path"), f"{container['name']}: is restarted for what should only take it out of service ({live})")


def first_process(overlay, workload, container, path):
    """A shell does not pass on that it is told to end: what it starts has to take its place, which the end of a pipe does not."""
    command = [*container.get("command", []), *container.get("args", [])]
    if command[1:2] == ["-c"] and not re.search(r"(^|[;&]\s*|\n\s*)exec ", command[2]):
        overlay.problem(workload, (*path, "command"), f"{container['name']}: the shell stays the first process, and what it starts is never told to end: exec")


def seconds(duration):
    """`1h`, `90s`, as the configuration writes them."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    parts = re.findall(r"(\d+)(ms|s|m|h)", duration)
    return sum(int(number) * units[unit] for number, unit in parts) if parts else None
