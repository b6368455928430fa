"""Whether the NetworkPolicies say what the table of edges says: cyclonus judges, without a cluster."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

from overlay import containers_of, name_of, namespace_of, pod_labels

TABLE = "edges.txt"
# Pods that are not of the deployment; the last one stands for everybody else in the cluster.
OTHERS = ("ingress-nginx/controller", "traefik/controller", "monitoring/prometheus", "keda/keda-operator", "default/stranger")
STRANGER_HERE = "gantry/stranger"
DNS = "kube-system/kube-dns"


def check(overlay, root, cyclonus):
    pods, ports = {}, {}
    for workload in overlay.workloads():
        name = f"{namespace_of(workload)}/{name_of(workload)}"
        pods[name] = pod_labels(workload)
        ports[name] = [(each.get("protocol", "TCP"), each["containerPort"]) for container, _, _ in containers_of(workload) for each in container.get("ports", [])]
    for name in (*OTHERS, STRANGER_HERE):
        pods[name] = {"app.kubernetes.io/name": name.partition("/")[2]}
    pods[DNS] = {"k8s-app": "kube-dns"}

    wanted = {}  # (from, to, protocol, port) -> allowed, line
    for number, line in enumerate((root / TABLE).read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        verdict, source, target, port, *overlays = line.split()
        if not concerns(overlay, overlays):
            continue
        place = f"{root.name}/{TABLE}:{number}"
        protocol, _, port = port.partition("/")
        if missing := [each for each in (source, target) if "/" in each and each not in pods]:
            overlay.problems.append(f"{place}: overlay {overlay.name} has no pod {missing[0]}")
        elif target in ports and (protocol, int(port)) not in ports[target]:
            overlay.problems.append(f"{place}: {target} has no port {protocol}/{port}")
        else:
            wanted[source, target, protocol, int(port)] = (verdict == "allow", place)
    for source in pods:
        for target, listens in ports.items():
            for protocol, port in listens:
                wanted.setdefault((source, target, protocol, port), (False, f"{root.name}/{TABLE}:1"))

    policies = overlay.of("NetworkPolicy")
    for edge, allowed in zip(wanted, ask(cyclonus, policies, pods, list(wanted))):
        should, place = wanted[edge]
        if should == allowed:
            continue
        source, target, protocol, port = edge
        if place.endswith(":1"):
            place = culprit(overlay, policies, pods, edge) or place
        says = "may reach" if allowed else "may not reach"
        overlay.problems.append(f"{place}: overlay {overlay.name}: {source} {says} {target} on {protocol}/{port}, against the table of edges")


def concerns(overlay, named):
    """`dev` is also that with more components, `dev+x` that alone, `-dev+x` all others."""
    ours = {overlay.name, overlay.base}
    if any(each.removeprefix("-") in ours for each in named if each.startswith("-")):
        return False
    wanted = [each for each in named if not each.startswith("-")]
    return not wanted or any(each in ours for each in wanted)


def culprit(overlay, policies, pods, edge):
    """The policy that lets in what should stay outside."""
    source, target, protocol, port = edge
    namespace = target.partition("/")[0]
    for each in policies:
        selects = each["spec"]["podSelector"].get("matchLabels", {}).items() <= pods[target].items()
        for number, rule in enumerate(each["spec"].get("ingress", [])) if selects and namespace_of(each) == namespace else ():
            if any(one.get("port") == port for one in rule.get("ports", [])) or not rule.get("ports"):
                return overlay.sources.find("NetworkPolicy", name_of(each), ("spec", "ingress", number))
    return None


def ask(cyclonus, policies, pods, edges):
    with tempfile.TemporaryDirectory() as directory:
        rules = Path(directory) / "policies"
        rules.mkdir()
        for number, policy in enumerate(policies):
            (rules / f"{number}.yaml").write_text(json.dumps(policy))
        traffic = Path(directory) / "traffic.json"
        traffic.write_text(json.dumps([as_traffic(pods, edge) for edge in edges]))
        command = [cyclonus, "analyze", "--mode", "query-traffic", "--policy-path", str(rules), "--traffic-path", str(traffic)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    verdicts = [each == "TRUE" for each in re.findall(r"IS ALLOWED\?\s*\|\s*(TRUE|FALSE)", answer)]
    if len(verdicts) != len(edges):
        raise RuntimeError(f"cyclonus judged {len(verdicts)} of {len(edges)} edges:\n{answer[-2000:]}")
    return verdicts


def as_traffic(pods, edge):
    source, target, protocol, port = edge
    return {
        "Source": as_peer(pods, source, "10.244.0.10"),
        "Destination": as_peer(pods, target, "10.244.0.20"),
        "Protocol": protocol,
        "ResolvedPort": port,
        "ResolvedPortName": "",
    }


def as_peer(pods, name, address):
    if name not in pods:
        return {"IP": name}
    namespace = name.partition("/")[0]
    labels = {"kubernetes.io/metadata.name": namespace}
    return {"Internal": {"PodLabels": pods[name], "NamespaceLabels": labels, "Namespace": namespace}, "IP": address}
