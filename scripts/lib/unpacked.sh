# shellcheck shell=bash
# Packages of a newer Debian, unpacked below a directory of ours: nothing is installed, nothing needs root, and programs run with the
# C library they were built for. Sourced after packages.sh.

DEBIAN_MIRROR=${GANTRY_DEBIAN_MIRROR:-http://deb.debian.org/debian}
DEBIAN_KEYS=/usr/share/keyrings/debian-archive-keyring.gpg

# apt with its own lists and cache, which believes that nothing is installed: it resolves everything a package needs.
unpacked_apt_prepare() { # directory, suite
  [ -e "$DEBIAN_KEYS" ] || ensure_packages debian-archive-keyring
  mkdir -p "$1/state/lists/partial" "$1/cache/archives/partial"
  : >"$1/status"
  echo "deb [signed-by=$DEBIAN_KEYS] $DEBIAN_MIRROR $2 main" >"$1/sources.list"
  cat >"$1/apt.conf" <<E
Dir::State "$1/state";
Dir::State::status "$1/status";
Dir::Cache "$1/cache";
Dir::Etc::sourcelist "$1/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Retries "3";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Debug::NoLocking "true";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
E
  quietly apt-get -c "$1/apt.conf" update -q
}

# unpack_packages DIRECTORY ROOT PACKAGE…: with all they depend on.
unpack_packages() {
  local dir=$1 root=$2; shift 2
  quietly apt-get -c "$dir/apt.conf" install -y -q --download-only "$@" || return 1
  say "  unpacking $(find "$dir/cache/archives" -name '*.deb' | wc -l) packages ($(du -sh "$dir/cache/archives" | cut -f1)) into $root"
  mkdir -p "$root"
  # shellcheck disable=SC2016  # expanded by the inner shell
  find "$dir/cache/archives" -name '*.deb' -print0 | xargs -0 -n 1 -P "$(nproc)" sh -c 'dpkg-deb -x "$1" "$0"' "$root" || return 1
  rm -rf "$dir/cache/archives" "$root"/usr/share/{doc,man,locale,fonts,perl,info}
}
