"""The OpenAPI document against the running service: what schemathesis makes up is answered as told.

Streams do not end, so of those only what the document says is looked at here; ``tests/live`` reads
them.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api_service import create_app
from config import Settings
from tests.documents import document, line, node
from tests.probes import PROBE_TYPES, fresh_gates
from tests.service import RunningService, wait_until

DOCUMENT = create_app(Settings(_env_file=None)).openapi()  # pyright: ignore[reportCallIssue]
STREAMS = ["/api/events", "/api/executions/{execution_id}/stream"]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
HELD = document(
    node("start", "trigger"),
    node("ask", "approval"),
    node("held", "gate"),
    flow=("start -> ask", "start -> held"),
)
schema = schemathesis.openapi.from_dict(DOCUMENT).exclude(path=STREAMS)


class Known:
    """A service in which there is something to find, under ids that stay."""

    def __init__(self, service: RunningService) -> None:
        self.service = service
        service.save(line(3), "lasting")
        service.save(
            document(node("hook", "webhook"), node("end"), flow=("hook -> end",)), "hooked"
        )
        service.save(HELD, "held")
        self.ended = service.submit("lasting").json()["executionId"]
        service.ended(self.ended)
        self.running = self.start_held()

    def start_held(self) -> str:
        """An execution of which one node runs and one waits for people."""
        execution_id = self.service.submit("held").json()["executionId"]
        wait_until(lambda: "ask" in self.service.logs(execution_id))
        return execution_id

    def places(self, case: Case) -> Iterator[dict[str, Any]]:
        """What to put into the path of ``case``, so that it finds something."""
        names = set(case.path_parameters or {})
        label = case.operation.label
        if "execution_id" in names:
            ids = [self.ended, self.running]
            if label.endswith("/cancel"):
                ids[1] = self.start_held()  # this one is gone after it
            for execution_id in ids:
                yield {"execution_id": execution_id, "node_id": "ask"}
        elif label.startswith(("PUT", "DELETE")):
            yield {"workflow_id": "execute"}  # a path of its own, with a method of its own
            yield {"workflow_id": self.service.save(line(2), "passing")}
        elif "workflow_id" in names:
            yield {"workflow_id": "hooked" if "webhook" in label else "lasting"}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    with (
        fresh_gates(),
        RunningService(tmp_path_factory.mktemp("service"), PROBE_TYPES) as service,
    ):
        yield Known(service)


# The service's threads use ``random`` too, which hypothesis takes for a strategy that does.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
)
def test_answers_are_as_the_document_says(case: Case, known: Known) -> None:
    made_up = dict(case.path_parameters or {})
    for places in [{}, *known.places(case)]:
        case.path_parameters = {name: places.get(name, value) for name, value in made_up.items()}
        case.call_and_validate(known.service.url, checks=CHECKS)


def operations() -> list[Any]:
    return [
        pytest.param(operation, id=f"{method.upper()} {path}")
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


@pytest.mark.parametrize("operation", operations())
def test_every_operation_says_what_it_is_and_how_it_fails(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert set(operation["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}
    assert operation["tags"]
    failures = [answer for status, answer in operation["responses"].items() if int(status) >= 400]
    assert failures
    for answer in failures:
        assert answer["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemView"}}
        }
