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
  # Stopped first: it would end this guard as soon as it saw its children end.
  kill -STOP $$
  kill_descendants $$
  kill -KILL $$
  rm -rf "$1"
}

# Also those in other process groups and sessions; a second look finds whom the first one saw being born.
kill_descendants() { # process id
  local found grew stat line pid parent
  for _ in 1 2; do
    found=" $1 " grew=1
    while [ -n "$grew" ]; do
      grew=
      for stat in /proc/[0-9]*/stat; do
        read -r line 2>/dev/null <"$stat" || continue
        # pid (name) state parent …
        pid=${line%% *} line=${line##*) } parent=${line#* } parent=${parent%% *}
        if [[ $found == *" $parent "* && $found != *" $pid "* && $pid != "$BASHPID" ]]; then found+="$pid " grew=1; fi
      done
    done
    found=${found/ $1 / }
    # shellcheck disable=SC2086  # one word per process
    [ -z "${found// /}" ] || kill -KILL $found 2>/dev/null || true
  done
}

run_server() { # tied, name, directory, ports…
  local tied=$1 name=$2 dir=$3 guard=; shift 3
  declare -F "run_$name" >/dev/null || die "no private '$name' can be run"
  "${name}_installed" || die "$name is not installed here: scripts/services install $name"
  mkdir -p "$dir" && dir=$(cd "$dir" && pwd -P)
  echo $$ >"$dir/pid"
  trap end_children TERM INT
  # When its parent is gone while the guard has it stopped, the kernel hangs up on all of this process group, the guard too.
  if [ -n "$tied" ]; then trap '' HUP; exec 3<&0; else exec 3</dev/null; fi
  "run_$name" "$dir" "$@"
  if [ -n "$tied" ]; then end_with_parent "$dir" & guard=$!; fi
  local outcome=0
  wait -n "${CHILDREN[@]}" || outcome=$?
  [ -n "$ENDING" ] || { say "$name: a process of it ended ($outcome)"; end_children; }
  [ -z "$guard" ] || kill -KILL "$guard" 2>/dev/null || true
  rm -f "$dir/pid"
  exit "$outcome"
}
