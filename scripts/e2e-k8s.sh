#!/usr/bin/env bash
# Puts an overlay on the cluster that KUBECONFIG points at, tries there what only a cluster shows, and removes it again:
#
#   up          all is applied; the first run finishes; everything gets ready
#   smoke       a run through the ingress: its log comes while it goes on, its exit code is the command's
#   deployed    of the containers as they are: no root, no writable root, no capability, no token; what a run finds in its container, and reaches
#   restart     all pods are deleted, and it works again
#   faults      under a steady load of runs, each followed: rolling updates, evictions, a worker killed under its run, RabbitMQ and Redis killed
#   hpa         producers get more when they are busy
#   keda        (with --keda) workers go from 1 to 4 and back without ending a run
#
#   scripts/e2e-k8s.sh [--keda] [--keep] [--only PART,…] [--url URL] [--image IMAGE] [OVERLAY]
#
# OVERLAY is a directory, k8s/overlays/dev unless named: its secrets are there (scripts/k8s-secrets), its images are where the nodes find them. URL is
# where its ingress answers, http://HOST unless named. Runs and probes use IMAGE, busybox:1.36 unless named. --keda scales workers by
# KEDA instead of the overlay's own autoscaler. --only goes on with what --keep left. Needs kubectl, Python 3, curl, and the `gantry` command (GANTRY_CLI).
set -euo pipefail
# shellcheck source=scripts/lib/script.sh
. "$(dirname "$0")/lib/script.sh"
# shellcheck source=scripts/lib/k8s/cluster.sh
. "$REPO/scripts/lib/k8s/cluster.sh"
# shellcheck source=scripts/lib/k8s/deployed.sh
. "$REPO/scripts/lib/k8s/deployed.sh"
# shellcheck source=scripts/lib/k8s/faults.sh
. "$REPO/scripts/lib/k8s/faults.sh"
# shellcheck source=scripts/lib/k8s/scaling.sh
. "$REPO/scripts/lib/k8s/scaling.sh"

usage() { sed -n '2,19s/^# \{0,1\}//p' "$0" >&2; exit 2; }

OVERLAY='' KEDA='' KEEP='' ONLY='' URL='' IMAGE=busybox:1.36
while [ $# -gt 0 ]; do
  case $1 in
    --keda) KEDA=1 ;;
    --keep) KEEP=1 ;;
    --only | --url | --image) [ $# -gt 1 ] || usage; declare "$(tr '[:lower:]' '[:upper:]' <<<"${1#--}")=$2"; shift ;;
    -*) usage ;;
    *) OVERLAY=$1 ;;
  esac
  shift
done
OVERLAY=$(realpath "${OVERLAY:-$REPO/k8s/overlays/dev}")
WORK=$(mktemp -d)
FIGURES=()
figure() { FIGURES+=("$(printf '%-52s %s' "$1" "$2")"); say "  $1: $2"; }
ok() { say "ok: $*"; }

# part NAME: whether it is to be tried.
part() { case ",${ONLY:-$1}," in *",$1,"*) step "$1" ;; *) return 1 ;; esac; }

# The overlay with its workers scaled by KEDA, and given the time to let runs end.
with_keda() {
  local at; at=$WORK/overlay; mkdir -p "$at"
  cat >"$at/kustomization.yaml" <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [$(realpath --relative-to="$at" "$OVERLAY")]
components: [$(realpath --relative-to="$at" "$REPO/k8s/components/keda")]
configMapGenerator:
  - { name: gantry-worker, namespace: gantry-workers, behavior: merge, literals: [GANTRY_DRAIN_GRACE=270s] }
patches:
  - patch: |
      \$patch: delete
      apiVersion: autoscaling/v2
      kind: HorizontalPodAutoscaler
      metadata: { name: gantry-worker, namespace: gantry-workers }
  - target: { kind: Deployment, name: gantry-worker }
    patch: |
      - { op: replace, path: /spec/template/spec/terminationGracePeriodSeconds, value: 330 }
  - target: { kind: ScaledObject, name: gantry-worker }
    patch: |
      - { op: replace, path: /spec/maxReplicaCount, value: 4 }
      - { op: replace, path: /spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown/stabilizationWindowSeconds, value: 30 }
END
  OVERLAY=$at
}

finish() {
  local outcome=$?
  trap - EXIT
  [ -z "${LOAD:-}" ] || kill "$LOAD" 2>/dev/null || true
  if [ "$outcome" != 0 ]; then what_is_wrong >&2 || true; fi
  if [ -n "$KEEP" ] || [ -z "${APPLIED:-}" ]; then say "left as it is"
  else
    step "down"
    local began=$SECONDS
    kubectl delete -k "$OVERLAY" --ignore-not-found --timeout=300s >/dev/null 2>&1 || { say "not everything went away"; outcome=1; }
    say "gone after $((SECONDS - began)) s"
  fi
  rm -rf "$WORK"
  if [ ${#FIGURES[@]} -gt 0 ]; then step "figures"; printf '%s\n' "${FIGURES[@]}"; fi
  [ "$outcome" != 0 ] || step "passed"
  exit "$outcome"
}

main() {
  local each
  for each in kubectl python3 curl; do have "$each" || die "$each is missing"; done
  find_cli
  kubectl version >/dev/null 2>&1 || die "no cluster answers: KUBECONFIG"
  [ -z "$KEDA" ] || with_keda
  kubectl kustomize "$OVERLAY" >"$WORK/built.yaml" || die "the overlay is not built; its secrets are made by scripts/k8s-secrets"
  trap finish EXIT
  if part up; then bring_up; else find_entrance; fi
  if part smoke; then smoke; fi
  if part deployed; then as_deployed; what_a_run_finds; what_a_run_reaches; fi
  if part restart; then delete_every_pod; fi
  if part faults; then under_load; fi
  if part hpa; then more_producers; fi
  if [ -n "$KEDA" ] && part keda; then more_workers; fi
}

main
