"""approval and humanApproval nodes: park the execution until people have decided."""

from typing import Annotated, Any

from prefect import task
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from engine.errors import PermanentError
from engine.human_tasks import (
    ASKS,
    MAX_ASSIGNEE_CHARS,
    MAX_ASSIGNEES,
    MAX_REMINDERS,
    TASK,
    Escalation,
    Reminders,
    TaskRequest,
    task_error,
)
from engine.json_values import JsonValue, as_text, is_list, structure_of
from engine.options import TimeLimit
from engine.parking import PARK
from engine.ports import Port
from tasks.compute import computed, success
from tasks.config.base import TEMPLATED, NodeConfig, fill, fill_text, has_template, read_config
from tasks.config.fields import LONG_TEXT, as_items
from tasks.config.form_schema import form_error
from tasks.flow.wait import timeout_park

_OUTPUTS = (
    Port("true", "Approved", ("approved", "approve", "accepted", "accept", "yes", "y", "1")),
    Port("false", "Rejected", ("rejected", "reject", "declined", "denied", "no", "n", "0")),
)


def _as_templates(value: object) -> object:
    """Return the items of a list, or of a string with commas that is not a template."""
    return [value] if isinstance(value, str) and has_template(value) else as_items(value)


_Assignees = Annotated[
    list[Annotated[str, Field(title="Assignee")]],
    BeforeValidator(_as_templates, json_schema_input_type=list[str]),
    TEMPLATED,
]


class ApprovalConfig(NodeConfig, title="Approval", category="flow", outputs=_OUTPUTS):
    """Parks the execution until people approve or reject."""

    approval_message: Annotated[str, TEMPLATED] = Field(
        default="", title="Message", json_schema_extra=LONG_TEXT
    )
    """The message for the people; may contain templates."""
    approval_form: Annotated[dict[str, JsonValue] | None, BeforeValidator(structure_of)] = Field(
        default=None, title="Form"
    )
    """JSON Schema of the data that an answer must have."""
    approval_assignees: _Assignees = Field(
        default_factory=list[str], title="Assignees", max_length=MAX_ASSIGNEES
    )
    """Names or addresses of the people that may answer, by default any person; may contain
    templates."""
    approval_required: int = Field(
        default=1, title="Required approvals", ge=1, le=MAX_ASSIGNEES, validate_default=True
    )
    """Number of assignees who must approve. With 1, the first answer decides."""
    approval_reminder_seconds: TimeLimit = Field(default=None, title="Reminder after")
    """Seconds until a reminder, and between two of them; no reminder by default."""
    approval_reminders: int = Field(default=1, title="Reminders", ge=1, le=MAX_REMINDERS)
    """Maximum number of reminders."""
    approval_escalation_seconds: TimeLimit = Field(default=None, title="Escalation after")
    """Seconds until `approvalEscalationAssignees` may answer too; never by default."""
    approval_escalation_assignees: _Assignees = Field(
        default_factory=list[str],
        title="Escalation assignees",
        max_length=MAX_ASSIGNEES,
        validate_default=True,
    )
    """Names or addresses of the further people after the escalation; may contain templates."""
    timeout_seconds: TimeLimit = Field(default=None, title="Time limit")
    """Maximum seconds to wait, up to a year; unlimited by default."""

    @field_validator("approval_form")
    @classmethod
    def _is_a_schema(cls, form: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        if form is not None and (reason := form_error(form)):
            raise ValueError(reason)
        return form

    @field_validator("approval_assignees", "approval_escalation_assignees")
    @classmethod
    def _are_names(cls, names: list[str]) -> list[str]:
        long = next((name for name in names if not _is_short(name)), None)
        if long is not None:
            limit = MAX_ASSIGNEE_CHARS
            raise ValueError(f"has a name of more than {limit} characters: '{long[:20]}…'")
        return names

    @field_validator("approval_required")
    @classmethod
    def _has_enough_people(cls, required: int, info: ValidationInfo) -> int:
        names: list[str] = info.data.get("approval_assignees", [])
        known = not any(map(has_template, names))
        if required > 1 and "approval_assignees" in info.data and known:
            count = len(set(names))
            if count < required:
                raise ValueError(f"is {required}, but approvalAssignees has {count} names")
        return required

    @field_validator("approval_escalation_assignees")
    @classmethod
    def _has_people_before(cls, names: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("approval_escalation_seconds") is not None and not names:
            raise ValueError("is required for approvalEscalationSeconds")
        if names and not info.data.get("approval_assignees", names):
            raise ValueError("has names, but approvalAssignees has none")
        return names


class HumanApprovalConfig(
    ApprovalConfig, title="Human approval", category="flow", outputs=_OUTPUTS
):
    """Parks the execution until people approve or reject; another name of ``approval``."""


@task(name="approval")
@computed
def handle_approval(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the input; the answers select the output ``true`` or ``false``."""
    return _ask(read_config(ApprovalConfig, node), input_data)


@task(name="humanApproval")
@computed
def handle_human_approval(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the input; the answers select the output ``true`` or ``false``."""
    return _ask(read_config(HumanApprovalConfig, node), input_data)


def _ask(config: ApprovalConfig, input_data: JsonValue) -> dict[str, JsonValue]:
    message = fill_text("approvalMessage", config.approval_message, input_data)
    reminders, escalation = None, None
    if config.approval_reminder_seconds is not None:
        reminders = Reminders(config.approval_reminder_seconds, config.approval_reminders)
    if config.approval_escalation_seconds is not None:
        further = _filled_assignees(
            "approvalEscalationAssignees", config.approval_escalation_assignees, input_data
        )
        escalation = Escalation(config.approval_escalation_seconds, tuple(further))
    people = _filled_assignees("approvalAssignees", config.approval_assignees, input_data)
    request = TaskRequest(
        form=config.approval_form,
        assignees=tuple(people),
        required=config.approval_required,
        reminders=reminders,
        escalation=escalation,
    )
    park: dict[str, JsonValue] = {ASKS: True, TASK: request.as_json()}
    if reason := task_error(park):
        raise PermanentError(f"the task for approvalAssignees {reason}")
    park |= timeout_park("no decision within", config.timeout_seconds)
    return success(message, input_data, **{PARK: park})


def _filled_assignees(setting: str, templates: list[str], data: JsonValue) -> list[str]:
    """Return the distinct names; a template may return a list of them, or names with commas."""
    names: list[str] = []
    for template in templates:
        value = fill(setting, template, data) if has_template(template) else [template]
        if not (is_list(value) or isinstance(value, str)):
            value = as_text(value)
        names += [as_text(item).strip() for item in as_items(value)]
    return list(dict.fromkeys(names))


def _is_short(name: str) -> bool:
    return has_template(name) or len(name) <= MAX_ASSIGNEE_CHARS
