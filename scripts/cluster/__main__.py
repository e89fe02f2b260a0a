"""Command line of the cluster: ``scripts/cluster.sh``."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import click

from scripts.cluster.evidence import collect_evidence
from scripts.cluster.processes import ClusterError, running_cluster

POSTGRES_URL = "postgresql://postgres@127.0.0.1:5432/postgres"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run a Prefect server, a service and workers on loopback, without containers.

    All data is stored in new databases of a PostgreSQL server, which are dropped at the end.
    """


_POSTGRES = click.option(
    "--postgres",
    envvar="CLUSTER_POSTGRES_URL",
    default=POSTGRES_URL,
    show_default=True,
    help="PostgreSQL server and a user who may create databases.",
)
_WORKERS = click.option(
    "--workers", type=click.IntRange(1, 16), default=2, show_default=True, help="Number of workers."
)


@main.command()
@_POSTGRES
@_WORKERS
def up(postgres: str, workers: int) -> None:
    """Run until Ctrl-C."""

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with running_cluster(postgres, workers) as cluster:
            print(f"service        {cluster.service_url}/docs")
            print(f"Prefect        {cluster.prefect_url}")
            print(f"logs           {cluster.directory}", flush=True)
            await stop.wait()

    _run(run())


@main.command()
@_POSTGRES
@_WORKERS
@click.option(
    "--executions",
    type=click.IntRange(2, 10_000),
    default=200,
    show_default=True,
    help="Number of executions.",
)
def evidence(postgres: str, workers: int, executions: int) -> None:
    """Submit executions, kill one worker with SIGKILL in the middle, and count the results."""
    if workers == 1:
        raise click.BadParameter("another worker must remain", param_hint="--workers")

    async def run() -> bool:
        async with running_cluster(postgres, workers) as cluster:
            found = await collect_evidence(cluster, executions)
        print(f"{found.completed} of {found.submitted} completed")
        print(f"{found.completed_twice} executions and {found.nodes_completed_twice} nodes twice")
        print(
            f"{found.submitted_again} executions were submitted to the pool again, and "
            f"{found.repeated_calls} calls in flight were repeated"
        )
        return found.is_good

    sys.exit(0 if _run(run()) else 1)


def _run(coroutine: Coroutine[Any, Any, bool | None]) -> bool:
    try:
        return bool(asyncio.run(coroutine))
    except ClusterError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
