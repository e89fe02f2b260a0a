"""Makes the virtual environment and installs what is pinned, when that has changed.

Standard library only: it runs before anything is installed. ``start.sh``, ``test.sh`` and their
Windows twins call it with the requirements file they need, then run that environment's Python.
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
    """The environment cannot be made; the message is one line that says what to do."""


def main() -> int:
    """Makes the environment at ``--venv`` fit ``requirements``; 0, or 1 and one line why not."""
    parser = argparse.ArgumentParser(description="Make the virtual environment.")
    parser.add_argument("requirements", help="a requirements file beside start.sh")
    parser.add_argument("--venv", type=Path, required=True, help="where the environment stands")
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
    """Installs ``requirements`` into ``venv``, unless its stamps say that this was done.

    Raises:
        BootstrapError: there is no venv module, or an installation failed.
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
        raise BootstrapError(f"pip could not install {requirements.name}; its reason stands above")
    for file in files:
        if file.name.startswith("requirements"):
            stamp_path(venv, file).write_text(fingerprint(included(file)), encoding="utf-8")


def create(venv: Path) -> None:
    """A new environment at ``venv``, in place of a broken one."""
    if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        raise BootstrapError(
            f"{sys.executable} comes without the venv module; "
            f"on Debian and Ubuntu: apt install {version}-venv"
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
        raise BootstrapError(f"cannot make a virtual environment at {venv}: {reason}")


def works(venv: Path) -> bool:
    """Whether the environment's Python starts, is new enough, and has pip (not half made)."""
    probe = [str(python_of(venv)), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def python_of(venv: Path) -> Path:
    """The environment's interpreter."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def included(requirements: Path) -> list[Path]:
    """A requirements file and the files that it names with ``-r`` and ``-c``, all the way down."""
    files = [requirements]
    for line in requirements.read_text(encoding="utf-8").splitlines():
        option, _, name = line.strip().partition(" ")
        if option in {"-r", "-c"}:
            files += included(requirements.parent / name.strip())
    return files


def fingerprint(files: list[Path]) -> str:
    """What the files say, in one hash, whatever their line ends."""
    text = "\0".join(file.read_text(encoding="utf-8") for file in files)
    return hashlib.sha256(text.encode()).hexdigest()


def stamp_path(venv: Path, requirements: Path) -> Path:
    """Where the environment keeps the fingerprint of what was last installed into it."""
    return venv / f"{requirements.name}.sha256"


def stamp_of(venv: Path, requirements: Path) -> str | None:
    """The fingerprint of what was last installed, if anything was."""
    try:
        return stamp_path(venv, requirements).read_text(encoding="utf-8")
    except OSError:
        return None


if __name__ == "__main__":
    sys.exit(main())
