"""Bystander probe: measures how long an uninvolved client waits while something else happens.

The probe sends two kinds of requests to a running service: ``GET /``, which the API loop answers,
and a small execution, which the flows loop runs. An attack must not delay either of them. The
worst delay during an attack is compared with the worst delay of the same probe at rest, so that a
slow machine slows both figures down::

    at_rest = watch(service.url)
    with bystander(service.url) as probe:
        attack()
    probe.delays.assert_close_to(at_rest)
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.http_clients import client_of

ALLOWED_RATIO = 10.0
"""Ratio of the worst delay during an attack to the worst delay at rest that still passes."""

ALLOWED_EXTRA_SECONDS = 3.0
"""Additional delay that passes whatever the ratio, because the machine runs other tests too."""

PAUSE_SECONDS = 0.02
PROBE_TIMEOUT_SECONDS = 150.0
ENDED = ("completed", "failed", "cancelled")

SMALL: dict[str, Any] = {
    "nodes": [
        {"id": "start", "type": "trigger", "config": {}},
        {
            "id": "work",
            "type": "addField",
            "config": {"addFieldName": "b", "addFieldValue": "{{ a | upper }}"},
        },
        {"id": "end", "type": "output", "config": {}},
    ],
    "connections": [
        {"id": "1", "fromNodeId": "start", "toNodeId": "work"},
        {"id": "2", "fromNodeId": "work", "toNodeId": "end"},
    ],
}
"""A workflow of three small nodes."""


@dataclass(slots=True)
class Delays:
    """Durations of the probe's requests and executions, in seconds."""

    requests: list[float] = field(default_factory=list[float])
    executions: list[float] = field(default_factory=list[float])
    failures: list[str] = field(default_factory=list[str])
    """Reasons of probes that did not succeed."""

    @property
    def worst_request(self) -> float:
        """Longest duration of ``GET /``."""
        return max(self.requests)

    @property
    def worst_execution(self) -> float:
        """Longest time from the submission of a small execution to its end."""
        return max(self.executions)

    def is_close_to(self, at_rest: "Delays") -> bool:
        """Return whether ``assert_close_to`` passes with its default limits."""
        try:
            self.assert_close_to(at_rest)
        except AssertionError:
            return False
        return True

    def assert_requests_close_to(self, at_rest: "Delays") -> None:
        """Fail if a probe failed, or ``GET /`` waited much longer than at rest."""
        assert self.failures == []
        _assert_close("GET /", self.worst_request, at_rest.worst_request)

    def assert_close_to(
        self,
        at_rest: "Delays",
        ratio: float = ALLOWED_RATIO,
        extra_seconds: float = ALLOWED_EXTRA_SECONDS,
    ) -> None:
        """Fail if a probe failed, or waited much longer than the same probe at rest."""
        assert self.failures == []
        for kind, mine, calm in (
            ("GET /", self.worst_request, at_rest.worst_request),
            ("a small execution", self.worst_execution, at_rest.worst_execution),
        ):
            _assert_close(kind, mine, calm, ratio, extra_seconds)


def _assert_close(
    kind: str,
    mine: float,
    calm: float,
    ratio: float = ALLOWED_RATIO,
    extra_seconds: float = ALLOWED_EXTRA_SECONDS,
) -> None:
    most = max(calm * ratio, calm + extra_seconds)
    assert mine <= most, f"{kind} took {mine:.2f} s, at rest {calm:.2f} s"


class Bystander:
    """Two threads that probe a service until ``stop``; each of them probes at least once."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.delays = Delays()
        self._client = client_of(
            url, headers=headers, timeout=PROBE_TIMEOUT_SECONDS, trust_env=False
        )
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=args, daemon=True)
            for args in (
                ("requests", self._request, self.delays.requests),
                ("executions", self._execution, self.delays.executions),
            )
        ]

    def start(self) -> None:
        """Start the probes."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> Delays:
        """Stop after the probes under way; return the measured delays."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PROBE_TIMEOUT_SECONDS + 10)
        self._client.close()
        return self.delays

    def wait_for_probes(self, count: int) -> None:
        """Wait until each probe has succeeded ``count`` times, or one has failed."""
        deadline = time.monotonic() + PROBE_TIMEOUT_SECONDS
        lists = (self.delays.requests, self.delays.executions)
        while not self.delays.failures and min(map(len, lists)) < count:
            assert time.monotonic() < deadline, "the probes do not get on"
            time.sleep(PAUSE_SECONDS)  # between two looks; the condition is awaited

    def _repeat(self, kind: str, probe: Callable[[], None], found: list[float]) -> None:
        while True:
            begun = time.monotonic()
            try:
                probe()
                found.append(time.monotonic() - begun)
            except (httpx.HTTPError, AssertionError) as error:
                self.delays.failures.append(f"{kind}: {type(error).__name__}: {error}")
                return
            if self._stop.wait(PAUSE_SECONDS):
                return

    def _request(self) -> None:
        assert self._client.get("/").status_code == 200

    def _execution(self) -> None:
        body = {"graph": SMALL, "inputs": {"a": "text"}}
        response = self._client.post("/api/workflows/execute", json=body)
        assert response.status_code == 200, response.text
        path = f"/api/executions/{response.json()['executionId']}"
        deadline = time.monotonic() + PROBE_TIMEOUT_SECONDS
        while (execution := self._client.get(path).json())["status"] not in ENDED:
            assert time.monotonic() < deadline, "a small execution does not end"
            time.sleep(PAUSE_SECONDS)  # between two looks; the condition is awaited
        assert execution["status"] == "completed", execution["error"]


@contextmanager
def bystander(url: str, headers: dict[str, str] | None = None) -> Iterator[Bystander]:
    """Probe a service from the beginning to the end of the block."""
    probe = Bystander(url, headers)
    probe.start()
    try:
        yield probe
    finally:
        probe.stop()


def watch(url: str, count: int = 10, headers: dict[str, str] | None = None) -> Delays:
    """Return the delays of ``count`` probes of each kind, while nothing else happens."""
    with bystander(url, headers) as probe:
        probe.wait_for_probes(count)
    return probe.delays
