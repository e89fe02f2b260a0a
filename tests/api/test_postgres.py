"""The same service on PostgreSQL: a URL away."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from tests.calls import call, child_of, violations
from tests.database.conftest import new_postgres_database
from tests.documents import document, line, node
from tests.probes import PROBE_TYPES, Gates
from tests.service import RunningService, wait_until


@pytest.fixture
async def url():
    async with new_postgres_database() as url:
        yield url


async def save(url: str, workflow_id: str, data: object) -> None:

    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(
        "INSERT INTO workflows(id, name, data) VALUES ($1, 'On PostgreSQL', $2)",
        workflow_id,
        json.dumps(data),
    )
    await connection.close()


async def test_a_workflow_runs_on_postgresql(tmp_path: Path, url: str, gates: Gates) -> None:

    with RunningService(tmp_path, PROBE_TYPES, database_url=SecretStr(url)) as service:
        await save(url, "line", line(5))
        await save(url, "gate", document(node("gate", "gate")))
        await save(url, "ask", document(node("ask", "approval")))

        def use_it() -> None:
            ids = [service.submit("line", inputs={"a": 1}) for _ in range(10)]
            for answer in ids:
                done = service.ended(answer.json()["executionId"])
                assert done["status"] == "completed"
                assert done["finalOutput"] == {"a": 1, "f0": 0, "f1": 1, "f2": 2}
            gated = service.submit("gate").json()["executionId"]
            gates.wait_for("gate")
            assert service.http.post(f"/api/executions/{gated}/cancel").json()["success"] is True
            assert service.ended(gated)["status"] == "cancelled"
            asked = service.submit("ask").json()["executionId"]
            wait_until(lambda: service.poll(asked)["status"] == "waiting")
            assert service.http.post(
                f"/api/executions/{asked}/nodes/ask/resume", json={}
            ).is_success
            assert service.ended(asked)["status"] == "completed"
            listed = service.http.get("/api/workflows/line/executions").json()
            assert listed["total"] == 10

        await asyncio.to_thread(use_it)
    assert not service.path.exists()


async def test_workflows_call_workflows_on_postgresql(
    tmp_path: Path, url: str, gates: Gates
) -> None:
    settings = {"database_url": SecretStr(url), "max_concurrent_executions": 4}
    with RunningService(tmp_path, PROBE_TYPES, **settings) as service:
        await save(url, "inner", document(node("hear", "trigger")))
        between = document(node("t", "trigger"), call("c", "inner"), flow=("t -> c",))
        await save(url, "between", between)
        calls = [call(f"c{i}", "between", subworkflowInputs={"i": i}) for i in range(3)]
        await save(url, "outer", document(*calls))
        await save(url, "held", document(node("gate", "gate")))
        await save(url, "holds", document(call("c", "held")))

        def use_it() -> None:
            submitted = [service.submit("outer").json()["executionId"] for _ in range(8)]
            for execution_id in submitted:
                done = service.ended(execution_id)
                assert (done["status"], done["error"]) == ("completed", None)
                assert done["finalOutput"] == {f"c{i}": {"c": {"hear": {"i": i}}} for i in range(3)}
            assert service.http.get("/api/workflows/inner/executions").json()["total"] == 24
            parent = service.submit("holds").json()["executionId"]
            gates.wait_for("gate")
            child = child_of(service, parent)
            assert service.http.post(f"/api/executions/{parent}/cancel").json()["success"] is True
            assert service.ended(parent)["status"] == "cancelled"
            assert service.ended(child)["status"] == "cancelled"
            assert violations(service) == []

        await asyncio.to_thread(use_it)
