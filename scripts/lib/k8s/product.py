"""What the binaries serve, listen on and know, read from their own sources and documentation."""

import json
import re
from urllib.parse import urlsplit

from containers import seconds
from overlay import POD, containers_of, name_of, namespace_of, pod_of

# Sections of docs-site/docs/configuration.md, and which binaries read their settings.
BOTH = ("producer", "worker")
SECTIONS = {
    "gantry up": (),
    "Producers and workers": ("producer",),
    "People and mail": ("producer",),
    "Limits": ("producer",),
    "Rates": ("producer",),
    "Who may call": ("producer",),
    "Secrets": ("producer",),
    "Traces": BOTH,
    "Leases and logs": ("producer",),
}
# Stand in the table of `gantry up`, and are read by all.
EVERYBODY = ("log.filter", "log.format")
# What they read beside settings.
MORE = {"worker": {"DOCKER_HOST", "SSL_CERT_FILE"}, "producer": {"SSL_CERT_FILE"}}


class Product:
    def __init__(self, repo):
        self.paths = set(re.findall(r'\.route\("(/[^"]*)"', read(repo, "crates/service-kit/src/http/operations.rs")))
        producer, worker = (read(repo, f"{each}/src/process/config.rs") for each in BOTH)
        port = lambda name, text: int(re.search(rf"const {name}: SocketAddr = .*?, (\d+)\)", text, re.S)[1])  # noqa: E731
        self.health = {"producer": port("LISTEN", producer), "worker": port("LISTEN", worker)}
        self.ports = {"producer": {self.health["producer"], port("WORKER_LISTEN", producer)}, "worker": {self.health["worker"]}}
        self.settings, self.required = settings(read(repo, "docs-site/docs/configuration.md"))
        self.engine_settings = set(re.findall(r"GANTRY_DIND_[A-Z]+", read(repo, "docker/dind/egress") + read(repo, "docker/dind/engine")))
        self.engine_files = {f"/usr/local/lib/gantry-dind/{each.name}" for each in (repo / "docker/dind").iterdir()}
        self.metrics = set(re.findall(r"^\| `(gantry_[a-z_]+)`", read(repo, "docs-site/docs/metrics.md"), re.M))


def read(repo, path):
    return (repo / path).read_text()


def settings(page):
    """Names of all settings, and of those without which a binary does not start."""
    known, required = {each: set(MORE[each]) for each in BOTH}, {each: set() for each in BOTH}
    readers = ()
    for line in page.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip("`")
            readers = SECTIONS.get(heading, ())
            continue
        own = re.match(r"\| setting of `gantry-(producer|worker)`", line)
        if own:
            readers = (own[1],)
        if not line.startswith("| `") and not own:
            continue
        cells = line.split("|")
        for number, name in enumerate(re.findall(r"`([^`]+)`", cells[1])):
            if name.startswith("."):
                name = table + name
            table = name.rpartition(".")[0]
            for each in readers:
                known[each].add(variable(name))
                if number == 0 and any(cell.strip().startswith("required") for cell in cells):
                    required[each].add(variable(name))
    for each in BOTH:
        known[each].update(variable(name) for name in EVERYBODY)
        known[each].update({f"{name}_FILE" for name in known[each]})
    return known, required


def variable(name):
    return "GANTRY_" + name.replace(".", "_").upper()


def binary_of(container):
    return {"gantry-producer": "producer", "gantry-worker": "worker", "gantry-dind": "engine"}.get(container["image"].partition(":")[0].rpartition("/")[2])


def check(overlay, product):
    for workload in overlay.workloads():
        for container, path, _ in containers_of(workload):
            binary = binary_of(container)
            if binary in BOTH:
                probes(overlay, product, workload, container, path, binary)
                ports(overlay, product, workload, container, path, binary)
                variables(overlay, workload, container, path, product.settings[binary], f"gantry-{binary}")
                missing = product.required[binary] - {name.removesuffix("_FILE") for name in names(overlay, workload, container)}
                for name in sorted(missing):
                    overlay.problem(workload, (*path, "env"), f"gantry-{binary} does not start without {name}")
            if binary == "engine":
                variables(overlay, workload, container, path, product.engine_settings, "gantry-dind")
                for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                    if kind not in container:
                        continue
                    command = (container.get(kind) or {}).get("exec", {}).get("command", [""])
                    if command[0] not in product.engine_files:
                        overlay.problem(workload, (*path, kind, "exec", "command"), f"the image has no {command[0]}")
    grace(overlay)
    entrance(overlay)
    for monitor in overlay.of("ServiceMonitor"):
        for number, endpoint in enumerate(monitor["spec"]["endpoints"]):
            if endpoint["path"] not in product.paths:
                overlay.problem(monitor, ("spec", "endpoints", number), f"nobody serves {endpoint['path']}")
    for rules in overlay.of("PrometheusRule"):
        for group_number, group in enumerate(rules["spec"]["groups"]):
            for number, rule in enumerate(group["rules"]):
                for name in unknown_metrics(product, rule["expr"]):
                    path = ("spec", "groups", group_number, "rules", number, "expr")
                    overlay.problem(rules, path, f"{rule['alert']}: no metric is called {name}")
    for dashboard in overlay.of("ConfigMap"):
        if "grafana_dashboard" in dashboard["metadata"].get("labels", {}):
            for file, text in dashboard["data"].items():
                for name in sorted({name for panel in json.loads(text)["panels"] for target in panel.get("targets", []) for name in unknown_metrics(product, target["expr"])}):
                    overlay.problem(dashboard, ("data", file), f"no metric is called {name}")


