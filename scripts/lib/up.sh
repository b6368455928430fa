# shellcheck shell=bash
# `gantry up` for the quickstart: started, waited for, and stopped together with everything started for it.
# Sourced after script.sh and docker.sh.

GANTRY=$REPO/target/release/gantry
UP_HOME=$REPO/.gantry
DATA_DIR=$UP_HOME/data
UP_LOG=$UP_HOME/up.log
UP_PID=
STARTED_ENGINE=

# Starts a private engine when none answers; remembers it, so that it is stopped again.
use_docker() {
  docker_answers && return 0
  (ensure_docker_packages) || return 1
  docker_answers && return 0 # the package may have started the engine as a service of the machine
  start_engine || return 1
  STARTED_ENGINE=1
}

ready() { curl -fsS -o /dev/null --max-time 2 "$1/health/ready"; }

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start_gantry() { # port, executor
  local url=http://127.0.0.1:$1
  if port_taken "$1"; then
    die "something listens on port $1 already (an earlier quickstart?): stop it, or choose another with --port"
  fi
  (umask 077 && mkdir -p "$UP_HOME" && : >"$UP_LOG")
  # A session of its own: Ctrl-C reaches this script, which then stops gantry once, in order.
  env -u GANTRY_SERVICES_DIR setsid "$GANTRY" up --data-dir "$DATA_DIR" --listen "127.0.0.1:$1" --executor "$2" >>"$UP_LOG" 2>&1 </dev/null &
  UP_PID=$!
  if wait_for 60 ready_or_dead "$url" && ready "$url" 2>/dev/null; then
    say "gantry is ready on $url (data in $DATA_DIR, its own log in $UP_LOG)"
  else
    say "the end of $UP_LOG:"; tail -n 15 "$UP_LOG" >&2
    die "gantry did not become ready on $url"
  fi
}
ready_or_dead() { ready "$1" || ! kill -0 "$UP_PID" 2>/dev/null; }

stop_all() {
  if [ -n "$UP_PID" ] && kill -0 "$UP_PID" 2>/dev/null; then
    kill -TERM "$UP_PID"
    wait_for 30 gone "$UP_PID" || kill -KILL "$UP_PID" 2>/dev/null || true
    wait "$UP_PID" 2>/dev/null || true
  fi
  [ -z "$STARTED_ENGINE" ] || stop_engine
}
gone() { ! kill -0 "$1" 2>/dev/null; }
