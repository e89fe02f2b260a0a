#!/bin/sh
# Run the tests in four processes; arguments are passed to pytest: ./test.sh tests/unit -n 0
set -eu

cd -- "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)"
requirements=requirements-dev.txt
. ./scripts/venv.sh

# Keep compiled modules: otherwise, each process of the tests compiles all of them again.
unset PYTHONDONTWRITEBYTECODE

# More processes than cores, because much of the suite waits. The tests of a file share a service.
exec "$venv_python" -m pytest -n 4 --dist loadfile "$@"
