"""Logging: events with fields, readable in a terminal or as JSON lines."""

import logging
import sys
from typing import Any, Literal

import structlog

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def set_up_logging(level: str, format_: Literal["console", "json"]) -> None:
    """Sends our events, uvicorn's and Prefect's to standard error, in one format."""
    if format_ == "json":
        renderer: Any = structlog.processors.JSONRenderer()
        last = [structlog.processors.format_exc_info, renderer]
    else:
        # Plain tracebacks: the rich ones print local variables, and with them what nodes work on.
        plain = structlog.dev.plain_traceback
        colors = sys.stderr.isatty()
        last = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Its methods below the level do nothing, at once.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # httpx logs whole addresses, with the secrets that their queries may hold.
    for name in ("httpx", "httpx2", "httpcore", "openai", "aiosqlite", "alembic", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
