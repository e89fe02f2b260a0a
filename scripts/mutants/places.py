"""Places: the folders that are mutated, and the files that mutation testing keeps."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".mutants"
"""Directory of recordings, copies of the checkout and results; git ignores it."""
RECORDINGS = KEPT / "recordings"
FOLDERS = ("engine", "database", "flows", "tasks", "api")
"""Packages that are mutated."""
DIRECTORY_VARIABLE = "MUTANTS_RECORDING"
"""Environment variable with the directory of the recording that is being made."""
SELECTION_VARIABLE = "MUTANTS_SELECTION"
"""Environment variable with the JSON file of the tests that one trial runs."""


def sources() -> list[Path]:
    """Return the modules that are mutated, relative to the root, in a stable order."""
    return sorted(
        path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
    )


def copy_checkout(target: Path) -> None:
    """Copy the files of the checkout that git tracks or that are new to an empty directory."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    shutil.rmtree(target, ignore_errors=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
