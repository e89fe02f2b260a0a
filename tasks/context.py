"""Node run context: data about the current run that handlers read without a parameter."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from engine.json_values import MISSING, JsonValue, Missing
from tasks.secrets import Secrets
from tasks.smtp_settings import SmtpSettings
from tasks.sql_connections import SqlConnection
from tracing import NO_SPAN, NodeSpan


@dataclass(frozen=True, slots=True)
class HandlerSettings:
    """Settings of handlers, filled by the composition root."""

    openai_api_key: str | None = None
    openai_base_url: str | None = None
    llm_model: str = "gpt-4o-mini"
    llm_timeout_seconds: float = 120.0
    http_timeout_seconds: float = 30.0
    http_allow_private_networks: bool = False
    http_allow_host_header: bool = False
    http_allowed_hosts: str = ""
    http_max_response_bytes: int = 10_485_760
    http_max_redirects: int = 10
    max_retry_after_seconds: float = 86_400.0
    http_proxy_url: str | None = field(default=None, repr=False)
    enable_code_node: bool = False
    code_timeout_seconds: float = 10.0
    code_memory_mb: int = 256
    max_node_result_bytes: int = 16_777_216
    max_template_read_bytes: int = 268_435_456
    secrets: Secrets = field(default_factory=Secrets)
    smtp: SmtpSettings = field(default_factory=SmtpSettings)
    sql_connections: Mapping[str, SqlConnection] = field(default_factory=dict[str, SqlConnection])


def _no_output(_node_id: str) -> Missing:
    return MISSING


class ProgressSink(Protocol):
    """Receives the reports of one attempt from any thread; ignores them after its end."""

    def progress(self, percentage: int | None, message: str | None) -> None:
        """Receive a report; ``None`` keeps the previous value, ``""`` removes the message."""
        ...

    def delta(self, text: str, index: int | None, question: int) -> None:
        """Receive a part of the output; see ``tasks.progress.send_delta``."""
        ...


@dataclass(slots=True)
class ReadBudget:
    """Remaining number of characters that the templates of one attempt may read."""

    left: int
    limit: int


@dataclass(frozen=True, slots=True)
class NodeRun:
    """One node in one execution. In a preview of a single node, ``execution_id`` is ``None``."""

    settings: HandlerSettings = HandlerSettings()
    execution_id: str | None = None
    node_id: str | None = None
    inputs: Callable[[], JsonValue] = dict[str, JsonValue]
    """Returns the inputs of the execution, or ``{}``."""
    request: Callable[[], JsonValue | Missing] = Missing
    """Returns ``headers``, ``query`` and ``method`` of the execution's webhook request, or
    ``MISSING``."""
    output_of: Callable[[str], JsonValue | Missing] = _no_output
    """Returns the output of a completed node by its id, or ``MISSING``."""
    result_of: Callable[[str], JsonValue | Missing] = _no_output
    """Returns the result of a completed node without its output, for example the status and headers
    of a response; for a failed node, ``success``, ``message`` and the fields of its error."""
    loop: Callable[[], JsonValue | Missing] = Missing
    """Returns ``{"item", "index", "number", "count"}`` inside a loop, ``outer`` if nested."""
    read_budget: ReadBudget | None = None
    """Limit of the current attempt; ``None`` does not limit templates."""
    progress: ProgressSink | None = None
    """Receives the progress of the current attempt; ``None`` drops it."""
    span: NodeSpan = NO_SPAN
    """The span of the node run in its trace."""
    attempts: object = None
    """The state of the attempts; only the layer that runs handlers uses it."""

    @property
    def idempotency_key(self) -> str | None:
        """The key that is equal for all attempts of this node run, also after a crash."""
        return f"{self.execution_id}:{self.node_id}" if self.execution_id else None


_current: ContextVar[NodeRun | None] = ContextVar("node_run", default=None)


def current_node_run() -> NodeRun:
    """Return the current node run, or one with default settings outside a node run."""
    return _current.get() or NodeRun()


@contextmanager
def within_node_run(run: NodeRun) -> Generator[None]:
    """Set the node run of the caller's task or thread during the block."""
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)


def enter_node_run(run: NodeRun) -> None:
    """Set the node run of the caller's task or thread."""
    _current.set(run)
