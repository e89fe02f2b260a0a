"""One node as a Prefect task run: its arguments, its name and its attempts."""

import asyncio
import time

import pytest
from prefect import task
from prefect.states import Completed, Failed
from prefect.utilities import collections

from engine.errors import NodeError
from flows.nodes import prefect_task
from flows.nodes.attempts import AttemptPolicy
from flows.prefect_adapter.runs import prefect_context
from tests.support.prefect_nodes import NODE, Retries, handle, run, this_task_run

# Arguments and results


async def test_a_handler_receives_positional_arguments_and_its_result_is_unchanged():
    given = []

    @task(name="my_custom_node")
    async def handler(der_knoten, was_hineingeht):
        given.append((der_knoten, was_hineingeht))
        return {"success": False, "outputData": was_hineingeht}

    data = {"a": [1, 2]}
    result = await run(lambda: handle(handler, data))
    assert result == {"success": False, "outputData": {"a": [1, 2]}}
    assert given[0][0] is NODE
    assert given[0][1] is data


async def test_arguments_collected_in_a_tuple_are_unwrapped():
    @task
    async def handler(*arguments):
        return list(arguments)

    assert await run(lambda: handle(handler, {"a": 1})) == [NODE, {"a": 1}]


async def test_a_node_runs_without_a_flow():
    @task
    def handler(node, input_data):
        return {"outputData": input_data}

    async with prefect_context(None):
        assert await handle(handler, 5) == {"outputData": 5}


async def test_a_handler_outside_the_context_is_rejected():
    @task
    async def handler(node, input_data):
        """Never reached."""

    with pytest.raises(RuntimeError, match="inside prefect_context"):
        await handle(handler)


async def test_a_returned_state_determines_the_result():
    @task
    async def handler(node, input_data):
        if input_data == "fail":
            return Failed(message="by state", data=ValueError("by state"))
        return Completed(data={"outputData": 1})

    with pytest.raises(ValueError, match="by state"):
        await run(lambda: handle(handler, "fail"))


async def test_a_generator_is_rejected_with_a_clear_message():
    @task
    async def handler(node, input_data):
        yield 1

    with pytest.raises(NodeError, match="is a generator"):
        await run(lambda: handle(handler))


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ({"id": "a", "label": "Fetch", "type": "http"}, "Fetch (a)"),
        ({"id": "a", "label": "", "type": "http"}, "http (a)"),
        ({"id": "a"}, "node (a)"),
    ],
)
async def test_the_task_run_has_the_name_of_the_node(node, name):
    @task
    async def handler(knoten, data):
        return this_task_run().name

    assert await run(lambda: handle(handler, {"id": "not me"}, node=node)) == name


async def test_a_large_input_is_not_searched_for_futures(monkeypatch):
    visits = 0
    original = collections.visit_collection

    def counting(*args, **kwargs):
        nonlocal visits
        visits += 1
        return original(*args, **kwargs)

    # Nested visits look the function up in its module; the first of each tree does not.
    monkeypatch.setattr(collections, "visit_collection", counting)
    data = [{"number": n, "text": "x" * 60, "list": [1, 2]} for n in range(10_000)]

    @task(persist_result=False)
    async def handler(node, input_data):
        return {"outputData": len(input_data)}

    assert await run(lambda: handle(handler, data)) == {"outputData": 10_000}
    ours, visits = visits, 0
    await run(lambda: handler(NODE, data))
    assert ours < 50
    assert visits > 10_000


# Attempts


async def test_the_third_attempt_succeeds_after_the_delays():
    attempts = []
    retries = Retries()

    @task
    async def handler(node, input_data):
        attempts.append((time.monotonic(), this_task_run().run_count))
        if len(attempts) < 3:
            raise NodeError(f"failure {len(attempts)}")
        return "done"

    result = await run(
        lambda: handle(handler, retries=3, delays=[0.05, 0.15], on_retry=retries.note)
    )
    assert result == "done"
    assert retries == [(1, "failure 1"), (2, "failure 2")]
    times, counts = zip(*attempts, strict=True)
    assert counts == (1, 2, 3)
    assert times[1] - times[0] >= 0.05
    assert times[2] - times[1] >= 0.15


