"""HTTP client: a small one, because its own cost reduces the measured speed."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 70.0
_ACCEPTED = (http.HTTPStatus.OK, http.HTTPStatus.CREATED, http.HTTPStatus.NOT_MODIFIED)


class BenchError(Exception):
    """The benchmark cannot continue; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Response:
    """Response of the service, and the time until it arrived."""

    status: int
    body: Any
    seconds: float
    etag: str | None = None


class Client:
    """Persistent connection for one thread."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def is_up(self) -> bool:
        """Return whether the service responds."""
        try:
            return self._request("GET", "/", None).status == http.HTTPStatus.OK
        except OSError:
            self.close()
            return False

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        """Return the response to a GET.

        Raises:
            BenchError: If the service rejects the request.
        """
        return _accepted(self._request("GET", path, None, headers))

    def post(self, path: str, body: object = None) -> Response:
        """Return the response to a POST.

        Raises:
            BenchError: If the service rejects the request.
        """
        return _accepted(self._request("POST", path, body))

    def save(self, workflow_id: str, document: object) -> None:
        """Save a workflow.

        Raises:
            BenchError: If it was rejected.
        """
        body = {"id": workflow_id, "name": workflow_id, "data": document}
        self.post("/api/workflows", body)

    def has(self, workflow_id: str) -> bool:
        """Return whether the workflow is stored."""
        response = self._request("GET", f"/api/workflows/{workflow_id}", None)
        return response.status == http.HTTPStatus.OK

    def submit(
        self, workflow_id: str, inputs: object = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Submit an execution.

        Raises:
            BenchError: If it was rejected.
        """
        body = {"workflowId": workflow_id, "inputs": inputs}
        return _accepted(self._request("POST", "/api/workflows/execute", body, headers))

    def follow(self, execution_id: str) -> None:
        """Read the stream of an execution until its end."""
        self._connection.request("GET", f"/api/executions/{execution_id}/stream")
        self._connection.getresponse().read()

    def deliver(self, workflow_id: str, payload: object) -> Response:
        """Send a delivery to the webhook of a workflow.

        Raises:
            BenchError: If it was rejected.
        """
        return _accepted(self._request("POST", f"/api/webhook/{workflow_id}", payload))

    def poll(self, execution_id: str) -> Response:
        """Return the state of an execution.

        Raises:
            BenchError: If the service rejects the request.
        """
        return _accepted(self._request("GET", f"/api/executions/{execution_id}", None))

    def _request(
        self,
        method: str,
        path: str,
        body: object,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        text = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        begun = time.perf_counter()
        self._connection.request(method, path, text, sent)
        response = self._connection.getresponse()
        content = response.read()
        seconds = time.perf_counter() - begun
        tag = response.headers["ETag"]
        return Response(response.status, json.loads(content or "null"), seconds, tag)


def _accepted(response: Response) -> Response:
    if response.status not in _ACCEPTED:
        raise BenchError(f"the service responded {response.status}: {response.body}")
    return response
