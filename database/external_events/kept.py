"""Kept events: lists and deletes the events for which no node waited when they were accepted."""

from sqlalchemy import ColumnElement, Connection, Text, delete, literal_column, select

from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.event_waits import KEPT, lock_event_names
from database.external_events.records import KeptEvent
from database.queries.listings import Page, page_of
from database.queries.results import KeptEventCursor
from database.waiting_tables import external_events
from engine.request_errors import KeptEventNotFoundError

# A literal, because the databases use an index of some rows only without parameters.
_KEPT: ColumnElement[str] = literal_column(f"'{KEPT}'", Text)


class KeptEvents:
    """The events that the next nodes which wait for them receive."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def page(
        self, organization_id: str | None, limit: int, after: KeptEventCursor | None = None
    ) -> Page[KeptEvent, KeptEventCursor]:
        """Return up to ``limit`` events, newest first; without an organization, those of all."""
        query = (
            select(
                external_events.c.position,
                external_events.c.id,
                external_events.c.organization,
                external_events.c.name,
                external_events.c.key,
                external_events.c.createdAt,
                external_events.c.expiresAt,
            )
            .where(*self._is_kept(organization_id))
            .order_by(external_events.c.position.desc())
            .limit(limit + 1)
        )
        if after is not None:
            query = query.where(external_events.c.position < after.position)
        found = await self._reader.run(lambda connection: connection.execute(query).all())
        return page_of(
            found,
            limit,
            lambda row: KeptEvent(
                row.id,
                row.organization or None,
                row.name,
                row.key,
                row.createdAt,
                row.expiresAt,
            ),
            lambda last: KeptEventCursor(last.position),
        )

    async def delete(self, event_id: str, organization_id: str | None) -> None:
        """Delete an event, so that no node receives it any more.

        Raises:
            KeptEventNotFoundError: If no such event is kept for the organization, if one is given.
        """
        if "\0" in event_id:
            raise KeptEventNotFoundError(event_id)  # PostgreSQL rejects the parameter
        wanted = (external_events.c.id == event_id, *self._is_kept(organization_id))

        def write(connection: Connection) -> None:
            named = select(
                external_events.c.organization, external_events.c.name, external_events.c.key
            ).where(*wanted)
            names = connection.execute(named).all()
            # A node that begins to wait takes this lock too: it receives the event, or finds none.
            lock_event_names(connection, [(row.organization, row.name, row.key) for row in names])
            if connection.execute(delete(external_events).where(*wanted)).rowcount != 1:
                raise KeptEventNotFoundError(event_id)

        await self._writer.run(write)

    def _is_kept(self, organization_id: str | None) -> list[ColumnElement[bool]]:
        conditions = [
            external_events.c.status == _KEPT,
            external_events.c.expiresAt > to_text(self._clock()),
        ]
        if organization_id is not None:
            conditions.append(external_events.c.organization == organization_id)
        return conditions
