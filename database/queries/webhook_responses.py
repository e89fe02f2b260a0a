"""Webhook responses: the results of ``webhookResponse`` nodes."""

from sqlalchemy import bindparam, select

from database.connection.reader import Reader
from database.encryption import DataEncryption
from database.foreign_values import object_of
from database.tables import logs
from engine.json_values import JsonValue
from engine.status import NodeStatus
from offload import run_sized

_FIRST = (
    select(logs.c.resultDetail)
    .where(logs.c.executionId == bindparam("execution"))
    .where(logs.c.nodeType == bindparam("type"), logs.c.status == NodeStatus.COMPLETED)
    .order_by(logs.c.seq)
    .limit(1)
)


class WebhookResponses:
    """Reads the responses of nodes."""

    def __init__(self, reader: Reader, encryption: DataEncryption) -> None:
        self._reader = reader
        self._encryption = encryption

    async def first(self, execution_id: str, node_type: str) -> dict[str, JsonValue] | None:
        """Return the result of the first completed node of a type, without ``outputData``.

        Returns ``None`` if no node of this type has completed.
        """
        values = {"execution": execution_id, "type": node_type}
        row = await self._reader.run(lambda connection: connection.execute(_FIRST, values).first())
        if row is None:
            return None
        size = len(row.resultDetail or "")
        return await run_sized(size, self._decrypted, row.resultDetail)

    def _decrypted(self, text: str | bytes | None) -> dict[str, JsonValue]:
        detail = object_of(text)
        result = self._encryption.decrypt(detail)
        return detail if result is None else result
