"""Streams: measures their latency, their idle cost, and the cost of 500 of them."""

import asyncio
import json
import statistics
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from bench.client import BenchError, Client
from bench.load import throughput, warm_up
from bench.service import WORKFLOW, Service, running_service

STREAMS = 500
LATENCY_RUNS = 15
IDLE_SECONDS = 5
EXECUTIONS = 150
CLIENTS = 10
PATIENCE_SECONDS = 20.0


async def measure(service: Service) -> dict[str, float | int | None]:
    """Return all figures, in milliseconds, percent of one core, and ratios."""
    await asyncio.to_thread(warm_up, service, 20)
    figures = await _latency(service, "one")
    alone = await asyncio.to_thread(throughput, service, EXECUTIONS, CLIENTS)
    streams = [await _open(service, "/api/events?organizationId=other") for _ in range(STREAMS)]
    readers = [asyncio.create_task(_drain(reader)) for reader, _ in streams]
    before = service.cpu_seconds()
    await asyncio.sleep(IDLE_SECONDS)
    after = service.cpu_seconds()
    idle = None if before is None or after is None else 100 * (after - before) / IDLE_SECONDS
    figures |= await _latency(service, "many")
    crowded = await asyncio.to_thread(throughput, service, EXECUTIONS, CLIENTS)
    for task, (_, writer) in zip(readers, streams, strict=True):
        task.cancel()
        writer.close()
    ratio = (crowded.executions / crowded.seconds) / (alone.executions / alone.seconds)
    return {
        **figures,
        "streams": STREAMS,
        "idleCpuPercent": None if idle is None else round(idle, 2),
        "throughputRatio": round(ratio, 2),
    }


async def _latency(service: Service, name: str) -> dict[str, float | int | None]:
    """Return the latency from an event to the client, for consecutive executions."""
    reader, writer = await _open(service, "/api/events")
    seen: list[float] = []

    async def listen() -> None:
        ended = 0
        while ended < LATENCY_RUNS:
            line = await reader.readline()
            if line.startswith(b"data: "):
                now, event = datetime.now(UTC), json.loads(line[6:])
                taken = now - datetime.fromisoformat(event["timestamp"])
                seen.append(taken.total_seconds() * 1_000)
                ended += event["type"] == "execution_complete"

    def submit() -> None:
        with closing(Client(service.port)) as client:
            for _ in range(LATENCY_RUNS):
                client.submit(WORKFLOW)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(listen(), asyncio.to_thread(submit))
    writer.close()
    p99 = statistics.quantiles(seen, n=100, method="inclusive")[98]
    median = round(statistics.median(seen), 1)
    return {f"{name}MsP50": median, f"{name}MsP99": round(p99, 1)}


async def _open(service: Service, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=2**20)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await reader.readuntil(b"retry: ")
    return reader, writer


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


def main() -> int:
    """Print the figures as a JSON line; return 0, or 1 if the measurement failed."""
    with tempfile.TemporaryDirectory(prefix="workflow-bench-") as name:
        try:
            with running_service(Path(name), 10) as service:
                print(json.dumps(asyncio.run(measure(service))))
        except (BenchError, TimeoutError) as error:
            print(f"error: {error!r}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
