#!/bin/sh
# Run the tests in two processes; arguments are passed to pytest: ./test.sh tests/unit -n 0
set -eu

cd -- "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)"
requirements=requirements-dev.txt
. ./scripts/venv.sh

# Much of the suite waits for processes that are killed and started again. A file stays together.
exec "$venv_python" -m pytest -n 2 --dist loadfile "$@"
