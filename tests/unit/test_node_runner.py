"""Node runner: what a node run reports, which limits it has, and what its templates read."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.document import Node
from engine.json_values import MISSING
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from engine.status import NodeStatus
from flows.nodes import node_runner as module
from flows.nodes.node_runner import NodeRunner
from flows.nodes.permits import NodePermits, PermitParkedError
from flows.nodes.result import NodeResult
from flows.nodes.retry_policy import RetryParkedError
from metrics import Metrics
from tasks.context import HandlerSettings, current_node_run
from tasks.registry import DEFAULT
from tracing import ExecutionTrace, NodeSpan

Patch = pytest.MonkeyPatch


class Span(NodeSpan):
    """Records what a node run reports."""

    __slots__ = ("attempts", "ends")

    def __init__(self) -> None:
        self.attempts: list[tuple[int, str]] = []
        self.ends: list[tuple[Any, ...]] = []

    def attempt_failed(self, attempt: int, error: str) -> None:
        self.attempts.append((attempt, error))

    def end_run(self, *values: Any) -> None:
        self.ends.append(values)


class Trace(ExecutionTrace):
    """The trace of an execution with one span."""

    __slots__ = ("numbers", "span")

    def __init__(self) -> None:
        self.span = Span()
        self.numbers: list[int] = []

    def node(self, node: Any) -> NodeSpan:
        self.numbers.append(node.attempt)
        return self.span


class StatusError(Exception):
    """The error of a request that has a response."""

    def __init__(self, status_code: object) -> None:
        super().__init__("rejected")
        self.status_code = status_code


class OneNode:
    """A node whose handler has an outcome at once."""

    def __init__(self, monkeypatch: Patch, outcome: Any, node_type: str = "http") -> None:
        self.node = Node("n", node_type, "N", {})
        self.metrics, self.trace = Metrics([node_type]), Trace()
        self.retries: list[tuple[int, str]] = []
        self.policies: list[Any] = []
        self.outcome = outcome
        self.runner = NodeRunner(
            DEFAULT, HandlerSettings(), "e", metrics=self.metrics, trace=self.trace
        )
        monkeypatch.setattr(module, "run_handler", self._handle)

    async def _handle(
        self, _task: Any, _node: Any, _input: Any, policy: Any, attempts: Any, **_: Any
    ) -> Any:
        current = current_node_run()
        assert (current.execution_id, current.node_id) == ("e", "n")
        assert current.span is self.trace.span
        self.policies.append(policy)
        await attempts.on_retry(1, "first")
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return NodeResult("null", None, self.outcome)

    async def _note(self, attempt: int, error: str) -> None:
        self.retries.append((attempt, error))

    async def run(self, failed: int = 0) -> None:
        await self.runner.run(self.node, None, self._note, failed=failed)

    def count(self, name: str, **labels: str) -> float:
        labels = {"type": self.node.type, **labels}
        return self.metrics.registry.get_sample_value(f"workflow_{name}", labels) or 0


@pytest.mark.parametrize(
    ("outcome", "ended", "reason", "status"),
    [
        ({"statusCode": 201}, "completed", None, 201),
        ({"statusCode": "201"}, "completed", None, None),
        ({"park": {"until": None}}, "parked", None, None),
        (StatusError(404), "failed", "rejected", 404),
        (StatusError("404"), "failed", "rejected", None),
        (RetryParkedError(2, 60, "later"), "parked", None, None),
        (PermitParkedError("it waits"), "parked", None, None),
        (asyncio.CancelledError(), "cancelled", None, None),
    ],
)
async def test_the_end_of_a_node_run_is_reported_once(
    outcome: Any, ended: str, reason: str | None, status: int | None, monkeypatch: Patch
) -> None:
    one = OneNode(monkeypatch, outcome)
    if isinstance(outcome, BaseException):
        with pytest.raises(type(outcome)):
            await one.run(failed=3)
    else:
        await one.run(failed=3)
    [(result, given_reason, status_code)] = one.trace.span.ends
    assert (result, status_code) == (ended, status)
    assert (given_reason is None) is (reason is None)
    assert reason is None or reason in given_reason
    results = ("completed", "failed", "parked", "cancelled")
    counts = {name: one.count("node_duration_seconds_count", result=name) for name in results}
    assert counts == {name: float(name == ended) for name in results}
    # The failed attempts of earlier task runs count too.
    is_retry = isinstance(outcome, RetryParkedError)
    later = [(3 + 2, "later")] if is_retry else []
    assert one.trace.span.attempts == [(1, "first"), *later]
    assert one.retries == [(1, "first")]
    assert one.count("node_retries_total") == 1 + len(later)


async def test_the_status_code_of_other_types_is_not_reported(monkeypatch: Patch) -> None:
    one = OneNode(monkeypatch, {"statusCode": 201}, "output")
    await one.run()
    assert one.trace.span.ends == [("completed", None, None)]


@pytest.mark.parametrize(
    ("node_type", "seconds"), [("output", 7.0), ("approval", None), ("waitForEvent", None)]
)
async def test_the_timeout_of_a_wait_does_not_limit_its_handler(
    node_type: str, seconds: float | None, monkeypatch: Patch
) -> None:
    one = OneNode(monkeypatch, {}, node_type)
    one.node = Node("n", node_type, "N", {"timeoutSeconds": 7})
    await one.run()
    assert [policy.timeout_seconds for policy in one.policies] == [seconds]


async def test_the_attempts_of_a_node_are_numbered_across_its_runs(monkeypatch: Patch) -> None:
    one = OneNode(monkeypatch, {})
    await one.run()
    cast("dict[NodeRunKey, int]", one.runner.attempts)[NodeRunKey.parse("n")] = 4
    await one.run()
    assert one.trace.numbers == [1, 5]


def test_a_node_without_limits_waits_for_no_permit() -> None:
    runner = NodeRunner(DEFAULT, HandlerSettings())
    assert runner.waiting_for_permits() == 0
    runner.park_waiting()


def test_the_node_runs_that_wait_for_permits_are_counted_and_parked() -> None:
    parked: list[str] = []
    permits = SimpleNamespace(waiting=lambda: 2, park=lambda: parked.append("all"))
    runner = NodeRunner(DEFAULT, HandlerSettings(), permits=cast("NodePermits", permits))
    assert (runner.waiting_for_permits(), parked) == (2, [])
    runner.park_waiting()
    assert parked == ["all"]


# Templates


COMPLETED = Outcome(NodeStatus.COMPLETED, {"success": True, "outputData": {"a": [1]}, "n": 1})
FAILED = Outcome(NodeStatus.ERROR, {"outputData": 1, "statusCode": 500}, "broken")
SKIPPED = Outcome(NodeStatus.SKIPPED, {})


@pytest.mark.parametrize(
    ("outcome", "output", "result"),
    [
        (COMPLETED, {"a": [1]}, {"success": True, "n": 1}),
        (FAILED, MISSING, {"success": False, "message": "broken", "statusCode": 500}),
        (SKIPPED, MISSING, MISSING),
        (None, MISSING, MISSING),
    ],
)
def test_a_template_reads_the_output_of_completed_nodes_and_the_result_of_failed_ones(
    outcome: Outcome | None, output: Any, result: Any
) -> None:
    outcomes = {} if outcome is None else {NodeRunKey.parse("other"): outcome}
    run = NodeRunner(DEFAULT, HandlerSettings(), "e", outcomes=outcomes)._node_run("n")
    assert run.output_of("other") == output
    assert run.result_of("other") == result


def test_a_handler_that_changes_an_output_does_not_change_it_for_others() -> None:
    outcomes = {NodeRunKey.parse("other"): COMPLETED}
    runner = NodeRunner(DEFAULT, HandlerSettings(), "e", outcomes=outcomes)
    cast("Any", runner._node_run("n").output_of("other"))["a"].append(2)
    assert runner._node_run("m").output_of("other") == {"a": [1]}


@pytest.mark.parametrize(("text", "request_value"), [(None, MISSING), ('{"a": 1}', {"a": 1})])
def test_a_template_reads_the_request_of_a_webhook_only(
    text: str | None, request_value: Any
) -> None:
    run = NodeRunner(DEFAULT, HandlerSettings(), "e", request=text)._node_run("n")
    assert run.request() == request_value
    assert run.inputs() == {}
