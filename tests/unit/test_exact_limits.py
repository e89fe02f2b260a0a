"""Exact limits: a value at a limit is accepted or kept, and one beyond it is rejected or cut.

The limits are literals here, because users see them in messages, in the schemas of node types, or
in the documentation.
"""

from collections.abc import Callable
from contextvars import copy_context
from typing import cast

import pytest
from pydantic import ValidationError

from api.access_log import logged_path
from api.auth.api_keys import KeysError, read_entry
from api.auth.origins import parse_authority
from api.auth.origins import shown as shown_origin
from api.schemas.base import RequestModel, nearest, suggestion
from api.schemas.base import shown as shown_name
from api.schemas.workflows import CreateWorkflowRequest
from database.clock import utc_now
from database.connection.reader import Reader
from database.maintenance.invariants import Violation, find_violations
from engine.conditions import Comparison, Operator, holds
from engine.document import parse_document
from engine.errors import NodeError, sanitize_for_storage
from engine.json_values import MISSING, describe_fields, describe_value, json_error
from engine.parking import PARK, park_error
from engine.problems import cut_detail
from tasks.flow.approval import ApprovalConfig
from tasks.flow.subworkflow import SubworkflowConfig
from tasks.http.client import parse_url
from tasks.http.config import check_header_name, check_header_value
from tasks.http.media_types import looks_binary, looks_like_text, media_type
from tasks.http.ssrf_guard import parse_allowed_hosts
from tasks.http.url_templates import fill_url
from tasks.masking import Masker
from tasks.progress import enter_attempt, report_progress
from tasks.records.aggregate import AggregateConfig
from tasks.templating import filters
from tests.support.documents import document, node


def _x(count: int) -> str:
    return "x" * count


def _label_of(text: str) -> str:
    return parse_document(document({**node("a"), "label": text})).nodes[0].label


@pytest.mark.parametrize(
    ("cut", "limit", "end"),
    [
        (cut_detail, 1_000, "…"),
        (sanitize_for_storage, 4_000, "… (4001 characters)"),
        (_label_of, 500, "…"),
        (shown_name, 100, "…"),
        (shown_origin, 200, "…"),
        (lambda text: describe_value([text])[2:-2], 76, None),
    ],
)
def test_a_text_at_its_limit_is_whole_and_a_longer_one_is_cut(
    cut: Callable[[str], str], limit: int, end: str | None
):
    assert cut(_x(limit)) == _x(limit)
    assert cut(_x(limit + 1)) == (_x(limit) + end if end else cut(_x(limit + 2)))


def test_a_described_string_has_at_most_80_characters_with_its_quotation_marks():
    assert describe_value(_x(78)) == f"'{_x(78)}'"
    assert describe_value(_x(79)) == f"'{_x(79)}…"


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_has_at_most_4300_digits(sign: int):
    assert json_error(sign * (10**4300 - 1)) is None
    assert json_error(sign * 10**4300) == "a number of more than 4300 digits"


def _message_of(text: str) -> str | None:
    received: list[str | None] = []

    class Sink:
        def progress(self, percentage: int | None, message: str | None) -> None:
            received.append(message)

        def delta(self, text: str, index: int | None, question: int) -> None: ...

    def report() -> None:
        enter_attempt(Sink())
        report_progress(message=text)

    copy_context().run(report)
    return received[0]


def test_a_progress_message_has_at_most_500_characters():
    assert _message_of(_x(500)) == _x(500)
    assert _message_of(_x(501)) == _x(500)


def test_a_percentage_is_at_most_100():
    report_progress(100)
    with pytest.raises(ValueError, match="from 0 to 100"):
        report_progress(100.5)


def test_an_error_lists_at_most_20_fields_of_a_record():
    fields = [f"f{number:02}" for number in range(21)]
    assert describe_fields(dict.fromkeys(fields[:20])).endswith(", ".join(fields[:20]))
    assert describe_fields(dict.fromkeys(fields)) == f"it has: {', '.join(fields[:20])}"


def _aggregate(groups: int, results: int) -> None:
    AggregateConfig.model_validate(
        {
            "aggregateGroupBy": [f"g{number}" for number in range(groups)],
            "aggregateOperations": [
                {"operation": "count", "name": f"n{number}"} for number in range(results)
            ],
        }
    )


def _subworkflow(characters: int) -> None:
    SubworkflowConfig.model_validate({"subworkflowId": _x(characters)})


def _tags(count: int) -> None:
    CreateWorkflowRequest.model_validate({"name": "n", "data": {}, "tags": ["t"] * count})


def _key(characters: int) -> None:
    read_entry("KEYS", f"name:run:{_x(characters)}:{'0' * 64}")


def _url(characters: int) -> None:
    fill_url("httpUrl", "http://h/{{ text }}", {"text": _x(characters - len("http://h/"))})


def _date_format(characters: int) -> None:
    filters.date("2026-01-02", "-" * characters)


def _assignee(characters: int) -> None:
    ApprovalConfig.model_validate({"approvalAssignees": ["ada", _x(characters)]})


@pytest.mark.parametrize(
    ("use", "limit"),
    [
        (_assignee, 250),
        (lambda count: _aggregate(count, 1), 20),
        (lambda count: _aggregate(1, count), 100),
        (_subworkflow, 500),
        (_tags, 100),
        (_key, 500),
        (_url, 65_536),
        (_date_format, 100),
        (lambda digits: filters.round_(1.5, digits), 15),
        (lambda port: parse_url(f"http://host:{port}"), 65_535),
        (lambda port: parse_allowed_hosts(f"host:{port}"), 65_535),
    ],
)
def test_a_value_at_its_limit_is_accepted_and_a_larger_one_is_rejected(
    use: Callable[[int], object], limit: int
):
    use(limit)
    with pytest.raises((ValueError, KeysError)):
        use(limit + 1)


