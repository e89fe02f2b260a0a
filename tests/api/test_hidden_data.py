"""Nodes with ``hideData``: their data is encrypted, and later nodes and a restart can use it."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from database.encryption import DataEncryption
from engine.errors import StorageUnavailableError
from tests.support.documents import document, node
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.probe_nodes import SECRET_OUTPUT as CANARY
from tests.support.service import RunningService, wait_until

pytestmark = pytest.mark.behavior

HIDDEN = {"hidden": True}


def hidden(node_id: str, node_type: str, **config: Any) -> dict[str, Any]:
    return node(node_id, node_type, hideData=True, **config)


def drawn() -> dict[str, Any]:
    return document(
        node("start", "trigger"),
        hidden("make", "mine"),
        hidden("test", "condition", conditionField="secret", conditionOperator="isText"),
        hidden("use", "addField", addFieldName="size", addFieldValue="{{ secret | length }}"),
        hidden("end", "output"),
        flow=("start -> make", "make -> test", "test -true-> use", "use -> end"),
    )


def everything(service: RunningService) -> bytes:
    """Return the content of the database."""
    if service.database_url.startswith("postgresql"):
        names = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname !~ '^(pg|sql)_'"
        tables = [name for (name,) in service.rows(names)]
        return repr(
            [[*row] for table in tables for row in service.rows(f'TABLE "{table}"')]
        ).encode()
    files = service.path.parent.glob(f"{service.path.name}*")
    return b"".join(path.read_bytes() for path in files)


def test_data_of_hidden_nodes_is_readable_nowhere(service: RunningService):
    done = service.run(drawn(), inputs={"x": 1})
    logs = service.logs(done["executionId"])
    stored = everything(service)
    (row,) = service.rows("SELECT nodeResults, finalOutput FROM workflow_executions")

    assert (done["status"], done["error"]) == ("completed", None)
    assert done["executionId"].encode() in stored
    assert CANARY.encode() not in stored
    assert CANARY not in json.dumps([done, logs])
    assert {(i, json.dumps(logs[i]["outputData"])) for i in ("make", "test", "use", "end")} == {
        (i, json.dumps(HIDDEN)) for i in ("make", "test", "use", "end")
    }
    assert logs["make"]["inputData"] == logs["use"]["inputData"] == HIDDEN
    assert logs["start"]["outputData"] == {"x": 1}
    assert json.loads(row["nodeResults"])["use"] == HIDDEN
    assert done["finalOutput"] == HIDDEN


def test_hidden_data_selects_branches_and_reaches_later_nodes(service: RunningService):
    graph = drawn()
    graph["nodes"].append(
        node("count", "addField", addFieldValue="{{ nodes.use.output.secret | length }}")
    )
    graph["connections"].append({"id": "x", "fromNodeId": "use", "toNodeId": "count"})
    done = service.run(graph, inputs={})
    logs = service.logs(done["executionId"])

    assert logs["count"]["status"] == "completed"
    assert logs["count"]["outputData"]["newField"] == len(
        CANARY
    )  # this node does not hide its data


def test_a_restart_continues_with_sealed_data_and_repeats_no_node(tmp_path: Path, gates: Gates):
    graph = document(
        hidden("make", "mine"),
        hidden("once", "flaky", failures=0),
        hidden("wait", "gate"),
        hidden("end", "addField", addFieldValue="{{ nodes.make.output.secret | length }}"),
        node("size", "condition", conditionField="newField", conditionValue=str(len(CANARY))),
        flow=("make -> once", "once -> wait", "wait -> end", "end -> size"),
    )
    with RunningService(tmp_path, PROBE_TYPES) as service:
        execution_id = service.start(graph)
        gates.wait_for("wait")
        assert CANARY.encode() not in everything(service)
    with RunningService(tmp_path, PROBE_TYPES) as service:
        gates.open("wait")
        done = service.ended(execution_id)
        logs = service.rows("SELECT nodeId, resultDetail FROM execution_logs WHERE nodeId='size'")
        again = service.http.post(f"/api/executions/{execution_id}/rerun", json={}).json()
        second = service.ended(again["executionId"])

    assert (done["status"], done["error"]) == ("completed", None)
    assert json.loads(logs[0]["resultDetail"])["conditionResult"] is True
    assert second["status"] == "completed"
    assert gates.runs.count("once") == 2  # one in each execution


@pytest.mark.essential
def test_a_parked_node_that_hides_its_data_is_resumed(service: RunningService):
    graph = document(
        hidden("make", "mine"),
        hidden("ask", "approval", approvalMessage="{{ secret }}"),
        hidden("yes", "output"),
        flow=("make -> ask", "ask -true-> yes"),
    )
    execution_id = service.start(graph)
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    stored = everything(service)
    service.http.post(
        f"/api/executions/{execution_id}/nodes/ask/resume", json={"data": {"pin": CANARY}}
    )
    done = service.ended(execution_id)
    (row,) = service.rows("SELECT outputData FROM execution_logs WHERE nodeId='ask'")

    assert done["status"] == "completed"
    assert CANARY.encode() not in stored
    assert json.loads(row["outputData"]) == HIDDEN


def test_only_the_owner_can_read_the_key_file(tmp_path: Path):
    encryption = DataEncryption(None, tmp_path / "database.sqlite.key")
    sealed = json.loads(encryption.encrypt({"a": CANARY}))

    assert stat.S_IMODE((tmp_path / "database.sqlite.key").stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "database.sqlite.key"]
    assert DataEncryption(None, tmp_path / "database.sqlite.key").decrypt(sealed) == {"a": CANARY}
    assert sealed.keys() == {"hidden", "sealed"}
    assert CANARY not in json.dumps(sealed)
    assert encryption.decrypt({"message": "no such one"}) is None


def test_another_key_cannot_decrypt_and_is_reported():
    sealed = json.loads(DataEncryption("a key of sixteen+", None).encrypt({"a": 1}))

    assert DataEncryption("a key of sixteen+", None).decrypt(sealed) == {"a": 1}
    with pytest.raises(
        StorageUnavailableError, match="encrypted with another key: DATA_ENCRYPTION_KEY"
    ):
        DataEncryption("another of sixteen", None).decrypt(sealed)


def test_a_key_is_required_without_a_key_file():
    with pytest.raises(StorageUnavailableError, match="hideData need DATA_ENCRYPTION_KEY"):
        DataEncryption(None, None).encrypt({})
