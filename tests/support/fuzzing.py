"""Generated requests from the OpenAPI document: configuration, checks, and expected errors.

An ordinary run sends each generated request once, with its own ids and with the ids of existing
resources in turn. A thorough run sends it with all of them.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.transport import Response

from tests.support.documents import document, line, node
from tests.support.generated import IS_THOROUGH
from tests.support.service import RunningService, wait_until

PASSED = document(
    node("start", "trigger"),
    node("ask", "approval"),
    node("held", "gate"),
    flow=("start -> ask", "start -> held"),
)
HOOKED = document(node("hook", "webhook"), node("end"), flow=("hook -> end",))

NO_WAY_OUT: dict[str, Any] = {"http_proxy_url": "http://127.0.0.1:9"}
"""A proxy that does not exist, so that no generated address is called."""


@contextmanager
def short_waits() -> Iterator[None]:
    """Let requests that wait for a change of an execution wait for a moment only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.routes.executions.MAX_WAIT_SEQ_SECONDS", 0.01)
        patch.setattr("api.preferences.MAX_WAIT_SECONDS", 0)
        yield


ALWAYS = ["2xx", "304", "404", "409"]
"""Statuses of valid requests: an id is any string, and its resource need not exist."""
FURTHER = {
    # A 422 only for the reasons of ``MEANT``.
    "executeWorkflow": ["422"],
    "rerunExecution": ["422"],
    "listExecutions": ["422"],
    "listWorkflowExecutions": ["422"],
    "getExecutionLogs": ["422"],
    "listWorkflows": ["422"],
    "listSchedules": ["422"],
    "startBulk": ["422"],
    "getBulk": ["422"],
    "listTasks": ["422"],
    "completeTask": ["422"],
    "sendEvent": ["422"],
    "listKeptEvents": ["422"],
    "createTaskLink": ["422"],
    # 405: 'execute' is a fixed path, not an id. 412: the workflow has another version.
    "getWorkflow": ["405"],
    "updateWorkflow": ["405", "412", "422"],
    "deleteWorkflow": ["405", "412"],
    "executeNode": ["400"],
    "streamEvents": ["422"],
}
"""Further statuses of requests that match the schema, by ``operationId``."""
LEFT_OUT = {
    # The operation has no path parameter, because its body names the workflow.
    ("validateWorkflow", "ensure_resource_availability"),
}
"""Checks that are disabled, by operation."""
MEANT = {
    "executeWorkflow": {"invalid_document", "idempotency_key_reused"},
    "rerunExecution": {
        "conflicting_fields",
        "invalid_document",
        "no_current_definition",
        "unknown_node",
    },
    "listExecutions": {"invalid_cursor"},
    "listWorkflowExecutions": {"invalid_cursor"},
    "getExecutionLogs": {"invalid_query"},
    "listWorkflows": {"invalid_cursor"},
    "listSchedules": {"invalid_cursor"},
    "startBulk": {"empty_filter", "idempotency_key_reused"},
    "getBulk": {"invalid_cursor"},
    "listTasks": {"invalid_cursor"},
    "createTaskLink": {"unknown_assignee", "missing_assignee"},
    "completeTask": {"unknown_assignee", "missing_assignee"},
    "sendEvent": {"event_too_large", "idempotency_key_reused"},
    "listKeptEvents": {"invalid_cursor"},
    "updateWorkflow": {"immutable_field"},
    "streamEvents": {"invalid_query"},
}
"""Problem codes of a 422 that no schema can express, by ``operationId``."""
REPETITIONS = "^receiveWebhook.*By(Put|Patch|Head|Options|Delete)$"
"""Operations that differ from those by POST and GET only in the method; thorough runs call them."""


