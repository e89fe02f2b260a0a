"""What a handler may know of the run it is part of, without a change to its signature."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from engine.json_values import MISSING, JsonValue, Missing
from tasks.progress import report_progress, send_delta
from tasks.secrets import Secrets

__all__ = [
    "HandlerSettings",
    "NodeRun",
    "current_node_run",
    "enter_node_run",
    "report_progress",
    "send_delta",
]


@dataclass(frozen=True, slots=True)
class HandlerSettings:
    """The settings that handlers need; the composition root fills them in."""

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


def _no_output(_node_id: str) -> Missing:
    return MISSING


@dataclass(frozen=True, slots=True)
class NodeRun:
    """One node in one execution. ``execution_id`` is ``None`` when a node is tried out alone."""

    settings: HandlerSettings = HandlerSettings()
    execution_id: str | None = None
    node_id: str | None = None
    inputs: Callable[[], JsonValue] = dict[str, JsonValue]
    """What the execution was submitted with; ``{}`` where it was nothing."""
    request: Callable[[], JsonValue | Missing] = Missing
    """The ``headers``, ``query`` and ``method`` of the delivery that started the execution;
    ``MISSING`` where no webhook did."""
    output_of: Callable[[str], JsonValue | Missing] = _no_output
    """The output of a node, by its id, that has completed before; ``MISSING`` of any other."""
    result_of: Callable[[str], JsonValue | Missing] = _no_output
    """The result of such a node without its output, such as the status and the headers of a
    response; of a node that failed ``success``, ``message`` and the fields of its error."""
    loop: Callable[[], JsonValue | Missing] = Missing
    """Inside a loop ``{"item", "index", "number", "count"}``, and ``outer`` where it is in one."""

    @property
    def idempotency_key(self) -> str | None:
        """The same for every attempt of this node run, also after a crash."""
        return f"{self.execution_id}:{self.node_id}" if self.execution_id else None


_current: ContextVar[NodeRun | None] = ContextVar("node_run", default=None)


def current_node_run() -> NodeRun:
    """The node run the caller is part of; one with default settings outside of any."""
    return _current.get() or NodeRun()


def enter_node_run(run: NodeRun) -> None:
    """Makes ``run`` the current one in this context, for the caller's own task or thread."""
    _current.set(run)
