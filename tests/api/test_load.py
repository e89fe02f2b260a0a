"""Load: many clients submit at once, every execution runs, and polling stays possible."""

import random
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.documents import line
from tests.support.generated import FACTOR
from tests.support.service import RunningService, wait_until

SUBMISSIONS = round(300 * FACTOR)
CLIENTS = 30
NODES = 10
POLLERS = 3
COMPLETED = "SELECT count(*) FROM workflow_executions WHERE status = 'completed'"


class Poller:
    """Poll accepted executions in random order until ``stop`` is set."""

    def __init__(self, url: str, accepted: list[str], seed: int) -> None:
        self.answers: list[httpx.Response] = []
        self.seconds: list[float] = []
        self._url = url
        self._accepted = accepted
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as http:
            while not self._stop.wait(0.02):  # clients pause between two polls
                if accepted := self._accepted.copy():
                    begun = time.monotonic()
                    execution_id = self._random.choice(accepted)
                    self.answers.append(http.get(f"/api/executions/{execution_id}"))
                    self.seconds.append(time.monotonic() - begun)

    def percentages(self) -> dict[str, list[int]]:
        """Polled states of each execution, in the order of polling."""
        seen: dict[str, list[int]] = {}
        for response in self.answers:
            body: dict[str, Any] = response.json()
            seen.setdefault(body["executionId"], []).append(body["progress"]["percentage"])
        return seen


@pytest.mark.timeout(300)
def test_a_crowd_is_accepted_at_once_and_loses_nothing(tmp_path: Path) -> None:
    accepted: list[str] = []
    with RunningService(tmp_path) as service:
        service.save(line(NODES))

        def submit(_: int) -> httpx.Response:
            response = service.submit()
            accepted.append(response.json()["executionId"])
            return response

        begun = time.monotonic()
        pollers = [Poller(service.url, accepted, seed) for seed in range(POLLERS)]
        try:
            with ThreadPoolExecutor(CLIENTS) as clients:
                answers = list(clients.map(submit, range(SUBMISSIONS)))
            done_when_all_were_accepted = service.rows(COMPLETED)[0][0]
            polls_until_then = sum(len(poller.answers) for poller in pollers)
            wait_until(lambda: service.rows(COMPLETED)[0][0] == SUBMISSIONS, seconds=100)
            seconds = time.monotonic() - begun
        finally:
            for poller in pollers:
                poller.stop()

        assert {response.status_code for response in answers} == {200}
        assert len(set(accepted)) == SUBMISSIONS
        # The service accepted them while the first of them ran.
        assert done_when_all_were_accepted < SUBMISSIONS

        polled = [response for poller in pollers for response in poller.answers]
        assert {response.status_code for response in polled} == {200}
        assert len(polled) > polls_until_then > 0
        assert any(0 < response.json()["progress"]["percentage"] < 100 for response in polled)
        for poller in pollers:
            for percentages in poller.percentages().values():
                assert percentages == sorted(percentages)
        # A poll does not wait for the executions.
        assert statistics.median(s for poller in pollers for s in poller.seconds) < seconds / 10

        (rows,) = service.rows(
            "SELECT count(*) AS rows, count(DISTINCT executionId) AS executions,"
            " sum(status = 'completed') AS completed FROM execution_logs"
        )
        assert tuple(rows) == (SUBMISSIONS * NODES, SUBMISSIONS, SUBMISSIONS * NODES)
        outputs = service.rows("SELECT DISTINCT finalOutput FROM workflow_executions")
        assert len(outputs) == 1
