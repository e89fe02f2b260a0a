# shellcheck shell=sh
# Sourced by start.sh and test.sh from the project's directory, with $requirements set: finds a
# Python, lets bootstrap.py make the environment, and leaves its interpreter in $venv_python.

venv_dir=${VENV_DIR:-.venv}
venv_python=$venv_dir/bin/python

# $1: a Python; $2: the modules it must have, beside being new enough.
suits() {
    "$1" -c "import $2, sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1
}

python=
if suits "$venv_python" pip; then
    python=$venv_python
else
    for candidate in python3.13 python3.12 python3.11 python3; do
        if suits "$candidate" ensurepip,venv; then
            python=$candidate
            break
        fi
        # bootstrap.py says what to install for one without venv, should no other be found.
        if suits "$candidate" os; then
            python=${python:-$candidate}
        fi
    done
fi
if [ -z "$python" ]; then
    echo "error: Python 3.11 or newer is needed, and none of python3.13, python3.12, python3.11, python3 is one" >&2
    exit 1
fi
"$python" scripts/bootstrap.py "$requirements" --venv "$venv_dir" || exit $?