def unknown_metrics(product, expression):
    for name in re.findall(r"\bgantry_[a-z_]+", expression):
        if name not in product.metrics and re.sub(r"_(bucket|sum|count)$", "", name) not in product.metrics:
            yield name


def probes(overlay, product, workload, container, path, binary):
    named = {each.get("name"): each["containerPort"] for each in container.get("ports", [])}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        ask = (container.get(kind) or {}).get("httpGet")
        if not ask:
            continue
        if ask["path"] not in product.paths:
            overlay.problem(workload, (*path, kind, "httpGet", "path"), f"{kind}: gantry-{binary} does not serve {ask['path']}")
        if named.get(ask["port"], ask["port"]) != product.health[binary]:
            overlay.problem(workload, (*path, kind, "httpGet", "port"), f"{kind}: health is served on {product.health[binary]}, not on {ask['port']}")


def ports(overlay, product, workload, container, path, binary):
    for number, port in enumerate(container.get("ports", [])):
        if port["containerPort"] not in product.ports[binary]:
            overlay.problem(workload, (*path, "ports", port.get("name", number)), f"gantry-{binary} does not listen on {port['containerPort']}")


def variables(overlay, workload, container, path, known, program):
    for each in container.get("env", []):
        if each["name"] not in known:
            overlay.problem(workload, (*path, "env", each["name"]), f"{program} knows no variable {each['name']}")
    for source in container.get("envFrom", []):
        config = overlay.get("ConfigMap", namespace_of(workload), source.get("configMapRef", {}).get("name"))
        for name in (config or {}).get("data", {}):
            if name not in known:
                overlay.problem(config, ("data", name), f"{program} knows no variable {name}")


def names(overlay, workload, container):
    """Every variable that the container is given."""
    return {*given(overlay, workload, container), *(each["name"] for each in container.get("env", []))}


def given(overlay, workload, container):
    """Those whose values are written in the manifests, with their values."""
    found = {}
    for source in container.get("envFrom", []):
        config = overlay.get("ConfigMap", namespace_of(workload), source.get("configMapRef", {}).get("name"))
        found.update((config or {}).get("data", {}))
    found.update({each["name"]: each["value"] for each in container.get("env", []) if "value" in each})
    return found


def values(overlay, workload):
    """What a workload's first container has for settings."""
    return given(overlay, workload, pod_of(workload)["containers"][0])


def entrance(overlay):
    """By which names producers are called, and whom they believe to stand before them."""
    for workload in overlay.of("Deployment"):
        if binary_of(pod_of(workload)["containers"][0]) != "producer":
            continue
        has = values(overlay, workload)
        settings = overlay.get("ConfigMap", namespace_of(workload), pod_of(workload)["containers"][0]["envFrom"][0]["configMapRef"]["name"])
        if settings is None:
            continue
        public = urlsplit(has.get("GANTRY_PUBLIC_URL", ""))
        hosts = {*filter(None, has.get("GANTRY_HTTP_HOSTS", "").split(",")), *filter(None, [public.hostname])}
        ingresses = overlay.of("Ingress")
        if ingresses and int(has.get("GANTRY_HTTP_TRUSTED_PROXIES", "0")) < 1:
            overlay.problem(settings, ("data", "GANTRY_HTTP_TRUSTED_PROXIES"), "takes the ingress controller for every caller: GANTRY_HTTP_TRUSTED_PROXIES=1")
        for ingress in ingresses:
            for number, rule in enumerate(ingress["spec"]["rules"]):
                if rule["host"] not in hosts:
                    overlay.problem(ingress, ("spec", "rules", number, "host"), f"producers do not answer to {rule['host']}: GANTRY_HTTP_HOSTS, GANTRY_PUBLIC_URL", rule["host"])
            encrypted = bool(ingress["spec"].get("tls"))
            if encrypted != (public.scheme == "https"):
                overlay.problem(settings, ("data", "GANTRY_PUBLIC_URL"), f"the ingress speaks {'https' if encrypted else 'http'}, and GANTRY_PUBLIC_URL says {public.scheme or 'nothing'}")
        for scaled in overlay.of("ScaledObject"):
            for number, trigger in enumerate(scaled["spec"]["triggers"]):
                host = urlsplit(trigger["metadata"].get("url", "")).hostname
                if host and host not in hosts:
                    overlay.problem(scaled, ("spec", "triggers", number), f"producers do not answer to {host}: GANTRY_HTTP_HOSTS")


def grace(overlay):
    """Kubernetes waits as long as the process takes to end, and a worker as long as its runs may take."""
    longest = None
    for workload in sorted(overlay.of("Deployment"), key=name_of):
        binary = binary_of(pod_of(workload)["containers"][0])
        if binary not in BOTH:
            continue
        given, has = pod_of(workload).get("terminationGracePeriodSeconds") or 30, values(overlay, workload)
        drain = seconds(has.get("GANTRY_DRAIN_GRACE", "20s" if binary == "producer" else "30s"))
        needed = drain + (seconds(has.get("GANTRY_DRAIN_DELAY", "5s")) + 10 if binary == "producer" else 60)
        if given < needed:
            overlay.problem(workload, (*POD, "terminationGracePeriodSeconds"), f"is killed after {given} s, before it had the {needed:g} s that it takes to end", given)
        if binary == "producer":
            longest = int(has.get("GANTRY_LIMITS_MAX_TIMEOUT_SECONDS", "86400"))
        elif overlay.base == "production" and longest and drain < longest:
            overlay.problem(workload, (*POD, "terminationGracePeriodSeconds"), f"cuts runs: they may take {longest} s, and get {drain:g} s when a worker ends", given)
