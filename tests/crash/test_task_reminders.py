"""SIGKILL between a reminder and its callback, and two services that remind of one task."""

from pathlib import Path
from typing import Any

from tests.support.callback_receiver import Receiver
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.postgres import Storage, on_both
from tests.support.service import wait_until


def asking(**config: Any) -> dict[str, Any]:
    values = {"approvalMessage": "Pay?", "approvalAssignees": "Ada", **config}
    inner = document(
        node("start", "trigger"), node("ask", "approval", **values), flow=("start -> ask",)
    )
    inner["nodes"].append(node("end"))
    inner["connections"].append(
        {"id": "c", "fromNodeId": "ask", "toNodeId": "end", "outputType": "true"}
    )
    return inner


@on_both()
def test_a_reminder_survives_a_kill_and_is_recorded_once(
    tmp_path: Path, storage: Storage, receiver: Receiver
) -> None:
    with ServiceProcess(tmp_path, **storage) as first, ServiceProcess(tmp_path, **storage) as other:
        first.run_process(kill_at="after_reminder")
        execution_id = first.start(asking(approvalReminderSeconds=0.5), callbackUrl=receiver.url)
        first.wait_dead()
        assert first.violations(service_runs=False) == []
        assert receiver.got == []
        first.run_process()
        other.run_process()
        wait_until(lambda: receiver.got)
        ((message_id, body),) = receiver.got
        (task,) = other.http.get("/api/tasks").json()["tasks"]
        assert message_id == f"msg_{task['id']}:reminder-1"
        assert (task["reminders"], task["remindedAt"]) == (1, body["at"])
        assert (task["nextReminderAt"], body["executionId"]) == (None, execution_id)
        assert first.violations() == []


@on_both()
def test_two_services_remind_and_escalate_each_task_once(
    tmp_path: Path, storage: Storage, receiver: Receiver
) -> None:
    config = {
        "approvalReminderSeconds": 0.4,
        "approvalReminders": 2,
        "approvalEscalationSeconds": 1,
        "approvalEscalationAssignees": "{{ boss }}",
    }
    with ServiceProcess(tmp_path, **storage) as first, ServiceProcess(tmp_path, **storage) as other:
        first.run_process()
        other.run_process()
        first.save(asking(**config), "inner")
        outer = document(
            node("start", "trigger"),
            node("call", "subworkflow", subworkflowId="inner"),
            flow=("start -> call",),
        )
        outer_id = first.start(outer, inputs={"boss": ["Eve"]}, callbackUrl=receiver.url)
        wait_until(lambda: len(receiver.got) >= 3)
        (task,) = other.http.get("/api/tasks?status=open").json()["tasks"]
        names = ("reminder-1", "reminder-2", "escalation")
        assert sorted(message for message, _ in receiver.got) == sorted(
            f"msg_{task['id']}:{name}" for name in names
        )
        assert (task["assignees"], task["reminders"]) == (["Ada", "Eve"], 2)
        escalation = next(body for _, body in receiver.got if body["type"] == "task_escalation")
        assert (escalation["at"], escalation["assignees"]) == (task["escalatedAt"], ["Ada", "Eve"])
        (of_eve,) = other.http.get("/api/tasks?assignee=Eve").json()["tasks"]
        path = f"/api/tasks/{of_eve['id']}/complete"
        assert other.http.post(path, json={"assignee": "Eve"}).status_code == 200
        assert first.wait_ended(outer_id) == ["completed"]
        wait_until(lambda: len(receiver.got) == 4)
        assert receiver.got[3][0] == f"msg_{outer_id}"
        assert first.violations() == []
