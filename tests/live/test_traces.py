"""Traces: a real collector receives the spans of executions that a real service runs."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.llm_server import completion
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.servers import Request, Response, serving
from tests.support.service import RunningService, wait_until
from tests.support.trace_receiver import ReceivedSpan, TraceReceiver, receiving

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
USER = "00-11111111111111111111111111111111-2222222222222222-00"
SECRET = "s3cr3t-of-a-label"
PROMPT = "confidential prompt"


@dataclass
class Outside:
    """The server that executions call: an API, a model and a receiver of callbacks."""

    url: str = ""
    requests: dict[str, list[Request]] = field(default_factory=dict[str, list[Request]])

    async def answer(self, request: Request) -> Response:
        seen = self.requests.setdefault(request.path, [])
        seen.append(request)
        if request.path == "/v1/chat/completions":
            return completion("It is fine.", model="served-2", tokens=(7, 3))
        if request.path == "/slow":
            await asyncio.Event().wait()
        if request.path == "/busy" and len(seen) == 1:
            return Response.of({"wrong": True}, 503)
        return Response.of({"right": True})

    def headers(self, path: str) -> list[str | None]:
        """Return the ``traceparent`` of each request to a path."""
        return [request.headers.get("traceparent") for request in self.requests.get(path, [])]


@dataclass(frozen=True)
class Traced:
    """A service, its collector, and one execution of ``WHOLE`` that has ended."""

    service: RunningService
    collector: TraceReceiver
    outside: Outside
    execution: dict[str, Any]

    @property
    def id(self) -> str:
        return self.execution["executionId"]

    def node(self, name: str) -> ReceivedSpan:
        return self.collector.one(name, workflow_execution_id=self.id)


def whole(url: str) -> dict[str, Any]:
    return document(
        node("start", "trigger"),
        node("busy", "http", httpUrl=f"{url}/busy", retries=2, retryDelaySeconds=0),
        node(
            "own",
            "http",
            httpUrl=f"{url}/own",
            httpHeaders=[{"key": "Traceparent", "value": USER}],
        ),
        {**node("ask", "llm", llmPrompt=PROMPT, llmTemperature=0.5), "label": f"ask {SECRET}"},
        node("hold", "wait", waitSeconds=0.2),
        node("call", "subworkflow", subworkflowId="child"),
        flow=("start -> busy", "busy -> own", "own -> ask", "ask -> hold", "hold -> call"),
    )


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """The service of this module after one execution with every kind of node."""
    outside = Outside()
    with ExitStack() as stack:
        collector = stack.enter_context(receiving())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in {**collector.variables, "SECRET_LABEL": SECRET}.items():
            patch.setenv(name, value)
        outside.url = stack.enter_context(serving(outside.answer))
        model = {"openai_base_url": f"{outside.url}/v1", "openai_api_key": "key-of-the-model"}
        service = stack.enter_context(
            RunningService(tmp_path_factory.mktemp("traced"), PROBE_TYPES, **model)
        )
        service.save(document(node("inner", "flaky", failures=0)), "child", "Child")
        service.save(whole(outside.url), "whole", "Whole")
        body = {"workflowId": "whole", "callbackUrl": f"{outside.url}/callback"}
        started = service.http.post(
            "/api/workflows/execute",
            json=body,
            headers={"traceparent": CALLER, "tracestate": "vendor=1"},
        )
        execution = service.ended(started.json()["executionId"])
        assert execution["status"] == "completed", execution
        wait_until(lambda: outside.requests.get("/callback"))
        yield Traced(service, collector, outside, execution)


def test_an_execution_is_one_trace_that_continues_the_callers(traced: Traced) -> None:
    root = traced.node("Whole")
    assert (root.trace_id, root.parent_id) == tuple(CALLER.split("-")[1:3])
    assert root.kind == "CONSUMER"
    assert not root.failed
    assert root.attributes["workflow.execution.status"] == "completed"
    assert root.attributes["workflow.id"] == "whole"
    names = ("http busy", "http own", "wait hold", "subworkflow call")
    spans = [traced.node(name) for name in names]
    assert {span.trace_id for span in spans} == {root.trace_id}
    assert all(root.start <= span.start <= span.end <= root.end for span in spans)
    assert traced.collector.resource["service.name"] == "workflow-service"


def test_a_run_after_a_wait_has_a_link_to_the_run_before(traced: Traced) -> None:
    root = traced.node("Whole")
    wait_until(lambda: len(traced.collector.all("run", workflow_execution_id=traced.id)) == 3)
    runs = traced.collector.all("run", workflow_execution_id=traced.id)
    first, second, third = sorted(runs, key=lambda run: run.start)
    assert {run.parent_id for run in runs} == {root.span_id}
    assert [run.attributes.get("workflow.run.end") for run in (first, second)] == ["parked"] * 2
    assert first.links == {}
    assert second.links == {"previous_run": (root.trace_id, first.span_id)}
    assert third.links == {"previous_run": (root.trace_id, second.span_id)}
    assert traced.node("wait hold").parent_id == first.span_id
    assert traced.node("subworkflow call").parent_id == second.span_id
    waited = traced.node("wait hold waited")
    assert waited.parent_id == second.span_id
    assert waited.start < second.start < waited.end


def test_a_failed_attempt_is_an_event_of_the_nodes_span(traced: Traced) -> None:
    busy = traced.node("http busy")
    ((name, event),) = busy.events
    assert name == "attempt_failed"
    assert event["workflow.node.attempt"] == 1
    assert "503" in event["error.message"]
    assert busy.attributes["workflow.node.result"] == "completed"
    assert busy.attributes["http.response.status_code"] == 200


def test_http_nodes_send_the_header_of_their_span_unless_the_user_sets_it(traced: Traced) -> None:
    busy = traced.node("http busy")
    assert busy.kind == "CLIENT"
    sent = traced.outside.headers("/busy")
    assert [header and header[:52] for header in sent] == [busy.traceparent] * 2
    assert traced.outside.requests["/busy"][0].headers["tracestate"] == "vendor=1"
    assert traced.outside.headers("/own") == [USER]
    assert "tracestate" not in traced.outside.requests["/own"][0].headers


def test_a_model_call_follows_the_conventions_and_contains_no_text(traced: Traced) -> None:
    (chat,) = wait_until(lambda: traced.collector.all("chat gpt-4o-mini"))
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.output.type": "text",
        "gen_ai.response.model": "served-2",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "server.address": "127.0.0.1",
    }
    assert expected.items() <= chat.attributes.items()
    (asked,) = [span for span in traced.collector.spans if span.span_id == chat.parent_id]
    assert asked.attributes["workflow.node.id"] == "ask"
    (header,) = traced.outside.headers("/v1/chat/completions")
    assert header
    assert header.startswith(chat.traceparent)
    everything = b"".join(traced.collector.bodies)
    assert PROMPT.encode() not in everything
    assert b"It is fine." not in everything


def test_secrets_are_masked(traced: Traced) -> None:
    asked = traced.collector.one("llm ask ***")
    assert asked.attributes["workflow.node.label"] == "ask ***"
    everything = b"".join(traced.collector.bodies)
    assert SECRET.encode() not in everything
    assert b"key-of-the-model" not in everything


def test_a_child_has_a_trace_of_its_own_with_links_in_both_directions(traced: Traced) -> None:
    call = traced.node("subworkflow call")
    (trace_id, _) = call.links["child"]
    wait_until(lambda: any(span.trace_id == trace_id for span in traced.collector.all("Child")))
    (child,) = [span for span in traced.collector.all("Child") if span.trace_id == trace_id]
    assert child.parent_id == ""
    assert child.trace_id != call.trace_id
    assert child.links == {"caller": (call.trace_id, call.span_id)}
    assert call.links == {"child": (child.trace_id, child.span_id)}
    inner = traced.collector.all("flaky inner")
    assert child.trace_id in {span.trace_id for span in inner}


def test_a_callback_continues_the_trace(traced: Traced) -> None:
    callback, root = traced.collector.one("callback"), traced.node("Whole")
    assert (callback.trace_id, callback.parent_id) == (root.trace_id, root.span_id)
    (header,) = traced.outside.headers("/callback")
    assert header
    assert header.startswith(callback.traceparent)
    assert callback.attributes["http.response.status_code"] == 200


def test_a_rerun_has_a_link_to_the_execution_that_it_repeats(traced: Traced) -> None:
    path = f"/api/executions/{traced.id}/rerun"
    response = traced.service.http.post(path, json={"fromNodeId": "call"})
    rerun = traced.service.ended(response.json()["executionId"])
    root = traced.collector.one("Whole", workflow_execution_id=rerun["executionId"])
    first = traced.node("Whole")
    assert root.parent_id == ""
    assert root.links == {"rerun": (first.trace_id, first.span_id)}


def test_a_failure_is_the_status_of_the_node_and_of_the_execution(traced: Traced) -> None:
    graph = document(node("bad", "raise", message=f"wrong: {SECRET}"))
    execution = traced.service.run(graph)
    assert execution["status"] == "failed"
    of_it = {"workflow_execution_id": execution["executionId"]}
    bad = traced.collector.one("raise bad", **of_it)
    root = traced.collector.one("A workflow", **of_it)
    assert (bad.failed, bad.message) == (True, "RuntimeError: wrong: ***")
    assert (root.failed, root.attributes["workflow.execution.status"]) == (True, "failed")
    assert "wrong: ***" in root.message


def test_a_failure_workflow_has_a_link_to_the_failed_execution(traced: Traced) -> None:
    traced.service.save(document(node("start", "trigger")), "handler", "Handler")
    graph = document(node("bad", "raise")) | {"settings": {"onFailureWorkflowId": "handler"}}
    failed = traced.service.run(graph)
    root = traced.collector.one("A workflow", workflow_execution_id=failed["executionId"])
    handler = traced.collector.one("Handler")
    assert handler.attributes["workflow.trigger"] == "failure"
    assert handler.links == {"failure": (root.trace_id, root.span_id)}


@pytest.mark.parametrize(
    "headers",
    [
        [("traceparent", "no-trace")],
        [("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01")],
        [("traceparent", CALLER), ("traceparent", CALLER)],
    ],
)
def test_an_invalid_header_starts_a_new_trace(
    traced: Traced, headers: list[tuple[str, str]]
) -> None:
    body = {"graph": document(node("only")), "workflowName": "Inline"}
    response = traced.service.http.post("/api/workflows/execute", json=body, headers=headers)
    execution_id = response.json()["executionId"]
    root = traced.collector.one("Inline", workflow_execution_id=execution_id)
    assert root.parent_id == ""
    assert root.trace_id != CALLER.split("-")[1]


def test_a_webhook_continues_the_trace_of_its_sender(traced: Traced) -> None:
    traced.service.save(document(node("hook", "webhook")), "hooked", "Hooked")
    response = traced.service.http.post(
        "/api/webhook/hooked", json={}, headers={"traceparent": CALLER}
    )
    assert response.status_code == 200, response.text
    root = traced.collector.one("Hooked")
    assert (root.trace_id, root.parent_id) == tuple(CALLER.split("-")[1:3])


@pytest.mark.crash
def test_the_start_of_a_killed_run_is_visible_and_its_trace_continues(
    traced: Traced, tmp_path: Path
) -> None:
    collector, url = traced.collector, f"{traced.outside.url}/slow"
    with ServiceProcess(tmp_path).run_process() as killed:  # it inherits the variables
        execution_id = killed.start(document(node("work", "http", httpUrl=url)))
        of_it = {"workflow_execution_id": execution_id}
        started = collector.one("A workflow started", **of_it)
        work = wait_until(lambda: collector.all("http work started"))[0]
        killed.kill()
    assert work.trace_id == started.trace_id
    assert collector.all("A workflow", **of_it) + collector.all("run", **of_it) == []

    with RunningService(tmp_path) as service:
        wait_until(lambda: len(collector.all("A workflow started", **of_it)) == 2)
        service.http.post(f"/api/executions/{execution_id}/cancel")
        root = collector.one("A workflow", **of_it)
        run = collector.one("run", **of_it)
    assert root.attributes["workflow.execution.status"] == "cancelled"
    assert (root.trace_id, root.parent_id) == (started.trace_id, "")
    assert root.start <= started.start
    assert run.links == {"previous_run": (started.trace_id, started.parent_id)}
