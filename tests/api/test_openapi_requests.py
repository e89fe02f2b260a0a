"""OpenAPI document: responses to generated requests match it.

Schemathesis runs every check with every operation, examples and edge cases first. Only the start of
a stream is read, because most streams never end.
"""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import settings
from schemathesis import Case
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema

from tests.support.fuzzing import (
    LEFT_OUT,
    NO_WAY_OUT,
    Known,
    check_names,
    config,
    for_each_operation,
    name_of,
    short_waits,
)
from tests.support.generated import IS_THOROUGH
from tests.support.openapi import document_of, operations_of
from tests.support.probe_nodes import PROBE_TYPES, fresh_gates
from tests.support.service import RunningService

STREAM = "/api/executions/{execution_id}/stream"


@pytest.fixture(scope="module")
def schema() -> BaseSchema:
    return schemathesis.openapi.from_dict(document_of(), config=config())


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    directory = tmp_path_factory.mktemp("service")
    service = RunningService(directory, PROBE_TYPES, **NO_WAY_OUT)
    with fresh_gates(), short_waits(), service:
        yield Known(service)


@for_each_operation("schema")
@settings(max_examples=20 if IS_THOROUGH else 3, derandomize=True, database=None)
def test_responses_match_the_document(case: Case, known: Known):
    known.answers_as_told(case)


def test_no_check_is_excluded_without_a_reason(schema: BaseSchema):
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == len(operations_of(document_of()))
    left_out = {
        (name_of(operation), check)
        for operation in operations
        for check in check_names()
        if not schema.config.checks_config_for(operation=operation).get_by_name(name=check).enabled
    }
    assert left_out == LEFT_OUT
    assert len(check_names()) >= 14


def test_the_stream_of_an_ended_execution_matches_the_document(schema: BaseSchema, known: Known):
    operation = schema[STREAM]["GET"]
    case = operation.Case(path_parameters={"execution_id": known.ended})
    response = case.call_and_validate(known.service.url, timeout=60)
    assert response.headers["content-type"] == ["text/event-stream; charset=utf-8"]
    events = response.text.split("\n\n")
    assert "event: execution_complete" in events[-2]
    last = events[-2].split("id: ")[1].split("\n")[0]
    case = operation.Case(
        path_parameters={"execution_id": known.ended}, headers={"Last-Event-ID": last}
    )
    assert case.call_and_validate(known.service.url, timeout=60).status_code == 204


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        (STREAM, {"afterSeq": "-1"}, 422),
        (STREAM, {"lastEventId": "yesterday"}, 422),
        (STREAM, {}, 404),
        ("/api/events", {"executionIds": ","}, 422),
        ("/api/events", {"executionIds": "nope"}, 404),
        ("/api/events", {"organizationId": ""}, 422),
    ],
)
def test_the_error_of_an_invalid_stream_matches_the_document(
    schema: BaseSchema, known: Known, path: str, query: dict[str, str], status: int
):
    places = {"execution_id": "nope"} if path == STREAM else {}
    case = schema[path]["GET"].Case(path_parameters=places, query=query)
    assert case.call_and_validate(known.service.url, timeout=60).status_code == status


def test_a_stream_is_only_read(known: Known):
    response = known.service.http.post("/api/executions/nope/stream")
    assert (response.status_code, response.headers["allow"]) == (405, "GET")
