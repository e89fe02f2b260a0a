"""Command line of a worker: ``./start_worker.sh``, ``start_worker.bat`` or ``start_worker.py``.

A worker runs the executions that a Prefect work pool assigns to it. It has no HTTP interface.
``--help`` and ``--version`` import only click, so that they respond immediately.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from start_service import (
    MAX_PORT,
    THREAD_SWITCH_INTERVAL_SECONDS,
    exit_process,
    return_large_blocks,
    run_command,
)
from version import VERSION

if TYPE_CHECKING:
    from config import Settings

COMMAND = "start_worker.bat" if os.name == "nt" else "./start_worker.sh"

EPILOG = """\b
Exit codes:
  0  stopped
  1  cannot run
  2  a wrong argument or setting

Settings are environment variables or lines of .env; docs/reference/settings.md lists them.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command line that are not settings."""

    name: str | None
    """Name of the worker in Prefect."""
    metrics_port: int | None


def main(arguments: Sequence[str] = ()) -> int:
    """Run one command line, and return its exit code."""
    return run_command(command_line, arguments, COMMAND)


def _require_worker_name(
    _context: click.Context, _parameter: click.Parameter, name: str | None
) -> str | None:
    if name is not None and ("/" in name or "%" in name):
        raise click.BadParameter(f"{name!r} contains '/' or '%'")
    return name


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--pool", metavar="NAME", help="Poll this work pool, not PREFECT_WORK_POOL.")
@click.option(
    "--name",
    callback=_require_worker_name,
    metavar="NAME",
    help="Name of the worker in Prefect; random by default.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000),
    metavar="NUMBER",
    help="Run at most this number of executions, not MAX_CONCURRENT_EXECUTIONS.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, MAX_PORT),
    metavar="PORT",
    help="Serve metrics for Prometheus on this port of the loopback interface.",
)
@click.version_option(VERSION, prog_name="Workflow Orchestration Service")
def command_line(
    pool: str | None, name: str | None, limit: int | None, metrics_port: int | None
) -> int:
    """Run executions of a Prefect work pool until Ctrl-C.

    It needs PREFECT_API_URL and the database of the service.
    """
    from config import SettingsError, load_settings  # noqa: PLC0415 - --help does not need it
    from start_checks import check_files  # noqa: PLC0415 - as above

    overrides = {"prefect_work_pool": pool, "max_concurrent_executions": limit}
    try:
        settings = load_settings(
            execution_mode="workpool",
            **{key: value for key, value in overrides.items() if value is not None},
        )
        check_files(settings)
    except SettingsError as error:
        print(f"Wrong setting: {error}", file=sys.stderr)
        return 2
    # Imported objects are never garbage; see ``start_service.serve``.
    gc.disable()
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL_SECONDS)
    return_large_blocks()
    # Prefect reads its environment at import, so that this is before all imports of Prefect.
    from flows.prefect_adapter.environment import (  # noqa: PLC0415
        prepare_pool_polling,
        prepare_prefect,
    )

    prepare_pool_polling()
    prepare_prefect(settings.prefect_api_url, settings.prefect_home)
    return run(settings, Options(name, metrics_port))


def run(settings: "Settings", options: Options) -> int:
    """Run a worker until SIGINT or SIGTERM, and return the exit code."""
    from config import SettingsError  # noqa: PLC0415 - after prepare_prefect
    from engine.errors import StorageError  # noqa: PLC0415
    from logs import configure_logging  # noqa: PLC0415
    from tasks.plugins import PluginError, load_plugins  # noqa: PLC0415

    configure_logging(settings.log_level, settings.log_format)
    try:
        load_plugins(settings.node_module_names)
    except PluginError as error:
        print(f"Cannot load node types: {error}", file=sys.stderr)
        return 1
    try:
        asyncio.run(work(settings, options))
    except SettingsError as error:
        print(f"Wrong setting: {error}", file=sys.stderr)
        return 2
    except StorageError as error:
        print(f"Cannot start with the database: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Cannot listen on --metrics-port {options.metrics_port}: {error}", file=sys.stderr)
        return 1
    return 0


async def work(settings: "Settings", options: Options) -> None:
    """Run a worker until SIGINT or SIGTERM.

    Raises:
        SettingsError: If a setting is invalid.
        StorageError: If the database cannot be used.
        OSError: If the port of the metrics is in use.
    """
    import structlog  # noqa: PLC0415

    from config import otel_variables  # noqa: PLC0415
    from credentials import mask_credentials  # noqa: PLC0415
    from flows.worker.pool_worker import poll_work_pool  # noqa: PLC0415
    from flows.worker.roles import WorkerRole  # noqa: PLC0415
    from flows.worker.worker import Worker  # noqa: PLC0415
    from metrics import Metrics  # noqa: PLC0415
    from tasks.masking import secret_masker  # noqa: PLC0415
    from tracing import start_tracing, stop_tracing  # noqa: PLC0415
    from worker_setup import (  # noqa: PLC0415
        database_of,
        enabled_node_types,
        example_workflows,
        worker_settings,
    )

    stop = _stop_event()
    mask_credentials(settings)
    settings_of_worker, types = worker_settings(settings), enabled_node_types(settings)
    pool = settings_of_worker.prefect_work_pool
    assert pool is not None
    metrics, log = Metrics(types.known), structlog.get_logger()
    if options.metrics_port is not None:
        metrics.serve(options.metrics_port)
    database = database_of(settings, types, metrics.database_used)
    start_tracing(otel_variables(), secret_masker.mask_truncated)
    poll = poll_work_pool(pool, options.name, settings.max_concurrent_executions)
    worker = Worker(settings_of_worker, types, database, metrics=metrics, role=WorkerRole(poll))
    try:
        await database.prepare(example_workflows())
        await asyncio.wrap_future(worker.start())
        gc.freeze()
        gc.enable()
        log.info("worker_started", version=VERSION, work_pool=pool)
        await stop.wait()
        log.info("worker_stopping")
        await worker.stop(settings.shutdown_grace_seconds)
    finally:
        await stop_tracing()
        await database.close()
    log.info("worker_stopped")


def _stop_event() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_signal(_number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(stop.set)

    # Not ``loop.add_signal_handler``, because Windows does not have it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop


if __name__ == "__main__":
    exit_process(lambda: main(sys.argv[1:]))
