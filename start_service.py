"""Starts the service: ``python start_service.py``.

``--check`` looks at its database instead, ``--new-key name role organization`` makes a key.
"""

import asyncio
import gc
import ipaddress
import os
import signal
import socket
import sys
from typing import NoReturn

from api.keys import ROLES, KeysError, new_key, read_keys
from config import Settings, SettingsError, load_settings

THREAD_SWITCH_SECONDS = 0.0005
"""How long a thread that wants to go on waits for one that computes. An answer passes through three
threads while another carries executions out: with Python's 5 ms the slowest tenth of them took
twice as long, and executions ran no faster."""


def main() -> int:
    """Runs the service until it is stopped. Exit codes: 0 stopped, 1 could not run, 2 settings."""
    if sys.argv[1:2] == ["--new-key"]:
        return print_new_key(sys.argv[2:])
    try:
        settings = load_settings()
        is_open = not read_keys(settings.key_entries, settings.api_keys_file).keys
    except (SettingsError, KeysError) as error:
        print(f"Wrong setting: {error}", file=sys.stderr)
        return 2
    if sys.argv[1:] == ["--check"]:
        return check(settings)
    # The port comes first: what cannot answer must not take executions either.
    try:
        sockets = bind(settings.api_host, settings.api_port)
    except OSError as error:
        where = f"API_HOST={settings.api_host} API_PORT={settings.api_port}"
        print(f"Cannot listen on {where}: {error.strerror or error}", file=sys.stderr)
        return 1
    return serve(settings, sockets, is_open=is_open)


def check(settings: Settings) -> int:
    """Looks whether the database is as it must be. Exit codes: 0 yes, 1 no, 2 could not look."""
    from database.check import check_database  # noqa: PLC0415 - the service does not need it

    report = check_database(settings.url)
    print("\n".join(report.lines))
    return report.exit_code


def bind(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of ``host``; they do not listen yet.

    Raises:
        OSError: there is no such address, or the port is in use or not for us.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    for family, kind, _, _, address in dict.fromkeys(found):
        # asyncio switches Nagle off only where a socket says that it is TCP.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        sockets.append(listener)
        try:
            if os.name == "posix":  # elsewhere it would let two services share a port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken = sockets[0].getsockname()[1] or port  # of a free port, all take the same
            listener.bind((address[0], taken, *address[2:]))
        except OSError:
            for opened in sockets:
                opened.close()
            raise
    return sockets


def serve(settings: Settings, sockets: list[socket.socket], *, is_open: bool) -> int:
    """Serves until SIGINT or SIGTERM."""
    # What is imported stays. Looking through it for garbage would make the start longer by a
    # quarter, and stop the service for 0.15 s again and again.
    gc.disable()
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    # Prefect reads its environment as it is imported: everything that imports it comes after.
    from flows.prefect_environment import prepare_prefect  # noqa: PLC0415

    prepare_prefect(settings.prefect_api_url, settings.prefect_home)

    import structlog  # noqa: PLC0415

    from api.server import Server  # noqa: PLC0415
    from api_service import create_app, prepare_database  # noqa: PLC0415
    from engine.errors import StorageError  # noqa: PLC0415
    from logs import set_up_logging  # noqa: PLC0415
    from tasks.node_packages import NodePackageError, load_node_packages  # noqa: PLC0415

    set_up_logging(settings.log_level, settings.log_format)
    try:
        load_node_packages(settings.node_module_names)
    except NodePackageError as error:
        print(f"Cannot load node types: {error}", file=sys.stderr)
        return 1
    try:
        app = create_app(settings)
    except SettingsError as error:  # of a value that only its user can read
        print(f"Wrong setting: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(prepare_database(settings))
    except StorageError as error:
        place = "DATABASE_URL" if settings.database_url else settings.database_file
        print(f"Cannot start with the database ({place}): {error}", file=sys.stderr)
        return 1
    server = Server(app, settings.shutdown_grace_seconds, settings.body_timeout_seconds)
    gc.freeze()
    gc.enable()
    for listener in sockets:
        host, port = listener.getsockname()[:2]
        structlog.get_logger().info("listening", host=host, port=port)
    if is_open and not all(map(_is_of_this_machine, sockets)):
        hint = "set API_KEYS, or API_HOST=127.0.0.1"
        structlog.get_logger().warning("open_to_everybody", port=settings.api_port, hint=hint)
    # uvicorn raises the signal that stopped it once more, when everything is shut down.
    signal.signal(signal.SIGTERM, _stopped)
    try:
        server.run(sockets)
    except KeyboardInterrupt:
        return 0
    return 0 if server.started else 1


def print_new_key(arguments: list[str]) -> int:
    """Makes a key: the key itself for its owner, its entry for the settings. 0 made, 2 wrong."""
    try:
        name, role, organization = arguments
        key, entry = new_key(name, role, organization)
    except ValueError:
        roles = "|".join(ROLES)
        usage = f"python start_service.py --new-key name {roles} organization|'*'"
        print(f"Usage: {usage}", file=sys.stderr)
        return 2
    except KeysError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"The key, which is not kept anywhere: {key}")
    print(f"Its entry for API_KEYS, or a line of the file of API_KEYS_FILE: {entry}")
    return 0


def _is_of_this_machine(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _stopped(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
