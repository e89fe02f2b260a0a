"""Stored executions: facts that tests of the journal share."""

BEGUN = 2
"""Sequence number of an execution that was stored and claimed, before its first node."""
