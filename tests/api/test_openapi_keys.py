"""OpenAPI document of a service with keys: responses to two callers of one organization."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from schemathesis import Case
from schemathesis.core.failures import FailureGroup
from schemathesis.openapi.checks import IgnoredAuth
from schemathesis.schemas import BaseSchema

from tests.support.access import ENTRIES, as_
from tests.support.fuzzing import (
    LEFT_OUT,
    NO_WAY_OUT,
    Known,
    config,
    for_each_operation,
    short_waits,
)
from tests.support.generated import IS_THOROUGH
from tests.support.openapi import document_of
from tests.support.probe_nodes import PROBE_TYPES, fresh_gates
from tests.support.service import RunningService

LEFT_OUT_FOR_READERS = {
    *LEFT_OUT,
    # Only the GET of this path is public. Other methods require a role, so that a 403 precedes
    # the 405.
    ("getServiceStatus", "unsupported_method"),
}


def schema_for(name: str, left_out: set[tuple[str, str]]) -> BaseSchema:
    """The operations of the document, called only with this key."""
    schema = schemathesis.openapi.from_dict(
        document_of(api_keys=ENTRIES),
        config=config(
            # The request is for another organization, or requires another role.
            further=["403"],
            left_out=left_out,
            # Those of the service without keys are the same, except for the keys.
            edge_cases=IS_THOROUGH,
            generation={"with-security-parameters": False},
        ),
    )

    @schema.auth()
    class Key:  # pyright: ignore[reportUnusedClass]
        def get(self, case: Case, context: object) -> dict[str, str]:
            return as_(name)

        def set(self, case: Case, data: dict[str, str], context: object) -> None:
            case.headers.update(data)

    return schema


@pytest.fixture(scope="module")
def for_admin() -> BaseSchema:
    return schema_for("a-admin", LEFT_OUT)


@pytest.fixture(scope="module")
def for_reader() -> BaseSchema:
    return schema_for("a-read", LEFT_OUT_FOR_READERS)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    directory = tmp_path_factory.mktemp("service")
    settings_of_it: dict[str, Any] = {"api_keys": ENTRIES, **NO_WAY_OUT}
    service = RunningService(directory, PROBE_TYPES, **settings_of_it)
    with fresh_gates(), short_waits(), service:
        service.http.headers.update(as_("admin"))
        yield Known(service, "A")


@for_each_operation("for_admin")
@settings(max_examples=8 if IS_THOROUGH else 2, derandomize=True, database=None)
def test_responses_to_an_organization_admin_match_the_document(case: Case, known: Known):
    known.answers_as_told(case)


@for_each_operation("for_reader")
@settings(max_examples=5 if IS_THOROUGH else 2, derandomize=True, database=None)
def test_responses_to_a_reader_match_the_document(case: Case, known: Known):
    known.answers_as_told(case)


def test_a_service_that_requires_no_key_is_detected(for_admin: BaseSchema, service: RunningService):
    case = for_admin["/api/executions"]["GET"].Case(headers=as_("a-admin"))
    with pytest.raises(FailureGroup) as failed:
        case.call_and_validate(service.url, headers=as_("a-admin"))
    assert {type(failure) for failure in failed.value.exceptions} == {IgnoredAuth}


def test_the_document_names_every_kind_of_credential():
    document = document_of(api_keys=ENTRIES)
    schemes = document["components"]["securitySchemes"]
    assert {name: (it["type"], it.get("in")) for name, it in schemes.items()} == {
        "HTTPBearer": ("http", None),
        "APIKeyHeader": ("apiKey", "header"),
        "ExecutionToken": ("apiKey", "query"),
    }
    used = {
        name
        for operations in document["paths"].values()
        for operation in operations.values()
        for way in operation.get("security", ())
        for name in way
    }
    assert used == set(schemes)
