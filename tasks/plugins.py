"""Node types from outside the tree: modules that a setting names, and installed packages.

Either is a module that has a dict ``NODE_HANDLERS`` of its own, or calls ``register``, or both.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import structlog
from prefect import Task

from engine.errors import describe
from tasks.config.base import NodeConfig
from tasks.config.json_schema import describe_config
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS, register

log = structlog.get_logger()

ENTRY_POINTS = "workflow_orchestrator.node_types"
"""The group of entry points under which an installed package names its module."""


class NodePackageError(Exception):
    """A package's node types cannot be had; the message is one line and names the package."""


def load_node_packages(modules: Sequence[str]) -> None:
    """Adds the node types of ``modules`` and of every installed package that says it has some.

    Raises:
        NodePackageError: a module cannot be imported, adds nothing, or a type of it is known.
    """
    here = str(Path.cwd())
    if modules and here not in sys.path:
        sys.path.append(here)  # at the end: what lies about there hides no module of ours
    for name in modules:
        _load(f"NODE_TYPE_MODULES={name}", lambda name=name: importlib.import_module(name))
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        _load(f"entry point {entry.name} = {entry.value}{_package_of(entry)}", entry.load)


def _load(source: str, bring: Callable[[], Any]) -> None:
    before = dict(NODE_HANDLERS)
    try:
        found = bring()
        handlers = _handlers_of(found)
        configs: Mapping[str, type[NodeConfig]] = getattr(found, "NODE_CONFIGS", {})
        for node_type, handler in handlers.items():
            _add(node_type, handler, configs)
        added = [name for name, handler in NODE_HANDLERS.items() if before.get(name) is not handler]
        for node_type in added:
            describe_config(NODE_CONFIGS.get(node_type, NodeConfig))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a module does as it is read
        raise NodePackageError(f"{source}: {_one_line(error)}") from None
    if not added and not handlers and not _has_types(found):
        raise NodePackageError(f"{source}: it has no NODE_HANDLERS and registers no node type")
    log.info("plugin_loaded", source=source, types=added)


def _has_types(found: object) -> bool:
    """Whether a module that another one has brought in before has registered types."""
    name = getattr(found, "__name__", "")
    origins = [handler.fn.__module__ for handler in NODE_HANDLERS.values()]
    return any(origin == name or origin.startswith(f"{name}.") for origin in origins)


def _handlers_of(found: object) -> Mapping[str, Task[..., Any]]:
    handlers = getattr(found, "NODE_HANDLERS", {}) if isinstance(found, ModuleType) else found
    if not isinstance(handlers, Mapping):
        raise ValueError("NODE_HANDLERS is no dict of handlers by type")  # noqa: TRY004 - told like all else
    return cast("Mapping[str, Task[..., Any]]", handlers)


def _add(node_type: str, handler: Task[..., Any], configs: Mapping[str, type[NodeConfig]]) -> None:
    # A module may register a type with its config and name it in its dict as well.
    known = NODE_CONFIGS.get(node_type) if NODE_HANDLERS.get(node_type) is handler else None
    register(node_type, handler, configs.get(node_type) or known or NodeConfig)


def _package_of(entry: EntryPoint) -> str:
    return f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""


def _one_line(error: BaseException) -> str:
    return " ".join(describe(error).split())
