"""Command line of the service: ``./start.sh``, ``start.bat`` or ``python start_service.py``.

Nothing starts if an argument is invalid. ``--help`` and ``--version`` import only click, so that
they respond immediately.
"""

import asyncio
import atexit
import gc
import ipaddress
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import click

from version import VERSION

if TYPE_CHECKING:
    from config import Settings

COMMAND = "start.bat" if os.name == "nt" else "./start.sh"
MAX_PORT = 65_535
INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""

THREAD_SWITCH_INTERVAL_SECONDS = 0.0005
"""Interval after which a computing thread yields to another one, in seconds.

A response passes through three threads while another thread runs executions. With Python's default
of 5 ms, the slowest tenth of the responses took twice as long, and executions were not faster."""

LARGE_BLOCK_BYTES = 262_144
"""Size from which a block of memory is returned to the system when it is freed, in bytes."""

EPILOG = """\b
Exit codes:
  0  stopped, checked without a violation, or done
  1  cannot run, or a check found violations
  2  a wrong argument or setting, or a database that cannot be checked

Settings are environment variables or lines of .env; docs/reference/settings.md lists them.
"""


def main(arguments: Sequence[str] = ()) -> int:
    """Run one command line, and return its exit code."""
    return run_command(command_line, arguments, COMMAND)


