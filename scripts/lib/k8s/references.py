"""Whatever an object names is there: keys, ports, accounts, selectors, addresses."""

import base64
import re

from overlay import POD, containers_of, name_of, namespace_of, pod_labels, pod_of

ADDRESS = re.compile(r"(?:@|//)([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\.cluster\.local)?(?::(\d+))?")
# Not of the deployment: DNS, the broker's metrics of an overlay without Prometheus, and so on, are checked as edges.
AUTOSCALERS = ("HorizontalPodAutoscaler", "ScaledObject")


def check(overlay):
    for workload in overlay.workloads():
        of_pod(overlay, workload)
        for container, path, _ in containers_of(workload):
            of_container(overlay, workload, container, path)
        # Nobody drains what belongs to a node, or ends by itself.
        if workload["kind"] not in ("DaemonSet", "Job") and not matches(overlay.of("PodDisruptionBudget"), workload):
            overlay.problem(workload, ("metadata", "name"), "no PodDisruptionBudget is for its pods")
    for service in overlay.of("Service"):
        of_service(overlay, service)
    for ingress in overlay.of("Ingress"):
        of_ingress(overlay, ingress)
    of_autoscalers(overlay)
    for monitor in overlay.of("ServiceMonitor"):
        of_monitor(overlay, monitor)
    for budget in overlay.of("PodDisruptionBudget"):
        if not overlay.workloads(namespace_of(budget), budget["spec"]["selector"]["matchLabels"]):
            overlay.problem(budget, ("spec", "selector"), "is for no pods")
    addresses(overlay)


def matches(budgets, workload):
    labels = pod_labels(workload).items()
    return any(namespace_of(each) == namespace_of(workload) and each["spec"]["selector"]["matchLabels"].items() <= labels for each in budgets)


def of_pod(overlay, workload):
    spec, namespace = pod_of(workload), namespace_of(workload)
    if not overlay.get("Namespace", None, namespace):
        overlay.problem(workload, ("metadata", "namespace"), f"namespace {namespace} is not made")
    # A Job's is made for it.
    selector = workload["spec"].get("selector", {}).get("matchLabels", {})
    if not selector.items() <= pod_labels(workload).items():
        overlay.problem(workload, ("spec", "selector", "matchLabels"), "its selector does not match its own pods")
    for constraint in spec.get("topologySpreadConstraints", []):
        if not constraint["labelSelector"]["matchLabels"].items() <= pod_labels(workload).items():
            overlay.problem(workload, (*POD, "topologySpreadConstraints"), "spreads other pods than its own")
    if not overlay.get("ServiceAccount", namespace, spec.get("serviceAccountName")):
        overlay.problem(workload, (*POD, "serviceAccountName"), f"there is no ServiceAccount {spec.get('serviceAccountName')}")
    if not overlay.get("PriorityClass", None, spec.get("priorityClassName")):
        overlay.problem(workload, (*POD, "priorityClassName"), f"there is no PriorityClass {spec.get('priorityClassName')}")
    if workload["kind"] == "StatefulSet" and not overlay.get("Service", namespace, workload["spec"]["serviceName"]):
        overlay.problem(workload, ("spec", "serviceName"), f"there is no Service {workload['spec']['serviceName']}")
    for volume in spec.get("volumes", []):
        sources = [*volume.get("projected", {}).get("sources", []), volume]
        for source in sources:
            for kind, field, name in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
                if field not in source:
                    continue
                named = source[field].get(name) or source[field].get("name")
                keys = keys_of(overlay, kind, namespace, named)
                path = (*POD, "volumes", volume["name"])
                if keys is None:
                    overlay.problem(workload, path, f"volume {volume['name']}: there is no {kind} {named}")
                for item in source[field].get("items", []) if keys is not None else []:
                    if item["key"] not in keys:
                        overlay.problem(workload, path, f"volume {volume['name']}: {kind} {named} has no key {item['key']}")


