"""Webhook callers that wait for a response while the service crashes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import node
from tests.support.webhook_calls import SECRET, answering, count, post, signed

BODY = b'{"n": 1}'


def test_a_repeated_delivery_after_a_crash_gets_the_response(
    process: ServiceProcess, visits: CallCounter
) -> None:
    hook = node("hook", "webhook", webhookSecret=SECRET)
    template = {"n": "{{ n }}"}
    between = node("more", "addField", addFieldName="m", addFieldValue=2)
    process.run_process(kill_at="before_record:more")
    process.save(answering(between, hook=hook, Mode="template", Template=template, StatusCode=201))
    with pytest.raises(httpx.HTTPError):
        post(process, content=BODY, headers=signed(BODY))
    process.wait_dead()

    process.run_process()
    response = post(process, content=BODY, headers=signed(BODY))
    assert (response.status_code, response.json()) == (201, {"n": 1})
    assert count(process) == 1
    assert process.violations() == []


def test_a_webhook_gets_the_response_of_an_execution_in_another_process(
    tmp_path: Path, visits: CallCounter
) -> None:
    key = {"webhook-id": "m"}
    with ServiceProcess(tmp_path) as runs, ServiceProcess(tmp_path) as asked:
        runs.run_process()
        runs.save(answering(visits.node("held", "gate")))
        with pytest.raises(httpx.ReadTimeout):
            post(runs, {}, headers=key, timeout=0.5)
        (row,) = runs.rows("SELECT id FROM workflow_executions")
        visits.wait_for(row["id"], "held")
        asked.run_process()
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(post, asked, {}, headers=key)
            visits.open("gate")
            assert call.result(20).status_code == 200
        assert count(asked) == 1
