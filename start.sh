#!/bin/sh
# Starts the service (./start.sh) or shows what it does (./start.sh demo); see README.md.
set -eu

cd -- "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)"
requirements=requirements.txt
. ./scripts/venv.sh

if [ "${1:-}" = demo ]; then
    shift
    exec "$venv_python" -m examples.demo "$@"
fi
exec "$venv_python" start_service.py "$@"
