"""Rows of other programs in the shared tables: every read returns them as they are."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from database.check import PASSED, check_database
from tests.support.documents import line
from tests.support.generated import examples
from tests.support.main_project import DDL, create_main_database
from tests.support.postgres import on_both
from tests.support.service import RunningService, wait_until

EXECUTION_COLUMNS = [
    *("organizationId", "status", "triggerType", "inputs", "currentNodeId", "nodeResults"),
    *("finalOutput", "error", "createdAt", "startedAt", "completedAt"),
]
LOG_COLUMNS = [
    *("nodeId", "nodeType", "nodeLabel", "status", "inputData", "outputData", "error"),
    *("duration", "timestamp", "attempt", "seq", "startSeq", "lastError", "resultDetail"),
    *("waitUntil", "nodePercentage", "nodeMessage"),
]

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20
) | st.sampled_from(
    [
        "paused",
        "success",
        "running",
        "waiting",
        "completed",
        "2026-01-01 10:00:00",
        "12 ms",
        "{not json",
        "NaN",
        "[1e999]",
        '"\\ud83d"',
        "[" * 300,
        '{"message": 5}',
        "9" * 5_000,
    ]
)
values = (
    st.none()
    | texts
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=20)
)
rows_of = {
    "execution": st.fixed_dictionaries(dict.fromkeys(EXECUTION_COLUMNS, values)),
    "log": st.fixed_dictionaries(dict.fromkeys(LOG_COLUMNS, values)),
}


def insert(service: RunningService, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    marks = ", ".join("?" * len(row))
    service.write(f"INSERT INTO {table}({names}) VALUES ({marks})", *row.values())


def add_execution(service: RunningService, execution_id: str = "theirs", **row: Any) -> str:
    insert(service, "workflow_executions", {"id": execution_id, "workflowId": "w", **row})
    return execution_id


def add_log(service: RunningService, log_id: str, execution_id: str = "theirs", **row: Any) -> None:
    insert(service, "execution_logs", {"id": log_id, "executionId": execution_id, **row})


def get(service: RunningService, path: str, **query: Any) -> Any:
    answer = service.http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stream(service: RunningService, execution_id: str) -> list[dict[str, Any]]:
    """Return the messages of an ended execution."""
    text = service.http.get(f"/api/executions/{execution_id}/stream").text
    data = [part for part in text.split("\n") if part.startswith("data: ")]
    return [json.loads(part.removeprefix("data: ")) for part in data]


@on_both()
@pytest.mark.parametrize("status", ["paused", "success", "RUNNING", ""])
def test_an_unknown_status_is_returned_and_counts_as_ended(service: RunningService, status: str):
    service.save(line(2))
    add_execution(service, status=status, createdAt="2026-01-01 10:00:00")
    shown = status or "pending"  # an empty status counts as unset
    answer = get(service, "/api/executions/theirs")
    assert (answer["status"], answer["createdAt"]) == (shown, "2026-01-01 10:00:00")
    assert get(service, "/api/executions")["executions"][-1]["status"] == status
    assert get(service, "/api/workflows/w/executions")["executions"][-1]["status"] == status
    if not status:
        return
    cancelled = service.http.post("/api/executions/theirs/cancel").json()
    assert (cancelled["success"], cancelled["previousStatus"]) == (False, status)
    (message,) = stream(service, "theirs")
    assert (message["type"], message["status"]) == ("execution_complete", status)
    assert service.http.post("/api/executions/theirs/rerun", json={}).status_code == 404
    assert service.rows("SELECT status FROM workflow_executions")[0][0] == status


def test_a_foreign_execution_with_an_error_ends_its_stream_as_an_error(service: RunningService):
    service.save(line(2))
    add_execution(service, status="crashed", error="out of paper")
    (message,) = stream(service, "theirs")
    assert (message["type"], message["error"]) == ("execution_error", "out of paper")


@pytest.mark.parametrize(
    ("stored", "shown"),
    [(0.0123, 0.0123), ("12 ms", "12 ms"), ("0.0123", 0.0123), (17, 17), (b"\x31\xff", "1\ufffd"),
     (None, None), (float("inf"), "inf"), (2**60, 2**60)],
)  # fmt: skip
def test_a_duration_is_returned_as_stored(service: RunningService, stored: Any, shown: Any):
    service.save(line(2))
    add_execution(service, status="completed")
    add_log(service, "l1", nodeId="n", status="completed", duration=stored)
    assert get(service, "/api/executions/theirs")["logs"][0]["duration"] == shown
    assert get(service, "/api/executions/theirs/logs")["logs"][0]["duration"] == shown
    (message,) = stream(service, "theirs")
    assert message["logs"][0]["duration"] == shown


@on_both()
def test_invalid_json_columns_are_returned_as_strings(service: RunningService):
    service.save(line(2))
    bad = ["not json", "NaN", '{"a": 1e999}', "[" * 300 + "]" * 300]
    add_execution(service, status="completed", finalOutput=bad[1], nodeResults=bad[2])
    for i, text in enumerate(bad):
        add_log(service, f"l{i}", nodeId=f"n{i}", inputData=text, outputData="{}")
    answer = get(service, "/api/executions/theirs", include="nodeResults")
    assert (answer["finalOutput"], answer["nodeResults"]) == (bad[1], bad[2])
    assert sorted(log["inputData"] for log in answer["logs"]) == sorted(bad)
    logs = get(service, "/api/executions/theirs/logs")["logs"]
    assert sorted(log["inputData"] for log in logs) == sorted(bad)
    (message,) = stream(service, "theirs")
    assert sorted(log["inputData"] for log in message["logs"]) == sorted(bad)


def test_log_rows_without_an_id_and_copied_rows_are_all_returned(tmp_path: Path):
    create_main_database(tmp_path / "database.sqlite")  # SQLite allows NULL in a TEXT key
    with RunningService(tmp_path) as service:
        check_pages_of_odd_rows(service)


def check_pages_of_odd_rows(service: RunningService) -> None:
    service.save(line(2))
    add_execution(service, status="completed")
    for i in range(7):
        add_log(service, f"l{i}", nodeId="same", timestamp="2026-01-01 10:00:00", seq=5)
        insert(service, "execution_logs", {"executionId": "theirs", "nodeId": f"no-id-{i}"})
    found, after = list[Any](), 0
    for _ in range(20):
        page = get(service, "/api/executions/theirs/logs", limit=2, afterSeq=after)
        found += [log["nodeId"] for log in page["logs"]]
        after = page["nextSeq"]
        if not page["hasMore"]:
            break
    assert sorted(found) == sorted(["same"] * 7 + [f"no-id-{i}" for i in range(7)])


@on_both()
def test_rows_of_another_program_do_not_stop_a_rerun_or_the_check(service: RunningService):
    """A rerun, the recovery and the check read the rows of this service only."""
    execution = service.run(line(3))
    execution_id = execution["executionId"]
    add_log(service, "note", execution_id, nodeId="theirs", status="odd", outputData="not json")
    assert check_database(service.settings.url).exit_code == PASSED
    add_log(service, "copy", execution_id, nodeId="end", status="completed", outputData="not json")
    rerun = service.http.post(f"/api/executions/{execution_id}/rerun", json={"fromNodeId": "end"})
    assert rerun.status_code == 200, rerun.text
    assert service.ended(rerun.json()["executionId"])["status"] == "completed"
    service.write("UPDATE workflow_executions SET status='archived' WHERE id=?", execution_id)
    service.write("DELETE FROM execution_logs WHERE id='copy'")
    assert check_database(service.settings.url).exit_code == PASSED
    again = service.http.post(f"/api/executions/{execution_id}/rerun", json={})
    assert again.status_code == 200, again.text


def test_a_rerun_reports_inputs_that_another_program_replaced(
    service: RunningService,
):
    execution_id = service.run(line(3))["executionId"]
    service.write("UPDATE workflow_executions SET inputs='not json' WHERE id=?", execution_id)
    answer = service.http.post(f"/api/executions/{execution_id}/rerun", json={})
    assert answer.status_code == 422
    assert "the stored inputs" in answer.json()["detail"]
    given = service.http.post(f"/api/executions/{execution_id}/rerun", json={"inputs": {}})
    assert given.status_code == 422  # the old inputs decide which nodes run again


def test_listings_page_through_rows_whose_sort_keys_are_not_strings(service: RunningService):
    service.save(line(2))
    keys: list[Any] = [
        None,
        "",
        "2026-01-01 10:00:00",
        b"\xff",
        b"\x00",
        "2026-02-01T00:00:00.000Z",
    ]
    for i, created in enumerate(keys * 2):
        add_execution(service, f"e{i}", createdAt=created)
        name: Any = f"w{i}".encode() if i % 2 else f"w{i}"
        insert(service, "workflows", {"id": name, "name": "n", "data": "{}", "createdAt": created})
    for key, count in (("executions", 12), ("workflows", 13)):
        found, cursor = list[str](), ""
        for _ in range(50):
            page = get(service, f"/api/{key}", limit=1, cursor=cursor)
            found += [row["id"] for row in page[key]]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        own = [one for one in found if not one.startswith("example-")]
        assert len(own) == len(set(own)) == count


@on_both()
def test_a_forged_cursor_is_rejected(service: RunningService):
    for parts in (["executions", 5, 0, "x"], ["executions", {"bytes": "?"}, 0, "x"],
                  ["executions", 2**80, 0, "x"], ["executions", None, 0, "x"]):  # fmt: skip
        cursor = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")
        answer = service.http.get("/api/executions", params={"cursor": cursor})
        expected = 200 if parts[1] == 5 and service.settings.database_url is None else 422
        assert answer.status_code == expected, answer.text


def test_a_main_project_without_the_optional_columns_is_read(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "database.sqlite")) as connection, connection:
        connection.executescript(
            "CREATE TABLE workflows(id TEXT PRIMARY KEY, name TEXT NOT NULL, data TEXT NOT NULL);"
            "CREATE TABLE workflow_executions(id TEXT PRIMARY KEY, workflowId TEXT, status TEXT);"
            "CREATE TABLE execution_logs(id TEXT PRIMARY KEY, executionId TEXT, nodeId TEXT);"
            "INSERT INTO workflows VALUES ('w', 'Old', '{}');"
            "INSERT INTO workflow_executions VALUES ('theirs', 'w', 'success');"
            "INSERT INTO execution_logs VALUES ('l', 'theirs', 'n');"
        )
    with RunningService(tmp_path) as service:
        assert get(service, "/api/executions/theirs")["status"] == "success"
        assert get(service, "/api/executions/theirs/logs")["logs"][0]["nodeId"] == "n"
        assert get(service, "/api/executions")["executions"][0]["id"] == "theirs"
        assert get(service, "/api/workflows/w/executions")["total"] == 1
        assert service.run(line(2), inputs={})["status"] == "completed"


def test_columns_with_other_declared_types_are_read(tmp_path: Path):
    ddl = DDL.format(organization_of_workflow="", organization_of_execution="")
    ddl = ddl.replace("duration INTEGER", "duration REAL").replace(
        "createdAt TEXT", "createdAt DATETIME"
    )
    with closing(sqlite3.connect(tmp_path / "database.sqlite")) as connection, connection:
        connection.executescript(ddl)
    with RunningService(tmp_path) as service:
        service.save(line(2))
        add_execution(service, status="completed", createdAt=20260101)
        add_log(service, "l", nodeId="n", duration=5)
        assert get(service, "/api/executions/theirs")["createdAt"] == "20260101"
        assert get(service, "/api/executions/theirs")["logs"][0]["duration"] == 5
        assert get(service, "/api/executions")["executions"][0]["createdAt"] == "20260101"


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("service")) as service:
        service.save(line(2))
        yield service


@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    execution=rows_of["execution"],
    logs=st.lists(rows_of["log"], max_size=3),
    workflow=st.fixed_dictionaries({"name": values, "data": values, "tags": values}),
)
@example(
    execution=dict.fromkeys(EXECUTION_COLUMNS, b"\xff\x00"),
    logs=[dict.fromkeys(LOG_COLUMNS, b"\xff\x00"), dict.fromkeys(LOG_COLUMNS)],
    workflow={"name": b"\xff", "data": b"\xff", "tags": 5},
)
def test_no_row_of_another_program_makes_a_read_fail(
    reading: RunningService,
    execution: dict[str, Any],
    logs: list[dict[str, Any]],
    workflow: dict[str, Any],
):
    not_null = {"name": workflow["name"] or "n", "data": workflow["data"] or "{}"}
    insert(reading, "workflows", {"id": "v", **workflow, **not_null})
    insert(reading, "workflow_executions", {"id": "theirs", "workflowId": "v", **execution})
    for i, row in enumerate(logs):
        add_log(reading, f"l{i}", **row)
    try:
        answers = [reading.http.get(path) for path in paths(execution)]
        for answer in answers:
            assert answer.status_code == 200, (answer.url, answer.text)
            json.loads(answer.text, parse_constant=pytest.fail)
        shown = get(reading, "/api/executions/theirs/logs")["logs"]
        assert len(shown) == len(logs)
        check_stream(reading.http)
    finally:
        for table in ("execution_logs", "workflow_executions"):
            reading.write(f"DELETE FROM {table}")
        reading.write("DELETE FROM workflows WHERE id='v'")


def paths(execution: dict[str, Any]) -> list[str]:
    return [
        "/api/executions/theirs",
        "/api/executions/theirs?include=nodeResults",
        "/api/executions/theirs/logs",
        "/api/executions/theirs/logs?limit=1",
        "/api/executions/theirs/logs?payloads=false",
        "/api/executions/theirs/logs?nodeId=n",
        "/api/executions",
        "/api/executions?limit=1",
        "/api/executions?workflowId=v",
        "/api/workflows/v/executions",
        "/api/workflows/v",
        "/api/workflows",
    ]


def check_stream(http: httpx.Client) -> None:
    """Check that the stream sends a first message, whether or not the execution has ended."""
    with http.stream("GET", "/api/executions/theirs/stream") as answer:
        assert answer.status_code == 200
        text = ""
        for piece in answer.iter_text():
            text += piece
            if "data: " in text and text.endswith("\n\n"):
                break
    data = text.split("data: ", 1)[1].split("\n", 1)[0]
    json.loads(data, parse_constant=pytest.fail)


def test_an_unknown_final_status_does_not_stop_a_stream(service: RunningService):
    """One event with an unknown status must not stop the streams of all clients."""
    execution_id = service.run(line(2))["executionId"]
    service.write("UPDATE orchestrator_events SET status='archived'")
    service.write("UPDATE workflow_executions SET status='archived' WHERE id=?", execution_id)
    path = f"/api/executions/{execution_id}/stream"
    answer = wait_until(lambda: service.http.get(path, params={"afterSeq": 0}))
    assert answer.status_code == 200
    assert '"status":"archived"' in answer.text
    assert "event: execution_complete" in answer.text
