"""Node type SDK: the documented names exist, and its example runs without any other import."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.document import Node
from engine.errors import NodeError
from tasks import sdk
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
IMPORT = re.compile(r"^\s*from (tasks(?:\.\w+)*) import (.+)$", re.MULTILINE)
OTHER_SOURCES = {"tasks.custom", "tasks.node_handlers"}
"""The author's own module, and the registry that the contract names."""


def taught() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in re.findall(
            r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
        ):
            for module, names in IMPORT.findall(block):
                for name in re.findall(r"\w+", names):
                    yield module, name


def test_the_docs_teach_the_sdk_only():
    assert {module for module, _ in taught()} - OTHER_SOURCES == {"tasks.sdk"}


@pytest.mark.parametrize(
    "name", sorted({name for module, name in taught() if module == "tasks.sdk"})
)
def test_a_documented_name_is_exported(name: str):
    assert name in sdk.__all__


def test_every_exported_name_exists():
    assert all(hasattr(sdk, name) for name in sdk.__all__)


@pytest.fixture
def example() -> Iterator[dict[str, Any]]:
    guide = (ROOT / "docs/howto/write-a-node-type.md").read_text(encoding="utf-8")
    (code,) = [block for block in BLOCK.findall(guide) if 'register("repeat"' in block]
    names: dict[str, Any] = {"__name__": "example"}
    exec(code, names)
    yield names
    del NODE_HANDLERS["repeat"], NODE_CONFIGS["repeat"]


@pytest.mark.usefixtures("example")
async def test_the_example_of_the_sdk_is_registered_and_runs():
    node = {"id": "a", "type": "repeat", "config": {"repeatText": "{{ name }}", "repeatCount": "3"}}
    result = await NODE_HANDLERS["repeat"].fn(node, {"name": "Ada"})
    assert result == {"success": True, "outputData": {"texts": ["Ada", "Ada", "Ada"]}}


@pytest.mark.usefixtures("example")
def test_the_config_of_the_example_is_checked_before_it_runs():
    types = NodeTypes(NODE_HANDLERS, NODE_CONFIGS)
    problems = types.check(Node("a", "repeat", "Repeat", config={"repeatCount": 11}))
    assert [problem.code for problem in problems] == ["invalid_config", "invalid_config"]


@pytest.mark.usefixtures("example")
def test_a_second_type_of_the_same_name_is_rejected():
    with pytest.raises(ValueError, match="'repeat'"):
        sdk.register("repeat", NODE_HANDLERS["join"])


def test_the_error_of_the_sdk_is_the_error_of_the_engine():
    assert sdk.NodeError is NodeError
