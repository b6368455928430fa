# shellcheck shell=bash
# An overlay on a cluster: up, its entrance, whether all is ready. Sourced by scripts/e2e-k8s.sh.

NAMESPACES=(gantry gantry-workers)

find_cli() {
  local each
  for each in "${GANTRY_CLI:-}" "$(command -v gantry || true)" "$REPO/target/release/gantry" "$REPO/target/debug/gantry"; do
    if [ -n "$each" ] && [ -x "$each" ]; then CLI=$each; return; fi
  done
  die "there is no gantry command: cargo build -p gantry-cli, or GANTRY_CLI=PATH"
}
gantry() { GANTRY_URL=$URL "$CLI" "$@"; }

# secret NAMESPACE WORKLOAD KEY: what a workload was given, as it is in the cluster.
secret() {
  local name; name=$(kubectl -n "$1" get "$2" -o 'jsonpath={.spec.template.spec.volumes[?(@.name=="secrets")].secret.secretName}')
  kubectl -n "$1" get secret "$name" -o "jsonpath={.data.$3}" | base64 -d
}

find_entrance() {
  : "${URL:=http://$(kubectl -n gantry get ingress gantry-api -o 'jsonpath={.spec.rules[0].host}')}"
  GANTRY_API_KEY=$(secret gantry deployment/gantry-producer GANTRY_BOOTSTRAP_API_KEY)
  export GANTRY_API_KEY
}

all_ready() { # seconds
  local namespace each deadline=$((SECONDS + $1))
  for namespace in "${NAMESPACES[@]}"; do
    for each in $(kubectl -n "$namespace" get deployment,statefulset -o name); do
      kubectl -n "$namespace" rollout status "$each" --timeout="$((deadline > SECONDS ? deadline - SECONDS : 1))s" >/dev/null || die "$namespace: $each does not get ready"
    done
    # Those that are updated when somebody deletes their pods have no rollout to ask for.
    wait_for "$((deadline > SECONDS ? deadline - SECONDS : 1))" daemons_ready "$namespace" || die "$namespace: a DaemonSet does not get ready"
  done
}
daemons_ready() { ! kubectl -n "$1" get daemonset -o 'jsonpath={range .items[*]}{.status.desiredNumberScheduled} {.status.numberReady}{"\n"}{end}' | awk '$1 != $2 || $1 == 0 { wrong = 1 } END { exit !wrong }'; }

a_run_finishes() { gantry run --image "$IMAGE" -- sh -c 'echo done' 2>/dev/null | grep -qx 'done'; }

bring_up() {
  ! kubectl get namespace gantry >/dev/null 2>&1 || die "this cluster has a namespace gantry already, and what is made here is removed in the end: --only goes on with it"
  local began=$SECONDS
  # shellcheck disable=SC2034  # read where all ends
  APPLIED=1
  kubectl apply -k "$OVERLAY" >/dev/null
  find_entrance
  [ -z "$KEDA" ] || key_for_keda
  wait_for 600 a_run_finishes || die "no run finished within ten minutes"
  figure "kubectl apply to the first finished run" "$((SECONDS - began)) s"
  all_ready 300
  figure "kubectl apply to everything ready" "$((SECONDS - began)) s"
  local size
  while read -r each size; do figure "image ${each##*/}" "$((size / 1000000)) MB"; done < <(kubectl get nodes -o json | python3 -c '
import json, sys
sizes = {name: image["sizeBytes"] for node in json.load(sys.stdin)["items"] for image in node["status"].get("images", []) for name in image["names"] or []}
print("\n".join(sorted(f"{name} {size}" for name, size in sizes.items() if "gantry-" in name and "@" not in name)))')
}

# A run whose lines come while it goes on, and whose exit code comes through.
smoke() {
  local code=0 first='' began=$SECONDS line lines=0
  # shellcheck disable=SC2016  # expanded in the run's container
  while IFS= read -r line; do
    case $line in "line "*) : "${first:=$SECONDS}"; lines=$((lines + 1)) ;; "exit "*) code=${line#exit } ;; esac
  done < <(gantry run --image "$IMAGE" -- sh -c 'i=0; while [ $i -lt 10 ]; do echo line $i; i=$((i+1)); sleep 1; done; exit 3' 2>"$WORK/smoke" || echo "exit $?")
  [ "$code" = 3 ] || { cat "$WORK/smoke" >&2; die "the exit code was $code instead of 3"; }
  [ "$lines" = 10 ] || die "$lines of 10 lines came"
  [ $((SECONDS - first)) -ge 7 ] || die "the log came at the end, not while the run went on"
  ok "a run through $URL: the first line after $((first - began)) s, the last $((SECONDS - first)) s later, exit code 3"
  memory
}

memory() {
  wait_for 90 kubectl -n gantry top pod || { say "no metrics API: memory is not measured"; return 0; }
  sleep 30
  local pod container used
  while read -r pod container _ used; do figure "memory at rest: $container of $pod" "$used"; done < <(for each in "${NAMESPACES[@]}"; do kubectl -n "$each" top pod --containers --no-headers; done)
}

delete_every_pod() {
  local each began=$SECONDS
  for each in "${NAMESPACES[@]}"; do kubectl -n "$each" delete pod --all --timeout=300s >/dev/null & done
  wait
  all_ready 600
  wait_for 300 a_run_finishes || die "no run finishes after all pods were deleted"
  figure "all pods deleted to ready and a finished run" "$((SECONDS - began)) s"
}

what_is_wrong() {
  local each
  for each in "${NAMESPACES[@]}"; do
    kubectl -n "$each" get pods -o wide
    kubectl -n "$each" get events --field-selector type=Warning --sort-by=.lastTimestamp | tail -n 15
  done
  kubectl -n gantry logs deployment/gantry-producer --tail=15
  kubectl -n gantry-workers logs deployment/gantry-worker -c worker --tail=15
}
