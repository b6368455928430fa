# shellcheck shell=bash
# Images put together from what Debian packages, so that no registry is needed. Sourced after script.sh and packages.sh.

image_exists() { docker image inspect "$1" >/dev/null 2>&1; }

# build_image TAG CONTEXT_DIR: builds its Dockerfile with the classic builder, which needs no plugin and pulls nothing here.
build_image() {
  say "building image $1"
  quietly env DOCKER_BUILDKIT=0 docker build --network host --force-rm -t "$1" "$2"
}

# import_debian TAG SUITE PACKAGE…: a minimal Debian with the packages, as one imported layer.
import_debian() {
  local tag=$1 suite=$2 root packages; shift 2
  packages=$(IFS=,; echo "ca-certificates${*:+,$*}")
  root=$(as_root mktemp -d "${TMPDIR:-/var/tmp}/gantry-rootfs.XXXXXX")
  say "making $tag from Debian $suite packages (some minutes, once)"
  quietly as_root debootstrap --variant=minbase --include="$packages" "$suite" "$root" \
    || { as_root rm -rf "$root"; return 1; }
  as_root rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  as_root tar -C "$root" --one-file-system -c . | docker import -c 'CMD ["bash"]' - "$tag" >/dev/null \
    || { as_root rm -rf "$root"; return 1; }
  as_root rm -rf "$root"
}

# busybox:1.36 for machines that cannot pull it: Debian's static busybox with its applets.
make_busybox() {
  image_exists busybox:1.36 && return 0
  ensure_packages busybox-static
  local context; context=$(mktemp -d)
  mkdir -p "$context/bin"
  cp /bin/busybox "$context/bin/busybox"
  cat >"$context/Dockerfile" <<'EOF'
FROM scratch
COPY bin/busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox mkdir -p /tmp /root /etc /app && /bin/busybox chmod 1777 /tmp && /bin/busybox --install /bin && echo 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd && echo 'root:x:0:' >/etc/group"]
CMD ["sh"]
EOF
  build_image busybox:1.36 "$context"; local outcome=$?
  rm -rf "$context"
  return "$outcome"
}

# gantry-test:1: busybox with the entrypoint convention and a file that exists but cannot be executed.
make_test_image() {
  image_exists gantry-test:1 && return 0
  local context; context=$(mktemp -d)
  cat >"$context/entrypoint.sh" <<'EOF'
#!/bin/sh
# What an image of the entrypoint convention does: it is told the folder to test, and writes its reports below /app.
echo "entrypoint folder=${1-} in $(pwd)"
env | grep -E '^(CI|BASE_URL|TASK_ID|GANTRY_|SHARD_)' | sort
mkdir -p reports && echo '<testsuite name="entrypoint"><testcase classname="entrypoint" name="ran" time="0.01"/></testsuite>' >reports/junit.xml
EOF
  echo 'this file has no executable bit' >"$context/not-executable"
  cat >"$context/Dockerfile" <<'EOF'
FROM busybox:1.36
COPY entrypoint.sh /app/entrypoint.sh
COPY not-executable /app/not-executable
RUN chmod 644 /app/not-executable
WORKDIR /app
EOF
  build_image gantry-test:1 "$context"; local outcome=$?
  rm -rf "$context"
  return "$outcome"
}