def run_command(command: click.Command, arguments: Sequence[str], name: str) -> int:
    """Run a command called ``name``; print errors of its arguments, and return its exit code."""
    try:
        code = command.main(list(arguments), prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
        end = "" if message.endswith((".", "?", "?)")) else "."
        print(f"Error: {message}{end} See {name} --help", file=sys.stderr)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _require_host(
    _context: click.Context, _parameter: click.Parameter, host: str | None
) -> str | None:
    """Return the host name or address of ``--host``, without brackets."""
    from setting_types import require_host  # noqa: PLC0415 - --help does not need it

    if host is None:
        return None
    try:
        return require_host(host)
    except ValueError as error:
        raise click.BadParameter(f"{host!r}: {error}") from None


@click.group(
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--host",
    callback=_require_host,
    metavar="HOST",
    help="Listen on this address, not API_HOST.",
)
@click.option(
    "--port",
    type=click.IntRange(0, MAX_PORT),
    metavar="PORT",
    help="Use this port, not API_PORT; 0: any free one.",
)
@click.option("--check", is_flag=True, help="Check the database, and start nothing.")
@click.option(
    "--new-key",
    nargs=3,
    metavar="NAME ROLE ORGANIZATION",
    help="Make a key for API_KEYS. ROLE: read, run or admin. ORGANIZATION: an id, or '*'.",
)
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
@click.version_option(VERSION, prog_name="Workflow Orchestration Service")
@click.pass_context
def command_line(
    context: click.Context,
    host: str | None,
    port: int | None,
    *,
    check: bool,
    new_key: tuple[str, str, str] | None,
    until_stdin_closes: bool,
) -> int:
    """Start the workflow service, which runs until Ctrl-C.

    Without a command and without --check or --new-key it serves the HTTP interface.
    """
    _reject_combinations(context)
    if context.invoked_subcommand:
        return 0
    if new_key:
        return print_new_key(*new_key)
    if until_stdin_closes:
        threading.Thread(target=_interrupt_when_stdin_closes, daemon=True).start()
    return start(host, port, check=check)


def _interrupt_when_stdin_closes() -> None:
    """Stop the service like Ctrl-C when the process that started it closes the pipe, or ends.

    A pipe exists on every platform and closes also after a SIGKILL of the other process.
    """
    with suppress(OSError, ValueError):
        while sys.stdin.buffer.read(1):
            pass
    signal.raise_signal(signal.SIGINT)


def _reject_combinations(context: click.Context) -> None:
    """Raise a usage error if options or a command are given that exclude each other."""
    options = [
        f"--{name.replace('_', '-')}"
        for name in ("check", "new_key", "host", "port")
        if context.params[name] not in (None, False)
    ]
    if context.invoked_subcommand and options:
        raise click.UsageError(f"{options[0]} cannot be combined with {context.invoked_subcommand}")
    if len(options) > 1 and options[0] in {"--check", "--new-key"}:
        raise click.UsageError(f"{options[0]} cannot be combined with {options[1]}")


@command_line.command("demo")
def demo_command() -> int:
    """Run example workflows on a temporary database."""
    from examples.demo import main as run_demo  # noqa: PLC0415 - only the demo needs it

    return run_demo()


@command_line.command("register-deployment")
def register_deployment_command() -> int:
    """Create or update the work pool and the deployment in Prefect.

    A service with EXECUTION_MODE=workpool does the same at its start.
    """
    from config import SettingsError, load_settings  # noqa: PLC0415 - --help does not need it
    from flows.prefect_adapter.environment import prepare_prefect  # noqa: PLC0415 - as above

    try:
        settings = load_settings(execution_mode="workpool")
        prepare_prefect(settings.prefect_api_url, settings.prefect_home)
        from worker_setup import register_deployment  # noqa: PLC0415 - after prepare_prefect

        deployment_id = asyncio.run(register_deployment(settings))
    except SettingsError as error:
        print(f"Wrong setting: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # noqa: BLE001 - the client raises many types without a server
        print(f"Cannot register the deployment: {error!r}", file=sys.stderr)
        return 1
    print(f"Deployment {deployment_id} in the work pool {settings.prefect_work_pool}")
    return 0


def start(host: str | None, port: int | None, *, check: bool) -> int:
    """Load the settings, then check the database or serve. ``host`` and ``port`` override them."""
    from api.auth.api_keys import KeysError, read_keys  # noqa: PLC0415 - --help does not need it
    from config import SettingsError, load_settings  # noqa: PLC0415 - as above
    from start_checks import check_files, why_code_is_open  # noqa: PLC0415 - as above

    overrides = {"api_host": host, "api_port": port}
    try:
        settings = load_settings(
            **{name: value for name, value in overrides.items() if value is not None}
        )
        is_open = not read_keys(settings.key_entries, settings.api_keys_file).keys
        check_files(settings)
    except (SettingsError, KeysError) as error:
        print(f"Wrong setting: {error}", file=sys.stderr)
        return 2
    if check:
        return check_database(settings)
    # The port is bound first, because a process that cannot respond must not run executions.
    try:
        sockets = bind(settings.api_host, settings.api_port)
    except OSError as error:
        where = " ".join(
            (
                f"API_HOST={settings.api_host}" if host is None else f"--host {host}",
                f"API_PORT={settings.api_port}" if port is None else f"--port {port}",
            )
        )
        print(f"Cannot listen on {where}: {error.strerror or error}", file=sys.stderr)
        return 1
    addresses = [bound.getsockname()[0] for bound in sockets if not _is_loopback(bound)]
    if is_open and (reason := why_code_is_open(settings, addresses)):
        print(f"Wrong setting: {reason}", file=sys.stderr)
        return 2
    return serve(settings, sockets, is_open=is_open)


def check_database(settings: "Settings") -> int:
    """Print violated invariants of the database. Exit code 0: none, 1: some, 2: cannot check."""
    from database import check  # noqa: PLC0415 - the service does not need it

    report = check.check_database(settings.url)
    for line in report.lines:
        print(line)
    return report.exit_code


def bind(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each address of ``host``. They do not listen yet.

    Raises:
        OSError: If the host has no address, or the port is in use or forbidden.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:  # a label is empty, or longer than 63 characters
        raise OSError("this is not a valid host name") from None
    sockets: list[socket.socket] = []
    for family, kind, _, _, address in dict.fromkeys(addresses):
        # asyncio disables Nagle's algorithm only for sockets with this protocol.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        sockets.append(listener)
        try:
            if os.name == "posix":  # on Windows it would let two services share a port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # With port 0, all sockets use the free port of the first one.
            bound_port = sockets[0].getsockname()[1] or port
            listener.bind((address[0], bound_port, *address[2:]))
        except OSError:
            for opened in sockets:
                opened.close()
            raise
    return sockets


def return_large_blocks() -> None:
    """Let glibc return large blocks of memory to the operating system when they are freed.

    By default, glibc raises this limit up to 32 MB after it has freed a large block. The service
    would keep hundreds of megabytes after one execution with large values.
    """
    import ctypes  # noqa: PLC0415 - --help does not need it

    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or Windows
        return
    set_option(-3, LARGE_BLOCK_BYTES)  # M_MMAP_THRESHOLD of malloc.h
    set_option(-1, 16 * LARGE_BLOCK_BYTES)  # M_TRIM_THRESHOLD


def serve(settings: "Settings", sockets: list[socket.socket], *, is_open: bool) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code."""
    # Imported objects are never garbage. Collecting them would make the start 25 % slower, and
    # pause the service for 0.15 s repeatedly.
    gc.disable()
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL_SECONDS)
    return_large_blocks()
    # Prefect reads its environment at import, so that this is before all imports of Prefect.
    from flows.prefect_adapter.environment import prepare_prefect  # noqa: PLC0415

    prepare_prefect(settings.prefect_api_url, settings.prefect_home)

    import structlog  # noqa: PLC0415

    from api.server import Server  # noqa: PLC0415
    from api_service import create_app, prepare_database  # noqa: PLC0415
    from config import SettingsError, misspelled_settings  # noqa: PLC0415
    from engine.errors import StorageError  # noqa: PLC0415
    from logs import configure_logging  # noqa: PLC0415
    from tasks.plugins import PluginError, load_plugins  # noqa: PLC0415

    configure_logging(settings.log_level, settings.log_format)
    misspelled = misspelled_settings()
    if misspelled:
        hints = [f"{name}: did you mean {known}?" for name, known in misspelled.items()]
        structlog.get_logger().warning("unknown_settings_ignored", names="; ".join(hints))
    try:
        load_plugins(settings.node_module_names)
    except PluginError as error:
        print(f"Cannot load node types: {error}", file=sys.stderr)
        return 1
    try:
        app = create_app(settings)
    except SettingsError as error:  # a value that only ``create_app`` checks
        print(f"Wrong setting: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(prepare_database(settings))
    except StorageError as error:
        source = "DATABASE_URL" if settings.database_url else settings.database_file
        print(f"Cannot start with the database ({source}): {error}", file=sys.stderr)
        return 1
    server = Server(app, settings.shutdown_grace_seconds)
    gc.freeze()
    gc.enable()
    for listener in sockets:
        host, port = listener.getsockname()[:2]
        structlog.get_logger().info("listening", host=host, port=port)
    if is_open and not all(map(_is_loopback, sockets)):
        hint = "set API_KEYS, or API_HOST=127.0.0.1"
        structlog.get_logger().warning("authentication_disabled", port=settings.api_port, hint=hint)
    # After its shutdown, uvicorn raises the signal that stopped it again.
    signal.signal(signal.SIGTERM, _exit_successfully)
    try:
        server.run(sockets)
    except KeyboardInterrupt:
        return 0
    return 0 if server.started else 1


def print_new_key(name: str, role: str, organization: str) -> int:
    """Print a new key and its entry for the settings. Exit code 0: created, 2: invalid values."""
    from api.auth.api_keys import KeysError, new_key  # noqa: PLC0415 - --help does not need it

    try:
        key, entry = new_key(name, role, organization)
    except KeysError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"The key, which is not stored anywhere: {key}")
    print(f"Its entry for API_KEYS, or a line of the file of API_KEYS_FILE: {entry}")
    return 0


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _exit_successfully(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)


def exit_process(run: Callable[[], int]) -> NoReturn:
    """Run the service, and end the process with its exit code as soon as it has stopped.

    The service has closed and stored everything by then. The interpreter would wait for threads of
    abandoned handlers and unload 2,000 modules, which takes longer than the shutdown itself.
    """
    try:
        code = run()
    except SystemExit as exit_:
        if exit_.code is not None and not isinstance(exit_.code, int):
            raise
        code = exit_.code or 0
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage] - no public function exists
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the stream is closed
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    exit_process(lambda: main(sys.argv[1:]))
