"""Human tasks: nodes that wait for the answers of people, and the decision of their answers.

A handler creates a task by parking its node with ``asks``. The optional object ``task`` of its
``park`` describes the task; see ``TaskRequest``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engine.errors import replace_nul
from engine.json_values import JsonValue, is_list, is_object

MAX_ASSIGNEE_CHARS = 250
"""Maximum length of the name of an assignee, in characters."""
MAX_ASSIGNEES = 100
"""Maximum number of assignees of a task."""
MAX_REMINDERS = 100
"""Maximum number of reminders of a task."""
MAX_TASK_SECONDS = 31_536_000
"""Maximum time to a reminder or an escalation, in seconds: a year."""
ASKS = "asks"
"""Key of ``park``: true if people decide which output the node takes."""
TASK = "task"
"""Key of ``park`` with the description of the task."""


class TaskStatus(StrEnum):
    """Status of a task."""

    OPEN = "open"
    """It waits for an answer."""
    COMPLETED = "completed"
    """Its answers have decided, and its node continues."""
    EXPIRED = "expired"
    """Its node failed because the time limit passed."""
    CANCELLED = "cancelled"
    """Its execution, or its loop item, ended without an answer."""


@dataclass(frozen=True, slots=True)
class Reminders:
    """Reminders of an open task: ``times`` of them, each ``seconds`` after the one before."""

    seconds: float
    times: int = 1


@dataclass(frozen=True, slots=True)
class Escalation:
    """The further people that may answer a task which is open for ``seconds``."""

    seconds: float
    assignees: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """The description of a task: the question, and who may answer it."""

    message: str | None = None
    form: Mapping[str, Any] | None = None
    """JSON Schema of the data of an answer."""
    assignees: tuple[str, ...] = ()
    """The people that may answer; if it is empty, any caller with the role may."""
    required: int = 1
    """Number of approvals that the task needs."""
    reminders: Reminders | None = None
    escalation: Escalation | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """Return the form that ``park`` contains; the message is a field of the result."""
        found: dict[str, JsonValue] = {"required": self.required}
        if self.form is not None:
            found["form"] = dict(self.form)
        if self.assignees:
            found["assignees"] = list(self.assignees)
        if self.reminders is not None:
            found["remind"] = {"seconds": self.reminders.seconds, "times": self.reminders.times}
        if self.escalation is not None:
            people = list(self.escalation.assignees)
            found["escalate"] = {"seconds": self.escalation.seconds, "assignees": people}
        return found

    @classmethod
    def of_park(cls, park: Mapping[str, JsonValue], message: str | None) -> "TaskRequest | None":
        """Return the task of a valid ``park``; ``None`` if it waits for no person."""
        if not park.get(ASKS):
            return None
        task = park.get(TASK)
        if message is not None:
            message = replace_nul(message)
        if not is_object(task):
            return cls(message)
        remind, escalate = task.get("remind"), task.get("escalate")
        return cls(
            message,
            task.get("form"),
            tuple(task.get("assignees") or ()),
            task.get("required") or 1,
            Reminders(remind["seconds"], remind.get("times", 1)) if is_object(remind) else None,
            Escalation(escalate["seconds"], tuple(escalate["assignees"]))
            if is_object(escalate)
            else None,
        )


def task_error(park: Mapping[str, JsonValue]) -> str | None:
    """Return why the ``task`` of a ``park`` is invalid; ``None`` if it is valid or missing."""
    task = park.get(TASK)
    if task is None:
        return None
    if not is_object(task):
        return "should be an object"
    assignees, form, required = task.get("assignees"), task.get("form"), task.get("required", 1)
    if assignees is not None and not (is_list(assignees) and all(map(_is_name, assignees))):
        return f"should have names of 1 to {MAX_ASSIGNEE_CHARS} characters as 'assignees'"
    people = set(assignees or ())
    if len(people) > MAX_ASSIGNEES:
        return f"has {len(people)} assignees; a task may have {MAX_ASSIGNEES}"
    if form is not None and not is_object(form):
        return "should have a JSON Schema as 'form'"
    if not isinstance(required, int) or isinstance(required, bool) or required < 1:
        return "should have a whole number from 1 as 'required'"
    if required > 1 and required > len(people):
        return f"needs {required} approvals but has {len(people)} assignees"
    return _reminder_error(task.get("remind")) or _escalation_error(task.get("escalate"), people)


def _reminder_error(remind: JsonValue) -> str | None:
    if remind is None:
        return None
    if not is_object(remind) or not _is_duration(remind.get("seconds")):
        return "should have 'seconds' above 0 in 'remind'"
    times = remind.get("times", 1)
    is_count = isinstance(times, int) and not isinstance(times, bool)
    if not (is_count and 1 <= times <= MAX_REMINDERS):
        return f"should have 1 to {MAX_REMINDERS} as 'times' in 'remind'"
    return None


def _escalation_error(escalate: JsonValue, people: set[str]) -> str | None:
    if escalate is None:
        return None
    further = escalate.get("assignees") if is_object(escalate) else None
    if not is_object(escalate) or not _is_duration(escalate.get("seconds")):
        return "should have 'seconds' above 0 in 'escalate'"
    if not (is_list(further) and further and all(map(_is_name, further))):
        return f"should have names of 1 to {MAX_ASSIGNEE_CHARS} characters to escalate to"
    if not people:
        return "can only be escalated if it has assignees, because otherwise any person may answer"
    if len(people | set(further)) > MAX_ASSIGNEES:
        return f"may have {MAX_ASSIGNEES} assignees after the escalation"
    return None


def _is_duration(value: JsonValue) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < value <= MAX_TASK_SECONDS


def _is_name(value: JsonValue) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ASSIGNEE_CHARS and "\0" not in value


def decision(approvals: int, rejections: int, required: int, assignees: int) -> bool | None:
    """Return whether the answers approve or reject a task; ``None`` if they decide nothing yet.

    If one approval is enough, the first answer decides. Otherwise a task is rejected as soon as
    the remaining assignees are too few for the required approvals.
    """
    if approvals >= required:
        return True
    return False if rejections > (assignees - required if required > 1 else 0) else None
