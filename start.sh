#!/bin/sh
# Start the service, or run another command of start_service.py: ./start.sh --help
set -eu

cd -- "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)"
requirements=requirements.txt
. ./scripts/venv.sh

exec "$venv_python" start_service.py "$@"
