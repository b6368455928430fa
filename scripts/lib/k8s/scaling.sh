# shellcheck shell=bash
# Autoscalers, by what they do. Sourced by scripts/e2e-k8s.sh.

replicas() { kubectl -n "$1" get "$2" -o 'jsonpath={.spec.replicas}'; }
more_than() { [ "$(replicas "$1" "$2")" -gt "$3" ]; }
exactly() { [ "$(kubectl -n "$1" get "$2" -o 'jsonpath={.spec.replicas}/{.status.readyReplicas}')" = "$3/$3" ]; }

more_producers() {
  local before began=$SECONDS outcome=0 hammers=() each
  before=$(replicas gantry deployment/gantry-producer)
  for each in 1 2 3 4; do
    # shellcheck disable=SC2016  # expanded by the inner shell
    bash -c 'while :; do curl -s -o /dev/null -H "Authorization: Bearer $GANTRY_API_KEY" "$0/api/v1/runs?limit=100&n=[1-500]"; done' "$URL" &
    hammers+=($!)
  done
  wait_for 300 more_than gantry deployment/gantry-producer "$before" || outcome=1
  for each in "${hammers[@]}"; do pkill -P "$each" 2>/dev/null || true; kill "$each" 2>/dev/null || true; done
  wait "${hammers[@]}" 2>/dev/null || true
  [ "$outcome" = 0 ] || { kubectl -n gantry describe hpa gantry-producer | tail -n 20 >&2; die "the autoscaler of producers did nothing within five minutes"; }
  figure "producers: $before to $(replicas gantry deployment/gantry-producer) by CPU, after" "$((SECONDS - began)) s"
}

# A key that may read the queue and nothing else, where KEDA looks for it.
key_for_keda() {
  local key
  wait_for 300 curl -fsS -o /dev/null -H "Authorization: Bearer $GANTRY_API_KEY" "$URL/api/v1/me" || die "no producer answers at $URL"
  key=$(curl -fsS -H "Authorization: Bearer $GANTRY_API_KEY" -H 'Content-Type: application/json' -d '{"name": "keda", "scopes": ["system:read"]}' "$URL/api/v1/keys" \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["secret"])')
  kubectl -n gantry-workers create secret generic gantry-autoscaler --from-literal=GANTRY_API_KEY="$key" >/dev/null
}

more_workers() {
  local began each pod
  wait_for 300 exactly gantry-workers deployment/gantry-worker 1 || die "there is not one worker before it begins"
  began=$SECONDS
  begin_load --count 6 --lines 50 --pause 1 --patience 600
  # Two that go on while the others are over. They come last, to workers that came last, which go first: the fleet gets smaller around them.
  sleep 3
  (load --count 2 --lines 160 --pause 1 --patience 600 --figures "$WORK/long.json" >"$WORK/long.problems" 2>&1) &
  local long=$!
  wait_for 300 exactly gantry-workers deployment/gantry-worker 4 || die "there are $(replicas gantry-workers deployment/gantry-worker) workers, not 4"
  figure "KEDA: 1 to 4 ready workers on a backlog of 8, after" "$((SECONDS - began)) s"
  await_load
  began=$SECONDS
  wait_for 400 exactly gantry-workers deployment/gantry-worker 1 || die "there are $(replicas gantry-workers deployment/gantry-worker) workers, not 1"
  figure "KEDA: back to 1 after the backlog, after" "$((SECONDS - began)) s"
  # Told to end, with a run that goes on.
  gantry runs --status running --output json >"$WORK/running.json"
  pod=$(kubectl -n gantry-workers get pods -o json | python3 -c 'import json, sys; print(*[each["metadata"]["name"] for each in json.load(sys.stdin)["items"] if not each["metadata"].get("deletionTimestamp")])')
  gantry workers --output json >"$WORK/workers.json"
  python3 -c '
import json, sys
running, workers = (json.load(open(each))["items"] for each in sys.argv[1:3])
names = {each["id"]: each["name"] for each in workers}
sys.exit(not [each for each in running if names.get(each["worker"]) not in sys.argv[3].split()])' "$WORK/running.json" "$WORK/workers.json" "$pod" \
    || die "no run goes on at a worker that was told to end: nothing is shown by this"
  wait "$long" || { cat "$WORK/long.problems" >&2; die "a long run did not survive the smaller fleet"; }
  for each in load long; do
    python3 -c 'import json, sys; figures = json.load(open(sys.argv[1])); sys.exit(figures["more than one attempt"] or figures["outcomes"] != {"passed": figures["accepted"]})' "$WORK/$each.json" \
      || die "a run was cut by scaling: $(cat "$WORK/$each.json")"
  done
  ok "8 runs passed, each at its first attempt, also those whose worker was told to end"
}
