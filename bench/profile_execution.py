"""Profile: processor time of executions in one process, by thread and by layer.

``python -m bench.profile_execution`` runs executions of the ten-node line without HTTP, samples the
stacks of all threads, and prints the processor time of one execution, of each thread (Linux) and of
each layer. With ``--postgres``, it also prints the processor time of PostgreSQL's processes and the
transactions of one execution.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from pydantic import SecretStr

from bench.contenders import new_database
from bench.processes import cpu_seconds
from bench.service import WORKFLOW, line, save_workflow
from flows.prefect_adapter.environment import prepare_prefect
from logs import configure_logging

EXECUTIONS = 200
CONCURRENCY = 10
WARM_UP = 20
SAMPLE_SECONDS = 0.005
MAX_LAYERS = 8
"""Maximum number of layers of a thread that are printed."""
STATISTICS_DELAY_SECONDS = 1.5
"""Time after which PostgreSQL's processes have reported their transactions, in seconds."""
COUNTS = frozenset({"transactions", "rollbacks"})
POSTGRES = os.environ.get("BENCH_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("api", "bench", "database", "engine", "flows", "tasks")
LIBRARIES = ("prefect", "sqlalchemy", "pydantic", "structlog", "anyio")
WAITING = frozenset({"select", "wait", "get", "_worker", "_recv_msg", "accept", "sleep", "poll"})
"""Functions at the top of the stack of a thread that waits."""


class Sampler:
    """Counts, in its own thread, where the other threads work."""

    def __init__(self) -> None:
        self.layers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Number of samples by thread and layer."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    @contextmanager
    def running(self) -> Generator[None]:
        """Sample during the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._done.set()
            self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():  # pyright: ignore[reportPrivateUsage]
                if ident != self._thread.ident and frame.f_code.co_name not in WAITING:
                    name = names.get(ident, "?").rstrip("-_0123456789")
                    self.layers[name][_layer(frame)] += 1


def _layer(frame: FrameType | None) -> str:
    """Return the package of the innermost frame that belongs to a layer or a known library."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and "site-packages" not in path.parts:
            parts = path.relative_to(ROOT).with_suffix("").parts
            return "/".join(parts[:2]) if parts[0] in LAYERS else parts[0]
        for library in LIBRARIES:
            if library in path.parts:
                return library
        frame = frame.f_back
    return "other"


def thread_seconds() -> dict[str, float]:
    """Return the processor time of this process by thread name, in seconds; empty except on Linux.

    Threads whose names differ only in a number are added up.
    """
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found: defaultdict[str, float] = defaultdict(float)
    for thread_id, name in names.items():
        try:
            text = Path(f"/proc/self/task/{thread_id}/schedstat").read_text(encoding="ascii")
        except OSError:
            continue
        found[name.rstrip("-_0123456789")] += int(text.split()[0]) / 1e9
    return found


async def profile(
    executions: int, directory: Path, sampler: Sampler | None, postgres: str | None = None
) -> dict[str, float]:
    """Return the processor time of one execution by thread and as ``total``, in milliseconds.

    On the PostgreSQL database ``postgres``, also that of ``PostgreSQL``, and ``transactions``.
    """
    from api_service import create_app  # noqa: PLC0415 - imports Prefect after its settings
    from config import Settings  # noqa: PLC0415
    from flows.intake.submissions import SubmissionRequest  # noqa: PLC0415

    path = directory / "profile.sqlite"
    settings = Settings(
        database_path=path,
        database_url=None if postgres is None else SecretStr(postgres),
        prefect_home=directory / "prefect",
        max_concurrent_executions=CONCURRENCY,
        log_level="WARNING",
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        server = await cast("Any", asyncpg).connect(postgres) if postgres else None
        if server is None:
            save_workflow(path, WORKFLOW, line())
            wait = partial(_wait_on_sqlite, path)
        else:
            await _save_on_postgres(server)
            wait = partial(_wait_on_postgres, server)
        submissions = app.state.services.submissions

        async def run(count: int) -> None:
            for _ in range(count):
                await submissions.submit(WORKFLOW, SubmissionRequest())
            await wait()

        await run(WARM_UP)
        used = await _used_by_postgres(server)
        threads, begun = thread_seconds(), time.process_time()
        if sampler is None:
            await run(executions)
        else:
            with sampler.running():
                await run(executions)
        total = time.process_time() - begun
        spent = {name: value - threads.get(name, 0.0) for name, value in thread_seconds().items()}
        for name, value in (await _used_by_postgres(server)).items():
            spent[name] = value - used.get(name, 0.0)
        if server is not None:
            await server.close()
    spent = {name: value * 1000 / executions for name, value in spent.items()}
    return {"total": total * 1000 / executions, **spent}


def _wait_for_all(path: Path) -> None:
    query = "SELECT count(*) FROM workflow_executions WHERE completedAt IS NULL"
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        while connection.execute(query).fetchone()[0]:
            time.sleep(0.05)


async def _wait_on_sqlite(path: Path) -> None:
    await asyncio.to_thread(_wait_for_all, path)


async def _save_on_postgres(server: Any) -> None:
    insert = "INSERT INTO workflows(id, name, data) VALUES ($1, $1, $2)"
    await server.execute(insert, WORKFLOW, json.dumps(line()))


async def _wait_on_postgres(server: Any) -> None:
    query = 'SELECT count(*) FROM workflow_executions WHERE "completedAt" IS NULL'
    while await server.fetchval(query):  # noqa: ASYNC110 - it is another process that changes
        await asyncio.sleep(0.05)


async def _used_by_postgres(server: Any) -> dict[str, float]:
    """Return the processor time of PostgreSQL, and its transactions in thousands."""
    if server is None:
        return {}
    query = (
        "SELECT xact_commit, xact_rollback, (SELECT array_agg(pid) FROM pg_stat_activity"
        " WHERE datname = current_database()) AS pids"
        " FROM pg_stat_database WHERE datname = current_database()"
    )
    await asyncio.sleep(STATISTICS_DELAY_SECONDS)
    row = await server.fetchrow(query)
    return {
        "PostgreSQL": sum(cpu_seconds(pid) or 0.0 for pid in row["pids"]),
        "transactions": row["xact_commit"] / 1000,
        "rollbacks": row["xact_rollback"] / 1000,
    }


def main() -> int:
    """Print the profile; return 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile_execution", description=__doc__)
    parser.add_argument("--executions", type=int, default=EXECUTIONS, help="(%(default)s)")
    parser.add_argument("--postgres", action="store_true", help=f"on a new database of {POSTGRES}")
    parser.add_argument("--no-samples", action="store_true", help="measure the time only")
    options = parser.parse_args()
    sampler = None if options.no_samples else Sampler()
    with tempfile.TemporaryDirectory(prefix="workflow-profile-") as name:
        prepare_prefect(None, Path(name))
        configure_logging("WARNING", "json")
        with new_database(POSTGRES if options.postgres else None) as url:
            spent = asyncio.run(profile(options.executions, Path(name), sampler, url))
    for thread, milliseconds in sorted(spent.items(), key=lambda item: -item[1]):
        unit = "  " if thread in COUNTS else "ms"
        print(f"{milliseconds:8.2f} {unit}  {thread}")
        layers = Counter[str]() if sampler is None else sampler.layers[thread]
        for layer, count in layers.most_common(MAX_LAYERS):
            print(f"{100 * count / layers.total():14.0f} %  {layer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
