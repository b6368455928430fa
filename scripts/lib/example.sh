# shellcheck shell=bash
# The example suite of examples/pytest, ready to run on this machine and as an image. Sourced after images.sh.

EXAMPLE_DIR=$REPO/examples/pytest
EXAMPLE_BASE=gantry-example-base:1
EXAMPLE_IMAGE=gantry-example-pytest:1
# Debian 12: the release and the Python the image's packages are chosen for.
EXAMPLE_SUITE=bookworm EXAMPLE_PYTHON=3.11
EXAMPLE_VENV=$REPO/.gantry/example-venv

# What is baked into the image, as one number: a changed suite makes a new image.
example_fingerprint() { (cd "$EXAMPLE_DIR" && find . -type f ! -path '*/reports/*' ! -path '*/__pycache__/*' ! -path './.pytest_cache/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16); }

ensure_example_venv() {
  local stamp; stamp=$(sha256sum <"$EXAMPLE_DIR/requirements.txt")
  [ "$(cat "$EXAMPLE_VENV/stamp" 2>/dev/null)" = "$stamp" ] && return 0
  python3 -c 'import ensurepip, venv' 2>/dev/null || ensure_packages python3 python3-venv
  say "installing pytest into $EXAMPLE_VENV"
  rm -rf "$EXAMPLE_VENV"
  quietly python3 -m venv "$EXAMPLE_VENV" || return 1
  quietly "$EXAMPLE_VENV/bin/python" -m pip install --disable-pip-version-check -r "$EXAMPLE_DIR/requirements.txt" || return 1
  echo "$stamp" >"$EXAMPLE_VENV/stamp"
}

# The same requirements, as files for the image's Python: nothing is downloaded while the image is built.
example_packages() { # directory
  quietly "$EXAMPLE_VENV/bin/python" -m pip install --disable-pip-version-check --target "$1" --only-binary :all: \
    --python-version "$EXAMPLE_PYTHON" --implementation cp --platform "manylinux2014_$(uname -m)" -r "$EXAMPLE_DIR/requirements.txt"
}

ensure_example_image() {
  local fingerprint; fingerprint=$(example_fingerprint)
  [ "$(docker image inspect -f '{{index .Config.Labels "gantry.example"}}' "$EXAMPLE_IMAGE" 2>/dev/null)" = "$fingerprint" ] && return 0
  ensure_example_venv || return 1
  if ! image_exists "$EXAMPLE_BASE"; then
    ensure_packages debootstrap
    import_debian "$EXAMPLE_BASE" "$EXAMPLE_SUITE" python3-minimal python3 || return 1
  fi
  local context; context=$(mktemp -d)
  build_example_image "$context" "$fingerprint"; local outcome=$?
  rm -rf "$context"
  return "$outcome"
}

build_example_image() { # context, fingerprint
  cp -r "$EXAMPLE_DIR" "$1/app"
  rm -rf "$1/app/reports"
  example_packages "$1/site" || return 1
  cat >"$1/Dockerfile" <<EOF
FROM $EXAMPLE_BASE
LABEL gantry.example=$2
ENV PYTHONPATH=/opt/site PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY site /opt/site
COPY app /app
EOF
  build_image "$EXAMPLE_IMAGE" "$1"
}
