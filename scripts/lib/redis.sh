# shellcheck shell=bash
# Redis, from Debian's package. Sourced after servers.sh and run-server.sh.

redis_uri() { echo redis://127.0.0.1:6379; }
redis_ports() { echo 6379; }
redis_installed() { have redis-server; }
install_redis() { install_server_packages redis-server; }

run_redis() { # directory, port
  mkdir -p "$1/data"
  child TERM redis-server --bind 127.0.0.1 --port "$2" --dir "$1/data" --appendonly yes --save '' --daemonize no
}
