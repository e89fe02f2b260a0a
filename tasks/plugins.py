"""Plugins: load node types from the modules of ``NODE_TYPE_MODULES`` and from installed packages.

Such a module has its own dict ``NODE_HANDLERS``, or calls ``register``, or both.
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

ENTRY_POINT_GROUP = "workflow_orchestrator.node_types"
"""Entry point group in which an installed package names its module."""


class PluginError(Exception):
    """The node types of a module cannot be loaded; the message is one line and names its source."""


def load_plugins(modules: Sequence[str]) -> None:
    """Add the node types of ``modules`` and of all installed packages with an entry point.

    Raises:
        PluginError: If a module cannot be imported, adds no type, or adds a registered type.
    """
    working_directory = str(Path.cwd())
    if modules and working_directory not in sys.path:
        # Appended, so that files in the working directory cannot shadow our modules.
        sys.path.append(working_directory)
    for name in modules:
        _load(f"NODE_TYPE_MODULES={name}", lambda name=name: importlib.import_module(name))
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        _load(f"entry point {entry.name} = {entry.value}{_package_of(entry)}", entry.load)


def _load(source: str, import_plugin: Callable[[], Any]) -> None:
    before = dict(NODE_HANDLERS)
    try:
        plugin = import_plugin()
        handlers = _handlers_of(plugin)
        configs: Mapping[str, type[NodeConfig]] = getattr(plugin, "NODE_CONFIGS", {})
        for node_type, handler in handlers.items():
            _add(node_type, handler, configs)
        added = [name for name, handler in NODE_HANDLERS.items() if before.get(name) is not handler]
        for node_type in added:
            describe_config(NODE_CONFIGS.get(node_type, NodeConfig))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - importing a module may raise any error
        raise PluginError(f"{source}: {_one_line(error)}") from None
    if not added and not handlers and not _has_types(plugin):
        raise PluginError(f"{source}: it has no NODE_HANDLERS and does not register a type")
    log.info("plugin_loaded", source=source, types=added)


def _has_types(plugin: object) -> bool:
    """Return whether a module, which another one imported before, has registered types."""
    name = getattr(plugin, "__name__", "")
    origins = [handler.fn.__module__ for handler in NODE_HANDLERS.values()]
    return any(origin == name or origin.startswith(f"{name}.") for origin in origins)


def _handlers_of(plugin: object) -> Mapping[str, Task[..., Any]]:
    handlers = getattr(plugin, "NODE_HANDLERS", {}) if isinstance(plugin, ModuleType) else plugin
    if not isinstance(handlers, Mapping):
        raise ValueError("NODE_HANDLERS is not a dict of handlers by type")  # noqa: TRY004 - reported like all errors
    return cast("Mapping[str, Task[..., Any]]", handlers)


def _add(node_type: str, handler: Task[..., Any], configs: Mapping[str, type[NodeConfig]]) -> None:
    # A module may register a type with its config and name it in its dict as well.
    known = NODE_CONFIGS.get(node_type) if NODE_HANDLERS.get(node_type) is handler else None
    register(node_type, handler, configs.get(node_type) or known or NodeConfig)


def _package_of(entry: EntryPoint) -> str:
    return f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""


def _one_line(error: BaseException) -> str:
    return " ".join(describe(error).split())
