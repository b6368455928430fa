# shellcheck shell=bash
# An object store that speaks S3, in memory: moto's server, from PyPI. Sourced after servers.sh and run-server.sh.

MOTO_VERSION=5.2.5
s3_venv() { echo "$SERVICES_DIR/s3/moto-$MOTO_VERSION"; }

s3_uri() { echo http://127.0.0.1:19000; }
s3_ports() { echo 19000; }
s3_installed() { [ -e "$(s3_venv)/complete" ]; }
install_s3() {
  local venv; venv=$(s3_venv)
  python3 -c 'import ensurepip, venv' 2>/dev/null || ensure_packages python3 python3-venv
  say "s3: installing moto $MOTO_VERSION from PyPI into $venv"
  rm -rf "$venv"
  quietly python3 -m venv "$venv" || return 1
  quietly "$venv/bin/python" -m pip install --disable-pip-version-check "moto[s3,server]==$MOTO_VERSION" || return 1
  : >"$venv/complete"
}

run_s3() { # directory, port
  child TERM "$(s3_venv)/bin/moto_server" -H 127.0.0.1 -p "$2"
}
