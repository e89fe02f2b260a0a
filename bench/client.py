"""A small HTTP client: what it costs itself is taken away from what it measures."""

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 60.0


class BenchError(Exception):
    """The benchmark cannot go on; the message says why, for a person."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the service, and how long it took to come."""

    status: int
    body: Any
    seconds: float


class Client:
    """One connection that is kept, for one thread."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def is_up(self) -> bool:
        """Whether the service answers."""
        try:
            return self._ask("GET", "/", None).status == http.HTTPStatus.OK
        except OSError:
            self.close()
            return False

    def submit(self, workflow_id: str, inputs: object = None) -> Answer:
        """Posts an execution.

        Raises:
            BenchError: it was refused.
        """
        body = {"workflowId": workflow_id, "inputs": inputs}
        return _accepted(self._ask("POST", "/api/workflows/execute", body))

    def deliver(self, workflow_id: str, payload: object) -> Answer:
        """Sends a delivery to the workflow's webhook.

        Raises:
            BenchError: it was refused.
        """
        return _accepted(self._ask("POST", f"/api/webhook/{workflow_id}", payload))

    def poll(self, execution_id: str) -> Answer:
        """Asks how an execution stands.

        Raises:
            BenchError: there is no answer to it.
        """
        return _accepted(self._ask("GET", f"/api/executions/{execution_id}", None))

    def _ask(self, method: str, path: str, body: object) -> Answer:
        text = None if body is None else json.dumps(body).encode()
        begun = time.perf_counter()
        self._connection.request(method, path, text, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        answered = response.read()
        return Answer(response.status, json.loads(answered), time.perf_counter() - begun)


def _accepted(answer: Answer) -> Answer:
    if answer.status != http.HTTPStatus.OK:
        raise BenchError(f"the service answered {answer.status}: {answer.body}")
    return answer
