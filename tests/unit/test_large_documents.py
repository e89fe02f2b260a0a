"""Large documents are checked in a thread, so that no other request waits for them."""

import threading
from collections.abc import Mapping
from typing import Any, cast

import pytest

from engine.json_values import encode_json
from engine.validation import TypeRules
from flows.intake.submissions import MAX_INLINE_DOCUMENT_CHARS, MAX_INLINE_NODES, SubmissionService
from flows.schedules.documents import ScheduledDocuments
from tasks.config.form_schema import form_error
from tasks.flow import approval
from tasks.registry import DEFAULT
from tests.support.documents import document, node


class WatchedTypes:
    """Node types that remember which thread asked them."""

    known = ("output",)

    def __init__(self) -> None:
        self.asked_by: set[threading.Thread] = set()

    @property
    def rules(self) -> TypeRules:
        return TypeRules(self.known, self.check)

    def check(self, _node: object) -> list[Any]:
        self.asked_by.add(threading.current_thread())
        return []


def of_nodes(count: int) -> dict[str, Any]:
    return document(*(node(f"n{i}") for i in range(count)))


def of_forms(count: int) -> dict[str, Any]:
    """Return a document with different forms of 1,000 characters that have many small parts."""
    asking: list[dict[str, Any]] = []
    for i in range(count):
        form = {"title": f"form {i}", "allOf": [{}] * 330}
        asking.append(node(f"n{i}", "approval", approvalMessage="?", approvalForm=form))
    flow = tuple(f"start -> n{i}" for i in range(count))
    return document(node("start", "schedule", scheduleEverySeconds=60), *asking, flow=flow)


@pytest.mark.parametrize(("count", "aside"), [(2, False), (6, True)])
async def test_forms_of_many_parts_are_checked_in_a_thread(
    count: int, aside: bool, monkeypatch: pytest.MonkeyPatch
):
    checked_by: list[threading.Thread] = []

    def check(form: Mapping[str, Any]) -> str | None:
        reason = form_error(form)
        checked_by.append(threading.current_thread())
        return reason

    monkeypatch.setattr(approval, "form_error", check)
    nothing, text = cast("Any", None), encode_json(of_forms(count))
    submissions = SubmissionService(nothing, DEFAULT, nothing, 0, 0)
    for validate in (
        lambda: submissions.check_in_thread(text),
        lambda: ScheduledDocuments(DEFAULT).total_nodes(text, "start"),
    ):
        checked_by.clear()
        await validate()
        assert (threading.current_thread() not in checked_by[-count:]) == aside


@pytest.mark.parametrize(
    ("sent", "aside"),
    [
        (of_nodes(3), False),
        (encode_json(of_nodes(3)), False),
        (of_nodes(MAX_INLINE_NODES + 1), True),
        (encode_json(of_nodes(1)).ljust(MAX_INLINE_DOCUMENT_CHARS + 1), True),
    ],
)
async def test_only_a_large_document_is_validated_in_a_thread(sent: Any, aside: bool):
    types = WatchedTypes()
    nothing = cast("Any", None)
    submissions = SubmissionService(nothing, cast("Any", types), nothing, 0, 0)
    await submissions.check_in_thread(sent)
    assert types.asked_by
    assert (threading.current_thread() not in types.asked_by) == aside
