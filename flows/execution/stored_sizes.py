"""Stored sizes: counts the data that an execution stores, up to MAX_EXECUTION_BYTES."""

from database.executions.journal_records import JournalState, NodeEnded
from engine.limits import RunLimits

ROW_BYTES = 512
"""Size that each row counts in addition to its data, in bytes, because empty rows use space too."""


class StoredSizes:
    """Size of the data of one execution, including earlier owners."""

    def __init__(self, limits: RunLimits, record: JournalState) -> None:
        self.limits = limits
        self.stored = max(record.stored_bytes, bytes_of(record.inputs))
        """Size of the data that the execution has stored, in bytes."""

    def add_input(self, text: str) -> None:
        """Count the input of a node.

        Raises:
            NodeError: If the execution would exceed its limit; the input is not counted then.
        """
        self._add(bytes_of(text), "the input of the node")

    def add_result(self, ended: NodeEnded) -> None:
        """Count a result. It is stored twice: in its row, and in ``nodeResults`` at the end.

        Raises:
            NodeError: If the execution would exceed its limit; the result is not counted then.
        """
        self._add(_size_of(ended), "the result of the node")

    def count(self, ended: NodeEnded) -> None:
        """Count a result that is stored in any case; above the limit, the next node fails."""
        self.stored += _size_of(ended)

    def add_rows(self, count: int) -> None:
        """Count rows without their data; above the limit, the next node fails."""
        self.stored += count * ROW_BYTES

    def _add(self, size: int, what: str) -> None:
        if self.stored + size > self.limits.execution_bytes:
            raise self.limits.execution_too_large(what)
        self.stored += size


def _size_of(ended: NodeEnded) -> int:
    return 2 * (bytes_of(ended.output_data) + bytes_of(ended.detail))


def bytes_of(text: str | None) -> int:
    """Return the size of a string in UTF-8, in bytes."""
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode())
