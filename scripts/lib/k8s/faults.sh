# shellcheck shell=bash
# What happens to a cluster in a bad week, under a steady load of runs. Sourced by scripts/e2e-k8s.sh.

load() { exec env python3 "$REPO/scripts/lib/k8s/load.py" "$URL" "$IMAGE" "$@"; }

begin_load() { # options of load.py
  (load "$@" --figures "$WORK/load.json" >"$WORK/load.problems" 2>"$WORK/load.err") &
  LOAD=$!
}

# await_load: succeeds when all that were accepted ended once and were seen whole.
await_load() {
  local outcome=0
  wait "$LOAD" || outcome=$?
  LOAD=
  cat "$WORK/load.problems" "$WORK/load.err" >&2
  [ "$outcome" = 0 ] || die "runs were lost, or followers saw gaps"
}

evict() { # namespace, pod
  kubectl create --raw "/api/v1/namespaces/$1/pods/$2/eviction" -f - >/dev/null 2>&1 <<<"{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":\"$2\",\"namespace\":\"$1\"}}"
}

timed() { # what, seconds it may take, command…
  local what=$1 limit=$2 began=$SECONDS; shift 2
  "$@" || die "$what: failed"
  all_ready "$limit"
  figure "$what" "$((SECONDS - began)) s"
}

rolling_update() { kubectl -n "$1" rollout restart "$2" >/dev/null; }

# As `kubectl drain` does it: budgets are asked, and asked again.
evict_all() {
  local namespace pod
  for namespace in "${NAMESPACES[@]}"; do
    for pod in $(kubectl -n "$namespace" get pods -o 'jsonpath={.items[*].metadata.name}'); do
      kubectl -n "$namespace" get pod "$pod" >/dev/null 2>&1 || continue
      wait_for 180 evict "$namespace" "$pod" || { ! kubectl -n "$namespace" get pod "$pod" >/dev/null 2>&1 || return 1; }
      all_ready 300
    done
  done
}

kill_pods() { kubectl -n "$1" delete pod -l "app.kubernetes.io/name=$2" --grace-period=0 --force >/dev/null 2>&1; } # namespace, name

# The name of a worker that has a run at this moment, which is its pod's.
busy_worker() {
  gantry runs --status running --output json >"$WORK/running.json" 2>/dev/null && gantry workers --output json >"$WORK/workers.json" 2>/dev/null || return 1
  python3 -c '
import json, sys
running, workers = (json.load(open(each))["items"] for each in sys.argv[1:])
names = {each["id"]: each["name"] for each in workers}
print(next(names[each["worker"]] for each in running if each["worker"] in names))' "$WORK/running.json" "$WORK/workers.json" 2>/dev/null
}

kill_busy_worker() {
  local worker deadline=$((SECONDS + 60))
  until worker=$(busy_worker) && kubectl -n gantry-workers delete pod "$worker" --grace-period=0 --force >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

under_load() {
  begin_load --every 3 --lines 24 --pause 0.25
  sleep 12
  timed "rolling update of producers, under load" 300 rolling_update gantry deployment/gantry-producer
  timed "rolling update of workers, under load" 600 rolling_update gantry-workers deployment/gantry-worker
  timed "every pod evicted, one after another" 300 evict_all
  timed "a worker killed under its run, to ready" 300 kill_busy_worker
  timed "RabbitMQ killed, to ready" 300 kill_pods gantry rabbitmq
  timed "Redis killed, to ready" 300 kill_pods gantry redis
  sleep 12
  kill -TERM "$LOAD"
  await_load
  figure "runs meanwhile" "$(tr -d '{}"' <"$WORK/load.json")"
}
