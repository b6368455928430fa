# shellcheck shell=bash
# FerretDB 2 on PostgreSQL with the DocumentDB extension, which only Debian's newest suite packages. Sourced after unpacked.sh and go.sh.

FERRETDB_VERSION=v2.7.0
FERRETDB_SUITE=sid
ferretdb_dir() { echo "$SERVICES_DIR/mongo"; }
ferretdb_program() { echo "$(ferretdb_dir)/ferretdb-$FERRETDB_VERSION"; }
ferretdb_template() { echo "$(ferretdb_dir)/template"; }
ferretdb_installed() { [ -x "$(ferretdb_program)" ] && [ -e "$(ferretdb_template)/complete" ]; }

install_ferretdb() {
  have apt-get || { say "mongo: there is no mongod here, and no apt to make FerretDB from: install mongod, or set GANTRY_TEST_MONGO"; return 1; }
  local dir; dir=$(ferretdb_dir)
  mkdir -p "$dir"
  say "mongo: installing FerretDB $FERRETDB_VERSION on PostgreSQL with DocumentDB (3 to 6 minutes, once, 200 MB to fetch)"
  unpack_postgres "$dir" || return 1
  build_ferretdb "$dir" || return 1
  make_template
}

# --- PostgreSQL

postgres_bin() { echo "$(ferretdb_dir)"/root/usr/lib/postgresql/*/bin; }

unpack_postgres() { # directory
  [ ! -e "$1/root" ] || return 0
  local extension
  say "  reading the package lists of Debian $FERRETDB_SUITE"
  rm -rf "$1/apt" "$1/root.part"
  unpacked_apt_prepare "$1/apt" "$FERRETDB_SUITE" || return 1
  extension=$(apt-cache -c "$1/apt/apt.conf" pkgnames postgresql- | grep -E '^postgresql-[0-9]+-documentdb$' | sort -V | tail -n 1)
  [ -n "$extension" ] || { say "  Debian $FERRETDB_SUITE has no postgresql-*-documentdb at the moment"; return 1; }
  say "  fetching $extension and what it needs"
  unpack_packages "$1/apt" "$1/root.part" "${extension%-documentdb}" "$extension" "${extension%-documentdb}-cron" || return 1
  relocate_postgres "$1/root.part" || return 1
  rm -rf "$1/apt"
  mv "$1/root.part" "$1/root"
}

# Programs keep their names and places, so that they find each other, and start through the C library beside them.
relocate_postgres() { # root
  local name bin control
  for name in postgres initdb psql; do
    bin=$(echo "$1"/usr/lib/postgresql/*/bin)
    mv "$bin/$name" "$bin/$name.real"
    cat >"$bin/$name" <<'E'
