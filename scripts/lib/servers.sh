# shellcheck shell=bash
# What the servers for tests have in common: where they are, whether they answer, starting and stopping private ones.
# Sourced after docker.sh, which says where state lives. Each server's own file defines
#   NAME_uri  NAME_ports  NAME_installed  install_NAME  run_NAME

# Where tests look for a server: what the environment names, else the usual local address.
server_variable() {
  case $1 in rabbitmq) echo GANTRY_TEST_AMQP ;; redis) echo GANTRY_TEST_REDIS ;; mongo) echo GANTRY_TEST_MONGO ;; s3) echo GANTRY_TEST_S3 ;; esac
}
server_uri() { local variable; variable=$(server_variable "$1"); echo "${!variable:-$("$1_uri")}"; }
server_named() { local variable; variable=$(server_variable "$1"); [ -n "${!variable:-}" ]; }

# host:port of a URI, with the scheme's own port when it names none.
server_endpoint() {
  local uri=$1 rest; rest=${uri#*://}; rest=${rest%%[/?]*}; rest=${rest##*@}; rest=${rest%%,*}
  case $rest in *:*) echo "$rest"; return ;; esac
  case $uri in amqp:*) rest=$rest:5672 ;; redis:*) rest=$rest:6379 ;; mongodb:*) rest=$rest:27017 ;; http:*) rest=$rest:80 ;; esac
  echo "$rest"
}

# exchange ENDPOINT COUNT FORMAT: sends what printf makes of FORMAT; prints the first COUNT bytes of the answer as hex.
exchange() {
  # shellcheck disable=SC2016,SC2059  # expanded by the inner shell; the format is one of ours
  timeout 5 bash -c 'exec 3<>"/dev/tcp/${1%:*}/${1##*:}" && printf "$3" >&3 && head -c "$2" <&3 | od -An -v -tx1 | tr -d " \n"' \
    exchange "$@" 2>/dev/null
}

PING_RABBITMQ='AMQP\x00\x00\x09\x01'
PING_REDIS='PING\r\n'
# shellcheck disable=SC2016  # $db is a field's name
PING_MONGO='\x33\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00\x1e\x00\x00\x00\x10ping\x00\x01\x00\x00\x00\x02$db\x00\x06\x00\x00\x00admin\x00\x00'
PING_S3='GET / HTTP/1.0\r\n\r\n'

# The server speaks its protocol: AMQP's first frame, Redis' answer with or without a password, an OP_MSG, an HTTP status.
endpoint_answers() { # name, endpoint
  local answer
  case $1 in
    rabbitmq) answer=$(exchange "$2" 1 "$PING_RABBITMQ"); [ "$answer" = 01 ] ;;
    redis) answer=$(exchange "$2" 5 "$PING_REDIS"); [ "$answer" = 2b504f4e47 ] || [ "$answer" = 2d4e4f4155 ] ;;
    mongo) answer=$(exchange "$2" 16 "$PING_MONGO"); case $answer in *dd070000) ;; *) return 1 ;; esac ;;
    s3) answer=$(exchange "$2" 5 "$PING_S3"); [ "$answer" = 485454502f ] ;;
  esac
}

# With TLS, or behind an SRV record, only a real client could tell: such an address is taken as given.
uri_is_plain() { case $1 in amqp://* | redis://* | mongodb://* | http://*) [[ $1 != *tls=true* && $1 != *ssl=true* ]] ;; *) return 1 ;; esac; }
server_answers() {
  local uri; uri=$(server_uri "$1")
  if uri_is_plain "$uri"; then endpoint_answers "$1" "$(server_endpoint "$uri")"; else server_named "$1"; fi
}
hide_password() { sed -E 's#(://[^:/@]*):[^@]*@#\1:***@#'; }

server_dir() { echo "$SERVICES_DIR/$1/server"; }
server_pid() { cat "$(server_dir "$1")/pid" 2>/dev/null; }
our_server_runs() {
  local pid; pid=$(server_pid "$1") && [ -n "$pid" ] || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "services run $1 $(server_dir "$1")"
}

# One installation at a time: two would write the same files.
install_server() {
  "$1_installed" && return 0
  mkdir -p "$SERVICES_DIR/$1"
  exec 9>"$SERVICES_DIR/$1/lock"
  flock 9
  local began=$SECONDS
  "$1_installed" || "install_$1" || { say "$1: could not be installed; see above, or name a server of yours in $(server_variable "$1")"; return 1; }
  say "$1: installed in $((SECONDS - began)) s"
  exec 9>&-
}

start_server() {
  local name=$1 uri; uri=$(server_uri "$name")
  if server_answers "$name"; then say "$name: answers at $(hide_password <<<"$uri")"; return 0; fi
  if server_named "$name"; then
    say "$name: $(server_variable "$name") names $(hide_password <<<"$uri"), and nothing answers there: start it, or unset the variable to have a private one"
    return 1
  fi
  if declare -F "start_other_$name" >/dev/null && "start_other_$name"; then return 0; fi
  install_server "$name" || return 1
  # A package may have started its server as a service of this machine.
  if server_answers "$name"; then say "$name: the packaged server answers at $uri"; return 0; fi
  launch_server "$name"
}

launch_server() {
  local name=$1 dir began=$SECONDS ports
  dir=$(server_dir "$name")
  rm -rf "$dir"; mkdir -p "$dir"
  read -ra ports <<<"$("${name}_ports")"
  setsid -f "$REPO/scripts/services" run "$name" "$dir" "${ports[@]}" >"$dir/log" 2>&1 </dev/null
  if wait_for 90 answers_or_ended "$name" "$began" && server_answers "$name"; then
    say "$name: started a private one at $(server_uri "$name") in $((SECONDS - began)) s, state in $dir"
    return 0
  fi
  say "$name: could not be started; the end of $dir/log:"
  tail -n 10 "$dir/log" >&2 || true
  return 1
}
answers_or_ended() { server_answers "$1" || { [ $((SECONDS - $2)) -ge 3 ] && ! our_server_runs "$1"; }; }

stop_server() {
  if declare -F "stop_other_$1" >/dev/null && "stop_other_$1"; then return 0; fi
  if ! our_server_runs "$1"; then say "$1: no private one to stop"; return 0; fi
  local pid; pid=$(server_pid "$1")
  kill -TERM "$pid"
  if ! wait_for 60 process_gone "$pid"; then say "$1: pid $pid does not end"; return 1; fi
  say "$1: private one stopped"
}
process_gone() { [ ! -e "/proc/$1" ]; }

status_server() {
  local uri; uri=$(server_uri "$1" | hide_password)
  if our_server_runs "$1"; then say "$1: private, pid $(server_pid "$1"), $uri, log in $(server_dir "$1")/log"
  elif server_answers "$1"; then say "$1: answers at $uri"
  else say "$1: nothing answers at $uri (scripts/services start $1)"; return 1
  fi
}
