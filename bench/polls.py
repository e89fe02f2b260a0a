"""Polls: the processor time of a poll, and the time from a submission to the first node."""

import statistics
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from bench.client import Client
from bench.service import WORKFLOW, Service

POLLS = 500
SUBMISSIONS = 20


@dataclass(frozen=True, slots=True)
class PollCost:
    """Processor time of the service for one poll, in milliseconds; ``None`` except on Linux."""

    unchanged_ms: float | None
    changed_ms: float | None
    first_node_ms: float


def poll_cost(service: Service) -> PollCost:
    """Measure polls of an ended execution, with and without its ``ETag``."""
    with closing(Client(service.port)) as client:
        delays: list[float] = []
        path = ""
        for _ in range(SUBMISSIONS):
            state = client.submit(WORKFLOW, headers={"Prefer": "wait=60"}).body
            path = f"/api/executions/{state['executionId']}"
            first = client.get(f"{path}/logs").body["logs"][0]
            delays.append(_ms_between(state["createdAt"], first["startedAt"]))
        etag = client.get(path).etag or ""
        changed = _cpu_ms(service, client, path, {})
        unchanged = _cpu_ms(service, client, path, {"If-None-Match": etag})
    return PollCost(unchanged, changed, statistics.median(delays))


def _cpu_ms(service: Service, client: Client, path: str, headers: dict[str, str]) -> float | None:
    before = service.cpu_seconds()
    for _ in range(POLLS):
        client.get(path, headers)
    after = service.cpu_seconds()
    return None if before is None or after is None else (after - before) * 1_000 / POLLS


def _ms_between(earlier: str, later: str) -> float:
    difference = datetime.fromisoformat(later) - datetime.fromisoformat(earlier)
    return difference.total_seconds() * 1_000