async def test_on_retry_is_not_called_for_the_last_error():
    retries = Retries()

    @task
    async def handler(node, input_data):
        raise KeyError("field")

    with pytest.raises(KeyError):
        await run(lambda: handle(handler, retries=1, delays=[0], on_retry=retries.note))
    assert retries == [(1, "KeyError: 'field'")]


@pytest.mark.parametrize("is_async", [True, False])
async def test_an_error_that_is_not_retryable_is_final(is_async):
    def fails(node, input_data):
        raise NodeError("404", retryable=False)

    async def fails_later(node, input_data):
        fails(node, input_data)

    handler = task(fails_later if is_async else fails)
    with pytest.raises(NodeError, match="404"):
        await run(lambda: handle(handler, retries=3, delays=[0]))


async def test_retry_after_extends_the_delay():
    attempts = []

    @task
    async def handler(node, input_data):
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            raise NodeError("429", retry_after=0.3)
        if len(attempts) == 2:
            raise NodeError("429", retry_after=1e9)
        return "done"

    retries = Retries()
    options = {"on_retry": retries.note, "max_retry_after_seconds": 0.3}
    await run(lambda: handle(handler, retries=2, delays=[0.1], **options))
    assert attempts[1] - attempts[0] >= 0.3
    assert attempts[2] - attempts[1] >= 0.3  # the cap


async def test_retry_after_is_not_added_to_a_longer_delay(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    @task
    async def handler(node, input_data):
        if this_task_run().run_count == 1:
            raise NodeError("429", retry_after=0.05)

    monkeypatch.setattr(prefect_task.asyncio, "sleep", sleep)
    await run(lambda: handle(handler, retries=1, delays=[0.2], on_retry=Retries().note))
    assert slept[0] == 0.0


async def test_without_options_the_declared_retries_and_condition_apply():
    asked = []

    def condition(_task, task_run, _state):
        asked.append(task_run.run_count)
        return task_run.run_count < 2

    @task(retries=5, retry_delay_seconds=[0.01], retry_condition_fn=condition)
    async def handler(node, input_data):
        raise NodeError("again")

    retries = Retries()
    with pytest.raises(NodeError, match="again"):
        await run(lambda: handle(handler, on_retry=retries.note))
    assert asked == [1, 2]
    assert retries == [(1, "again")]


async def test_an_error_in_on_retry_ends_the_attempts():
    attempts = []

    @task
    async def handler(node, input_data):
        attempts.append(1)
        raise NodeError("failed")

    async def lost(attempt, error):
        raise LookupError("the lease is lost")

    with pytest.raises(LookupError, match="the lease is lost"):
        await run(lambda: handle(handler, retries=3, delays=[0], on_retry=lost))
    assert len(attempts) == 1


async def test_parallel_runs_of_a_handler_have_separate_attempts():
    @task
    async def handler(node, input_data):
        if this_task_run().run_count <= input_data:
            raise NodeError(f"of {input_data}")
        return input_data

    retries = [Retries() for _ in range(4)]

    async def body():
        return await asyncio.gather(
            *(
                handle(handler, number, retries=4, delays=[0.01], on_retry=retries[number].note)
                for number in range(4)
            )
        )

    assert await run(body) == [0, 1, 2, 3]
    assert retries == [[(n + 1, f"of {number}") for n in range(number)] for number in range(4)]


def test_variants_are_cached():
    @task
    async def handler(node, input_data):
        """Never run."""

    first = prefect_task._variant(handler, AttemptPolicy(2, (1.0,)), str)
    assert prefect_task._variant(handler, AttemptPolicy(2, (1.0,)), str) is first
    assert prefect_task._variant(handler, AttemptPolicy(3, (1.0,)), str) is not first
    assert prefect_task._variant.cache_info().maxsize is not None


async def test_hooks_receive_the_result_of_their_handler():
    fired = []

    async def completed(_task, task_run, state):
        fired.append((task_run.name, await state.aresult()))

    def failed(_task, task_run, state):
        fired.append((task_run.name, state.name))

    @task(on_completion=[completed], on_failure=[failed])
    def handler(node, input_data):
        if input_data == "bad":
            raise NodeError("bad")
        return {"outputData": 1}

    async def body():
        await handle(handler)
        with pytest.raises(NodeError):
            await handle(handler, "bad")

    await run(body)
    assert fired == [("My node (n1)", {"outputData": 1}), ("My node (n1)", "Failed")]
