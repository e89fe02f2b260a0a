"""Request errors: the sender or the body of a request is invalid."""

from engine.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Problem,
    WorkflowServiceError,
)


class SignatureError(WorkflowServiceError):
    """The signature of a webhook request is missing, wrong or too old."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The signature is invalid: {reason}")


class WebhookSecretUnavailableError(WorkflowServiceError):
    """The secret of a webhook is unavailable. Only the log names it, because it is confidential."""

    def __init__(self) -> None:
        detail = "The signature cannot be checked now; send the request again later"
        super().__init__(detail)
        self.problems = [Problem("secret_unavailable", detail, "")]


class ScheduleNotFoundError(NotFoundError):
    """The schedule does not exist."""

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"Schedule '{schedule_id}' not found")


class BulkNotFoundError(NotFoundError):
    """The bulk operation does not exist."""

    def __init__(self, bulk_id: str) -> None:
        super().__init__(f"Bulk operation '{bulk_id}' not found")


class TooManyBulkItemsError(InvalidRequestError):
    """The filter matches too many executions."""

    summary = "The bulk operation is too large"

    def __init__(self, most: int) -> None:
        detail = f"the filter matches more than {most} executions; add a condition"
        super().__init__([Problem("too_many_executions", detail, "/filter")])


class InvalidScheduleError(ConflictError):
    """The settings of the schedule are invalid."""

    def __init__(self, schedule_id: str, reason: str) -> None:
        super().__init__(f"Schedule '{schedule_id}' has invalid settings: {reason}")


class InvalidBackfillError(InvalidRequestError):
    """The instants of a backfill cannot be started."""

    summary = "The backfill cannot be started"

    def __init__(self, code: str, detail: str, pointer: str) -> None:
        super().__init__([Problem(code, detail, pointer)])


class KeptEventNotFoundError(NotFoundError):
    """No event with this id is kept."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"Event '{event_id}' is not kept")


class TaskNotFoundError(NotFoundError):
    """The task does not exist."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Task '{task_id}' not found")


class TaskEndedError(ConflictError):
    """The task is not open any more."""

    def __init__(self, task_id: str, status: str) -> None:
        super().__init__(f"Task '{task_id}' is not open any more; its status is '{status}'")


class AssigneeAnsweredError(ConflictError):
    """The assignee has answered the task before."""

    def __init__(self, task_id: str, assignee: str) -> None:
        super().__init__(f"'{assignee}' has already answered the task '{task_id}'")


class TaskNeedsAssigneesError(ConflictError):
    """The task of the node needs the approvals of several people."""

    def __init__(self, node_id: str, task_id: str, required: int) -> None:
        super().__init__(
            f"Node '{node_id}' needs the approvals of {required} people; "
            f"answer its task '{task_id}' instead"
        )


class InvalidAnswerError(InvalidRequestError):
    """The answer to a task is invalid."""

    summary = "The answer is invalid"

    @classmethod
    def of(cls, code: str, detail: str, pointer: str) -> "InvalidAnswerError":
        """Return the error with one problem."""
        return cls([Problem(code, detail, pointer)])


class TooManyKeptEventsError(WorkflowServiceError):
    """Too many events are kept that no node has received; nothing was stored."""

    def __init__(self, kept: int, most: int, organization: str) -> None:
        whose = f" of the organization '{organization}'" if organization else ""
        super().__init__(
            f"{kept} events{whose} are kept for nodes that do not wait yet "
            f"(MAX_KEPT_EVENTS={most}); try again later"
        )


class EventTooLargeError(InvalidRequestError):
    """The payload of an event is too large."""

    summary = "The event is too large"

    def __init__(self, size: int, most: int) -> None:
        detail = f"the payload has {size} bytes; the limit is {most} bytes (MAX_EVENT_BYTES)"
        super().__init__([Problem("event_too_large", detail, "/payload")])


class BodyTooLargeError(WorkflowServiceError):
    """The decoded body is larger than a setting allows."""

    def __init__(self, max_bytes: int, setting: str) -> None:
        super().__init__(f"The body is longer than {max_bytes} bytes ({setting})")


class ContentEncodingError(WorkflowServiceError):
    """The ``Content-Encoding`` of the body is not supported."""

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"The Content-Encoding '{encoding}' is not supported; supported are gzip and identity"
        )


class InvalidBodyError(InvalidRequestError):
    """The body does not match its content type."""

    summary = "The body cannot be read"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__([Problem(code, detail, "")])
