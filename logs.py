"""Logging: events with fields, readable in a terminal or as JSON lines."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, cast

import structlog

from engine.credential_headers import is_credential_header
from engine.masking import MASK
from tasks.masking import secret_masker

_NAME_OF_A_SECRET = "secret"  # noqa: S105 - a field of a log line
"""The log field with the name of a secret, which is not the secret's value."""


def _mask_credentials(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Mask the fields that have the name of a credential header, also in a mapping of headers."""
    for name, value in event.items():
        if is_credential_header(name) and name != _NAME_OF_A_SECRET:
            event[name] = MASK
        elif isinstance(value, Mapping):
            inner = cast("Mapping[object, object]", value)
            event[name] = {
                key: MASK if is_credential_header(str(key)) else item for key, item in inner.items()
            }
    return event


class _MaskingFormatter(structlog.stdlib.ProcessorFormatter):
    """Whole lines, tracebacks and other libraries' lines included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return secret_masker.error(super().format(record))


class _Masked(logging.Formatter):
    """What another handler's formatter makes of a line, without secrets."""

    def __init__(self, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self._formatter = formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return secret_masker.error(self._formatter.format(record))


_CLIENT_TRIGGERED_MESSAGES = frozenset(
    {
        "Invalid HTTP request received.",
        "Invalid UTF-8 sequence received from client.",
        "Unsupported upgrade request.",
    }
)
"""What uvicorn says of requests that it refuses, as warnings and errors, with tracebacks."""


def _lower(record: logging.LogRecord) -> bool:
    """Makes no more than a line for debugging of what any client can fill the log with."""
    if record.msg in _CLIENT_TRIGGERED_MESSAGES:
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        record.exc_info = None
    return record.levelno >= logging.getLogger(record.name).getEffectiveLevel()


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    _mask_credentials,
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
        _MaskingFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    _take_over_other_loggers()
    logging.getLogger("uvicorn.error").addFilter(_lower)  # once, however often it is added
    # httpx logs whole addresses, with the secrets that their queries may hold; httpcore headers.
    for name in (
        "httpx",
        "httpx2",
        "httpcore",
        "httpcore2",
        "openai",
        "aiosqlite",
        "alembic",
        "asyncio",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)


def _take_over_other_loggers() -> None:
    """Prefect, as it is imported, gives its own loggers and uvicorn's handlers of their own."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if not isinstance(logger, logging.Logger):
            continue
        for handler in list(logger.handlers):
            if isinstance(handler, logging.StreamHandler):  # to the console, in another format
                logger.removeHandler(cast("logging.StreamHandler[Any]", handler))
                logger.propagate = True
            elif not isinstance(handler.formatter, _Masked):  # such as to a Prefect server
                handler.setFormatter(_Masked(handler.formatter))
