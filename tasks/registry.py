"""Node type registry: config checks, ports and retry policies of all node types."""

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
    invalid_templates,
    is_incomplete,
)
from tasks.flow.entry import handle_disabled
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS

DEFAULT_RETRIES = {"http": 2, "llm": 2}
"""Default number of retries of types that call other services, with exponential backoff."""
DEFAULT_DELAY_SECONDS = 1.0
"""Default delay before the first retry, in seconds."""
MAX_BACKOFF_SECONDS = 3_600.0
"""Maximum delay before a retry, in seconds, unless the first delay is longer."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Number and delays of the retries of a node."""

    retries: int | None
    """Number of retries; ``None`` uses the value that the handler's ``@task`` declares."""
    delays: list[float] = field(default_factory=list[float])
    """Seconds before each retry."""


@dataclass(frozen=True, eq=False)
class NodeTypes:
    """The node types of a registry, which is read at each call, so that types may be added."""

    _handlers: Mapping[str, Task[..., Any]]
    _configs: Mapping[str, type[NodeConfig]]
    _disabled: Mapping[str, str] = field(default_factory=dict[str, str])

    def without(self, disabled: Mapping[str, str]) -> "NodeTypes":
        """Return the same types, of which those in ``disabled`` (type to reason) are rejected."""
        return NodeTypes(self._handlers, self._configs, {**self._disabled, **disabled})

    @property
    def known(self) -> list[str]:
        """Sorted names of all types."""
        return sorted(self._handlers)

    def handler(self, node_type: str) -> Task[..., Any]:
        """Return the handler of a type, or raise an ``UnknownNodeTypeError``."""
        if node_type == DISABLED:
            return handle_disabled
        try:
            return self._handlers[node_type]
        except KeyError:
            raise UnknownNodeTypeError(node_type, self.known) from None

    def config(self, node_type: str) -> type[NodeConfig]:
        """Return the config model of a type, or the model of the common options."""
        return self._configs.get(node_type, NodeConfig)

    def is_pure(self, node_type: str) -> bool:
        """Return whether the handler of a type has no effect outside; see ``NodeTypeInfo``."""
        return node_type == DISABLED or self.config(node_type).info.pure

    @property
    def rules(self) -> TypeRules:
        """Rules of the types for the nodes of a document."""
        return TypeRules(self.known, self.check, self.ports, self.is_incomplete)

    def ports(self, node_type: str) -> Ports:
        """Return the inputs and outputs of a type; one of each for an unknown type."""
        return self.config(node_type).info.ports

    def is_incomplete(self, node: Node) -> bool:
        """Return whether a node without connections lacks a setting, or the input, that it needs.

        A type that is not registered, or that is disabled, is a different problem.
        """
        if node.type not in self._handlers or node.type in self._disabled:
            return False
        return is_incomplete(self.config(node.type), node.config)

    def disabled_reason(self, node_type: str) -> str | None:
        """Return why a type is disabled, or ``None`` if it is enabled."""
        return f"the type {self._disabled[node_type]}" if node_type in self._disabled else None

    def option_defaults(self, node_type: str) -> dict[str, Any]:
        """Return the default options of a type by key, or raise an ``UnknownNodeTypeError``."""
        retries = self.retry_policy(node_type, NodeOptions()).retries
        return {
            "retries": self.handler(node_type).retries if retries is None else retries,
            "retryDelaySeconds": round(DEFAULT_DELAY_SECONDS),
            "retryBackoff": _default_backoff(node_type),
            "onError": OnError.STOP,
        }

    def check(self, node: Node) -> list[Problem]:
        """Return all problems of the node's type and config."""
        model = self.config(node.type)
        errors = [("invalid_config", error, "") for error in config_errors(model, node.config)]
        templates = invalid_templates(model, node.config)
        prefix = "has an invalid template: "
        errors.extend(("invalid_template", error, prefix) for error in templates)
        return [*self._disabled_problems(node), *(_problem(node, *error) for error in errors)]

    def _disabled_problems(self, node: Node) -> list[Problem]:
        if (reason := self.disabled_reason(node.type)) is None:
            return []
        detail = f"node '{node.id}' ({node.type}): {reason}"
        return [Problem("node_type_disabled", detail, f"{node.pointer}/type", node_id=node.id)]

    def retry_policy(self, node_type: str, options: NodeOptions) -> RetryPolicy:
        """Return the retry policy of a node, or raise an ``UnknownNodeTypeError`` for its type."""
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


def _problem(node: Node, code: str, error: ConfigError, prefix: str) -> Problem:
    pointer = "".join(f"/{escape_pointer(step)}" for step in error.path)
    detail = f"node '{node.id}' ({node.type}): '{error.path_text}' {prefix}{error.reason}"
    return Problem(code, detail, node.config_pointer + pointer, node_id=node.id)


def _default_backoff(node_type: str) -> RetryBackoff:
    return RetryBackoff.EXPONENTIAL if node_type in DEFAULT_RETRIES else RetryBackoff.FIXED


def _delays(retries: int, first: float, backoff: RetryBackoff) -> list[float]:
    if backoff == RetryBackoff.FIXED:
        return [first] * retries
    max_delay = max(first, MAX_BACKOFF_SECONDS)
    return [min(first * 2**i, max_delay) for i in range(retries)]


DEFAULT = NodeTypes(NODE_HANDLERS, NODE_CONFIGS)
"""The types of the service: the built-in types and all that are added to the registry."""
