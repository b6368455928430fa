# shellcheck shell=bash
# A Rust toolchain of the version rust-toolchain.toml names, and what native crates need to compile.
# Sourced after script.sh and packages.sh.

TOOLCHAIN=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' "$REPO/rust-toolchain.toml")

# cargo as this repository sees it: with rustup, rust-toolchain.toml chooses.
cargo_version() { (cd "$REPO" && cargo --version 2>/dev/null | awk '{print $2}'); }

cargo_suffices() { local v; v=$(cargo_version) && [ -n "$v" ] && at_least "$TOOLCHAIN" "$v"; }

apt_candidate() { apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/{print $2; exit}'; }

apt_cargo_suffices() {
  local v; v=$(apt_candidate cargo); v=${v%%[+~-]*}
  [ -n "$v" ] && [ "$v" != "(none)" ] && at_least "$TOOLCHAIN" "$v"
}

# The same official installer, from the two places that serve it.
RUSTUP_INSTALLERS="https://sh.rustup.rs https://static.rust-lang.org/rustup/rustup-init.sh"

run_rustup_installer() { # file
  local url
  for url in $RUSTUP_INSTALLERS; do
    curl --proto '=https' --tlsv1.2 -sSf --retry 2 --max-time 120 -o "$1" "$url" || continue
    quietly sh "$1" -y -q --no-modify-path --profile minimal --default-toolchain none && return 0
  done
  return 1
}

install_rustup() {
  local candidate installer outcome=0
  candidate=$(apt_candidate rustup)
  if [ -n "$candidate" ] && [ "$candidate" != "(none)" ]; then
    ensure_packages rustup
    return 0
  fi
  say "installing rustup with its own installer"
  installer=$(mktemp)
  run_rustup_installer "$installer" || outcome=1
  rm -f "$installer"
  return "$outcome"
}

ensure_rust() {
  export PATH="$HOME/.cargo/bin:$PATH"
  ensure_packages build-essential pkg-config ca-certificates curl
  if have cargo && cargo_suffices; then return 0; fi
  step "Rust $TOOLCHAIN"
  if ! have rustup && apt_cargo_suffices; then ensure_packages cargo rustc rustfmt rust-clippy
  elif have rustup || install_rustup; then
    quietly rustup toolchain install "$TOOLCHAIN" --profile minimal --component rustfmt --component clippy || true
  fi
  cargo_suffices || die "Gantry needs cargo $TOOLCHAIN or newer, this machine has $(cargo_version | grep . || echo none)," \
    "apt offers none that new and rustup could not install it. Install Rust $TOOLCHAIN (https://rustup.rs), then run this again."
}
