"""An overlay as kustomize builds it, and what is wrong with it so far."""

import os
import subprocess

import yaml

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


class Overlay:
    def __init__(self, name, directory, sources):
        # `dev+x` is the overlay dev with the component x.
        self.name, self.base, self.sources, self.problems = name, name.partition("+")[0], sources, []
        command = os.environ.get("GANTRY_KUSTOMIZE", "kubectl kustomize").split()
        built = subprocess.run([*command, str(directory)], capture_output=True, text=True)
        self.objects = []
        if built.returncode != 0:
            self.problems.append(f"k8s/overlays/{name}/kustomization.yaml:1: is not built: {built.stderr.strip()}")
            return
        self.objects = [each for each in yaml.load_all(built.stdout, Loader=yaml.CSafeLoader) if each]

    def problem(self, thing, path, message, value=None):
        place = self.sources.find(thing["kind"], name_of(thing), path, value)
        self.problems.append(f"{place}: {thing['kind']} {name_of(thing)}: {message}")

    def of(self, *kinds):
        return [each for each in self.objects if each["kind"] in kinds]

    def get(self, kind, namespace, name):
        return next((each for each in self.of(kind) if name_of(each) == name and namespace_of(each) == namespace), None)

    def workloads(self, namespace=None, labels=None):
        """Those in the namespace whose pods have the labels."""
        return [
            each
            for each in self.of(*WORKLOADS)
            if namespace in (None, namespace_of(each)) and (labels is None or labels.items() <= pod_labels(each).items())
        ]


def name_of(thing):
    return thing["metadata"]["name"]


def namespace_of(thing):
    return thing["metadata"].get("namespace")


def pod_of(workload):
    return workload["spec"]["template"]["spec"]


def pod_labels(workload):
    return workload["spec"]["template"]["metadata"].get("labels", {})


POD = ("spec", "template", "spec")


def containers_of(workload):
    """Each container with its path and whether it stays: an init container does if it is restarted always, one of a Job does not."""
    pod = pod_of(workload)
    for each in pod.get("initContainers", []):
        yield each, (*POD, "initContainers", each["name"]), each.get("restartPolicy") == "Always"
    for each in pod.get("containers", []):
        yield each, (*POD, "containers", each["name"]), workload["kind"] != "Job"
