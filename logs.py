"""Logging: formats events with fields for a terminal or as JSON lines, and masks secrets."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO, cast

import structlog

from engine.masking import MASK, is_credential_header
from tasks.masking import secret_masker

_SECRET_NAME_FIELD = "secret"  # noqa: S105 - a field of a log line
"""Log field that contains the name of a secret, never its value."""


def _mask_credentials(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Mask fields named like a credential header, also inside a mapping of headers."""
    for name, value in event.items():
        if is_credential_header(name) and name != _SECRET_NAME_FIELD:
            event[name] = MASK
        elif isinstance(value, Mapping):
            inner = cast("Mapping[object, object]", value)
            event[name] = {
                key: MASK if is_credential_header(str(key)) else item for key, item in inner.items()
            }
    return event


class _MaskedFormatter(logging.Formatter):
    """Masks the secrets in the output of another formatter."""

    def __init__(self, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self._formatter = formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return secret_masker.mask_truncated(self._formatter.format(record))


_CLIENT_TRIGGERED_MESSAGES = frozenset(
    {
        "Invalid HTTP request received.",
        "Invalid UTF-8 sequence received from client.",
        "Unsupported upgrade request.",
    }
)
"""Messages that uvicorn logs as warnings or errors when it rejects a request."""


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current ``sys.stderr``, which a test or a host program may replace."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return standard error as it is now."""
        return sys.stderr


def _downgrade_client_errors(record: logging.LogRecord) -> bool:
    """Lower messages that any client can trigger to DEBUG, so that clients cannot fill the log."""
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


def configure_logging(level: str, format_: Literal["console", "json"]) -> None:
    """Send the logs of the service, of uvicorn and of Prefect to standard error in one format.

    A later call replaces the configuration of an earlier one.
    """
    if format_ == "json":
        renderer: Any = structlog.processors.JSONRenderer()
        last = [structlog.processors.format_exc_info, renderer]
    else:
        # Plain tracebacks, because rich ones print local variables, which contain execution data.
        plain = structlog.dev.plain_traceback
        colors = sys.stderr.isatty()
        last = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    handler = _StderrHandler()
    handler.setFormatter(
        _MaskedFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=_SHARED,
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
            )
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    _replace_console_handlers()
    logging.getLogger("uvicorn.error").addFilter(_downgrade_client_errors)  # is added only once
    # INFO records of httpx contain URLs and those of httpcore headers, which may contain secrets.
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


def _replace_console_handlers() -> None:
    """Remove the console handlers that Prefect adds to its loggers and to uvicorn's at import."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if not isinstance(logger, logging.Logger):
            continue
        for handler in list(logger.handlers):
            if isinstance(handler, logging.StreamHandler):  # prints another format
                logger.removeHandler(cast("logging.StreamHandler[Any]", handler))
                logger.propagate = True
            elif not isinstance(handler.formatter, _MaskedFormatter):  # such as one of Prefect
                handler.setFormatter(_MaskedFormatter(handler.formatter))