def keys_of(overlay, kind, namespace, name):
    found = overlay.get(kind, namespace, name)
    return None if found is None else {**(found.get("data") or {}), **(found.get("stringData") or {}), **(found.get("binaryData") or {})}.keys()


def of_container(overlay, workload, container, path):
    namespace = namespace_of(workload)
    volumes = {each["name"]: each for each in pod_of(workload).get("volumes", [])}
    volumes.update({each["metadata"]["name"]: each for each in workload["spec"].get("volumeClaimTemplates", [])})
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in volumes:
            overlay.problem(workload, (*path, "volumeMounts", mount["name"]), f"there is no volume {mount['name']}")
    for source in container.get("envFrom", []):
        for kind, field in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            if field in source and keys_of(overlay, kind, namespace, source[field]["name"]) is None:
                overlay.problem(workload, (*path, "envFrom"), f"there is no {kind} {source[field]['name']}")
    for variable in container.get("env", []):
        place = (*path, "env", variable["name"])
        for kind, field in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
            reference = (variable.get("valueFrom") or {}).get(field)
            if not reference:
                continue
            keys = keys_of(overlay, kind, namespace, reference["name"])
            if keys is None:
                overlay.problem(workload, place, f"there is no {kind} {reference['name']}")
            elif reference["key"] not in keys:
                overlay.problem(workload, (*place, "valueFrom", field, "key"), f"{kind} {reference['name']} has no key {reference['key']}")
        if variable["name"].endswith("_FILE") and "value" in variable:
            file_is_there(overlay, workload, container, volumes, variable, place)
    ports = {each.get("name") for each in container.get("ports", [])} | {each["containerPort"] for each in container.get("ports", [])}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        for how in ("httpGet", "tcpSocket"):
            port = (container.get(kind) or {}).get(how, {}).get("port")
            if port is not None and port not in ports:
                overlay.problem(workload, (*path, kind, how, "port"), f"{kind}: the container has no port {port}")


def file_is_there(overlay, workload, container, volumes, variable, place):
    directory, _, file = variable["value"].rpartition("/")
    mount = next((each for each in container.get("volumeMounts", []) if each["mountPath"] == directory), None)
    volume = volumes.get((mount or {}).get("name"), {})
    for kind, field, name in (("Secret", "secret", "secretName"), ("ConfigMap", "configMap", "name")):
        if field in volume:
            items = volume[field].get("items")
            keys = {each["path"] for each in items} if items else keys_of(overlay, kind, namespace_of(workload), volume[field][name]) or ()
            if file in keys:
                return
    overlay.problem(workload, place, f"{variable['name']}: nothing puts a file at {variable['value']}")


def of_service(overlay, service):
    behind = overlay.workloads(namespace_of(service), service["spec"]["selector"])
    if not behind:
        overlay.problem(service, ("spec", "selector"), "no pod has these labels")
    named = [port for workload in behind for container, _, _ in containers_of(workload) for port in container.get("ports", [])]
    known = {each.get("name") for each in named} | {each["containerPort"] for each in named}
    for number, port in enumerate(service["spec"]["ports"]):
        target = port.get("targetPort", port["port"])
        if behind and target not in known:
            overlay.problem(service, ("spec", "ports", port.get("name", number)), f"no container has a port {target}")


def port_of(service, wanted):
    return next((each for each in service["spec"]["ports"] if wanted in (each["port"], each.get("name"))), None)


