# shellcheck shell=bash
# Programs that their makers give out as Go modules, compiled here at a version we name. Sourced after unpacked.sh.

# An older Go fetches the one that a module's go.mod names, by itself, if it is at least this.
GO_AT_LEAST=1.21
# Where a newer one comes from.
GO_SUITE=sid

go_suffices() { local version; version=$("$1" version 2>/dev/null | sed -n 's/^go version go\([0-9.]*\).*/\1/p'); [ -n "$version" ] && at_least "$GO_AT_LEAST" "$version"; }

# go_install PROGRAM PACKAGE@VERSION DIRECTORY: the directory holds what it takes meanwhile.
go_install() {
  local go=go outcome=0
  mkdir -p "$3" "$(dirname "$1")"
  if ! go_suffices go || ! go_compile "$1" "$2" "$3" go; then
    say "  fetching Go from Debian $GO_SUITE"
    { unpacked_apt_prepare "$3/go-apt" "$GO_SUITE" && unpack_packages "$3/go-apt" "$3/go-root" golang-go; } || return 1
    go=$(echo "$3"/go-root/usr/lib/go-*/bin/go)
    go_compile "$1" "$2" "$3" "$go" || outcome=1
  fi
  chmod -R u+w "$3/go" 2>/dev/null || true
  rm -rf "$3/go" "$3/go-apt" "$3/go-root"
  return "$outcome"
}

go_compile() { # program, package@version, directory, go
  say "  compiling ${2##*/} with $("$4" version | cut -d' ' -f3)"
  mkdir -p "$3/go"
  quietly env -C "$3/go" -u GOFLAGS -u GOROOT GOPATH="$3/go" GOCACHE="$3/go/cache" GOBIN="$3/go/bin" GOTOOLCHAIN=auto CGO_ENABLED=0 \
    "$4" install "$2" || return 1
  mv "$3"/go/bin/* "$1"
}
