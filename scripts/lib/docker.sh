# shellcheck shell=bash
# A Docker engine for the tests and the quickstart: the one that answers, or a private one. Sourced after script.sh and packages.sh.

SERVICES_DIR=${GANTRY_SERVICES_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/gantry-services}
ENGINE_DIR=$SERVICES_DIR/docker
ENGINE_PID=$ENGINE_DIR/pid
ENGINE_LOG=$ENGINE_DIR/dockerd.log
STANDARD_SOCKET=/var/run/docker.sock

docker_answers() { timeout 10 docker info --format '{{.ServerVersion}}' 2>/dev/null | grep -q .; }

# Debian's engine, unless one is installed; newer Debian packages its command line apart.
ensure_docker_packages() {
  have dockerd || ensure_packages docker.io iptables
  have docker || ensure_packages docker-cli
}

our_engine_runs() {
  local pid; pid=$(as_root cat "$ENGINE_PID" 2>/dev/null) || return 1
  [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]
}

# A machine without systemd may have no cgroup hierarchy mounted, a container only read-only ones: no container could start.
prepare_cgroups() {
  local mount
  mountpoint -q /sys/fs/cgroup || as_root mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || true
  for mount in /sys/fs/cgroup /sys/fs/cgroup/*; do
    if mountpoint -q "$mount" && ! as_root test -w "$mount"; then
      as_root mount -o remount,bind,rw "$mount" 2>/dev/null || true
    fi
  done
}

# A socket file whose engine is dead may be replaced; one that somebody listens on may not.
free_standard_socket() {
  [ -S "$STANDARD_SOCKET" ] || return 0
  if grep -q " $(readlink -f "$STANDARD_SOCKET")\$" /proc/net/unix; then
    say "docker: an engine holds $STANDARD_SOCKET but does not answer user $(id -un): join the group docker (sudo usermod -aG docker $(id -un)) and sign in again, or use sudo"
    return 1
  fi
  as_root rm -f "$STANDARD_SOCKET"
}

launch_dockerd() {
  as_root mkdir -p "$ENGINE_DIR/data" "$ENGINE_DIR/exec"
  as_root rm -f "$ENGINE_PID"
  # The log is opened by root; the session of its own lets the engine outlive this shell.
  # shellcheck disable=SC2016  # expanded by the inner shell
  as_root setsid -f sh -c 'exec dockerd --host "unix://$1" --group "$2" \
      --data-root "$3/data" --exec-root "$3/exec" --pidfile "$4" >>"$5" 2>&1 </dev/null' \
    sh "$STANDARD_SOCKET" "$(id -g)" "$ENGINE_DIR" "$ENGINE_PID" "$ENGINE_LOG"
}

start_engine() {
  if docker_answers; then say "docker: engine $(docker info --format '{{.ServerVersion}}') answers"; return 0; fi
  have dockerd || { say "docker: no engine answers and dockerd is not installed"; return 1; }
  free_standard_socket || return 1
  prepare_cgroups
  launch_dockerd || return 1
  local began=$SECONDS
  if wait_for 60 answers_or_dead "$began" && docker_answers; then
    say "docker: started a private engine $(docker info --format '{{.ServerVersion}}') in $ENGINE_DIR"
    return 0
  fi
  say "docker: the engine could not be started; the end of $ENGINE_LOG:"
  as_root tail -n 5 "$ENGINE_LOG" >&2 || true
  return 1
}
# An engine has written its pid file after three seconds, or has ended.
answers_or_dead() { docker_answers || { [ $((SECONDS - $1)) -ge 3 ] && ! our_engine_runs; }; }

stop_engine() {
  if ! our_engine_runs; then say "docker: no private engine to stop"; return 0; fi
  local pid; pid=$(as_root cat "$ENGINE_PID")
  as_root kill "$pid"
  if ! wait_for 30 engine_gone "$pid"; then as_root kill -9 "$pid"; fi
  say "docker: private engine stopped"
}
engine_gone() { [ ! -e "/proc/$1" ]; }

engine_status() {
  if our_engine_runs; then say "docker: private engine, pid $(as_root cat "$ENGINE_PID"), in $ENGINE_DIR"
  elif docker_answers; then say "docker: an engine of this machine answers"
  else say "docker: no engine answers"; return 1
  fi
}
