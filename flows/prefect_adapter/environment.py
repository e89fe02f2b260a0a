"""Prefect environment: writes Prefect's settings to the environment before Prefect is imported.

Only the settings of this service define the URL of Prefect's API. A user's own settings for Prefect
(a profile in ``~/.prefect`` or in ``PREFECT_HOME``, ``prefect.toml``, ``pyproject.toml`` or
``.env`` in the working directory) have a lower priority than the environment.

Prefect sends no usage statistics, checks no versions, adds no tracing labels and opens no metrics
port.

This module does not import Prefect, because Prefect reads its settings when it is imported.
"""

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

EMBEDDED_API_URL = "http://127.0.0.1:1/api"
"""A URL without a server. With an empty URL, Prefect would start a server."""

POOL_POLL_PAUSE_SECONDS = 0.02
"""Pause of Prefect's loop after each poll of a work pool, in seconds; its default is ten seconds.
``flows.worker.dispatch_waits`` determines when the next poll is necessary."""

_ALWAYS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    "PREFECT_CLIENT_METRICS_ENABLED": "false",
    # One setting with two names: the second one is for older versions of Prefect's profile.
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
}

_LOGGING_TO_API = "PREFECT_LOGGING_TO_API_ENABLED"

_ENGINE_FILES = tuple(
    os.path.join("prefect", name)  # noqa: PTH118 - compared with the string ``LogRecord.pathname``
    for name in ("flow_engine.py", "task_engine.py", "transactions.py")
)
_RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")
_ERROR_MESSAGES = ("An error was encountered", "Error encountered")


class _EngineLogFilter(logging.Filter):
    """Drops the log messages of Prefect's engines about each run; messages of handlers pass.

    Both use the same loggers, so the file of the caller distinguishes them. Messages about a
    failed hook or retry condition also pass, because no other module logs them. With
    ``PREFECT_LOGGING_LEVEL=DEBUG``, every message passes.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.pathname.endswith(_ENGINE_FILES):
            return True
        if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            return True
        return str(record.msg).startswith(_ERROR_MESSAGES)


def is_embedded(api_url: str | None) -> bool:
    """Return whether ``api_url`` means that Prefect runs without a server.

    ``EMBEDDED_API_URL`` also means that, because `prepare_prefect` writes it to
    ``PREFECT_API_URL``, from which a child process reads its setting.
    """
    return not api_url or api_url == EMBEDDED_API_URL


def prepare_prefect(api_url: str | None, home: Path) -> None:
    """Write Prefect's settings to the environment.

    Call it before Prefect is imported. If Prefect is already imported, its process-wide settings
    are read again.

    Args:
        api_url: the API of a Prefect server (``http://host:4200/api``), or ``None`` for embedded.
        home: the directory for Prefect's files; it is created if it does not exist.
    """
    home = home.expanduser().resolve()
    # A read-only disk is sufficient, because Prefect stores no results.
    with suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
    embedded = is_embedded(api_url)
    os.environ.update(_ALWAYS)
    os.environ["PREFECT_API_URL"] = EMBEDDED_API_URL if embedded else str(api_url).rstrip("/")
    os.environ["PREFECT_HOME"] = str(home)
    # A file that does not exist, so that profiles in ``home`` are ignored.
    os.environ["PREFECT_PROFILES_PATH"] = str(home / "no-profiles.toml")
    os.environ.pop("PREFECT_PROFILE", None)
    if embedded:
        os.environ[_LOGGING_TO_API] = "false"
    else:
        os.environ.setdefault(_LOGGING_TO_API, "false")
    _silence_engines()
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context  # noqa: PLC0415 - Prefect is imported already

        refresh_global_settings_context()


def prepare_pool_polling() -> None:
    """Write the pause between two polls of a work pool to the environment."""
    os.environ["PREFECT_WORKER_QUERY_SECONDS"] = str(POOL_POLL_PAUSE_SECONDS)


def _silence_engines() -> None:
    """Add filters to the run loggers; Prefect's logging setup replaces only handlers and levels."""
    for name in _RUN_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, _EngineLogFilter) for known in logger.filters):
            logger.addFilter(_EngineLogFilter())
