"""Large documents are checked in a thread, so that no other request waits for them."""

import threading
from typing import Any, cast

import pytest

from engine.json_values import encode_json
from engine.validation import TypeRules
from flows.intake.submissions import MAX_INLINE_DOCUMENT_CHARS, MAX_INLINE_NODES, SubmissionService
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
