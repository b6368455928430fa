# shellcheck shell=bash
# The systems that the benchmark compares with, installed outside the repository. Sourced after script.sh and packages.sh.

PEERS_DIR=${GANTRY_BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gantry-bench}/peers

# install_peers: servers from apt, programs from PyPI and npm at the versions of their lock files; a second call is quick.
install_peers() {
  local locks stamp
  ensure_packages redis-server rabbitmq-server postgresql python3-venv
  have npm || ensure_packages nodejs npm
  mkdir -p "$PEERS_DIR"
  cp -R "$REPO"/bench/peers/. "$PEERS_DIR"
  locks=$(cat "$REPO/bench/peers/package-lock.json" "$REPO/bench/peers/celery/requirements.txt" | sha256sum | cut -d' ' -f1)
  stamp=$PEERS_DIR/.installed
  if [ "$(cat "$stamp" 2>/dev/null)" = "$locks" ]; then return 0; fi
  say "installing the peers in $PEERS_DIR"
  # Without install scripts: what is needed is in the packages, the Node.js that all of them run on included.
  quietly npm ci --prefix "$PEERS_DIR" --ignore-scripts --no-audit --no-fund || die "npm could not install the peers"
  python3 -m venv --clear "$PEERS_DIR/venv"
  quietly "$PEERS_DIR/venv/bin/pip" install --disable-pip-version-check -r "$PEERS_DIR/celery/requirements.txt" ||
    die "pip could not install Celery"
  printf '%s' "$locks" >"$stamp"
}
