"""Repository: promises that the project makes about its own files."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.document import parse_document
from tests.support.documents import validate

ROOT = Path(__file__).resolve().parents[2]
OURS = {
    "api",
    "api_service",
    "bench",
    "cli",
    "database",
    "engine",
    "examples",
    "flows",
    "tasks",
    "tracing",
}
OURS |= {path.stem for path in ROOT.glob("*.py")}
EXAMPLES = sorted((ROOT / "examples").glob("*.json"))
REQUIREMENTS = ["requirements.txt", "requirements-dev.txt"]


def _paths() -> list[Path]:
    """Return the tracked and new paths; without git, all paths that are not generated."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return [ROOT / name for name in listed.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        generated = {".git", ".venv", ".hypothesis", ".prefect", "__pycache__", "node_modules"}
        return [path for path in ROOT.rglob("*") if generated.isdisjoint(path.parts)]


def _files() -> list[Path]:
    return [path for path in _paths() if path.is_file()]


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _pins(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    pins = re.findall(r"^([\w.-]+)(?:\[\w+\])?==([^\s;]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in pins}


def test_no_python_file_is_longer_than_400_lines():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in _files()
        if path.suffix == ".py"
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}


@pytest.mark.parametrize("name", [*REQUIREMENTS, "requirements-bench.txt"])
def test_every_direct_dependency_is_pinned_and_has_a_reason(name: str):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line and not line.startswith(("#", "-")):
            assert re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", line)
            assert before.startswith("# "), f"{line} has no reason above it"


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_the_constraints_agree_with_the_direct_dependencies(name: str):
    assert _pins(name).items() <= _pins("constraints.txt").items()


@pytest.mark.parametrize("name", [*REQUIREMENTS, "constraints.txt"])
def test_requirements_name_no_index_and_no_path(name: str):
    assert not re.search(r"://|^-[^rc]| @ |^/", (ROOT / name).read_text(), re.MULTILINE)


def test_no_path_is_a_symbolic_link():
    """A link to another place is broken on other machines, and Windows checks links out as text."""
    assert [path for path in _paths() if path.is_symlink()] == []


def test_no_file_names_a_place_on_somebodys_machine():
    place = re.compile(r"(?<![\w.])/(root|home/\w+|Users/\w+|opt/\w+)/|[A-Z]:\\{1,2}Users\\")
    found: list[str] = []
    for path in _files():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in place.finditer(text)]
    assert found == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
@pytest.mark.parametrize("name", ["start.sh", "start_worker.sh", "test.sh", ".ci/run"])
def test_what_people_start_is_executable(name: str):
    assert os.access(ROOT / name, os.X_OK)


def test_the_engine_imports_the_standard_library_and_pydantic_only():
    allowed = sys.stdlib_module_names | {"engine", "pydantic", "pydantic_core"}
    for path in (ROOT / "engine").rglob("*.py"):
        assert _imports(path) <= allowed, path.name


def test_the_settings_import_nothing_of_ours():
    assert _imports(ROOT / "config.py") & OURS == {"setting_types"}
    assert _imports(ROOT / "setting_types.py").isdisjoint(OURS)


def test_the_bootstrap_runs_before_anything_is_installed():
    assert _imports(ROOT / "scripts" / "bootstrap.py") <= sys.stdlib_module_names


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_can_be_put_into_a_database_as_it_is(path: Path):
    example = json.loads(path.read_text(encoding="utf-8"))
    assert set(example) == {"id", "name", "description", "tags", "data"}
    assert all({"id", "type", "label", "x", "y"} <= set(node) for node in example["data"]["nodes"])
    types = {node["type"] for node in example["data"]["nodes"]}
    validate(parse_document(example["data"]), types, lambda _node: [])


def test_examples_have_ids_of_their_own():
    ids = [json.loads(path.read_text(encoding="utf-8"))["id"] for path in EXAMPLES]
    assert len(ids) == len(set(ids)) >= 3
