# shellcheck shell=bash
# Secrets as deployments need them. Sourced after script.sh.

random_hex() { od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'; } # bytes

# Prefix, 160 random bits, checksum: as `gantry-producer new-key` makes them.
new_api_key() {
  local body; body=$(random_hex 20)
  printf 'gantry_%s%s' "$body" "$(printf %s "$body" | sha256sum | cut -c1-6)"
}

# As `gantry-producer new-signing-key` and `new-sealing-key` make them: a name and 256 random bits.
new_named_key() { printf 'k%s:%s' "$(random_hex 4)" "$(head -c 32 /dev/urandom | base64 | tr -d '\n')"; }
