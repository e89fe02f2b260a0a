"""What the rest of the service asks about node types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect import Task

from engine.document import Node, escape_pointer
from engine.errors import Problem, UnknownNodeTypeError
from engine.graph import DISABLED
from engine.options import NodeOptions, OnError, RetryBackoff
from engine.ports import Ports
from engine.validation import TypeRules
from tasks.config.base import (
    ConfigError,
    NodeConfig,
    config_errors,
    is_incomplete,
    refused_templates,
)
from tasks.flow.entry import handle_disabled
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS

DEFAULT_RETRIES = {"http": 2, "llm": 2}
"""Further attempts of types that depend on others, with exponential backoff."""
DEFAULT_DELAY_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and after which delays a node is tried again."""

    retries: int | None
    """Further attempts; ``None`` leaves it to what the handler's own ``@task`` declares."""
    delays: list[float] = field(default_factory=list[float])
    """Seconds before each further attempt, one for each."""


class NodeTypes:
    """The node types of a registry, read anew at each question, so that types may be added."""

    def __init__(
        self,
        handlers: Mapping[str, Task[..., Any]],
        configs: Mapping[str, type[NodeConfig]],
        off: Mapping[str, str] | None = None,
    ) -> None:
        self._handlers = handlers
        self._configs = configs
        self._off = off or {}

    def without(self, off: Mapping[str, str]) -> "NodeTypes":
        """The same types, of which some are known but refused: type → why, after its name."""
        return NodeTypes(self._handlers, self._configs, {**self._off, **off})

    @property
    def known(self) -> list[str]:
        """The names of all types, sorted."""
        return sorted(self._handlers)

    def handler(self, node_type: str) -> Task[..., Any]:
        """The handler of a type.

        Raises:
            UnknownNodeTypeError: there is no such type; names the known ones.
        """
        if node_type == DISABLED:
            return handle_disabled
        try:
            return self._handlers[node_type]
        except KeyError:
            raise UnknownNodeTypeError(node_type, self.known) from None

    def config(self, node_type: str) -> type[NodeConfig]:
        """The config model of a type: its own, or the one that has the common options only."""
        return self._configs.get(node_type, NodeConfig)

    @property
    def rules(self) -> TypeRules:
        """The rules of the types for the nodes of a document."""
        return TypeRules(self.known, self.check, self.ports, self.is_incomplete)

    def ports(self, node_type: str) -> Ports:
        """Return the inputs and outputs of a type; one of each for an unknown type."""
        return self.config(node_type).info.ports

    def is_incomplete(self, node: Node) -> bool:
        """Return whether a node without connections lacks a setting, or the input, that it needs.

        A type that is not registered, or that is off, is a problem of another kind.
        """
        if node.type not in self._handlers or node.type in self._off:
            return False
        return is_incomplete(self.config(node.type), node.config)

    def why_off(self, node_type: str) -> str | None:
        """Why documents with this type are refused here; ``None`` where they are not."""
        return f"the type {self._off[node_type]}" if node_type in self._off else None

    def option_defaults(self, node_type: str) -> dict[str, Any]:
        """What the common options of a type are when a node does not set them, by config key.

        Raises:
            UnknownNodeTypeError: there is no such type.
        """
        retries = self.retry_policy(node_type, NodeOptions()).retries
        return {
            "retries": self.handler(node_type).retries if retries is None else retries,
            "retryDelaySeconds": round(DEFAULT_DELAY_SECONDS),
            "retryBackoff": _default_backoff(node_type),
            "onError": OnError.STOP,
        }

    def check(self, node: Node) -> list[Problem]:
        """Everything that the node's type holds against its config."""
        model = self.config(node.type)
        faults = [("invalid_config", fault, "") for fault in config_errors(model, node.config)]
        refused = "has a template that is refused: "
        templates = refused_templates(model, node.config)
        faults.extend(("invalid_template", fault, refused) for fault in templates)
        return [*self._off_problems(node), *(_problem(node, *found) for found in faults)]

    def _off_problems(self, node: Node) -> list[Problem]:
        if (why := self.why_off(node.type)) is None:
            return []
        detail = f"node '{node.id}' ({node.type}): {why}"
        return [Problem("node_type_disabled", detail, f"{node.pointer}/type", node_id=node.id)]

    def retry_policy(self, node_type: str, options: NodeOptions) -> RetryPolicy:
        """How a node of this type and with these options is tried again.

        Raises:
            UnknownNodeTypeError: there is no such type.
        """
        handler = self.handler(node_type)
        retries = options.retries
        if retries is None:
            retries = DEFAULT_RETRIES.get(node_type)
        if retries is None:
            if options.retry_delay_seconds is None and options.retry_backoff is None:
                return RetryPolicy(None)
            retries = handler.retries
        backoff = options.retry_backoff or _default_backoff(node_type)
        first = options.retry_delay_seconds
        return RetryPolicy(
            retries, _delays(retries, DEFAULT_DELAY_SECONDS if first is None else first, backoff)
        )


def _problem(node: Node, code: str, fault: ConfigError, what: str) -> Problem:
    pointer = "".join(f"/{escape_pointer(step)}" for step in fault.path)
    detail = f"node '{node.id}' ({node.type}): '{fault.place}' {what}{fault.reason}"
    return Problem(code, detail, node.config_pointer + pointer, node_id=node.id)


def _default_backoff(node_type: str) -> RetryBackoff:
    return RetryBackoff.EXPONENTIAL if node_type in DEFAULT_RETRIES else RetryBackoff.FIXED


def _delays(retries: int, first: float, backoff: RetryBackoff) -> list[float]:
    if backoff == RetryBackoff.FIXED:
        return [first] * retries
    longest = max(first, MAX_BACKOFF_SECONDS)
    return [min(first * 2**i, longest) for i in range(retries)]


DEFAULT = NodeTypes(NODE_HANDLERS, NODE_CONFIGS)
"""The types of the service: the built-in ones and whatever else is put into the registry."""
