"""Examples of the OpenAPI document: the service accepts each request."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.documents import document, node
from tests.support.openapi import Operation, document_of, operations_of
from tests.support.probe_nodes import PROBE_TYPES, fresh_gates
from tests.support.schedules import scheduled
from tests.support.service import RunningService, wait_until
from worker_setup import EXAMPLES

TOKEN = "s3cr3t-t0ken"
HOOKED = document(node("open", "webhook"), node("closed", "webhook", webhookToken=TOKEN))
SILENT = document(
    node("open", "webhook"),
    node("closed", "webhook", webhookToken=TOKEN),
    node("held", "gate"),
    node("reply", "webhookResponse"),
    flow=("open -> held", "closed -> held", "held -> reply"),
)
HELLO = json.loads((EXAMPLES / "hello-world.json").read_text(encoding="utf-8"))


class ExampleService:
    """A service with the resources of the examples, and their ids."""

    def __init__(self, service: RunningService) -> None:
        self.service = service
        self._numbers = itertools.count()
        service.save(HOOKED, "hooked")
        service.save(SILENT, "silent")
        service.save(document(node("ask", "approval")), "waits")

    def path_of(self, operation: Operation) -> dict[str, str]:
        """Create the resources that the operations need."""
        if "webhook" in operation.path:
            return {"workflow_id": "hooked", "token": TOKEN}
        if operation.name == "resumeNode":
            execution_id = self.start("waits")
            wait_until(lambda: self.service.poll(execution_id)["status"] == "waiting")
            return {"execution_id": execution_id, "node_id": "ask"}
        if "/events/kept" in operation.path:
            kept = [
                self.service.http.post("/api/events", json={"name": "kept", "key": str(number)})
                for number in range(2)  # two pages
            ]
            return {"event_id": kept[0].json()["eventId"]}
        if "{task_id}" in operation.path:
            self.service.start(document(node("ask", "approval")))
            listed = wait_until(
                lambda: self.service.http.get("/api/tasks?status=open").json()["tasks"]
            )
            return {"task_id": listed[0]["id"]}
        if "{schedule_id}" in operation.path:
            clock = {"scheduleCron": "0 12 * * *"}
            self.service.save(scheduled(**clock), "scheduled")
            self.service.save(scheduled(**clock), "scheduled too")  # two pages
            listed = wait_until(lambda: self.service.http.get("/api/schedules").json()["schedules"])
            return {"schedule_id": listed[0]["id"]}
        if "{execution_id}" in operation.path:
            execution_id = self.start("example-hello-world", inputs={"name": "Ada"})
            self.service.ended(execution_id)
            return {"execution_id": execution_id}
        workflow_id = f"hello-{next(self._numbers)}"
        self.service.save(HELLO["data"], workflow_id)
        for name in ("Ada", "Grace"):  # two pages
            self.service.ended(self.start(workflow_id, inputs={"name": name}))
        return {"workflow_id": workflow_id}

    def start(self, workflow_id: str, **body: object) -> str:
        return self.service.submit(workflow_id, **body).json()["executionId"]

    def ask(
        self,
        operation: Operation,
        path: dict[str, str],
        body: Any = None,
        media_type: str = "application/json",
        **more: Any,
    ) -> httpx.Response:
        kind = {"application/json": "json", "text/plain": "content"}.get(media_type, "data")
        given = {} if body is None else {kind: body}
        url = operation.path.format(**path)
        return self.service.http.request(operation.method, url, **given, **more)

    def ask_with_example(self, operation: Operation, path: dict[str, str]) -> httpx.Response:
        media_type, body = next(iter(operation.request_examples()), ("application/json", None))
        paged = {"limit": 1} if operation.name.startswith("list") else {}
        return self.ask(operation, path, body, media_type, params=paged)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleService]:
    """A new service with the example workflows."""
    directory = tmp_path_factory.mktemp("service")
    settings: dict[str, Any] = {
        "webhook_response_timeout_seconds": 0.05,
        "max_concurrent_executions": 100,  # those of ``SILENT`` never end
    }
    with fresh_gates(), RunningService(directory, PROBE_TYPES, **settings) as service:
        yield ExampleService(service)


def test_each_example_request_is_accepted(examples: ExampleService, subtests: pytest.Subtests):
    for operation in operations_of(document_of()):
        for number, (media_type, body) in enumerate(operation.request_examples()):
            with subtests.test(operation.name, number=number):
                check_example(examples, operation, media_type, body)


def check_example(
    examples: ExampleService, operation: Operation, media_type: str, body: Any
) -> None:
    path = examples.path_of(operation)
    response = examples.ask(operation, path, body, media_type)
    success = min(int(status) for status in operation.definition["responses"])
    assert response.status_code == success, response.text
    result = response.json()
    if operation.name == "executeNode":
        assert result["output"]["outputData"] == {"name": "Ada", "greeting": "Hello, Ada!"}
    if operation.name == "executeWorkflow":
        execution = examples.service.ended(result["executionId"])
        assert execution["status"] == "completed"
        assert "Hello, Ada!" in str(execution["finalOutput"])