#!/bin/sh
bin=$(cd "$(dirname "$0")" && pwd)
root=${bin%/usr/lib/postgresql/*}
for loader in "$root"/usr/lib/*-linux-gnu*/ld-linux-*.so.*; do :; done
lib=${loader%/*}
exec "$loader" --library-path "$lib:$lib/blas:$lib/lapack:${bin%/bin}/lib" --argv0 "$bin/${0##*/}" "$bin/${0##*/}.real" "$@"
E
    chmod +x "$bin/$name"
  done
  # Debian chooses the version of PostGIS by links that a package's installation makes.
  for control in "$1"/usr/share/postgresql/*/extension/postgis*-3.control; do
    ln -sf "$(basename "$control")" "${control%-3.control}.control"
  done
}

# PostgreSQL refuses to be root: then it is nobody, who may still pass through our directories. Without the secure bit, access(2) would
# leave these rights out of account.
postgres_user() {
  AS_POSTGRES=(env LC_ALL=C)
  [ "$(id -u)" = 0 ] || return 0
  local nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups) rights="-all,+dac_override,+dac_read_search"
  AS_POSTGRES=("${nobody[@]}" --securebits=+no_setuid_fixup --inh-caps="$rights" --ambient-caps="$rights" env LC_ALL=C)
  "${AS_POSTGRES[@]}" true 2>/dev/null || AS_POSTGRES=("${nobody[@]}" env LC_ALL=C)
}
as_postgres() { postgres_user; "${AS_POSTGRES[@]}" "$@"; }
# In place of this shell, so that its process id is the server's. Its jobs run every two seconds: their log would bury everything else.
exec_postgres() { # data directory, port
  postgres_user
  exec "${AS_POSTGRES[@]}" "$(postgres_bin)/postgres" -D "$1" -p "$2" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c shared_preload_libraries=pg_cron,pg_documentdb_core,pg_documentdb -c cron.database_name=postgres -c cron.host=127.0.0.1 \
    -c cron.log_run=off -c cron.log_statement=off -c max_connections=200
}
give_to_postgres() { [ "$(id -u)" != 0 ] || chown nobody:nogroup "$1"; }
ask_postgres() { LC_ALL=C "$(postgres_bin)/psql" -X -q -h 127.0.0.1 -p "$1" -U postgres -d postgres -c "$2"; } # port, statement

# --- FerretDB

build_ferretdb() { # directory
  [ -x "$(ferretdb_program)" ] || go_install "$(ferretdb_program)" "github.com/FerretDB/FerretDB/v2/cmd/ferretdb@$FERRETDB_VERSION" "$1"
}

# --- a database

# A database that knows DocumentDB, made once and copied for each server.
make_template() {
  local template part pid outcome=0 port=27519
  template=$(ferretdb_template) part=$(ferretdb_template).part
  say "  making an empty database"
  rm -rf "$template" "$part"; mkdir -p "$part"; give_to_postgres "$part"
  quietly as_postgres "$(postgres_bin)/initdb" -D "$part" -A trust -U postgres --encoding=UTF8 --locale=C --no-sync || return 1
  (exec_postgres "$part" "$port") >"$part.log" 2>&1 </dev/null &
  pid=$!
  wait_for 30 ask_postgres "$port" 'select 1' && quietly ask_postgres "$port" 'create extension documentdb cascade' || outcome=1
  kill -INT "$pid" 2>/dev/null || true
  wait "$pid" || true
  [ "$outcome" = 0 ] || { say "  the database could not be made; the end of $part.log:"; tail -n 10 "$part.log" >&2; return 1; }
  touch "$part/complete"
  rm -f "$part.log"
  mv "$part" "$template"
}

run_ferretdb() { # directory, port, port of PostgreSQL
  local dir=$1 data=$1/postgres pid
  if [ ! -e "$data/PG_VERSION" ]; then
    rm -rf "$data.part"
    cp -a --reflink=auto "$(ferretdb_template)" "$data.part" && mv "$data.part" "$data"
  fi
  # After a crash the lock file may name a process id that somebody else has by now.
  pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null) || pid=
  if [ -n "$pid" ] && ! grep -qsF "$data" "/proc/$pid/cmdline"; then rm -f "$data/postmaster.pid"; fi
  mkdir -p "$dir/ferretdb"
  child INT exec_postgres "$data" "$3"
  wait_for 60 postgres_ready_or_ended "$3" "${CHILDREN[0]}" || true
  # Its jobs (index builds, expiry) call back on the port that the template had.
  quietly ask_postgres "$3" "update cron.job set nodename = '127.0.0.1', nodeport = $3" || { say "mongo: PostgreSQL does not answer on port $3"; return 0; }
  child TERM "$(ferretdb_program)" --no-auth --telemetry=disable --state-dir="$dir/ferretdb" --debug-addr=- --log-level=warn \
    --listen-addr="127.0.0.1:$2" --postgresql-url="postgres://postgres@127.0.0.1:$3/postgres"
}
postgres_ready_or_ended() { ask_postgres "$1" 'select 1' || process_ended "$2"; } # port, process id
