#!/bin/sh
# What a run without a command of its own starts: /bin/sh /app/entrypoint.sh FOLDER, from /app.
# Reports must land below /app/reports, where Gantry looks for them by default.
set -eu
cd /app
exec python3 -u -m pytest "${1:-tests}"
