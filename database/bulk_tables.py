"""Tables of bulk operations: one action on many executions."""

from sqlalchemy import Column, Integer, Table, Text

from database.tables import metadata

PENDING_ITEM = "pending"
"""Status of an item that is not treated yet."""

bulk_operations = Table(
    "orchestrator_bulk_operations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organization", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("definition", Text),
    Column("matched", Integer, nullable=False),
    Column("idempotencyKey", Text),
    Column("bodyHash", Text, nullable=False),
    Column("owner", Text),
    Column("claimableAt", Text),
    Column("createdAt", Text, nullable=False),
    Column("completedAt", Text),
)
"""Bulk operations. ``organization`` limits the operation to its executions; an empty one does not.
``claimableAt`` is the time from which any service may treat the next items, or the end of the
lease of ``owner``; it is ``NULL`` after the last item."""

bulk_items = Table(
    "orchestrator_bulk_items",
    metadata,
    Column("bulkId", Text, primary_key=True),
    Column("executionId", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("newExecutionId", Text),
    Column("error", Text),
)
"""The executions of bulk operations. A row outlives its execution. ``status`` is ``pending``,
``succeeded`` or ``failed``; it changes in the transaction that changes the execution."""
