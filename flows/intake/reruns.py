"""Reruns: prepares new executions that reuse results of ended ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from database.executions.inline_workflows import is_inline_workflow_id
from database.executions.inputs import Submission
from database.queries.results import FinishedExecution
from database.records import MANUAL, Workflow
from engine.errors import (
    InvalidDocumentError,
    InvalidInputsError,
    InvalidRequestError,
    Problem,
    StillRunningError,
    WorkflowNotFoundError,
)
from engine.graph import Graph
from engine.inputs import RunStart, start_as
from engine.json_pieces import load_json_in_pieces
from engine.json_values import JsonValue
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from engine.plan import Plan
from engine.rerun import changed_by_definition, changed_by_inputs, reused_runs
from engine.status import has_ended
from engine.subworkflow_calls import SUBWORKFLOW
from flows.encoding import encode_off_loop
from flows.intake.submissions import SubmissionService, new_submission
from offload import check_stop, run_sized

Definition = Literal["original", "current"]


@dataclass(frozen=True, slots=True)
class Rerun:
    """A request to run an execution again."""

    from_node_id: str | None = None
    inputs: Mapping[str, JsonValue] | None = None
    callback_url: str | None = None
    definition: Definition = "original"
    graph: Mapping[str, JsonValue] | None = None
    """A document that replaces the definition."""


@dataclass(frozen=True, slots=True)
class PreparedRerun:
    """A rerun that can be stored."""

    submission: Submission
    will_run: list[str]
    """The nodes that run, or are skipped again, in the order of the document."""
    taken_over: list[str]
    """The nodes whose results are reused."""


@dataclass(frozen=True, slots=True)
class RerunService:
    """Prepares reruns. It stores nothing."""

    submissions: SubmissionService

    async def prepare(self, execution_id: str, rerun: Rerun) -> PreparedRerun:
        """Return a new execution of an ended one.

        Raises:
            ExecutionNotFoundError: If this service never ran an execution with this id.
            StillRunningError: If the execution has not ended.
            InvalidRequestError: If the node or the inputs do not fit the definition, or the
                definition cannot run.
        """
        past = await self.submissions.database.queries.past_run(execution_id)
        if not has_ended(past.status):
            raise StillRunningError(execution_id, past.status)
        workflow = await self._workflow(past, rerun)
        graph = await self._graph(workflow.data, rerun)
        if rerun.from_node_id is not None and rerun.from_node_id not in graph.nodes:
            detail = f"the definition has no node '{rerun.from_node_id}'"
            raise InvalidRequestError([Problem("unknown_node", detail, "/fromNodeId")])
        previous = await run_sized(len(past.inputs or ""), _past_inputs, past)
        inputs = past.inputs
        if rerun.inputs is not None:
            inputs = await encode_off_loop(dict(rerun.inputs))
        size = len(past.document) + len(workflow.data)
        plan, kept, trigger = await run_sized(
            size, self._plan, past, workflow.data, graph, previous, rerun
        )
        submission = new_submission(
            workflow,
            plan,
            inputs,
            callback_url=rerun.callback_url,
            trigger_type=trigger,
            rerun_of=execution_id,
            reused_nodes=tuple(map(str, kept)),
            progress=plan.progress(kept),
        )
        around = plan.scopes.loops.around
        taken = {key.node_id for key in kept if not key.path}
        counted = [node_id for node_id in graph.nodes if node_id in plan.counted]
        taken_over = [node_id for node_id in counted if around(node_id)[-1] in taken]
        will_run = [node_id for node_id in counted if around(node_id)[-1] not in taken]
        return PreparedRerun(submission, will_run, taken_over)

    async def _workflow(self, past: FinishedExecution, rerun: Rerun) -> Workflow:
        """Return the workflow to run, with the organization of the past execution."""
        name, document = past.workflow_name, past.document
        if rerun.graph is not None:
            document = await encode_off_loop(dict(rerun.graph))
        elif rerun.definition == "current":
            if is_inline_workflow_id(past.workflow_id):
                detail = "the execution ran an unsaved document, which has no current definition"
                raise InvalidRequestError([Problem("no_current_definition", detail, "/definition")])
            try:
                current = await self.submissions.database.queries.workflow(past.workflow_id)
            except WorkflowNotFoundError as error:
                problem = Problem("no_current_definition", str(error), "/definition")
                raise InvalidRequestError([problem]) from None
            name, document = current.name, current.data
        return Workflow(past.workflow_id, name, document, past.organization_id)

    async def _graph(self, document: str, rerun: Rerun) -> Graph:
        try:
            return await self.submissions.check_in_thread(document)
        except InvalidDocumentError as error:
            raise error.within("/graph") if rerun.graph is not None else error from None

    def _plan(
        self,
        past: FinishedExecution,
        document: str,
        graph: Graph,
        previous: Mapping[str, JsonValue],
        rerun: Rerun,
    ) -> tuple[Plan, dict[NodeRunKey, Outcome], str]:
        """Return the plan, the node runs that are reused, and the ``triggerType``."""
        is_same = document == past.document
        before = graph if is_same else self.submissions.stored_graph(past.document)
        current = previous if rerun.inputs is None else rerun.inputs
        # The rerun of a subworkflow's execution has no parent, so it is a manual execution.
        keeps_trigger = rerun.inputs is None and past.trigger_type != SUBWORKFLOW
        trigger = past.trigger_type if keeps_trigger else MANUAL
        start = _start(trigger, graph, current)
        changed = changed_by_inputs(start_as(past.trigger_type, before, previous), start)
        if not is_same:
            changed = {node_id for node_id in changed if node_id in graph.nodes}
            definition_changes = changed_by_definition(before, graph)
            is_same = not definition_changes and before.nodes.keys() == graph.nodes.keys()
            changed |= definition_changes
        kept = reused_runs(
            graph, past.outcomes, rerun.from_node_id, changed, is_same_definition=is_same
        )
        return Plan(graph, start), kept, trigger


def _start(trigger: str, graph: Graph, inputs: Mapping[str, JsonValue]) -> RunStart:
    """Return the start of a definition.

    Raises:
        InvalidInputsError: If no node accepts an input, or the node that fired does not exist.
    """
    start = start_as(trigger, graph, inputs)
    if missing := sorted(start.fired - graph.nodes.keys()):
        detail = f"the definition has no node '{missing[0]}', at which the execution started"
        raise InvalidInputsError([Problem("unknown_node", detail, "/inputs")])
    return start


def _past_inputs(past: FinishedExecution) -> Mapping[str, JsonValue]:
    """Return the inputs of a finished execution.

    Raises:
        InvalidInputsError: If another program replaced them by a value that is not an object.
    """
    try:
        inputs: JsonValue = load_json_in_pieces(past.inputs or "{}", check_stop)
    except ValueError:
        inputs = past.inputs
    if not isinstance(inputs, Mapping):
        detail = f"the stored inputs of execution '{past.execution_id}' are not a JSON object"
        raise InvalidInputsError([Problem("invalid_inputs", detail, "/inputs")])
    return cast("Mapping[str, JsonValue]", inputs)
