# shellcheck shell=bash
# What containers are when they run, whatever their manifests say; and what a run finds and reaches. Sourced by scripts/e2e-k8s.sh.

# Says of the first process of a container what it may; a shell of its own, or one beside it for images without any.
# shellcheck disable=SC2016  # expanded over there
LOOK='grep -E "^(Uid|CapEff|NoNewPrivs|Seccomp):" /proc/1/status
grep -qE "^[^ ]+ / [^ ]+ ro(,| )" /proc/1/mounts || echo "root file system: writable"
if [ -e /proc/1/root/var/run/secrets/kubernetes.io/serviceaccount/token ] || [ -e /proc/1/root/run/secrets/kubernetes.io/serviceaccount/token ]; then echo "token: mounted"; fi
ls /proc/1/root/ >/dev/null && echo looked'

look() { # namespace, pod, container
  if kubectl -n "$1" exec "$2" -c "$3" -- true >/dev/null 2>&1; then kubectl -n "$1" exec "$2" -c "$3" -- sh -c "$LOOK"; return; fi
  local name=look-$RANDOM
  echo '{"securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}}' >"$WORK/beside.json"
  kubectl -n "$1" debug "$2" --image "$IMAGE" --target "$3" --container "$name" --profile restricted --custom "$WORK/beside.json" -- sh -c "$LOOK" >/dev/null 2>&1
  wait_for 60 beside_ended "$1" "$2" "$name" || die "nothing could be started beside $2"
  kubectl -n "$1" logs "$2" -c "$name"
}
beside_ended() { kubectl -n "$1" get pod "$2" -o "jsonpath={.status.ephemeralContainerStatuses[?(@.name==\"$3\")].state.terminated.reason}" | grep -q .; }

as_deployed() {
  local namespace pod container seen wrong
  for namespace in "${NAMESPACES[@]}"; do
    for pod in $(kubectl -n "$namespace" get pods --field-selector status.phase=Running -o 'jsonpath={.items[*].metadata.name}'); do
      for container in $(kubectl -n "$namespace" get pod "$pod" -o 'jsonpath={.spec.containers[*].name}'); do
        [ "$container" != engine ] || continue
        seen=$(look "$namespace" "$pod" "$container" | tr -s '\t ' ' ')
        wrong=
        case $seen in *looked*) ;; *) wrong="could not be looked at: $seen" ;; esac
        case $seen in *"Uid: 0 "* | *"writable"* | *"token"*) wrong=$seen ;; esac
        for each in 'CapEff: 0000000000000000' 'NoNewPrivs: 1' 'Seccomp: 2'; do grep -qx "$each" <<<"$seen" || wrong="$seen"; done
        [ -z "$wrong" ] || die "$namespace/$pod, $container: $wrong"
        ok "$container of $pod: $(sed -n 's/^Uid: \([0-9]*\).*/user \1/p' <<<"$seen"), no capability, no new privileges, seccomp, its root read-only, no token"
      done
      # One of the pod's own, or one per node.
      for container in $(kubectl -n "$namespace" get pod "$pod" -o 'jsonpath={.spec.initContainers[?(@.name=="engine")].name} {.spec.containers[?(@.name=="engine")].name}'); do
        seen=$(kubectl -n "$namespace" exec "$pod" -c "$container" -- sh -c "$LOOK")
        case $seen in *"token"*) die "$namespace/$pod, $container: $seen" ;; esac
        ok "$container of $pod: privileged, as engines are, and no token"
      done
    done
  done
}

