"""Database size: measures it with retention of old executions (``python -m bench.retention``)."""

import argparse
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

from bench.client import BenchError, Client
from bench.service import Service, running_service, save_workflow

CLIENTS = 8
KEPT = 100
PAYLOAD = "x" * 100_000
WORKFLOW = "bench-payload"
LIMIT_MB = 100.0
MAX_RUN_SECONDS = 60.0


def main() -> int:
    """Print the figures; fail if the database exceeded ``LIMIT_MB``."""
    parser = argparse.ArgumentParser(prog="python -m bench.retention", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="number of executions (10,000)")
    runs = parser.parse_args().runs
    settings = {"EXECUTION_RETENTION_COUNT": str(KEPT)}
    with tempfile.TemporaryDirectory(prefix="bench-retention-") as directory:
        try:
            with running_service(Path(directory), CLIENTS, settings) as service:
                largest, seconds = _load(service, runs)
        except BenchError as error:
            print(f"The benchmark failed: {error}", file=sys.stderr)
            return 1
    print(f"{runs} executions of {len(PAYLOAD) // 1000} KB in {seconds:.0f} s, {KEPT} kept")
    print(f"largest database with its log: {largest:.0f} MB (at most {LIMIT_MB:.0f})")
    return 0 if largest < LIMIT_MB else 1


def _load(service: Service, runs: int) -> tuple[float, float]:
    """Run executions one after another in each client; return the peak in MB and the seconds."""
    node: dict[str, object] = {"id": "value", "type": "manualInput", "label": "value", "config": {}}
    save_workflow(service.database, WORKFLOW, {"nodes": [node], "connections": []})
    left = iter(range(runs))
    lock = threading.Lock()
    failures: list[Exception] = []

    def work() -> None:
        try:
            with closing(Client(service.port)) as client:
                while not failures:
                    with lock:
                        if next(left, None) is None:
                            return
                    _run_one(client)
        except Exception as error:  # noqa: BLE001 - raised by the main thread
            failures.append(error)

    begun = time.monotonic()
    workers = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for worker in workers:
        worker.start()
    largest = 0.0
    while any(worker.is_alive() for worker in workers):
        largest = max(largest, _size_mb(service.database))
        time.sleep(0.05)
    if failures:
        raise BenchError(str(failures[0]))
    return largest, time.monotonic() - begun


def _run_one(client: Client) -> None:
    execution_id = client.submit(WORKFLOW, {"value": PAYLOAD}).body["executionId"]
    deadline = time.monotonic() + MAX_RUN_SECONDS
    while client.poll(execution_id).body["status"] != "completed":
        if time.monotonic() > deadline:
            raise BenchError(f"execution {execution_id} does not complete")
        time.sleep(0.02)


def _size_mb(database: Path) -> float:
    files = (database, database.with_name(database.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists()) / 1e6


if __name__ == "__main__":
    sys.exit(main())
