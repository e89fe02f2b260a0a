"""Accepting an execution: what can be refused is refused here, before a row is written."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from database import Database
from database.records import Submission
from engine.document import parse_document
from engine.graph import Graph
from engine.inputs import start_manually
from engine.plan import Plan
from engine.validation import validate
from engine.values import JsonValue, encode_json
from flows.runner import Runner
from tasks.node_types import NodeTypes


@dataclass(frozen=True, slots=True)
class Accepted:
    """An execution that is stored and will run."""

    execution_id: str
    workflow_id: str
    workflow_name: str


@dataclass(frozen=True, slots=True)
class Submissions:
    """Takes executions in."""

    database: Database
    node_types: NodeTypes
    runner: Runner

    async def submit(
        self,
        workflow_id: str,
        inputs: Mapping[str, JsonValue] | None,
        organization_id: str | None,
    ) -> Accepted:
        """Stores an execution of the workflow as it is saved now, and wakes the runner.

        Raises:
            WorkflowNotFoundError: there is no such workflow.
            RefusedError: its document cannot run or the inputs do not fit it; nothing is stored.
            StorageError: the database did not take it; nothing is stored.
        """
        workflow = await self.database.reads.workflow(workflow_id)
        graph = self.check(workflow.data)
        plan = Plan(graph, start_manually(graph, inputs))
        submission = Submission(
            execution_id=str(uuid.uuid4()),
            workflow_id=workflow.id,
            workflow_name=workflow.name,
            organization_id=organization_id or workflow.organization_id,
            document=workflow.data,
            inputs=None if inputs is None else encode_json(dict(inputs)),
            total_nodes=len(plan.counted),
        )
        await self.database.queue.submit(submission)
        self.runner.wake()
        return Accepted(submission.execution_id, workflow.id, workflow.name)

    def check(self, document: str) -> Graph:
        """The graph of a document that can run.

        Raises:
            DocumentRefusedError: it cannot; every reason is in it.
        """
        return validate(parse_document(document), self.node_types.known, self.node_types.check)
