"""Prefect nodes: runs handlers in flows for the Prefect tests."""

from contextlib import asynccontextmanager
from typing import Any

from prefect import flow
from prefect.context import TaskRunContext
from prefect.states import Completed

from flows.nodes.attempts import AttemptPolicy, Attempts
from flows.nodes.prefect_task import run_handler
from flows.prefect_adapter.runs import prefect_context, run_flow

NODE = {"id": "n1", "type": "custom", "label": "My node", "config": {}}


def this_task_run():
    """Return the task run of the caller."""
    context = TaskRunContext.get()
    assert context is not None
    return context.task_run


async def no_retry(attempt, error):
    raise AssertionError(f"a retry follows attempt {attempt}: {error}")


class Retries(list):
    """The arguments of the calls of ``on_retry``."""

    async def note(self, attempt, error):
        self.append((attempt, error))


async def handle(handler, input_data=None, *, node=NODE, on_retry=no_retry, **options):
    """Run a handler; ``options`` are fields of the policy and the attempts, and ``check``."""
    policy: dict[str, Any] = {"delays": tuple(options.pop("delays", ()))}
    policy |= {key: options.pop(key) for key in ("retries", "timeout_seconds") if key in options}
    check = {"check": options.pop("check")} if "check" in options else {}
    attempts = Attempts(on_retry, **options)
    return await run_handler(handler, node, input_data, AttemptPolicy(**policy), attempts, **check)


@asynccontextmanager
async def a_flow():
    """Yield a function that runs its argument as the body of a flow and returns its result."""
    async with prefect_context(None):

        async def run(body):
            results = []

            @flow(name="test", validate_parameters=False, persist_result=False)
            async def around(execution_id):
                try:
                    results.append(await body())
                except Exception as error:  # noqa: BLE001 - raised again below
                    results.append(error)
                return Completed()

            await run_flow(around, "e", "n")
            if isinstance(results[0], Exception):
                raise results[0]
            return results[0]

        yield run


async def run(body):
    async with a_flow() as run_body:
        return await run_body(body)
