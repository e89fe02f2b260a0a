"""PostgreSQL: scenarios that only occur with a database server.

Tests of other modules that are marked ``on_both`` run on PostgreSQL too.
"""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from structlog.testing import capture_logs

from tests.support.calls import call, violations
from tests.support.documents import document, line, node
from tests.support.incompressible import incompressible
from tests.support.postgres import Storage, on_both
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.problems import problem_of
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import seqs, sse, streamed_events
from tests.support.tcp_proxy import tcp_proxy_to

GATED = document(
    node("start", "trigger"),
    node("gate", "gate"),
    node("end"),
    flow=("start -> gate", "gate -> end"),
)
on_postgres = pytest.mark.parametrize("storage", ["postgresql"], indirect=True)


@on_postgres
def test_concurrent_executions_complete_without_a_database_file(service: RunningService) -> None:
    service.save(line(5))
    ids = [service.submit(inputs={"a": 1}).json()["executionId"] for _ in range(10)]
    for execution_id in ids:
        done = service.ended(execution_id)
        assert (done["status"], done["error"]) == ("completed", None)
        assert done["finalOutput"] == {"a": 1, "f0": 0, "f1": 1, "f2": 2}
    listed = service.http.get("/api/workflows/w/executions").json()
    assert [item["id"] for item in listed["executions"]] == ids[::-1]
    assert violations(service) == []
    assert not service.path.exists()


@on_postgres
def test_nested_calls_complete_with_few_slots(tmp_path: Path, storage: Storage) -> None:
    with RunningService(tmp_path, max_concurrent_executions=4, **storage) as service:
        service.save(document(node("receive", "trigger")), "inner")
        between = document(node("t", "trigger"), call("c", "inner"), flow=("t -> c",))
        service.save(between, "between")
        calls = [call(f"c{i}", "between", subworkflowInputs={"i": i}) for i in range(3)]
        service.save(document(*calls), "outer")
        for execution_id in [service.submit("outer").json()["executionId"] for _ in range(3)]:
            done = service.ended(execution_id)
            assert (done["status"], done["error"]) == ("completed", None)
            assert done["finalOutput"] == {f"c{i}": {"c": {"receive": {"i": i}}} for i in range(3)}
        assert service.http.get("/api/workflows/inner/executions").json()["total"] == 9
        assert violations(service) == []


@on_postgres
@pytest.mark.parametrize("hangs", [False, True])
def test_a_database_outage_delays_executions_and_loses_nothing(
    tmp_path: Path,
    storage: Storage,
    gates: Gates,
    hangs: bool,
) -> None:
    server = make_url(storage["database_url"])
    with tcp_proxy_to((server.host or "127.0.0.1", server.port or 5432)) as proxy:
        url = server.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        url += "?command_timeout=1&connect_timeout=1"
        begin, end = (proxy.pause, proxy.resume) if hangs else (proxy.close, proxy.open)
        reason = "did not respond in time" if hangs else "cannot be reached"
        with RunningService(tmp_path, PROBE_TYPES, database_url=url) as service:
            service.database_url = storage["database_url"]  # for the test's own connections
            execution_id = service.start(GATED)
            gates.wait_for("gate")
            with sse(service, f"/api/executions/{execution_id}/stream") as events:
                first = next(events)
                begin()
                gates.open("gate")
                polled = service.http.get(f"/api/executions/{execution_id}")
                for answer in (service.submit(), polled):
                    assert reason in problem_of(answer, 503)["detail"]
                    assert answer.headers["retry-after"] == "2"
                end()
                rest = list(events)
            done = service.ended(execution_id)
            assert (done["status"], done["error"]) == ("completed", None)
            assert gates.runs == ["gate"]
            assert seqs(rest) == list(range(first.data["seq"] + 1, done["seq"] + 1))
            assert service.run(line(3))["status"] == "completed"
            assert violations(service) == []


@on_postgres
def test_a_restart_of_the_server_loses_nothing(service: RunningService, gates: Gates) -> None:
    execution_id = service.start(GATED)
    gates.wait_for("gate")
    with sse(service, f"/api/executions/{execution_id}/stream") as events:
        first = next(events)
        service.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        gates.open("gate")
        rest = list(events)
    done = service.ended(execution_id)
    assert (done["status"], gates.runs) == ("completed", ["gate"])
    assert seqs(rest) == list(range(first.data["seq"] + 1, done["seq"] + 1))
    assert violations(service) == []


# Values that PostgreSQL cannot store, and keys that are too long for it


