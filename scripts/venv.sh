# shellcheck shell=sh
# Sourced by start.sh and test.sh in the project's directory, with $requirements set: finds a Python,
# creates the environment with bootstrap.py, and sets $venv_python to its interpreter.

venv_dir=${VENV_DIR:-.venv}
venv_python=$venv_dir/bin/python

# $1: a Python, which must be new enough; $2: the modules that it must have.
is_suitable() {
    "$1" -c "import $2, sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1
}

python=
if is_suitable "$venv_python" pip; then
    python=$venv_python
else
    for candidate in python3.13 python3.12 python3.11 python3; do
        if is_suitable "$candidate" ensurepip,venv; then
            python=$candidate
            break
        fi
        # If no other Python is found, bootstrap.py reports the package that is missing.
        if is_suitable "$candidate" os; then
            python=${python:-$candidate}
        fi
    done
fi
if [ -z "$python" ]; then
    echo "error: Python 3.11 or newer is required; python3.13, python3.12, python3.11 and python3 are missing or older" >&2
    exit 1
fi
"$python" scripts/bootstrap.py "$requirements" --venv "$venv_dir" || exit $?
