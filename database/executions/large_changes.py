"""Large changes: replaces the large values of node changes and results by references."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from database.executions.journal_records import (
    ExecutionResult,
    NodeChanges,
    NodeEnded,
    NodeOutcomeRecorded,
    NodeStarted,
)
from database.payloads import MAX_EXECUTION_TEXT_CHARACTERS, LargeTexts, LargeValue, is_large
from engine.redaction import hides_data
from offload import run_sized


async def replace_in_changes(changes: NodeChanges) -> tuple[NodeChanges, LargeTexts]:
    """Return the changes with references, and the large texts; hash these off the event loop."""
    large = LargeTexts()
    size = sum(len(text) for text in _texts(changes) if is_large(text))
    if size:
        changes = await run_sized(size, _replaced, changes, large.replace)
    return changes, large


async def replace_in_result(result: ExecutionResult, large: LargeTexts) -> ExecutionResult:
    """Return the result of an execution with references; add its large texts to ``large``."""

    def replaced(value: str | LargeValue | None) -> str | None:
        if isinstance(value, LargeValue):
            return large.add(value)
        return None if value is None else large.replace(value, MAX_EXECUTION_TEXT_CHARACTERS)

    def both() -> tuple[str | None, str | None]:
        return replaced(result.node_results), replaced(result.final_output)

    texts = (result.node_results, result.final_output)
    size = sum(len(text) for text in texts if isinstance(text, str))
    node_results, final_output = await run_sized(size, both)
    return replace(result, node_results=node_results, final_output=final_output)


def _texts(changes: NodeChanges) -> Iterator[str]:
    for step in changes.earlier:
        yield from _texts(step.changes)
    for node in (*changes.ended, *changes.decided):
        if node.output_data is not None:
            yield node.output_data
    for start in changes.started:
        yield start.input_data


def _replaced(changes: NodeChanges, to_reference: Callable[[str], str]) -> NodeChanges:
    def output(node: NodeEnded) -> NodeEnded:
        text = node.output_data
        return node if text is None else replace(node, output_data=to_reference(text))

    def decided(node: NodeOutcomeRecorded) -> NodeOutcomeRecorded:
        text = node.output_data
        return node if text is None else replace(node, output_data=to_reference(text))

    def started(start: NodeStarted) -> NodeStarted:
        if hides_data(start.node):  # the row does not contain its input
            return start
        return replace(start, input_data=to_reference(start.input_data))

    return NodeChanges(
        [output(node) for node in changes.ended],
        [decided(node) for node in changes.decided],
        [started(start) for start in changes.started],
        [replace(step, changes=_replaced(step.changes, to_reference)) for step in changes.earlier],
    )
