# shellcheck shell=bash
# Installs Debian packages, and only those that are missing. Sourced after script.sh.

package_installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'; }

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# ensure_packages NAME…: asks apt for what is not installed yet; a second call costs milliseconds.
ensure_packages() {
  local name missing=()
  for name in "$@"; do package_installed "$name" || missing+=("$name"); done
  [ "${#missing[@]}" -gt 0 ] || return 0
  have apt-get || die "these are missing and this machine has no apt to get them from: ${missing[*]}"
  say "installing ${missing[*]}"
  quietly as_root apt-get -o Acquire::Check-Valid-Until=false update -q || say "apt-get update failed; trying with the lists that are here"
  quietly apt_install "${missing[@]}" || die "apt could not install: ${missing[*]}"
}

# Without systemd nobody looks after a server that a package starts by itself: a private one is started instead, which `stop` ends.
install_server_packages() {
  local policy=/usr/sbin/policy-rc.d
  if [ -d /run/systemd/system ] || [ -e "$policy" ]; then ensure_packages "$@"; return; fi
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod +x "$policy"
  local outcome=0
  (ensure_packages "$@") || outcome=1
  as_root rm -f "$policy"
  return "$outcome"
}
