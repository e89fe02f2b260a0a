"""Schedule documents: finds the schedule nodes of a document, and prepares its executions."""

import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from database import to_text
from database.executions.inputs import Submission
from database.records import Workflow
from database.schedules.detection import hash_of
from database.schedules.records import (
    FoundSchedule,
    Instant,
    NextInstant,
    WorkflowSchedules,
    WorkflowVersion,
)
from engine.document import Node, read_document
from engine.errors import InvalidDocumentError, sanitize_for_storage
from engine.graph import SCHEDULE
from engine.inputs import start_at_entry
from engine.json_values import JsonValue, encode_json
from engine.limits import DEFAULT_DOCUMENT_LIMITS, DocumentLimits
from engine.plan import Plan
from engine.validation import read_and_validate
from flows.schedules.decisions import ScheduleSettings, settings_of, settings_text
from offload import run_counted
from tasks.config.base import config_errors
from tasks.flow.schedule import ScheduleConfig
from tasks.registry import NodeTypes

MAX_CACHED_DOCUMENTS = 256
"""Maximum number of validated documents that are cached."""
_NAMESPACE = uuid.UUID("5d2b9a0e-6c1f-4a53-8f0b-90b1c3c8f7a4")  # arbitrary, but constant


def schedule_id_of(workflow_id: str, node_id: str) -> str:
    """Return the id of the schedule of a node; it is the same in every service."""
    return str(uuid.uuid5(_NAMESPACE, encode_json([workflow_id, node_id])))


def schedules_of(version: WorkflowVersion, now: datetime) -> WorkflowSchedules:
    """Return the schedules of a document: its enabled schedule nodes without connections to them.

    An invalid schedule has an error. A text that is not a valid document has no schedules.
    """
    found: dict[str, FoundSchedule] = {}
    for node in _schedule_nodes(version.document):
        schedule_id = schedule_id_of(version.workflow_id, node.id)
        if schedule_id in found:
            continue  # the document cannot run, because two nodes have the same id
        errors = config_errors(ScheduleConfig, node.config)
        if errors:
            # The reasons contain values of the document.
            reason = sanitize_for_storage(
                "; ".join(f"'{error.path_text}' {error.reason}" for error in errors)
            )
            invalid = FoundSchedule(schedule_id, node.id, None, reason, NextInstant(None, None))
            found[schedule_id] = invalid
            continue
        settings = settings_text(ScheduleConfig.model_validate(node.config))
        following = settings_of(settings).next(schedule_id, now)
        found[schedule_id] = FoundSchedule(schedule_id, node.id, settings, None, following)
    digest = hash_of(version.document) if found else None
    return WorkflowSchedules(version, digest, list(found.values()))


def _schedule_nodes(document: str | None) -> list[Node]:
    if document is None:
        return []
    try:
        reading = read_document(document)
    except InvalidDocumentError:
        return []
    targets = {connection.target for connection in reading.document.connections}
    return [
        node
        for node in reading.document.nodes
        if node.type == SCHEDULE
        and not node.disabled
        and node.id not in targets
        and node.pointer not in reading.incomplete_nodes
    ]


@dataclass(slots=True)
class ScheduledDocuments:
    """Validates the documents of scheduled executions, and caches the results."""

    node_types: NodeTypes
    limits: DocumentLimits = DEFAULT_DOCUMENT_LIMITS
    _cache: OrderedDict[tuple[str | None, str], int] = field(
        default_factory=OrderedDict[tuple[str | None, str], int]
    )

    async def total_nodes(self, document: str, node_id: str) -> int:
        """Return the number of nodes that an execution from a schedule node can reach.

        Raises:
            InvalidDocumentError: If the document cannot run.
        """
        key = (hash_of(document), node_id)
        if key not in self._cache:
            self._cache[key] = await run_counted(len(document), self._count, document, node_id)
            while len(self._cache) > MAX_CACHED_DOCUMENTS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _count(self, document: str, node_id: str) -> int:
        graph = read_and_validate(document, self.node_types.rules, self.limits).graph
        return len(Plan(graph, start_at_entry(node_id, {})).counted)


def instant_of(
    workflow: Workflow,
    node_id: str,
    settings: ScheduleSettings,
    instant: datetime,
    total_nodes: int,
) -> Instant:
    """Return an instant with the execution to store for it."""
    zone = settings.config.schedule_timezone
    payload: dict[str, JsonValue] = {
        "scheduledAt": to_text(instant),
        "localTime": instant.astimezone(ZoneInfo(zone)).isoformat(timespec="seconds"),
        "timezone": zone,
        "scheduleId": schedule_id_of(workflow.id, node_id),
    }
    submission = Submission(
        execution_id=str(uuid.uuid4()),
        workflow_id=workflow.id,
        workflow_name=workflow.name,
        organization_id=workflow.organization_id,
        document=workflow.data,
        inputs=encode_json({node_id: payload}),
        total_nodes=total_nodes,
        trigger_type=SCHEDULE,
    )
    return Instant(to_text(instant), submission)
