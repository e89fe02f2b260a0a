"""Connection: finds the running service, or starts one for the duration of a command."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from cli.client import ServiceClient
from cli.errors import CommandError, ExitCode
from cli.local_service import leave_on_signals, running_service

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on
"""Addresses to listen on, and the loopback addresses that lead to them."""


@contextmanager
def connected(url: str | None, key: str | None) -> Generator[tuple[ServiceClient, bool]]:
    """Yield a client, and whether its service runs only during the block.

    The service is that of ``url``, otherwise the one that runs with the settings of this
    directory, otherwise a service of its own with these settings, on a free loopback port.

    Raises:
        CommandError: If no service responds at ``url``, or none can start.
    """
    if url is not None:
        with ServiceClient(url, key) as client:
            yield client, False
        return
    with ServiceClient(_configured_url(), key) as client:
        if client.is_running():
            yield client, False
            return
    from api.auth.api_keys import new_key  # noqa: PLC0415 - only this case needs it

    # A key that only this process knows, because other users of the machine can reach the port.
    own_key, entry = new_key("wf", "admin", "*")
    leave_on_signals()
    with tempfile.TemporaryDirectory(prefix="workflow-wf-", ignore_cleanup_errors=True) as name:
        settings = {"API_KEYS": entry, "API_KEYS_FILE": ""}
        with running_service(settings, Path(name) / "service.log", own_key) as client:
            yield client, True


def _configured_url() -> str:
    """Return the address of the service that runs with the settings of this directory.

    Raises:
        CommandError: If a setting is invalid.
    """
    from config import SettingsError, load_settings  # noqa: PLC0415 - ``--url`` needs none

    try:
        settings = load_settings()
    except SettingsError as error:
        raise CommandError(f"Wrong setting: {error}", ExitCode.REJECTED) from None
    host = _WILDCARDS.get(settings.api_host, settings.api_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port or 8000}"