@on_both()
def test_an_id_with_a_nul_character_is_not_found(service: RunningService) -> None:
    execution_id = service.start(document(node("ask", "approval")))
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    for method, path in (
        *(("GET", f"/api/executions/%00{rest}") for rest in ("", "/logs", "/stream")),
        *(("POST", f"/api/executions/%00{rest}") for rest in ("/cancel", "/rerun", "/token")),
        ("POST", "/api/executions/%00/nodes/ask/resume"),
        ("GET", "/api/events?executionIds=%00"),
        ("GET", "/api/workflows/%00"),
        ("GET", "/api/workflows/%00/executions"),
        ("POST", "/api/webhook/%00"),
    ):
        problem = problem_of(service.http.request(method, path), 404)
        assert problem["detail"].endswith("'\0' not found"), path
    resumed = service.http.post(f"/api/executions/{execution_id}/nodes/%00/resume")
    assert "is not waiting" in problem_of(resumed, 409)["detail"]


INVALID_NODE_IDS: dict[str, tuple[str, str]] = {
    "a NUL character": (
        "a\0b",
        "node id 'a\\x00b' has U+0000; control characters are not accepted",
    ),
    "too long": ("long" * 126, "is too long: 504 characters, 500 at most"),
}


@pytest.mark.parametrize("name", INVALID_NODE_IDS)
def test_a_node_id_that_cannot_be_a_key_is_rejected(service: RunningService, name: str) -> None:
    node_id, reason = INVALID_NODE_IDS[name]
    answer = service.http.post(
        "/api/workflows/execute", json={"graph": document(node(node_id, "trigger"))}
    )
    (error,) = problem_of(answer)["errors"]
    assert (error["code"], error["pointer"]) == ("invalid_node_id", "/graph/nodes/0/id")
    assert reason in error["detail"]


@on_both()
def test_the_longest_names_are_stored_and_a_nul_character_in_a_label_is_replaced(
    service: RunningService,
) -> None:
    wide = incompressible(500, wide=True)
    labelled: Any = {**node(wide, "trigger"), "label": "a\0b"}
    body = {"graph": document(labelled), "workflowName": wide, "organizationId": wide}
    answer = service.http.post(
        "/api/workflows/execute", json=body, headers={"Idempotency-Key": incompressible(255)}
    )
    assert answer.status_code == 200, answer.text
    done = service.ended(answer.json()["executionId"])
    assert (done["status"], done["error"]) == ("completed", None)
    assert service.logs(done["executionId"])[wide]["nodeLabel"] == "a\N{REPLACEMENT CHARACTER}b"


@on_postgres
def test_a_value_that_cannot_be_stored_fails_the_execution_with_a_reason(
    service: RunningService,
) -> None:
    workflow = document(node("ask", "approval"), node("later"), flow=("ask -> later",))
    execution_id = service.start(workflow)
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    # The API rejects such ids, so only an older database can contain them.
    tamper = "UPDATE orchestrator_definitions SET document=replace(document, ?, ?)"
    service.write(tamper, '"later"', '"la\\u0000ter"')
    with capture_logs() as events:
        service.http.post(f"/api/executions/{execution_id}/nodes/ask/resume")
        done = service.ended(execution_id)
    assert done["status"] == "failed"
    assert "The database cannot store a value" in done["error"]
    assert "execution_failed_internally" in [event["event"] for event in events]
    assert violations(service) == []


@on_postgres
def test_positions_may_exceed_32_bits(service: RunningService) -> None:
    service.save(line(3))
    for table in ("orchestrator_events", "orchestrator_runs"):
        service.rows(f"SELECT setval('{table}_position_seq', ?)", 2**31 - 2)
    service.write(
        "INSERT INTO orchestrator_fairness(organization, lastServed) VALUES ('o', ?)", 2**31 - 2
    )
    ids = [service.submit().json()["executionId"] for _ in range(3)]
    for execution_id in ids:
        done = service.ended(execution_id)
        assert done["status"] == "completed"
        events = streamed_events(service, execution_id, 0)
        assert seqs(events) == list(range(1, done["seq"] + 1))
        with sse(
            service, "/api/events", events[0].data["position"], executionIds=execution_id
        ) as e:
            assert [event.data for event in e] == [event.data for event in events[1:]]
    page = service.http.get("/api/executions?limit=1").json()
    more = service.http.get(f"/api/executions?cursor={page['nextCursor']}").json()
    listed = [item["id"] for item in page["executions"] + more["executions"]]
    assert listed == ids[::-1]
