"""Task schemas: tasks in responses, and the answer of a person."""

from typing import Annotated, Any, Self

from fastapi import Query
from pydantic import BeforeValidator, Field, StrictBool, StrictInt

from api.schemas.base import ApiModel, Name, RequestModel
from api.schemas.listings import MAX_STATUSES, TextFilter, split_commas
from database.human_tasks.records import HumanTask
from engine.human_tasks import MAX_ASSIGNEE_CHARS, TaskStatus
from engine.json_values import load_json

AssigneeFilter = Annotated[TextFilter, Query(description="Only tasks of this assignee.")]
TaskExecutionFilter = Annotated[
    TextFilter, Query(alias="executionId", description="Only tasks of this execution.")
]
TaskStatuses = Annotated[
    Annotated[list[TaskStatus], Field(max_length=MAX_STATUSES)],
    Query(description="May be repeated, or have values separated by commas."),
    BeforeValidator(split_commas),
]


class ListedTaskResponse(ApiModel):
    """A task in a list."""

    id: str
    execution_id: str
    workflow_id: str
    workflow_name: str | None
    organization_id: str | None
    node_id: str = Field(description="In a loop with the number of the item: `ask[3]`.")
    node_label: str | None
    status: TaskStatus
    message: str | None = Field(description="The question; null if the node hides its data.")
    has_form: bool
    assignees: list[str] = Field(
        description="The people that may answer; if it is empty, any person may."
    )
    required: int = Field(description="Number of approvals that the task needs.")
    approvals: int
    rejections: int
    approved: bool | None = Field(description="The decision; null if there is none.")
    created_at: str
    expires_at: str | None = Field(description="The time at which the node fails.")
    ended_at: str | None
    reminders: int = Field(description="Number of reminders so far.")
    reminded_at: str | None = Field(description="The time of the last reminder.")
    escalated_at: str | None = Field(
        description="The time at which further assignees were added; null before."
    )
    next_reminder_at: str | None
    escalates_at: str | None


class TaskAnswerResponse(ApiModel):
    """One answer to a task."""

    assignee: str | None
    approved: bool
    answered_at: str


class TaskResponse(ListedTaskResponse):
    """A task with its form and its answers."""

    form: dict[str, Any] | None = Field(description="JSON Schema of `data`.")
    answers: list[TaskAnswerResponse]

    @classmethod
    def of_task(cls, task: HumanTask) -> Self:
        """Return the response for a task."""
        form = None if task.form is None else load_json(task.form)
        return cls.of_row(task, form=form, has_form=task.has_form)


class TasksResponse(ApiModel):
    """A page of tasks."""

    tasks: list[ListedTaskResponse]
    next_cursor: str | None


class CompleteTaskRequest(RequestModel):
    """The answer to a task."""

    approved: StrictBool = True
    data: dict[str, Any] | None = Field(
        default=None, description="Matches the `form` of the task, and is merged into the output."
    )
    assignee: Annotated[Name, Field(max_length=MAX_ASSIGNEE_CHARS)] | None = Field(
        default=None,
        description="The person that answers; required if the task needs several approvals.",
    )


class TaskLinkRequest(RequestModel):
    """The person and the lifetime of a link."""

    assignee: Annotated[Name, Field(max_length=MAX_ASSIGNEE_CHARS)] | None = Field(
        default=None,
        description="The person that answers; required if the task needs several approvals.",
    )
    expires_in_seconds: StrictInt = Field(default=604_800, ge=1, le=31_536_000)


class TaskLinkResponse(ApiModel):
    """A link to a page on which a person answers a task once."""

    url: str
    assignee: str | None
    expires_at: str
