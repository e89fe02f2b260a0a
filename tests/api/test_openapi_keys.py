"""The OpenAPI document of a service with keys, against it: by two callers of one organization."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from schemathesis import Case
from schemathesis.core.failures import FailureGroup
from schemathesis.openapi.checks import IgnoredAuth

from tests.support.access import ENTRIES, as_
from tests.support.fuzzing import LEFT_OUT, NO_WAY_OUT, Known, config, document_of
from tests.support.probe_nodes import PROBE_TYPES, fresh_gates
from tests.support.service import RunningService

DOCUMENT = document_of(api_keys=ENTRIES)


LEFT_OUT_FOR_READERS = {
    *LEFT_OUT,
    # Only the GET of this path is open to everybody. Another method is asked for its role first, as
    # everywhere, and the 403 of that comes before the 405.
    ("getServiceStatus", "unsupported_method"),
}


def schema_for(name: str, left_out: set[tuple[str, str]]) -> Any:
    """The document's operations, called with a key; no other is made up beside it."""
    schema = schemathesis.openapi.from_dict(
        DOCUMENT,
        config=config(
            # Another organization than the key's is asked for, or more than its role allows.
            further=["403"],
            left_out=left_out,
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


for_admin = schema_for("a-admin", LEFT_OUT)
for_reader = schema_for("a-read", LEFT_OUT_FOR_READERS)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    directory = tmp_path_factory.mktemp("service")
    settings_of_it: dict[str, Any] = {"api_keys": ENTRIES, **NO_WAY_OUT}
    with fresh_gates(), RunningService(directory, PROBE_TYPES, **settings_of_it) as service:
        service.http.headers.update(as_("admin"))
        yield Known(service, "A")


# The service's threads use ``random`` too, which hypothesis takes for a strategy that does.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@for_admin.parametrize()
@settings(max_examples=8, derandomize=True, database=None)
def test_an_admin_of_an_organization_is_answered_as_the_document_says(case: Case, known: Known):
    known.answers_as_told(case)


@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@for_reader.parametrize()
@settings(max_examples=5, derandomize=True, database=None)
def test_who_may_only_read_is_answered_as_the_document_says(case: Case, known: Known):
    known.answers_as_told(case)


def test_a_service_that_asks_for_no_key_would_be_noticed(service: RunningService):
    case = for_admin["/api/executions"]["GET"].Case(headers=as_("a-admin"))
    with pytest.raises(FailureGroup) as failed:
        case.call_and_validate(service.url, headers=as_("a-admin"))
    assert {type(failure) for failure in failed.value.exceptions} == {IgnoredAuth}


def test_the_document_names_every_way_to_show_who_calls():
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {name: (it["type"], it.get("in")) for name, it in schemes.items()} == {
        "HTTPBearer": ("http", None),
        "APIKeyHeader": ("apiKey", "header"),
        "ExecutionToken": ("apiKey", "query"),
    }
    used = {
        name
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        for way in operation.get("security", ())
        for name in way
    }
    assert used == set(schemes)
