"""Service client: the HTTP calls of the command line, with one class of errors."""

from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

import httpx

from cli.errors import CommandError, ConnectionLostError, ExitCode
from engine.json_values import is_list, is_object

SERVICE_NAME = "Workflow Orchestration Service"
REQUEST_TIMEOUT_SECONDS = 30.0
"""Timeout for the response to a request, in seconds."""
LONG_POLL_TIMEOUT_SECONDS = 60.0
"""Timeout for a request with ``waitSeq``, to which the service responds within 30 seconds."""
MAX_SHOWN_ERRORS = 20
"""Maximum number of errors of a rejected document in one message."""

_UNAVAILABLE = frozenset({401, 403, 421, 429, 500, 502, 503, 504, 507})
"""Statuses that do not depend on the content of the request."""


class ServiceClient:
    """Calls one service. Every method raises ``CommandError`` if the call does not succeed."""

    def __init__(self, base_url: str, key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A proxy of the environment is not for a service on this machine or in this network.
        self._http = httpx.Client(
            base_url=base_url, headers=headers, timeout=REQUEST_TIMEOUT_SECONDS, trust_env=False
        )
        self.base_url = base_url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def is_running(self, timeout_seconds: float = 2.0) -> bool:
        """Return whether a running workflow service responds at this address."""
        try:
            response = self._http.get("/", timeout=timeout_seconds)
            status: object = response.json() if response.is_success else None
        except (httpx.TransportError, ValueError):
            return False
        return (
            is_object(status)
            and status.get("service") == SERVICE_NAME
            and status.get("status") == "running"
        )

    def execute(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Submit an execution, and return the response with its ``executionId``."""
        return self._call("POST", "/api/workflows/execute", json=body)

    def rerun(self, execution_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Run an ended execution again, and return the response with the new ``executionId``."""
        return self._call("POST", f"{_execution(execution_id)}/rerun", json=body)

    def cancel(self, execution_id: str) -> dict[str, Any]:
        """Request the cancellation of an execution, and return the response."""
        return self._call("POST", f"{_execution(execution_id)}/cancel")

    def execution(self, execution_id: str) -> dict[str, Any]:
        """Return the state of an execution."""
        return self._call("GET", _execution(execution_id))

    def changed_execution(self, execution_id: str, after_seq: int) -> dict[str, Any]:
        """Return the state of an execution as soon as its ``seq`` exceeds ``after_seq``.

        Returns the unchanged state after 30 seconds.
        """
        return self._call(
            "GET",
            _execution(execution_id),
            params={"waitSeq": after_seq},
            timeout=LONG_POLL_TIMEOUT_SECONDS,
        )

    def node_runs(self, execution_id: str, after_seq: int, *, payloads: bool) -> dict[str, Any]:
        """Return one page of the node runs that changed after ``after_seq``, with ``nextSeq``."""
        params = {"afterSeq": after_seq, "payloads": "true" if payloads else "false"}
        return self._call("GET", f"{_execution(execution_id)}/logs", params=params)

    def executions(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return one page of executions, newest first."""
        return self._call("GET", "/api/executions", params=params)

    def workflow(self, workflow_id: str) -> dict[str, Any]:
        """Return a saved workflow with its document."""
        return self._call("GET", f"/api/workflows/{_segment(workflow_id)}")

    def create_workflow(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Save a new workflow, and return it."""
        return self._call("POST", "/api/workflows", json=body)

    def validate(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the errors and warnings of a document or of a saved workflow."""
        return self._call("POST", "/api/workflows/validate", json=body)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Send one request, and return the object in its response.

        Raises:
            ConnectionLostError: If the service cannot be reached, or does not respond in time.
            CommandError: If the service rejects the request.
        """
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise ConnectionLostError(f"{self.base_url} does not respond: {reason}") from None
        try:
            content: object = response.json()
        except ValueError:
            content = None
        if response.is_success and is_object(content):
            return dict(content)
        code = ExitCode.REJECTED
        if response.status_code in _UNAVAILABLE or not response.is_client_error:
            code = ExitCode.UNAVAILABLE
        message = _problem(response.status_code, content)
        if response.status_code in {502, 503, 504}:
            raise ConnectionLostError(message)
        raise CommandError(message, code)


def _execution(execution_id: str) -> str:
    return f"/api/executions/{_segment(execution_id)}"


def _segment(name: str) -> str:
    """Return an id as one segment of a path.

    Raises:
        CommandError: If no path can address it.
    """
    if not name or name in {".", ".."} or "/" in name:
        raise CommandError(f"{name!r} is not a valid id", ExitCode.REJECTED)
    return quote(name, safe="")


def _problem(status: int, content: object) -> str:
    """Return the text of a problem document, with its single errors."""
    if not is_object(content):
        return f"the service returned the status {status} without a description"
    lines = [str(content.get("detail") or content.get("title") or f"status {status}")]
    errors = content.get("errors")
    if is_list(errors):
        lines += [f"  {described(error)}" for error in errors[:MAX_SHOWN_ERRORS]]
        if len(errors) > MAX_SHOWN_ERRORS:
            lines.append(f"  and {len(errors) - MAX_SHOWN_ERRORS} more")
    if status in {401, 403}:
        lines.append("  Set the key with --key or WF_KEY.")
    return "\n".join(lines)


def described(error: object) -> str:
    """Return one error of a document: its place, if known, and its detail."""
    if not is_object(error):
        return str(error)
    place = error.get("nodeId") or error.get("pointer")
    detail = str(error.get("detail") or error.get("code") or "invalid")
    return f"{place}: {detail}" if place and str(place) not in detail else detail