@pytest.mark.parametrize(
    ("use", "limit"),
    [
        (lambda port: parse_allowed_hosts(f"host:{port}"), 1),
        (lambda digits: filters.round_(1.5, digits), 0),
        (lambda characters: Masker().add_secret(_x(characters)), 4),
        (_subworkflow, 1),
    ],
)
def test_a_value_at_its_minimum_is_accepted_and_a_smaller_one_is_rejected(
    use: Callable[[int], object], limit: int
):
    use(limit)
    with pytest.raises(ValueError):  # noqa: PT011 - the messages differ
        use(limit - 1)


def test_a_host_header_has_a_port_up_to_65535():
    assert parse_authority("host:65535") is not None
    assert parse_authority("host:65536") is None


def test_an_error_about_a_header_shows_60_characters_of_its_name():
    with pytest.raises(ValueError, match=f"^'{_x(60)}' is not"):
        check_header_name(_x(60) + "(")
    with pytest.raises(ValueError, match=f"^header '{_x(60)}' would"):
        check_header_value(_x(61), "a\nb")


def test_a_media_type_is_read_from_1000_characters():
    assert media_type(f"a/{_x(998)}") == f"a/{_x(998)}"
    assert media_type(f"a/{_x(999)}") == f"a/{_x(998)}"


@pytest.mark.parametrize(("characters", "found"), [(1_023, True), (1_024, False)])
def test_the_first_1024_bytes_of_a_body_are_inspected(characters: int, *, found: bool):
    body = b"x" * characters + b"\0"
    assert looks_binary(body) is found
    assert looks_like_text(body) is not found


def test_a_failure_that_a_model_server_reports_shows_500_characters():
    from tasks.llm.content import server_failure  # noqa: PLC0415 - it imports openai

    assert str(server_failure({"message": _x(500)}, "h")).count("x") == 500
    assert str(server_failure({"message": _x(501)}, "h")).count("x") == 500


def test_lines_of_a_secret_are_masked_from_8_characters():
    masker = Masker()
    masker.add_secret("12345678\nabcdefg")
    assert masker.mask("12345678") == "***"
    assert masker.mask("abcdefg") == "abcdefg"


# Extreme values


@pytest.mark.parametrize(
    ("seconds", "delay"), [(10**400, None), (float("inf"), None), (-1, 0.0), (True, None), (2, 2.0)]
)
def test_a_delay_that_a_server_requests_is_finite(seconds: object, delay: float | None):
    assert NodeError("x", retry_after=seconds).retry_after == delay  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("until", "accepted"),
    [
        ("0001-01-01T00:00:00+14:00", False),
        ("9999-12-31T23:59:59-14:00", False),
        ("0001-01-01T14:00:00+14:00", True),
        ("2026-01-01T00:00:00", False),
        ("2026-01-01T00:00:00Z", True),
    ],
)
def test_a_wait_ends_at_a_time_that_exists_in_utc(until: str, *, accepted: bool):
    assert (park_error({PARK: {"until": until}}) is None) is accepted


@pytest.mark.parametrize("operator", ["isBefore", "isAfter"])
def test_a_comparison_of_a_missing_timestamp_is_not_retried(operator: str):
    with pytest.raises(NodeError, match="has no field 'at'") as caught:
        holds(Comparison("at", Operator.parse(operator), "2026-01-01T00:00:00Z"), MISSING)
    assert not caught.value.retryable


def test_the_token_of_a_webhook_is_not_in_a_logged_path():
    assert logged_path("/api/webhook/w/t0ken") == "/api/webhook/w/***"
    assert logged_path("/api/webhook/w/more/t0ken") == "/api/webhook/w/more/***"
    assert logged_path(f"/{_x(199)}") == f"/{_x(199)}"
    assert logged_path(f"/{_x(200)}") == f"/{_x(199)}…"


# Unknown names


class _Body(RequestModel):
    workflow_id: str


def test_a_similar_name_is_suggested_and_a_long_one_is_not_compared():
    assert nearest(_x(60), [_x(60)], 0.6) == _x(60)
    assert nearest(_x(61), [_x(60)], 0.6) is None
    assert suggestion("workflowid", ["workflowId", "other"], 0.6) == "did you mean 'workflowId'?"
    assert suggestion("zzz", ["workflowId", "other"], 0.6) == "accepted are: workflowId, other"
    assert suggestion("zzz", [], 0.6) == "no field is accepted"


@pytest.mark.parametrize(("unknown", "listed"), [(99, 99), (100, 100), (101, 101), (150, 101)])
def test_an_error_lists_100_unknown_fields_and_counts_the_others(unknown: int, listed: int):
    body = {"workflowId": "w"} | {f"unknown{number}": 1 for number in range(unknown)}
    with pytest.raises(ValidationError) as caught:
        _Body.model_validate(body)
    errors = caught.value.errors()
    assert len(errors) == listed
    more = f"{unknown - 100} more unknown fields"
    assert [error["msg"] for error in errors].count(more) == (1 if unknown > 100 else 0)


async def test_the_check_of_a_database_shows_at_most_20_rows_of_each_invariant():
    queries: list[str] = []

    class Connection:
        def execute(self, query: object) -> list[object]:
            queries.append(str(query))
            return []

    class Snapshot:
        async def run(self, read: Callable[[object], list[Violation]]) -> list[Violation]:
            return read(Connection())

    reader = cast("Reader", Snapshot())
    assert await find_violations(reader, utc_now, service_runs=True) == []
    assert len(queries) > 20
    assert all(query.endswith(" LIMIT 20") for query in queries)
