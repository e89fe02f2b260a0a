"""Execution process: entry point of a child process that runs executions for the service.

The service starts ``EXECUTOR_PROCESSES`` of them (``flows/processes/``). It sends its settings and
messages to standard input, and reads messages from standard output.
"""

import asyncio
import faulthandler
import gc
import os
import pickle
import signal
import sys
from concurrent.futures import Future
from typing import TYPE_CHECKING, BinaryIO

from start_service import THREAD_SWITCH_INTERVAL_SECONDS, exit_process, return_large_blocks

if TYPE_CHECKING:
    from config import Settings
    from flows.processes.messages import Message
    from flows.processes.service_link import ServiceLink


def main() -> int:
    """Run executions until the service stops this process or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the service, which stops this
    faulthandler.enable()
    source, target = _take_pipes()
    gc.disable()  # see ``start_service.serve``
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL_SECONDS)
    return_large_blocks()
    from flows.prefect_adapter.environment import prepare_prefect  # noqa: PLC0415
    from flows.processes.messages import read_frame  # noqa: PLC0415

    if (body := read_frame(source)) is None:
        return 0
    settings: Settings = pickle.loads(body)  # noqa: S301 - the service has sent it
    # Prefect reads its environment at import, so that this is before all imports of Prefect.
    prepare_prefect(settings.prefect_api_url, settings.prefect_home)
    from flows.processes.service_link import ServiceLink  # noqa: PLC0415
    from logs import configure_logging  # noqa: PLC0415
    from tasks.plugins import load_plugins  # noqa: PLC0415

    configure_logging(settings.log_level, settings.log_format)
    load_plugins(settings.node_module_names)
    asyncio.run(work(settings, ServiceLink(source, target, settings.lease_seconds)))
    return 0


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return the pipes to the service.

    Handlers that read standard input find it empty, and their output goes to the log.
    """
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, target


async def work(settings: "Settings", link: "ServiceLink") -> None:
    """Run executions until the service requests a stop, or has ended."""
    import structlog  # noqa: PLC0415

    from config import otel_variables  # noqa: PLC0415
    from credentials import mask_credentials  # noqa: PLC0415
    from flows.processes.requests import ServiceRequests  # noqa: PLC0415
    from flows.worker.roles import WorkerRole  # noqa: PLC0415
    from flows.worker.worker import Worker  # noqa: PLC0415
    from metrics import Metrics  # noqa: PLC0415
    from tasks.masking import secret_masker  # noqa: PLC0415
    from tracing import start_tracing, stop_tracing  # noqa: PLC0415
    from worker_setup import (  # noqa: PLC0415
        database_of,
        enabled_node_types,
        worker_settings,
    )

    loop, stop = asyncio.get_running_loop(), Future[float]()

    def request_stop(grace_seconds: float = settings.shutdown_grace_seconds) -> None:
        if not stop.done():
            loop.call_soon_threadsafe(lambda: stop.done() or stop.set_result(grace_seconds))

    signal.signal(signal.SIGTERM, lambda _number, _frame: request_stop())
    mask_credentials(settings)
    settings_of_worker, types = worker_settings(settings), enabled_node_types(settings)
    metrics = Metrics(types.known)
    database = database_of(settings, types, metrics.database_used)
    database.commit_signal.connect(link.notify_committed)
    start_tracing(otel_variables(), secret_masker.mask_truncated)
    worker = Worker(
        settings_of_worker, types, database, link.publish, metrics, WorkerRole(relay=link)
    )
    requests = ServiceRequests(worker, types, settings_of_worker, metrics, link)

    def on_message(message: "Message") -> None:
        if not requests.accept(message):
            request_stop(message["graceSeconds"])

    try:
        await asyncio.wrap_future(worker.start())
        link.start(on_message, request_stop)
        gc.freeze()
        gc.enable()
        grace_seconds = await asyncio.wrap_future(stop)
        await worker.stop(grace_seconds)
    finally:
        await stop_tracing()
        await database.close()
    structlog.get_logger().info("execution_process_stopped")


if __name__ == "__main__":
    exit_process(main)
