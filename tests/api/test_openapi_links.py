"""The links of the OpenAPI document, followed: chains of requests, each fed by an answer before."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import Phase, seed, settings
from hypothesis.stateful import Bundle
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.generation.stateful.state_machine import StepInput
from schemathesis.specs.openapi.stateful import is_root_allowed, transition
from schemathesis.wfc.escalation import escalating_provider

from tests.support.access import ENTRIES, as_
from tests.support.documents import line
from tests.support.fuzzing import NO_WAY_OUT, Hearing, config, document_of, name_of
from tests.support.service import RunningService

BEGINNINGS = ("executeWorkflow", "createWorkflow", "listWorkflows", "listExecutions")
"""Where chains start. Schemathesis takes every POST for one, those to unknown ids before these."""
CHAINS, STEPS, ROUNDS = 40, 15, 4

Followed = Counter[tuple[str, str]]
"""How often each link was followed with success: from and to which operation."""


def follow_links(schema: Any, service: RunningService) -> Followed:
    """Runs chains of requests with every check, and counts the links that are followed.

    Answers differ from run to run, by ids and by how far an execution is, and with them what is
    made up next. So there is another round, of other chains, where the first followed little.
    """
    followed: Followed = Counter()
    for number in range(ROUNDS):
        followed += follow_links_once(schema, service, number)
        if is_really_followed(followed):
            break
    return followed


def follow_links_once(schema: Any, service: RunningService, number: int) -> Followed:
    """As ``follow_links``, with the chains of this number."""
    followed: Followed = Counter()
    session = Hearing()
    made = schema.as_state_machine()
    rules: dict[str, Any] = dict.fromkeys(made.root_rules)
    beginnings = [schema.find_operation_by_id(operation_id) for operation_id in BEGINNINGS]
    rules["_root_labels"] = frozenset(operation.label for operation in beginnings)
    for operation in beginnings:
        operation_id = name_of(operation)
        cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        rules[f"start_{operation_id}"] = transition(
            name=f"start_{operation_id}",
            target=Bundle("catch_all"),
            input=cases.map(StepInput.initial),
            precondition=is_root_allowed(operation.label),
        )

    class Chains(type("Chains", (made,), rules)):
        def setup(self) -> None:
            # A chain that is run again must be answered as the first time.
            forget_what_was_made(service)

        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"base_url": service.url, "session": session}

        def after_call(self, response: Any, case: schemathesis.Case) -> None:
            super().after_call(response, case)
            starts = name_of(case.operation) in ("executeWorkflow", "rerunExecution")
            if starts and response.status_code == 200:
                service.ended(response.json()["executionId"])

        def step(self, input: StepInput) -> Any:  # noqa: A002 - the name that it has there
            link = input.transition
            if link is not None and link.request_body is not None:
                # The link's body is the whole body; schemathesis adds it to one that it made up.
                given = link.request_body.value
                assert isinstance(given, Ok)
                input.case.body = given.ok()
            output = super().step(input)
            if link is not None and input.is_applied and output.response.status_code < 300:
                before = self.recorder.cases[link.parent_id].value.operation
                followed[name_of(before), name_of(input.case.operation)] += 1
            return output

    seed(number)(Chains).run(
        settings=settings(
            max_examples=CHAINS,
            stateful_step_count=STEPS,
            database=None,
            phases=[Phase.generate],  # what fails is told as it is: making it smaller takes long
        )
    )
    return followed


def forget_what_was_made(service: RunningService) -> None:
    service.write("DELETE FROM workflow_executions")
    service.write("DELETE FROM workflows")
    service.save(line(3), "example-hello-world")
    service.write("DELETE FROM orchestrator_idempotency_keys")


def after(followed: Followed, operation_id: str) -> set[str]:
    return {target for source, target in followed if source == operation_id}


def is_really_followed(followed: Followed) -> bool:
    """Chains are made by chance, so not each link is in one: those are all followed elsewhere."""
    started = after(followed, "executeWorkflow") | after(followed, "rerunExecution")
    created = after(followed, "createWorkflow")
    return followed.total() > 50 and len(created) >= 4 and len(started) >= 2


# Chains wait for the executions that they start, on a busy machine for longer than others may.
pytestmark = pytest.mark.timeout(240)


# The service's threads use ``random`` too, which hypothesis takes for a strategy that does.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
def test_chains_of_requests_are_answered_as_the_document_says(tmp_path: Path):
    schema = schemathesis.openapi.from_dict(document_of(), config=config())
    with RunningService(tmp_path, **NO_WAY_OUT) as service:
        followed = follow_links(schema, service)
    assert is_really_followed(followed), followed


@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
def test_chains_of_one_organization_show_nothing_to_another(tmp_path: Path):
    callers = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": value}]}
        for name in ("a-admin", "b-admin")
        for value in as_(name).values()
    ]
    file = tmp_path / "callers.json"
    file.write_text(json.dumps({"auth": callers}), encoding="utf-8")
    auth = {"wfc": {"path": str(file), "user": "a-admin", "peers": ["a-admin", "b-admin"]}}
    schema = schemathesis.openapi.from_dict(
        document_of(api_keys=ENTRIES),
        config=config(further=["403"], auth=auth, generation={"with-security-parameters": False}),
    )
    with RunningService(tmp_path, api_keys=ENTRIES, **NO_WAY_OUT) as service:
        service.http.headers.update(as_("admin"))
        followed = follow_links(schema, service)
    assert is_really_followed(followed), followed
    provider = escalating_provider(cast("Any", schema))
    assert provider is not None
    looked_at_by_others = {operation for _, operation, *_ in provider._probed}
    assert "GET /api/workflows/{workflow_id}" in looked_at_by_others
