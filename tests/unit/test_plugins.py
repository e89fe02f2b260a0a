"""Plugins: modules and installed packages on a real disk."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS, register
from tasks.plugins import ENTRY_POINT_GROUP, PluginError, load_plugins
from tasks.registry import DEFAULT
from tasks.sdk import NodeConfig

PLAIN = """
from prefect import task

@task(name="shout")
async def handle_shout(node, input_data):
    return {"success": True, "outputData": str(input_data).upper()}

NODE_HANDLERS = {"shout": handle_shout}
"""
REGISTERED = """
from tasks.sdk import Field, NodeConfig, register, task

class WhisperConfig(NodeConfig, title="Whisper"):
    how_low: int = Field(default=1, ge=1, le=3, title="How low")

@task(name="whisper")
async def handle_whisper(node, input_data):
    return {"success": True, "outputData": str(input_data).lower()}

register("whisper", handle_whisper, config=WhisperConfig)
"""


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to a directory for foreign modules, and restore the registry afterwards."""
    handlers, configs, path = dict(NODE_HANDLERS), dict(NODE_CONFIGS), list(sys.path)
    modules = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in NODE_HANDLERS.keys() - handlers.keys():
        del NODE_HANDLERS[name]
    for name in NODE_CONFIGS.keys() - configs.keys():
        del NODE_CONFIGS[name]
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("my_", "pkg_")):
            del sys.modules[name]


def install(directory: Path, name: str, entry: str) -> None:
    """Create a package as pip installs it, with its entry point."""
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nmine = {entry}\n")


def refusal(*modules: str) -> str:
    with pytest.raises(PluginError) as refused:
        load_plugins(modules)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_module_of_the_working_directory_adds_its_handlers(outside: Path):
    (outside / "my_nodes.py").write_text(PLAIN)
    load_plugins(["my_nodes"])
    assert DEFAULT.handler("shout").name == "shout"
    assert DEFAULT.config("shout") is NodeConfig


def test_a_module_registers_a_type_with_its_config(outside: Path):
    (outside / "my_nodes.py").write_text(REGISTERED)
    load_plugins(["my_nodes"])
    assert DEFAULT.config("whisper").__name__ == "WhisperConfig"


def test_a_module_may_have_configs_next_to_its_handlers(outside: Path):
    more = 'from tasks.config.base import NodeConfig\nNODE_CONFIGS = {"shout": NodeConfig}\n'
    (outside / "my_nodes.py").write_text(PLAIN + more)
    load_plugins(["my_nodes"])
    assert NODE_CONFIGS["shout"] is NodeConfig


def test_a_module_inside_a_package_and_several_at_once(outside: Path):
    (outside / "my_shop").mkdir()
    (outside / "my_shop" / "__init__.py").write_text("")
    (outside / "my_shop" / "nodes.py").write_text(PLAIN)
    (outside / "my_other.py").write_text(f"import my_shop.nodes\n{REGISTERED}")
    load_plugins(["my_shop.nodes", "my_other", "my_shop.nodes"])
    assert {"shout", "whisper"} <= NODE_HANDLERS.keys()


def test_a_module_that_another_one_imported_is_accepted(outside: Path):
    (outside / "my_nodes.py").write_text(REGISTERED)
    (outside / "my_other.py").write_text(f"import my_nodes\n{PLAIN}")
    load_plugins(["my_other", "my_nodes"])
    assert {"shout", "whisper"} <= NODE_HANDLERS.keys()


def test_an_installed_package_is_found_by_its_entry_point(outside: Path):
    site = outside / "site"
    install(site, "pkg_shout", "pkg_shout.nodes")
    (site / "pkg_shout").mkdir()
    (site / "pkg_shout" / "__init__.py").write_text("")
    (site / "pkg_shout" / "nodes.py").write_text(PLAIN)
    sys.path.append(str(site))
    load_plugins([])
    assert "shout" in DEFAULT.known


def test_an_entry_point_may_name_the_handlers_dict(outside: Path):
    install(outside, "pkg_shout", "my_nodes:NODE_HANDLERS")
    (outside / "my_nodes.py").write_text(PLAIN)
    sys.path.append(str(outside))
    load_plugins(["my_nodes"])
    assert "shout" in DEFAULT.known


def test_a_package_that_cannot_be_loaded_is_named_with_its_version(outside: Path):
    install(outside, "pkg_gone", "pkg_gone.nodes")
    sys.path.append(str(outside))
    line = refusal()
    assert line.startswith("entry point mine = pkg_gone.nodes of pkg_gone 1.0: ModuleNotFoundError")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("x = (", "SyntaxError: "),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("x = 1", "it has no NODE_HANDLERS and does not register a type"),
        ("NODE_HANDLERS = ['http']", "NODE_HANDLERS is not a dict"),
        (
            "NODE_HANDLERS = {'f': lambda n, d: {}}",
            "the handler of 'f' is not a Prefect task",
        ),
        (PLAIN.replace('"shout":', '"http":'), "the node type 'http' is already registered"),
        (PLAIN.replace('"shout":', "5:"), "5 is not a valid node type name"),
        (PLAIN + "NODE_CONFIGS = {'shout': dict}", "the config of 'shout' is not a NodeConfig"),
        (
            REGISTERED.replace(
                "    how_low", "    act: __import__('typing').Callable[[], int]\n    how_low"
            ),
            "PydanticInvalidForJsonSchema: ",
        ),
    ],
)
def test_a_module_that_cannot_be_loaded_causes_a_one_line_error(
    outside: Path, text: str, reason: str
):
    (outside / "my_nodes.py").write_text(text)
    line = refusal("my_nodes")
    assert line.startswith("NODE_TYPE_MODULES=my_nodes: ")
    assert reason in line


def test_a_missing_module_is_named(outside: Path):
    assert refusal("my_typo") == (
        "NODE_TYPE_MODULES=my_typo: ModuleNotFoundError: No module named 'my_typo'"
    )


def test_files_in_the_working_directory_do_not_shadow_modules_of_the_service(outside: Path):
    (outside / "my_nodes.py").write_text(PLAIN)
    load_plugins(["my_nodes"])
    assert os.path.realpath(sys.path[-1]) == os.path.realpath(outside)


def test_a_type_is_registered_once():
    register("join", NODE_HANDLERS["join"], config=NODE_CONFIGS["join"])
    with pytest.raises(ValueError, match="the node type 'http' is already registered"):
        register("http", NODE_HANDLERS["join"])


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_type_without_a_name_is_rejected(name: Any):
    known = set(NODE_HANDLERS)
    with pytest.raises(ValueError, match="is not a valid node type name"):
        register(name, NODE_HANDLERS["join"])
    assert set(NODE_HANDLERS) == known