def for_each_operation(schema: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test with each operation of the schema that the fixture ``schema`` returns.

    The tests of the operations are subtests. They are built when the test runs, because this takes
    seconds, and each process of ``./test.sh`` collects all tests.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        operations = schemathesis.pytest.from_fixture(schema)
        if not IS_THOROUGH:
            operations = operations.exclude(operation_id_regex=REPETITIONS)
        test = operations.parametrize()(test)
        for mark in (
            pytest.mark.timeout(300),
            pytest.mark.usefixtures("changeable_test_name"),
            # The threads of the service use ``random``, which hypothesis reports as a strategy's.
            pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies"),
        ):
            test = mark(test)
        return test

    return decorate


def check_names() -> set[str]:
    """Return the names of all checks of schemathesis."""
    load_all_checks()
    return set(CHECKS.get_all_names())


def config(
    *,
    further: Sequence[str] = (),
    left_out: Collection[tuple[str, str]] = LEFT_OUT,
    edge_cases: bool = True,
    **more: Any,
) -> schemathesis.Config:
    """Return a configuration with every check, and the accepted statuses of valid requests."""
    allowed = [*ALWAYS, *further]
    accepting = {"positive_data_acceptance": {"expected-statuses": allowed}}
    operations: list[dict[str, Any]] = [
        {
            "include-operation-id": operation,
            "checks": {"positive_data_acceptance": {"expected-statuses": [*allowed, *statuses]}},
        }
        for operation, statuses in FURTHER.items()
    ]
    operations += [
        {"include-operation-id": operation, "checks": {check: {"enabled": False}}}
        for operation, check in left_out
    ]
    phases = {
        "stateful": {"inference": {"algorithms": []}},  # no inferred links
        "coverage": {"enabled": edge_cases},
    }
    return schemathesis.Config.from_dict(
        {"checks": accepting, "operations": operations, "phases": phases, **more}
    )


def refused_for_what_it_means(_ctx: object, response: Response, case: Case) -> None:
    """Check that a request that matches its schema is a 422 only with an expected code."""
    meant_well = case.meta is not None and case.meta.generation.mode.is_positive
    if meant_well and response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        codes = {error["code"] for error in response.json()["errors"]}
        assert codes <= MEANT[name_of(case.operation)]


def name_of(operation: Any) -> str:
    """Return the ``operationId`` of an operation."""
    return operation.definition.raw["operationId"]


class StreamStartSession(requests.Session):
    """A session that reads only the start of a stream, because it may never end."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        response = super().send(request, **{**kwargs, "stream": True})
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            response._content = next(response.iter_content(None), b"")
            response._content_consumed = True
            response.close()
        else:
            assert response.content is not None  # reads the body
        return response


class Known:
    """A service with resources under known ids."""

    def __init__(self, service: RunningService, organization_id: str | None = None) -> None:
        self.service = service
        self._organization_id = organization_id
        self._session = StreamStartSession()
        self._turns = defaultdict[str, Iterator[int]](itertools.count)
        self._passing: list[str] = []
        self._save(line(3), "lasting")
        self._save(HOOKED, "hooked")
        self._save(PASSED, "held")
        self.ended = service.submit("lasting").json()["executionId"]
        service.ended(self.ended)
        self.running = self._start_held()

    def answers_as_told(self, case: Case) -> None:
        """Send a request with its own ids or with known ids, and check all responses."""
        made_up = dict(case.path_parameters or {})
        choices = [dict[str, str], *self._places(case)]
        if not IS_THOROUGH:
            choices = [choices[next(self._turns[case.operation.label]) % len(choices)]]
        for choose in choices:
            places = choose()
            case.path_parameters = {
                name: places.get(name, value) for name, value in made_up.items()
            }
            case.call_and_validate(
                self.service.url,
                session=self._session,
                additional_checks=[refused_for_what_it_means],
            )
        for execution_id in self._passing:
            self.service.http.post(f"/api/executions/{execution_id}/cancel")
        self._passing.clear()

    def _save(self, workflow: dict[str, Any], workflow_id: str) -> str:
        self.service.save(workflow, workflow_id)
        self.service.write(
            "UPDATE workflows SET organizationId=? WHERE id=?", self._organization_id, workflow_id
        )
        return workflow_id

    def _start_held(self) -> str:
        """Start an execution with one running and one waiting node."""
        execution_id = self.service.submit("held").json()["executionId"]
        wait_until(
            lambda: self.service.logs(execution_id).get("ask", {}).get("status") == "waiting"
        )
        return execution_id

    def _start_passing(self) -> str:
        """Start an execution for one request, which may end it."""
        self._passing.append(self._start_held())
        return self._passing[-1]

    def _keep_event(self) -> str:
        """Send an event for which no node waits, and return its id."""
        body = {"name": "kept", "organizationId": self._organization_id}
        return self.service.http.post("/api/events", json=body).json()["eventId"]

    def _places(self, case: Case) -> list[Callable[[], dict[str, str]]]:
        """Return functions that return path parameters for ``case`` with known ids."""
        names = set(case.path_parameters or {})
        label = case.operation.label
        if "execution_id" in names:
            ends = label.endswith(("/cancel", "/resume"))
            return [
                lambda: {"execution_id": self.ended, "node_id": "ask"},
                lambda: {
                    "execution_id": self._start_passing() if ends else self.running,
                    "node_id": "ask",
                },
            ]
        if "webhook" in label:
            return [lambda: {"workflow_id": "hooked"}]
        if "event_id" in names:
            return [lambda: {"event_id": self._keep_event()}]
        if label.startswith(("PUT", "DELETE")):
            return [
                lambda: {"workflow_id": "execute"},  # a fixed path
                lambda: {"workflow_id": self._save(line(2), "passing")},
            ]
        if "workflow_id" in names:
            return [lambda: {"workflow_id": "lasting"}]
        return []
