#!/bin/sh
# Runs the tests; arguments go to pytest: ./test.sh tests/unit -n 2
set -eu

cd -- "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)"
requirements=requirements-dev.txt
. ./scripts/venv.sh

exec "$venv_python" -m pytest "$@"
