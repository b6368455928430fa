# shellcheck shell=bash
# gitleaks, which finds secrets that somebody committed. Sourced after go.sh.

GITLEAKS_VERSION=v8.28.0
GITLEAKS_DIR=${GANTRY_SERVICES_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/gantry-services}/gitleaks
GITLEAKS=$GITLEAKS_DIR/gitleaks-$GITLEAKS_VERSION

ensure_gitleaks() {
  [ ! -x "$GITLEAKS" ] || return 0
  say "installing gitleaks $GITLEAKS_VERSION (a minute or two, once)"
  go_install "$GITLEAKS" "github.com/zricethezav/gitleaks/v8@$GITLEAKS_VERSION" "$GITLEAKS_DIR"
}

gitleaks() { "$GITLEAKS" "$@" --config "$REPO/.gitleaks.toml" --no-banner --redact --log-level warn; }

# A scan that finds nothing says something only if it would have found a key of ours.
gitleaks_finds_a_key() {
  local key; key=gantry_$(head -c 400 /dev/urandom | tr -dc 'a-z0-9' | head -c 46)
  if printf 'key = "%s"\n' "$key" | gitleaks stdin >/dev/null 2>&1; then
    say "gitleaks does not find a key that was planted"
    return 1
  fi
}

# Everything that was ever committed here, and what would be next.
scan_for_secrets() {
  ensure_gitleaks && gitleaks_finds_a_key || return 1
  git -C "$REPO" rev-parse HEAD >/dev/null 2>&1 || { gitleaks dir "$REPO"; return; }
  gitleaks git "$REPO" --log-opts HEAD --verbose && git -C "$REPO" diff HEAD | gitleaks stdin --verbose
}
