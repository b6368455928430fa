# shellcheck shell=bash
# A Rust toolchain of the version rust-toolchain.toml names, and what native crates need to compile.
# Sourced after common.sh and packages.sh.

TOOLCHAIN=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' "$REPO/rust-toolchain.toml")

# cargo as this repository sees it: with rustup, rust-toolchain.toml chooses.
cargo_version() { (cd "$REPO" && cargo --version 2>/dev/null | awk '{print $2}'); }

at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

cargo_suffices() { local v; v=$(cargo_version) && [ -n "$v" ] && at_least "$TOOLCHAIN" "$v"; }

apt_candidate() { apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/{print $2; exit}'; }

apt_cargo_suffices() {
  local v; v=$(apt_candidate cargo); v=${v%%[+~-]*}
  [ -n "$v" ] && [ "$v" != "(none)" ] && at_least "$TOOLCHAIN" "$v"
}

install_rustup() {
  if [ "$(apt_candidate rustup)" ] && [ "$(apt_candidate rustup)" != "(none)" ]; then
    ensure_packages rustup
  else
    say "installing rustup with its own installer"
    curl --proto '=https' --tlsv1.2 -sSf --max-time 300 https://sh.rustup.rs 2>/dev/null \
      | sh -s -- -y -q --profile minimal --default-toolchain none >/dev/null 2>&1 || return 1
  fi
  have rustup
}

ensure_rust() {
  export PATH="$HOME/.cargo/bin:$PATH"
  ensure_packages build-essential cmake pkg-config ca-certificates curl
  if have cargo && cargo_suffices; then return 0; fi
  step "Rust $TOOLCHAIN"
  if ! have rustup && apt_cargo_suffices; then ensure_packages cargo rustc rustfmt rust-clippy
  elif have rustup || install_rustup; then
    quietly rustup toolchain install "$TOOLCHAIN" --profile minimal --component rustfmt --component clippy || true
  fi
  cargo_suffices || die "Gantry needs cargo $TOOLCHAIN or newer, this machine has $(cargo_version | grep . || echo none)," \
    "apt offers none that new and rustup could not install it. Install Rust $TOOLCHAIN (https://rustup.rs), then run this again."
}
