#!/usr/bin/env bash
# Checks the Kubernetes manifests without a cluster: builds every overlay, with secrets made for the occasion, and judges what comes out. Then
# plants mistakes, one at a time, and sees that each is found. Says file and line of whatever is wrong.
#
#   scripts/check-k8s.sh               both
#   scripts/check-k8s.sh --manifests   the manifests alone
#
# What is judged: Kubernetes' schema of the oldest and newest version supported; checkov's policies, but for the exceptions of
# k8s/policy-exceptions.txt; our own rules for every container; that whatever is named is there; that probes ask for what the binaries serve
# and variables are ones that they know; and k8s/edges.txt against the NetworkPolicies. Needs Python 3 and git; installs the rest, once:
# kubernetes-validate and checkov from PyPI, cyclonus and, without kubectl, kustomize from their Go modules.
set -euo pipefail
# shellcheck source=scripts/lib/script.sh
. "$(dirname "$0")/lib/script.sh"
# shellcheck source=scripts/lib/packages.sh
. "$REPO/scripts/lib/packages.sh"
# shellcheck source=scripts/lib/unpacked.sh
. "$REPO/scripts/lib/unpacked.sh"
# shellcheck source=scripts/lib/go.sh
. "$REPO/scripts/lib/go.sh"

DIR=${GANTRY_SERVICES_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/gantry-services}/check-k8s
KUBERNETES_VALIDATE=1.37.0 CHECKOV=3.3.30 CYCLONUS=v0.5.6 KUSTOMIZE=v5.5.0
PYTHON=$DIR/python-$KUBERNETES_VALIDATE-$CHECKOV

ensure_python() {
  [ ! -x "$PYTHON/bin/ready" ] || return 0
  say "installing kubernetes-validate and checkov (a minute, once)"
  rm -rf "$PYTHON"
  python3 -m venv "$PYTHON" 2>/dev/null || { ensure_packages python3-venv && python3 -m venv "$PYTHON"; }
  quietly "$PYTHON/bin/pip" install "kubernetes-validate==$KUBERNETES_VALIDATE" "checkov==$CHECKOV" || return 1
  ln -s python "$PYTHON/bin/ready"
}

ensure_go_program() { # program, package@version
  [ ! -x "$1" ] || return 0
  say "installing ${2##*/} (some minutes, once)"
  go_install "$1" "$2" "$DIR"
}

# Secrets as anybody would make them, beside manifests as they are.
with_secrets() { # directory
  cp -r "$REPO/k8s" "$1/k8s"
  rm -rf "$1"/k8s/overlays/*/secrets
  local overlay name store
  for overlay in "$1"/k8s/overlays/*/; do
    name=$(basename "$overlay") store=
    grep -q secrets/mongodb.env "$overlay/kustomization.yaml" || store=mongodb+srv://gantry:made-up@db.example/gantry
    GANTRY_K8S_DIR=$1/k8s GANTRY_STORE=$store quietly "$REPO/scripts/k8s-secrets" "$name"
  done
  # Components that no overlay has are judged on top of one.
  with_component "$1" dev engine-per-node
  with_component "$1" dev engine-outside
  with_component "$1" dev mongodb-replicas
  with_component "$1" production reports-volume
  with_component "$1" production reports-s3 'secretGenerator: [{ name: gantry-s3, namespace: gantry, literals: [access-key-id=made-up, secret-access-key=made-up] }]'
}
with_component() { # directory, overlay, component, more
  mkdir "$1/k8s/overlays/$2+$3"
  printf '%s\n' 'apiVersion: kustomize.config.k8s.io/v1beta1' 'kind: Kustomization' "resources: [../$2]" "components: [../../components/$3]" "${4:-}" >"$1/k8s/overlays/$2+$3/kustomization.yaml"
}

main() {
  case ${1:-} in '' | --manifests) ;; *) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;; esac
  ensure_packages python3 git
  ensure_python
  export GANTRY_CHECKOV=$PYTHON/bin/checkov GANTRY_CYCLONUS=$DIR/cyclonus-$CYCLONUS PYTHONDONTWRITEBYTECODE=1
  ensure_go_program "$GANTRY_CYCLONUS" "github.com/mattfenwick/cyclonus/cmd/cyclonus@$CYCLONUS"
  if ! have kubectl; then
    ensure_go_program "$DIR/kustomize-$KUSTOMIZE" "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE"
    export GANTRY_KUSTOMIZE="$DIR/kustomize-$KUSTOMIZE build"
  fi
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  with_secrets "$WORK"
  step "the manifests"
  "$PYTHON/bin/python" "$REPO/scripts/lib/k8s/check.py" "$WORK/k8s"
  [ "${1:-}" != --manifests ] || return 0
  step "planted mistakes"
  "$PYTHON/bin/python" "$REPO/scripts/lib/k8s/mistakes.py" "$WORK/k8s"
}

main "$@"
