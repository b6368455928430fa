# shellcheck shell=bash
# A server that speaks MongoDB's protocol: a mongod of this machine, else FerretDB on PostgreSQL with DocumentDB (ferretdb.sh).
# A container image serves the shared one where an image is at hand and neither of the two is. Sourced after servers.sh and run-server.sh.

MONGO_IMAGE=${GANTRY_MONGO_IMAGE:-mongo:8}
MONGO_CONTAINER=gantry-services-mongo

mongo_uri() { echo mongodb://127.0.0.1:27017; }
# The server, and PostgreSQL behind it.
mongo_ports() { echo 27017 27517; }
mongo_installed() { have mongod || ferretdb_installed; }
install_mongo() { install_ferretdb; }

run_mongo() { # directory, port, port of PostgreSQL
  if ! have mongod; then run_ferretdb "$@"; return; fi
  mkdir -p "$1/data"
  child TERM mongod --dbpath "$1/data" --port "$2" --bind_ip 127.0.0.1 --nounixsocket
}

# Quicker than building FerretDB, for those who have the image; private servers for tests still need one of the two.
start_other_mongo() {
  ! mongo_installed && have docker && docker_answers && docker image inspect "$MONGO_IMAGE" >/dev/null 2>&1 || return 1
  docker rm -f "$MONGO_CONTAINER" >/dev/null 2>&1 || true
  quietly docker run -d --name "$MONGO_CONTAINER" -p "$(server_endpoint "$(mongo_uri)"):27017" "$MONGO_IMAGE" || return 1
  if wait_for 60 server_answers mongo; then say "mongo: started $MONGO_IMAGE at $(mongo_uri)"; return 0; fi
  say "mongo: $MONGO_IMAGE does not answer; doing without it"
  docker rm -f "$MONGO_CONTAINER" >/dev/null 2>&1 || true
  return 1
}
stop_other_mongo() {
  have docker && docker_answers && docker container inspect "$MONGO_CONTAINER" >/dev/null 2>&1 || return 1
  quietly docker rm -f "$MONGO_CONTAINER" && say "mongo: container removed"
}
