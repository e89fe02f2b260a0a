"""Node changes: their number and the length of their values, which bound a transaction."""

from database.executions.journal_records import (
    NodeChanges,
    NodeEnded,
    NodeOutcomeRecorded,
    NodeStarted,
    RecordedStep,
)
from engine.document import Node
from engine.status import NodeStatus

NODE = Node("a", "custom", "A", {})
CHANGES = NodeChanges(
    ended=[NodeEnded("a", NodeStatus.COMPLETED, 1, '"12"'), NodeEnded("b", NodeStatus.ERROR, 1)],
    decided=[NodeOutcomeRecorded(NODE, NodeStatus.COMPLETED, '"3"'), NodeOutcomeRecorded(NODE)],
    started=[NodeStarted(NODE, '"4567"', 1, resumed=False)],
)


def test_the_values_of_deferred_steps_are_not_counted_and_their_changes_are():
    assert (CHANGES.characters, len(CHANGES)) == (4 + 3 + 6, 5)
    later = NodeChanges(CHANGES.ended, earlier=[RecordedStep("2026", CHANGES)])
    assert (later.characters, len(later)) == (4, 7)
    assert (NodeChanges().characters, len(NodeChanges())) == (0, 0)