def of_ingress(overlay, ingress):
    certified = "cert-manager.io/cluster-issuer" in (ingress["metadata"].get("annotations") or {})
    hosts = {each["host"] for each in ingress["spec"]["rules"]}
    for number, tls in enumerate(ingress["spec"].get("tls", [])):
        place = ("spec", "tls", number)
        if not certified and not overlay.get("Secret", namespace_of(ingress), tls["secretName"]):
            overlay.problem(ingress, place, f"nobody makes the certificate {tls['secretName']}")
        if set(tls["hosts"]) - hosts:
            overlay.problem(ingress, place, f"has a certificate for {', '.join(set(tls['hosts']) - hosts)}, where it does not serve")
    for number, rule in enumerate(ingress["spec"]["rules"]):
        for index, each in enumerate(rule["http"]["paths"]):
            place = ("spec", "rules", number, "http", "paths", index)
            if not each["path"].startswith("/api"):
                overlay.problem(ingress, (*place, "path"), f"{each['path']} would let out more than the public API", each["path"])
            backend = each["backend"]["service"]
            service = overlay.get("Service", namespace_of(ingress), backend["name"])
            wanted = backend["port"].get("name", backend["port"].get("number"))
            if service is None:
                overlay.problem(ingress, (*place, "backend", "service", "name"), f"there is no Service {backend['name']}")
            elif port_of(service, wanted) is None:
                overlay.problem(ingress, (*place, "backend", "service", "port"), f"Service {backend['name']} has no port {wanted}")


def of_autoscalers(overlay):
    scaled = {}
    for each in overlay.of(*AUTOSCALERS):
        target = each["spec"]["scaleTargetRef"]
        key = (namespace_of(each), target.get("kind", "Deployment"), target["name"])
        if not overlay.get(key[1], key[0], key[2]):
            overlay.problem(each, ("spec", "scaleTargetRef"), f"there is no {key[1]} {key[2]}")
        if key in scaled:
            overlay.problem(each, ("spec", "scaleTargetRef"), f"{key[1]} {key[2]} has two autoscalers, which fight: components hpa and keda exclude each other")
        scaled[key] = each
    for each in overlay.of("TriggerAuthentication"):
        for number, reference in enumerate(each["spec"]["secretTargetRef"]):
            if reference["key"] not in (keys_of(overlay, "Secret", namespace_of(each), reference["name"]) or ()):
                overlay.problem(each, ("spec", "secretTargetRef", number), f"there is no Secret {reference['name']} with a key {reference['key']}")
    for each in overlay.of("ScaledObject"):
        for number, trigger in enumerate(each["spec"]["triggers"]):
            name = trigger.get("authenticationRef", {}).get("name")
            if name and not overlay.get("TriggerAuthentication", namespace_of(each), name):
                overlay.problem(each, ("spec", "triggers", number), f"there is no TriggerAuthentication {name}")


def of_monitor(overlay, monitor):
    labels = monitor["spec"]["selector"]["matchLabels"].items()
    services = [each for each in overlay.of("Service") if namespace_of(each) == namespace_of(monitor) and labels <= each["metadata"].get("labels", {}).items()]
    if not services:
        overlay.problem(monitor, ("spec", "selector"), "no Service has these labels")
    for number, endpoint in enumerate(monitor["spec"]["endpoints"]):
        if services and not any(port_of(each, endpoint["port"]) for each in services):
            overlay.problem(monitor, ("spec", "endpoints", number), f"no Service has a port {endpoint['port']}")


def addresses(overlay):
    """Services are named in settings too: in variables, files, secrets, triggers."""
    for thing in overlay.objects:
        for path, value in leaves(thing):
            if thing["kind"] == "Secret" and path[0] == "data":
                value = base64.b64decode(value).decode(errors="replace")
            for name, namespace, port in ADDRESS.findall(value):
                service = overlay.get("Service", namespace, name)
                if service is None:
                    overlay.problem(thing, path, f"{'.'.join(map(str, path))} names {name}.{namespace}.svc: there is no such Service")
                elif port and port_of(service, int(port)) is None:
                    overlay.problem(thing, path, f"{'.'.join(map(str, path))} names {name}.{namespace}.svc:{port}: that Service has no such port")


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from leaves(each, (*path, each["name"] if isinstance(each, dict) and "name" in each else number))
    elif isinstance(value, str):
        yield path, value
