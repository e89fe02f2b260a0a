"""Prefect's settings, decided before Prefect is imported: it reads them while it is imported.

Only our own settings say where Prefect's API is. What a user has for Prefect elsewhere (a profile
with Cloud's URL in ``~/.prefect`` or in ``PREFECT_HOME``, ``prefect.toml``, ``pyproject.toml`` or
``.env`` in the working directory) has a lower priority than the environment that is written here.

Nothing calls home: no usage statistics (the SDK's and the server's), no version check, no tracing
labels, no metrics port.

This module does not import Prefect.
"""

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

EMBEDDED_API_URL = "http://127.0.0.1:1/api"
"""Where nobody listens. An empty URL would make Prefect start a server of its own."""

_ALWAYS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    "PREFECT_CLIENT_METRICS_ENABLED": "false",
    # Two spellings of one setting: Prefect's default profile knows the first, older ones the other.
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
}

_SHIP_LOGS = "PREFECT_LOGGING_TO_API_ENABLED"

_ENGINE_FILES = tuple(
    os.path.join("prefect", name)  # noqa: PTH118 - compared with the text of ``LogRecord.pathname``
    for name in ("flow_engine.py", "task_engine.py", "transactions.py")
)
_RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")
_WORTH_READING = ("An error was encountered", "Error encountered")


class _EngineLogFilter(logging.Filter):
    """Drops what Prefect's engines say of each run; a handler's own lines pass.

    Both are logged by the same loggers, so the file of the caller tells them apart. What the
    engines say of a broken hook or retry condition passes too: nobody else reports it. With
    ``PREFECT_LOGGING_LEVEL=DEBUG`` everything passes.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.pathname.endswith(_ENGINE_FILES):
            return True
        if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            return True
        return str(record.msg).startswith(_WORTH_READING)


def is_embedded(api_url: str | None) -> bool:
    """Whether that setting means no Prefect server.

    ``EMBEDDED_API_URL`` means it too: `prepare_prefect` writes it to ``PREFECT_API_URL``, the
    variable that our own setting is read from as well, here or in a child process.
    """
    return not api_url or api_url == EMBEDDED_API_URL


def prepare_prefect(api_url: str | None, home: Path) -> None:
    """Writes Prefect's settings to the environment; may be called again, also with other values.

    Call it before anything imports Prefect. Where Prefect is imported already, its process-wide
    settings are read anew.

    Args:
        api_url: the API of a Prefect server (``http://host:4200/api``), or ``None`` for embedded.
        home: the directory for Prefect's files; made if need be.
    """
    home = home.expanduser().resolve()
    with suppress(OSError):  # A read-only disk: nothing is kept there while results are not.
        home.mkdir(parents=True, exist_ok=True)
    embedded = is_embedded(api_url)
    os.environ.update(_ALWAYS)
    os.environ["PREFECT_API_URL"] = EMBEDDED_API_URL if embedded else str(api_url).rstrip("/")
    os.environ["PREFECT_HOME"] = str(home)
    # A file that is not there: profiles in ``home`` do not count either.
    os.environ["PREFECT_PROFILES_PATH"] = str(home / "no-profiles.toml")
    os.environ.pop("PREFECT_PROFILE", None)
    if embedded:
        os.environ[_SHIP_LOGS] = "false"
    else:
        os.environ.setdefault(_SHIP_LOGS, "false")
    _silence_engines()
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context  # noqa: PLC0415 - see above

        refresh_global_settings_context()


def _silence_engines() -> None:
    """Filters on loggers outlive Prefect's logging setup, which replaces handlers and levels."""
    for name in _RUN_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, _EngineLogFilter) for known in logger.filters):
            logger.addFilter(_EngineLogFilter())
