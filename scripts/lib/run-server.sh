# shellcheck shell=bash
# A private server in the foreground: its processes are children of this shell, which ends them in order. Sourced after script.sh.

CHILDREN=() SIGNALS=() ENDING=

# child SIGNAL COMMAND…: starts a process of the server; SIGNAL is what makes it end in order.
child() {
  SIGNALS+=("$1"); shift
  "$@" </dev/null 3<&- &
  CHILDREN+=($!)
}

# The last started ends first: what others depend on goes last.
end_children() {
  local i pid
  ENDING=1
  for ((i = ${#CHILDREN[@]} - 1; i >= 0; i--)); do
    pid=${CHILDREN[i]}
    kill -s "${SIGNALS[i]}" "$pid" 2>/dev/null || continue
    wait_for 20 process_ended "$pid" || kill -KILL "$pid" 2>/dev/null || true
  done
}
# A child that ended stays as a zombie until it is waited for.
process_ended() { ! grep -qs '^State:[[:space:]]*[^Z]' <(grep -s '^State:' "/proc/$1/status"); }

# Reads until standard input (kept as 3) closes: the process that wanted this server is gone, however it ended.
end_with_parent() { # directory
  local _
  while read -r -u 3 _; do :; done
  kill -KILL "${CHILDREN[@]}" "$$" 2>/dev/null || true
  # Processes of PostgreSQL notice the death of their parent a moment later and may still write.
  for _ in 1 2 3 4 5; do rm -rf "$1" 2>/dev/null && return; sleep 0.2; done
}

run_server() { # tied, name, directory, ports…
  local tied=$1 name=$2 dir=$3 guard=; shift 3
  declare -F "run_$name" >/dev/null || die "no private '$name' can be run"
  "${name}_installed" || die "$name is not installed here: scripts/services install $name"
  mkdir -p "$dir" && dir=$(cd "$dir" && pwd -P)
  echo $$ >"$dir/pid"
  trap end_children TERM INT
  if [ -n "$tied" ]; then exec 3<&0; else exec 3</dev/null; fi
  "run_$name" "$dir" "$@"
  if [ -n "$tied" ]; then end_with_parent "$dir" & guard=$!; fi
  local outcome=0
  wait -n "${CHILDREN[@]}" || outcome=$?
  [ -n "$ENDING" ] || { say "$name: a process of it ended ($outcome)"; end_children; }
  [ -z "$guard" ] || kill -KILL "$guard" 2>/dev/null || true
  rm -f "$dir/pid"
  exit "$outcome"
}
