"""Bootstrap: creates the virtual environment, and installs the pinned packages if they changed.

It imports the standard library only, because it runs before packages are installed. ``start.sh``,
``test.sh`` and the Windows scripts call it with a requirements file, then run the environment's
Python.
"""

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class BootstrapError(Exception):
    """The environment cannot be created; the message is one line with the solution."""


def main() -> int:
    """Prepare the environment at ``--venv``; return 0, or print one error line and return 1."""
    parser = argparse.ArgumentParser(description="Create the virtual environment.")
    parser.add_argument("requirements", help="a requirements file next to start.sh")
    parser.add_argument("--venv", type=Path, required=True, help="directory of the environment")
    arguments = parser.parse_args()
    try:
        ensure(arguments.venv, ROOT / arguments.requirements)
    except BootstrapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def ensure(venv: Path, requirements: Path) -> None:
    """Install ``requirements`` into ``venv``, unless its stamp matches.

    Raises:
        BootstrapError: If the venv module is missing, or an installation fails.
    """
    files = included(requirements)
    if stamp_of(venv, requirements) == fingerprint(files) and works(venv):
        return
    if not works(venv):
        create(venv)
    print(f"Installing {requirements.name} into {venv} (a minute or two) ...", file=sys.stderr)
    pip = [str(python_of(venv)), "-m", "pip", "install", "-qq", "--requirement"]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_USER": "0"}
    if subprocess.call([*pip, str(requirements)], env=environment, cwd=ROOT) != 0:
        raise BootstrapError(f"pip could not install {requirements.name}; see its output above")
    for file in files:
        if file.name.startswith("requirements"):
            stamp_path(venv, file).write_text(fingerprint(included(file)), encoding="utf-8")


def create(venv: Path) -> None:
    """Create a new environment at ``venv``; it replaces a broken one."""
    if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        raise BootstrapError(
            f"{sys.executable} has no venv module; on Debian and Ubuntu: apt install {version}-venv"
        )
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        reason = " ".join(made.stdout.split()) or f"exit status {made.returncode}"
        raise BootstrapError(f"cannot create a virtual environment at {venv}: {reason}")


def works(venv: Path) -> bool:
    """Return whether the environment's Python starts, is new enough, and has pip."""
    probe = [str(python_of(venv)), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def python_of(venv: Path) -> Path:
    """Return the path of the environment's interpreter."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def included(requirements: Path) -> list[Path]:
    """Return a requirements file and the files that it includes with ``-r`` and ``-c``."""
    files = [requirements]
    for line in requirements.read_text(encoding="utf-8").splitlines():
        option, _, name = line.strip().partition(" ")
        if option in {"-r", "-c"}:
            files += included(requirements.parent / name.strip())
    return files


def fingerprint(files: list[Path]) -> str:
    """Return one hash of the content of the files, independent of their line ends."""
    text = "\0".join(file.read_text(encoding="utf-8") for file in files)
    return hashlib.sha256(text.encode()).hexdigest()


def stamp_path(venv: Path, requirements: Path) -> Path:
    """Return the path of the fingerprint that the last installation wrote."""
    return venv / f"{requirements.name}.sha256"


def stamp_of(venv: Path, requirements: Path) -> str | None:
    """Return the fingerprint of the last installation, or ``None``."""
    try:
        return stamp_path(venv, requirements).read_text(encoding="utf-8")
    except OSError:
        return None


if __name__ == "__main__":
    sys.exit(main())
