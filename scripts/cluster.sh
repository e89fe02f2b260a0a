#!/bin/sh
# Start a Prefect server, a service and two workers on loopback, without containers:
# scripts/cluster.sh --help
set -eu

cd -- "$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)"
requirements=requirements.txt
. ./scripts/venv.sh

exec "$venv_python" -m scripts.cluster "$@"
