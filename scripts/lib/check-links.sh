#!/usr/bin/env bash
# Every relative link in the given Markdown files (or folders of them) leads to a file that exists.
set -euo pipefail

broken=0
check_file() {
  local file=$1 target
  while IFS= read -r target; do
    target=${target%%#*}
    case $target in ''|*://*|mailto:*) continue ;; esac
    [ -e "$(dirname "$file")/$target" ] || { echo "$file: no such file: $target"; broken=1; }
  done < <(grep -oE '\]\([^) ]+\)' "$file" | sed 's/^](//; s/)$//')
}

while IFS= read -r -d '' file; do check_file "$file"; done < <(find "$@" -name '*.md' -print0)
exit "$broken"
