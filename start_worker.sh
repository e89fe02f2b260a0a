#!/bin/sh
# Start a worker of a Prefect work pool: ./start_worker.sh --help
set -eu

cd -- "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)"
requirements=requirements.txt
. ./scripts/venv.sh

exec "$venv_python" start_worker.py "$@"
