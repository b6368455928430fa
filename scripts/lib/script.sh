# shellcheck shell=bash
# What every script here shares: where the repository is, how to speak, how to install from apt.
# Sourced, never run.

# shellcheck disable=SC2034  # used by those who source this
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '%s\n' "$*" >&2; }
step() { printf '\n==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: directly, or through sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo; then sudo "$@"
  else die "'$1' needs root: run this script as root, or install sudo"
  fi
}

# Runs a command silently; shows the last lines of its output only when it fails.
quietly() {
  local log; log=$(mktemp)
  if "$@" >"$log" 2>&1 </dev/null; then rm -f "$log"; return 0; fi
  say "'$*' failed:"; tail -n 20 "$log" >&2; rm -f "$log"; return 1
}

# wait_for SECONDS COMMAND…: polls until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

# at_least WANTED VERSION: the version is the wanted one or newer.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }
