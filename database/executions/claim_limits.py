"""Claim limits: how many executions of a workflow and of an organization run at the same time.

An execution runs while it has an owner, also after its lease has expired. The choice and the claim
are one transaction. The settings limit all executions. The document of an execution may declare a
limit too: the execution starts only while fewer executions of its workflow run.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    text,
    tuple_,
)

from database.executions.fair_order import fair_order
from database.tables import executions, runs
from engine.limits import ExecutionLimits

_CLAIM_LOCK = 7_205_759_408  # differs from the numbers of the other locks
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_GROUPS = (runs.c.organization, executions.c.workflowId)
_WITH_GROUPS = select(runs.c.executionId, *_GROUPS, runs.c.maxConcurrentExecutions).join(
    executions, executions.c.id == runs.c.executionId
)
_COUNTS = (
    select(*_GROUPS, func.count().label("number"))
    .select_from(runs)
    .join(executions, executions.c.id == runs.c.executionId)
    .group_by(*_GROUPS)
)

IS_LIMITED = runs.c.maxConcurrentExecutions > 0
"""Condition for executions whose documents declare a limit; it uses the index of these."""
_IS_UNLIMITED = runs.c.maxConcurrentExecutions.is_(None)
_DECLARED = (
    select(executions.c.workflowId, runs.c.maxConcurrentExecutions)
    .select_from(runs)
    .join(executions, executions.c.id == runs.c.executionId)
    .distinct()
    .where(IS_LIMITED)
)
IS_OWNED = runs.c.owner > ""
"""Condition for executions that run; it uses the index of owned executions."""


@dataclass(slots=True)
class _Usage:
    """The number of executions that run, by organization and by workflow."""

    limits: ExecutionLimits
    organizations: Counter[str] = field(default_factory=Counter[str])
    workflows: Counter[str] = field(default_factory=Counter[str])
    declared: Sequence[tuple[str, int]] = ()
    """The workflows and the limits that documents of candidates declare."""

    def add(self, organization: str, workflow_id: str, number: int = 1) -> None:
        if organization:  # executions without an organization are not limited together
            self.organizations[organization] += number
        self.workflows[workflow_id] += number

    def is_full(self, row: Any) -> bool:
        number = self.workflows[row.workflowId]
        return (
            _reaches(self.organizations[row.organization], self.limits.per_organization)
            or _reaches(number, self.limits.per_workflow)
            or _reaches(number, row.maxConcurrentExecutions)
        )

    def full_organizations(self) -> list[str]:
        return _full(self.organizations, self.limits.per_organization)

    def full_workflows(self) -> list[str]:
        return _full(self.workflows, self.limits.per_workflow)

    def full_documents(self) -> list[tuple[str, int]]:
        return [(name, limit) for name, limit in self.declared if self.workflows[name] >= limit]


def _full(counts: Counter[str], maximum: int | None) -> list[str]:
    return [name for name, number in counts.items() if _reaches(number, maximum)]


def _reaches(number: int, maximum: int | None) -> bool:
    return maximum is not None and number >= maximum


def lock_claims(connection: Connection) -> None:
    """Let transactions that choose executions run one after the other.

    Call it first, because later locks of the transaction would be taken in another order.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {"key": _CLAIM_LOCK})


def unlimited_order(wanted: ColumnElement[bool]) -> Select[Any]:
    """Return the first ``most`` of the wanted executions that no document limits, in fair order.

    The others need ``choose_allowed``.
    """
    return fair_order(and_(wanted, _IS_UNLIMITED)).limit(bindparam("most"))


def choose_allowed(
    connection: Connection,
    wanted: ColumnElement[bool],
    values: Mapping[str, Any],
    limits: ExecutionLimits,
    counted: ColumnElement[bool] = IS_OWNED,
) -> list[str]:
    """Return executions in the fair order that the limits allow to start.

    ``wanted`` is the condition for candidates, and ``counted`` the one for executions that count as
    running. ``values`` are the parameters of both; ``most`` is the maximum of results. The caller
    has called ``lock_claims``.
    """
    usage = _Usage(limits)
    for row in connection.execute(_COUNTS.where(counted), values):
        usage.add(row.organization, row.workflowId, row.number)
    declared = connection.execute(_DECLARED.where(wanted), values).all()
    usage.declared = [(row.workflowId, row.maxConcurrentExecutions) for row in declared]
    chosen: list[str] = []
    # Each round chooses an execution of every group that has no further candidate, or fills one.
    while (free := values["most"] - len(chosen)) > 0:
        found = _candidates(connection, wanted, values, usage, chosen, free)
        if not found:
            break
        for row in found:
            if not usage.is_full(row):
                usage.add(row.organization, row.workflowId)
                chosen.append(row.executionId)
    return chosen


def _candidates(
    connection: Connection,
    wanted: ColumnElement[bool],
    values: Mapping[str, Any],
    usage: _Usage,
    chosen: list[str],
    most: int,
) -> list[Any]:
    """Return the next executions outside full groups, with their groups."""
    in_full_workflow = exists(
        select(executions.c.id)
        .where(executions.c.id == runs.c.executionId)
        .where(executions.c.workflowId.in_(bindparam("full_workflows", expanding=True)))
    )
    in_full_document = exists(
        select(executions.c.id)
        .where(executions.c.id == runs.c.executionId)
        .where(
            tuple_(executions.c.workflowId, runs.c.maxConcurrentExecutions).in_(
                bindparam("full_documents", expanding=True)
            )
        )
    )
    allowed = and_(
        wanted,
        runs.c.executionId.not_in(bindparam("chosen", expanding=True)),
        runs.c.organization.not_in(bindparam("full_organizations", expanding=True)),
        ~in_full_workflow,
        or_(_IS_UNLIMITED, ~in_full_document),
    )
    full = {
        "full_workflows": usage.full_workflows(),
        "full_organizations": usage.full_organizations(),
        "full_documents": usage.full_documents(),
        "chosen": chosen,
    }
    order = fair_order(allowed).limit(bindparam("most"))
    ids = connection.scalars(order, {**values, **full, "most": most}).all()
    rows = connection.execute(_WITH_GROUPS.where(runs.c.executionId.in_(ids))).all()
    return sorted(rows, key=lambda row: ids.index(row.executionId))
