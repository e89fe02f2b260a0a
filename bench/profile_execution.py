"""Profile: processor time of executions in one process, by thread and by layer.

``python -m bench.profile_execution`` runs executions of the ten-node line without HTTP, samples the
stacks of all threads, and prints the processor time of one execution, of each thread (Linux) and of
each layer.
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from bench.service import WORKFLOW, line, save_workflow
from flows.prefect_adapter.environment import prepare_prefect
from logs import configure_logging

EXECUTIONS = 200
CONCURRENCY = 10
WARM_UP = 20
SAMPLE_SECONDS = 0.005
MAX_LAYERS = 8
"""Maximum number of layers of a thread that are printed."""
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


async def profile(executions: int, directory: Path, sampler: Sampler | None) -> dict[str, float]:
    """Return the processor time of one execution by thread and as ``total``, in milliseconds."""
    from api_service import create_app  # noqa: PLC0415 - imports Prefect after its settings
    from config import Settings  # noqa: PLC0415
    from flows.intake.submissions import SubmissionRequest  # noqa: PLC0415

    path = directory / "profile.sqlite"
    settings = Settings(
        database_path=path,
        prefect_home=directory / "prefect",
        max_concurrent_executions=CONCURRENCY,
        log_level="WARNING",
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        save_workflow(path, WORKFLOW, line())
        submissions = app.state.services.submissions

        async def run(count: int) -> None:
            for _ in range(count):
                await submissions.submit(WORKFLOW, SubmissionRequest())
            await asyncio.to_thread(_wait_for_all, path)

        await run(WARM_UP)
        threads, begun = thread_seconds(), time.process_time()
        if sampler is None:
            await run(executions)
        else:
            with sampler.running():
                await run(executions)
        total = time.process_time() - begun
        spent = {name: value - threads.get(name, 0.0) for name, value in thread_seconds().items()}
    spent = {name: value * 1000 / executions for name, value in spent.items()}
    return {"total": total * 1000 / executions, **spent}


def _wait_for_all(path: Path) -> None:
    query = "SELECT count(*) FROM workflow_executions WHERE completedAt IS NULL"
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        while connection.execute(query).fetchone()[0]:
            time.sleep(0.05)


def main() -> int:
    """Print the profile; return 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile_execution", description=__doc__)
    parser.add_argument("--executions", type=int, default=EXECUTIONS, help="(%(default)s)")
    parser.add_argument("--no-samples", action="store_true", help="measure the time only")
    options = parser.parse_args()
    sampler = None if options.no_samples else Sampler()
    with tempfile.TemporaryDirectory(prefix="workflow-profile-") as name:
        prepare_prefect(None, Path(name))
        configure_logging("WARNING", "json")
        spent = asyncio.run(profile(options.executions, Path(name), sampler))
    for thread, milliseconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{milliseconds:8.2f} ms  {thread}")
        layers = Counter[str]() if sampler is None else sampler.layers[thread]
        for layer, count in layers.most_common(MAX_LAYERS):
            print(f"{100 * count / layers.total():14.0f} %  {layer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
