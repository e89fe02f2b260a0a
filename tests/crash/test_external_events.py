"""SIGKILL between the acceptance of an event and the continuation of its node."""

from contextlib import suppress

import httpx

from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.postgres import on_both

EVENT = {"name": "paid", "key": "7", "payload": {"amount": 3}}
HEADERS = {"Idempotency-Key": "k"}
WAITS = document(
    node("start", "trigger"),
    node("paid", "waitForEvent", eventName="paid", eventKey="7"),
    node("end"),
    flow=("start -> paid", "paid -> end"),
)


@on_both()
def test_an_accepted_event_survives_a_kill_and_is_delivered_once(process: ServiceProcess) -> None:
    process.run_process(kill_at="after_event")
    execution_id = process.start(WAITS)
    process.wait_for_status(execution_id, "waiting")
    with suppress(httpx.HTTPError):
        process.http.post("/api/events", json=EVENT, headers=HEADERS)
    process.wait_dead()
    assert process.row(execution_id)["status"] == "waiting"
    assert process.violations(service_runs=False) == []

    process.run_process()
    assert process.wait_ended(execution_id) == ["completed"]
    assert process.poll(execution_id)["finalOutput"] == {"amount": 3}
    again = process.http.post("/api/events", json=EVENT, headers=HEADERS).json()
    assert (again["status"], again["deliveries"]) == ("delivered", 1)
    waits = process.start(WAITS)  # the repeated request is not a second event
    process.wait_for_status(waits, "waiting")
    assert process.violations() == []