# Nothing of the platform is in a run's container.
what_a_run_finds() {
  gantry run --image "$IMAGE" -- sh -c 'env; tr "\0" "\n" </proc/1/environ; cat /proc/mounts /etc/resolv.conf /etc/hosts; find / -xdev -type f -size -64k ! -path "/proc/*" ! -path "/sys/*" ! -path "/bin/*" -exec cat {} + 2>/dev/null; echo all of it' >"$WORK/found" 2>/dev/null || die "a run could not say what it finds"
  grep -qx 'all of it' "$WORK/found" || die "a run did not say what it finds"
  local namespace value count=0
  for namespace in "${NAMESPACES[@]}"; do
    while IFS= read -r value; do
      [ "${#value}" -ge 12 ] || continue
      count=$((count + 1))
      ! grep -qF -- "$value" "$WORK/found" || die "a secret of $namespace is in the container of a run"
    done < <(kubectl -n "$namespace" get secret -o json | python3 -c '
import base64, json, sys
for secret in json.load(sys.stdin)["items"]:
    for value in secret.get("data", {}).values():
        print("\n".join(base64.b64decode(value).decode(errors="replace").splitlines()))')
  done
  [ "$count" -ge 8 ] || die "there are only $count secrets to look for"
  ! grep -E '^(KUBERNETES_|RABBITMQ|MONGO|REDIS|GANTRY_(STORE|QUEUE|WORKER|PRODUCER))' "$WORK/found" || die "a run has variables of the platform"
  ok "none of $count secrets, and no variable of the platform, is in a run's container"
}

address() { kubectl -n "$1" get "$2" -o "jsonpath=$3"; }

what_a_run_reaches() {
  local at targets=() engine host
  targets+=("$(address default service/kubernetes '{.spec.clusterIP}'):443")
  targets+=("$(kubectl -n default get endpoints kubernetes -o 'jsonpath={.subsets[0].addresses[0].ip}:{.subsets[0].ports[0].port}' 2>/dev/null)")
  targets+=(169.254.169.254:80 "$(kubectl get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}'):10250")
  for at in rabbitmq:5672 gantry-producer:3000 gantry-producer-workers:3001; do targets+=("$(address gantry "service/${at%:*}" '{.spec.clusterIP}'):${at#*:}"); done
  while read -r host at; do
    case $at in rabbitmq) targets+=("$host:5672") ;; redis) targets+=("$host:6379") ;; mongodb) targets+=("$host:27017") ;; gantry-producer) targets+=("$host:3000" "$host:3001") ;; esac
  done < <(kubectl -n gantry get pods -o 'jsonpath={range .items[*]}{.status.podIP} {.metadata.labels.app\.kubernetes\.io/name}{"\n"}{end}')
  targets+=("$(kubectl -n gantry-workers get pods -o 'jsonpath={.items[0].status.podIP}'):3002")
  # A worker's own pod reaches the broker and the worker API: what does not answer a run is there.
  engine=$(kubectl -n gantry-workers get pods -o 'jsonpath={range .items[*]}{.metadata.name} {.spec.initContainers[*].name}{"\n"}{end}' | sed -n 's/ engine$//p' | head -n 1)
  [ -n "$engine" ] || say "no engine is in a worker's pod: whether there is what a run does not reach is not tried"
  for at in ${engine:+"${targets[@]}"}; do
    case $at in *:5672 | *:3001)
      kubectl -n gantry-workers exec "$engine" -c engine -- docker -H unix:///run/gantry/docker.sock run --rm --network host "$IMAGE" nc -w 5 "${at%:*}" "${at#*:}" </dev/null >/dev/null 2>&1 || die "$at does not answer the worker's own pod" ;;
    esac
  done
  # shellcheck disable=SC2016  # expanded in the run's container
  gantry run --image "$IMAGE" -- sh -c 'nc -l -p 9999 </dev/null >/dev/null & sleep 1; nc -w 2 127.0.0.1 9999 </dev/null || exit 9
    for at; do ! nc -w 2 "${at%:*}" "${at#*:}" </dev/null || { echo "reached $at"; exit 1; }; done' sh "${targets[@]}" >"$WORK/reached" 2>&1 \
    || { cat "$WORK/reached" >&2; die "a run reaches what it must not"; }
  ok "a run reaches none of: ${targets[*]}"
}
