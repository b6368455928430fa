"""Plants mistakes, one at a time, and says which of them check.py does not find where they are."""

import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import check
import product

PRODUCER, WORKER = "base/producer/deployment.yaml", "base/worker/deployment.yaml"
LIMITS = '            limits: { cpu: "2", memory: 1Gi, ephemeral-storage: 1Gi }\n'
# What; file; what is there; what is there instead; a part of what should be said; the text at the line that should be named, if that is
# not the first changed line; the file and text that should be named, if they are others.
MISTAKES = [
    ("a wrong port of a Service", "base/producer/service.yaml", "targetPort: workers", "targetPort: worker", "no container has a port worker"),
    ("a selector that matches nothing", "base/producer/service.yaml", "  selector:\n    app.kubernetes.io/name: gantry-producer", "  selector:\n    app.kubernetes.io/name: producer", "no pod has these labels", "  selector:"),
    ("a Deployment whose selector is not its own", WORKER, "    matchLabels:\n      app.kubernetes.io/name: gantry-worker", "    matchLabels:\n      app.kubernetes.io/name: worker", "does not match its own pods", "matchLabels:\n      app.kubernetes.io/name: worker\n"),
    ("a key that a Secret does not have", "components/redis/redis.yaml", "name: REDISCLI_AUTH\n              valueFrom: { secretKeyRef: { name: redis, key: REDIS_PASSWORD } }", "name: REDISCLI_AUTH\n              valueFrom: { secretKeyRef: { name: redis, key: PASSWORD } }", "has no key PASSWORD"),
    ("a key that a ConfigMap does not have", "components/rabbitmq/rabbitmq.yaml", "{ key: cluster.conf, path", "{ key: cluster.config, path", "has no key cluster.config", "name: conf\n"),
    ("a ConfigMap that is not there", PRODUCER, "configMapRef: { name: gantry-producer }", "configMapRef: { name: gantry-producers }", "there is no ConfigMap gantry-producers", "envFrom:"),
    ("a file that nothing mounts", PRODUCER, "value: /run/secrets/gantry/GANTRY_REDIS }", "value: /run/secrets/gantry/REDIS }", "nothing puts a file at"),
    ("a probe of a path that nobody serves", PRODUCER, "readinessProbe:\n            httpGet: { path: /health/ready,", "readinessProbe:\n            httpGet: { path: /healthz,", "does not serve /healthz", "/healthz"),
    ("a probe of a port that is not there", WORKER, "livenessProbe:\n            httpGet: { path: /health/live, port: http }", "livenessProbe:\n            httpGet: { path: /health/live, port: web }", "has no port web", "port: web"),
    ("health asked at the worker API", PRODUCER, "startupProbe:\n            httpGet: { path: /health/live, port: http }", "startupProbe:\n            httpGet: { path: /health/live, port: workers }", "health is served on 3000", "port: workers"),
    ("liveness that asks for readiness", WORKER, "livenessProbe:\n            httpGet: { path: /health/live,", "livenessProbe:\n            httpGet: { path: /health/ready,", "only take it out of service", "path: /health/ready"),
    ("a variable that a producer does not know", PRODUCER, "name: GANTRY_SEALING_KEYS_FILE", "name: GANTRY_SEALING_KEY_FILE", "knows no variable GANTRY_SEALING_KEY_FILE"),
    ("a setting that a producer cannot do without", PRODUCER, "            - { name: GANTRY_SIGNING_KEYS_FILE, value: /run/secrets/gantry/GANTRY_SIGNING_KEYS }\n", "", "does not start without GANTRY_SIGNING_KEYS", "env:"),
    ("a host that producers do not answer to", "overlays/production/producer.env", "PUBLIC_URL=https://api.", "PUBLIC_URL=https://", "do not answer to api.gantry.example", "", "base/ingress.yaml", "- host: api.gantry.localhost"),
    ("a name of KEDA's that producers do not answer to", "overlays/production/producer.env", "gantry-producer.gantry.svc", "gantry-producer", "do not answer to gantry-producer.gantry.svc", "", "components/keda/worker.yaml", "- type: metrics-api"),
    ("an ingress that is taken for every caller", "base/producer.env", "GANTRY_HTTP_TRUSTED_PROXIES=1", "GANTRY_HTTP_TRUSTED_PROXIES=0", "takes the ingress controller for every caller"),
    ("links without TLS", "overlays/production/producer.env", "https://api", "http://api", "GANTRY_PUBLIC_URL says http"),
    ("a setting that a worker does not know", "base/worker.env", "GANTRY_SLOTS=2", "GANTRY_SLOT=2", "knows no variable GANTRY_SLOT"),
    ("a setting of the engine that it does not know", WORKER, "          restartPolicy: Always\n", "          restartPolicy: Always\n          env: [{ name: GANTRY_DIND_DENYS, value: 1.2.3.0/24 }]\n", "knows no variable GANTRY_DIND_DENYS", "GANTRY_DIND_DENYS"),
    ("an address with a wrong port", "base/worker.env", "gantry.svc:3001", "gantry.svc:3000", "that Service has no such port"),
    ("an address of a Service that is not there", "components/keda/worker.yaml", "http://gantry-producer.gantry.svc", "http://producer.gantry.svc", "there is no such Service"),
    ("no limits", PRODUCER, LIMITS, "", "no limits of cpu, memory, ephemeral-storage", "resources:"),
    ("requests without ephemeral storage", "components/redis/redis.yaml", "memory: 128Mi, ephemeral-storage: 16Mi }", "memory: 128Mi }", "no requests of ephemeral-storage"),
    ("a container that may be root", PRODUCER, "        runAsUser: 65532\n", "        runAsUser: 0\n", "may be root", "securityContext:\n            allowPriv"),
    ("a writable root", "components/mongodb/mongodb.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "may write to its root"),
    ("a capability", WORKER, "capabilities: { drop: [ALL] }", "capabilities: { drop: [ALL], add: [NET_ADMIN] }", "keeps capabilities"),
    ("a privileged container", PRODUCER, "            allowPrivilegeEscalation: false\n", "            allowPrivilegeEscalation: false\n            privileged: true\n", "is privileged", "privileged: true"),
    ("a token of the cluster", WORKER, "      serviceAccountName: gantry-worker\n      automountServiceAccountToken: false", "      serviceAccountName: gantry-worker\n      automountServiceAccountToken: true", "mounts a token", "automountServiceAccountToken: true"),
    ("an account that is not there", PRODUCER, "serviceAccountName: gantry-producer", "serviceAccountName: producer", "there is no ServiceAccount producer"),
    ("the latest image", "base/kustomization.yaml", "{ name: gantry-producer, newTag: 0.1.0 }", "{ name: gantry-producer, newTag: latest }", "is not pinned", "", PRODUCER, "image: gantry-producer"),
    ("a field that Kubernetes does not have", "base/producer/scaling.yaml", "  maxUnavailable: 1", "  maxUnavailables: 1", "Kubernetes 1.30"),
    ("a grace that is too short", WORKER, "terminationGracePeriodSeconds: 3720", "terminationGracePeriodSeconds: 300", "before it had the"),
    ("runs that are cut when a worker ends", "base/worker.env", "GANTRY_DRAIN_GRACE=3660s", "GANTRY_DRAIN_GRACE=60s", "cuts runs", "", WORKER, "terminationGracePeriodSeconds: 3720"),
    ("metrics let out", "base/ingress.yaml", "path: /api\n", "path: /\n", "more than the public API"),
    ("an ingress to a port that is not there", "base/ingress.yaml", "port: { name: http }", "port: { name: api }", "has no port api"),
    ("an alert on a metric that is not there", "components/monitoring/alerts.yaml", "gantry_lease_expiries_total", "gantry_leases_expired_total", "no metric is called gantry_leases_expired_total"),
    ("a panel of a metric that is not there", "components/monitoring/grafana/gantry.json", "(gantry_worker_slots)", "(gantry_slots)", "no metric is called gantry_slots", "", "components/monitoring/kustomization.yaml", "  - name: gantry-dashboard"),
    ("a server that is never told to end", "components/redis/redis.yaml", "              exec redis-server - <<END\n              requirepass $REDIS_PASSWORD\n              appendonly yes\n              END\n", "              printf 'requirepass %s' \"$REDIS_PASSWORD\" | exec redis-server -\n", "never told to end", "          command:"),
    ("two autoscalers", "overlays/production/kustomization.yaml", "  - ../../components/keda\n", "  - ../../components/keda\n  - ../../components/hpa\n", "two autoscalers", "", "components/", "scaleTargetRef"),
    ("no disruption budget", "base/worker/service.yaml", "  selector:\n    matchLabels:\n      app.kubernetes.io/name: gantry-worker", "  selector:\n    matchLabels:\n      app.kubernetes.io/name: workers", "is for no pods", "  selector:\n    matchLabels:"),
    ("an edge too much", "components/network-policies/servers.yaml", "  name: redis-from-producer\n  namespace: gantry\n  labels: { app.kubernetes.io/part-of: gantry }\nspec:\n  podSelector:\n    matchLabels: { app.kubernetes.io/name: redis }\n  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - podSelector:\n            matchLabels: { app.kubernetes.io/name: gantry-producer }", "  name: redis-from-producer\n  namespace: gantry\n  labels: { app.kubernetes.io/part-of: gantry }\nspec:\n  podSelector:\n    matchLabels: { app.kubernetes.io/name: redis }\n  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - namespaceSelector: {}", "may reach gantry/redis", "- namespaceSelector: {}", "components/network-policies/servers.yaml", "- from:\n        - namespaceSelector: {}"),
    ("an edge that is missing", "components/network-policies/worker.yaml", "        - { protocol: TCP, port: 5672 }", "        - { protocol: TCP, port: 5673 }", "gantry-worker may not reach gantry/rabbitmq on TCP/5672", "", "edges.txt", "allow       gantry-workers/gantry-worker      gantry/rabbitmq"),
    ("a directory of the node too much", "components/engine-per-node/engine.yaml", "hostPath: { path: /run/gantry-engine,", "hostPath: { path: /run,", "mounts a path of the node", "- name: socket\n          hostPath"),
    ("an engine that nobody reaches", "components/engine-per-node/engine.yaml", "command: [/usr/local/lib/gantry-dind/engine, health] }\n            periodSeconds: 10", "command: [/usr/local/lib/gantry-dind/health] }\n            periodSeconds: 10", "the image has no /usr/local/lib/gantry-dind/health", "command: [/usr/local/lib/gantry-dind/health]"),
    ("an engine outside that workers may not reach", "components/engine-outside/network-policy.yaml", "port: 2375", "port: 2376", "gantry-worker may not reach 192.0.2.10 on TCP/2375", "", "edges.txt", "allow       gantry-workers/gantry-worker      192.0.2.10"),
    ("members that do not reach each other", "components/mongodb-replicas/network-policies.yaml", "values: [mongodb, mongodb-initiate] }\n      ports:", "values: [mongodb-initiate] }\n      ports:", "gantry/mongodb may not reach gantry/mongodb on TCP/27017", "", "edges.txt", "allow       gantry/mongodb                    gantry/mongodb "),
    ("a key that nobody makes", "components/reports-s3/keys.yaml", "value: /run/secrets/gantry-s3/access-key-id", "value: /run/secrets/gantry-s3/key-id", "nothing puts a file at /run/secrets/gantry-s3/key-id", "", "base/producer/deployment.yaml", "          env:"),
    ("metadata addresses open", "components/network-policies/worker.yaml", "              - 169.254.0.0/16\n", "", "may reach 169.254.169.254", "", "edges.txt", "169.254.169.254           TCP/80\nforbid      gantry-workers/gantry-worker      168"),
]


def line_of(path, text):
    return path.read_text().count("\n", 0, path.read_text().index(text)) + 1


def not_found(mistake, k8s, knows):
    """What is wrong with the way a mistake is told of; nothing if it is found where it is."""
    what, file, before, after, message, *where = mistake
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "k8s"
        shutil.copytree(k8s, root)
        changed = root / file
        text = changed.read_text()
        if before not in text:
            return f"{what}: {file} does not hold what is to be changed"
        at = text.index(before)
        changed.write_text(text.replace(before, after, 1))
        if len(where) == 3:
            places = [f"k8s/{found.relative_to(root)}:{line_of(found, where[2])}:" for found in sorted(root.rglob("*.*")) if str(found.relative_to(root)).startswith(where[1]) and found.is_file() and where[2] in found.read_text()]
        else:
            shared = next((i for i, (one, other) in enumerate(zip(before, after)) if one != other), 0)
            line = line_of(changed, where[0]) if where else text.count("\n", 0, at + shared) + 1
            places = [f"k8s/{file}:{line}:"]
        component = file.split("/")[1]
        overlay = next((each.name for each in (root / "overlays").iterdir() if each.name.endswith(f"+{component}")), None) or ("dev" if file.startswith(("components/mongodb", "components/hpa", "overlays/dev")) else "production")
        problems = check.judged(root, overlay, knows).problems
    told = [each for each in problems if message in each]
    if any(each.startswith(place) for each in told for place in places):
        return None
    return f"{what}: expected '{places[0]} … {message}', was told {told or problems}"


def main(k8s):
    knows = product.Product(check.REPO)
    with ThreadPoolExecutor(2) as pool:
        missed = [each for each in pool.map(lambda mistake: not_found(mistake, k8s, knows), MISTAKES) if each]
    for each in missed:
        print(f"scripts/lib/k8s/mistakes.py: {each}")
    print(f"{len(MISTAKES) - len(missed)} of {len(MISTAKES)} planted mistakes were found where they are", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
