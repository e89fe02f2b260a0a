"""Fair order: organizations take turns in the queue, and each has its oldest execution first."""

import functools
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Select,
    Subquery,
    Text,
    bindparam,
    func,
    select,
)

from database.connection.engines import insert_of
from database.tables import fairness, runs


def fair_order(wanted: ColumnElement[bool]) -> Select[Any]:
    """Return executions in the order of claims: organizations take turns, oldest first."""
    waiting = _fairly_ranked(wanted)
    return (
        select(waiting.c.executionId)
        .outerjoin(fairness, fairness.c.organization == waiting.c.organization)
        .order_by(*_fair_key(waiting))
    )


def fair_position(wanted: ColumnElement[bool]) -> Select[Any]:
    """Return the position of the execution with the parameter ``id`` in this order, from 1."""
    waiting = _fairly_ranked(wanted)
    number = func.row_number().over(order_by=_fair_key(waiting)).label("number")
    numbered = (
        select(waiting.c.executionId, number)
        .outerjoin(fairness, fairness.c.organization == waiting.c.organization)
        .subquery()
    )
    own = numbered.c.executionId == bindparam("id", type_=Text)
    return select(numbered.c.number).where(own)


def _fairly_ranked(wanted: ColumnElement[bool]) -> Subquery:
    """Return executions with their rank within their organization."""
    rank = func.row_number().over(partition_by=runs.c.organization, order_by=runs.c.position)
    columns = (runs.c.executionId, runs.c.organization, runs.c.position, rank.label("rank"))
    return select(*columns).where(wanted).subquery()


def _fair_key(waiting: Subquery) -> list[ColumnElement[Any]]:
    return [waiting.c.rank, func.coalesce(fairness.c.lastServed, 0), waiting.c.position]


def record_turns(connection: Connection, organizations: Sequence[str]) -> None:
    """Record which organizations were served, in this order; the last time counts."""
    served = dict.fromkeys(reversed(organizations))
    if served:
        rows = [{"organization": organization} for organization in reversed(served)]
        connection.execute(_take_turn(connection.dialect.name), rows)


@functools.cache
def _take_turn(dialect: str) -> Insert:
    """Return the statement that makes an organization the one that was served last."""
    last = select(func.coalesce(func.max(fairness.c.lastServed), 0) + 1).scalar_subquery()
    statement = insert_of(dialect)(fairness).values(
        organization=bindparam("organization"), lastServed=last
    )
    served = {"lastServed": statement.excluded.lastServed}
    return statement.on_conflict_do_update(index_elements=["organization"], set_=served)
