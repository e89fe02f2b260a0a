"""Task service: validates and records the answers to tasks."""

from collections.abc import Callable
from dataclasses import dataclass

from database import Database
from database.executions.human_tasks import Answer, check_assignee
from database.human_tasks.records import HumanTask, TaskFilter
from database.queries.listings import Page
from database.queries.results import TaskCursor
from engine.json_values import JsonValue
from engine.parking import Resumption
from engine.request_errors import InvalidAnswerError, TaskEndedError
from offload import run_off_loop
from tasks.config.form_schema import answer_problems


@dataclass(frozen=True, slots=True)
class TaskService:
    """Reads tasks and records their answers."""

    database: Database
    notify_resumed: Callable[[str], object]
    """Called with the id of an execution whose node was resumed."""

    async def page(
        self, wanted: TaskFilter, limit: int, after: TaskCursor | None
    ) -> Page[HumanTask, TaskCursor]:
        """Return up to ``limit`` tasks, newest first."""
        return await self.database.human_tasks.page(wanted, limit, after)

    async def read(self, task_id: str) -> HumanTask:
        """Return a task.

        Raises:
            TaskNotFoundError: If it does not exist.
        """
        return await self.database.human_tasks.read(task_id)

    async def complete(self, task: HumanTask, answer: Answer) -> HumanTask:
        """Record an answer to a task, and return the task after it.

        Raises:
            TaskNotFoundError: If the task does not exist any more.
            TaskEndedError: If the task is not open.
            InvalidAnswerError: If the data does not match the form, or the assignee is wrong.
            AssigneeAnsweredError: If the same assignee has answered before.
        """
        if task.is_open:  # otherwise the answer below is rejected, whatever its data is
            await check_answer(task.form, approved=answer.approved, data=answer.data)
        decision = await self.database.human_tasks.complete(task.id, answer)
        if decision.resumption is not None:
            self.notify_resumed(decision.execution_id)
        return await self.read(task.id)

    async def resume(self, execution_id: str, node_id: str, resumption: Resumption) -> None:
        """Resume a waiting node, and answer its task if it has one.

        Raises:
            ExecutionNotFoundError: If the execution does not exist.
            NotWaitingError: If the node does not wait, or was resumed before.
            TaskNeedsAssigneesError: If the node needs the approvals of several people.
            InvalidAnswerError: If the data does not match the form of the task.
        """
        form = await self.database.human_tasks.open_form(execution_id, node_id)
        data = None if resumption.data is None else dict(resumption.data)
        await check_answer(form, approved=resumption.approved, data=data)
        await self.database.journal.resume(execution_id, node_id, resumption)
        self.notify_resumed(execution_id)


def require_answerable(task: HumanTask, assignee: str) -> None:
    """Check that an assignee can answer a task; ``""`` is a person that is not known.

    Raises:
        TaskEndedError: If the task is not open.
        InvalidAnswerError: If the task needs an assignee, or has other ones.
    """
    if not task.is_open:
        raise TaskEndedError(task.id, task.status)
    check_assignee(assignee, task.assignees, task.required)


async def check_answer(
    form: str | None, *, approved: bool, data: dict[str, JsonValue] | None
) -> None:
    """Check the data of an answer against a form; a rejection may have no data.

    Raises:
        InvalidAnswerError: If the data does not match the form; it names every invalid field.
    """
    if form is None or (data is None and not approved):
        return
    problems = await run_off_loop(answer_problems, form, data or {})
    if problems:
        raise InvalidAnswerError(problems)
