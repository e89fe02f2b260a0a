"""Errors that the service raises on purpose.

WorkflowServiceError
├── NotFoundError
│   ├── WorkflowNotFoundError
│   ├── ExecutionNotFoundError
│   └── ScheduleNotFoundError *
├── SignatureError *
├── WebhookSecretUnavailableError *
├── BodyTooLargeError *
├── ContentEncodingError *
├── InvalidRequestError          the request cannot be accepted
│   ├── InvalidDocumentError
│   ├── InvalidInputsError
│   ├── InvalidWorkflowError
│   ├── InvalidCursorError
│   ├── InvalidBodyError *
│   ├── InvalidBackfillError *
│   ├── UnknownOrganizationError
│   └── IdempotencyKeyReusedError
├── ForbiddenError
├── UnknownNodeTypeError
├── ConflictError                the request conflicts with the current state
│   ├── StillRunningError
│   ├── NotWaitingError
│   ├── WaitingForChildError
│   ├── RetryTakesNoDataError
│   ├── InvalidScheduleError *
│   ├── WorkflowExistsError
│   └── WorkflowInUseError
├── PreconditionFailedError
├── QueueFullError
├── TooManyPreviewsError
├── LeaseLostError               another worker owns the execution; the writer stops
├── StorageError                 a later attempt may succeed
│   ├── StorageBusyError
│   ├── StorageFullError
│   └── StorageUnavailableError
├── UnsupportedValueError        no later attempt can succeed
└── NodeError                    a handler failed
    ├── SecretUnavailableError
    └── PermanentError           no later attempt can succeed
        ├── AddressBlockedError
        ├── ResponseTooLargeError
        └── TemplateError

The errors marked with * are in ``engine/request_errors.py``. ``api/errors.py`` maps errors to HTTP
statuses.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Self

from engine.problems import MAX_PROBLEMS, Problem, format_problems

MAX_ERROR_CHARS = 4_000
"""Maximum length of a stored error, in characters."""


class WorkflowServiceError(Exception):
    """The root of all errors that the service raises on purpose."""


class NotFoundError(WorkflowServiceError):
    """The resource does not exist."""


class WorkflowNotFoundError(NotFoundError):
    """The workflow does not exist."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"Workflow '{workflow_id}' not found")


class ExecutionNotFoundError(NotFoundError):
    """The execution does not exist."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"Execution '{execution_id}' not found")


class InvalidRequestError(WorkflowServiceError):
    """The request is invalid; ``problems`` contains the first ``MAX_PROBLEMS`` reasons."""

    summary = "The request is invalid"

    def __init__(
        self, problems: Sequence[Problem], more: int = 0, unchecked_nodes: int = 0
    ) -> None:
        self.problems = list(problems[:MAX_PROBLEMS])
        self.more = more + len(problems) - len(self.problems)
        """Number of further reasons; a minimum if some nodes were not checked."""
        self.unchecked_nodes = unchecked_nodes
        super().__init__(
            f"{self.summary}: {format_problems(self.problems, self.more, unchecked_nodes)}"
        )


class InvalidDocumentError(InvalidRequestError):
    """The workflow document cannot run."""

    summary = "The workflow cannot run"

    def __init__(
        self,
        problems: Sequence[Problem],
        warnings: Iterable[Problem] = (),
        more: int = 0,
        unchecked_nodes: int = 0,
    ) -> None:
        super().__init__(problems, more, unchecked_nodes)
        self.warnings = list(warnings)

    def within(self, pointer: str) -> Self:
        """Return the error of a document that was sent at ``pointer`` of a request."""
        return type(self)(
            [replace(problem, pointer=f"{pointer}{problem.pointer}") for problem in self.problems],
            [replace(problem, pointer=f"{pointer}{problem.pointer}") for problem in self.warnings],
            self.more,
            self.unchecked_nodes,
        )


class InvalidInputsError(InvalidRequestError):
    """The inputs do not match the workflow."""

    summary = "The inputs do not fit the workflow"


class InvalidWorkflowError(InvalidRequestError):
    """The workflow cannot be saved."""

    summary = "The workflow cannot be saved"


class InvalidCursorError(InvalidRequestError):
    """The cursor was not issued by this list."""

    summary = "The cursor cannot be used"

    def __init__(self) -> None:
        detail = "'cursor' is not a valid 'nextCursor' of this list"
        super().__init__([Problem("invalid_cursor", detail, "")])


class UnknownOrganizationError(InvalidRequestError):
    """The organization does not exist."""

    summary = "The organization does not exist"

    def __init__(self, organization_id: str) -> None:
        detail = f"organization '{organization_id}' does not exist"
        super().__init__([Problem("unknown_organization", detail, "/organizationId")])


class IdempotencyKeyReusedError(InvalidRequestError):
    """The idempotency key belongs to another request."""

    summary = "The Idempotency-Key was used before"

    def __init__(self, key: str) -> None:
        detail = f"key '{key}' was sent with another body within the last 24 hours"
        super().__init__([Problem("idempotency_key_reused", detail, "")])


class ForbiddenError(WorkflowServiceError):
    """The caller's credential does not allow the request."""


class ConflictError(WorkflowServiceError):
    """The request conflicts with the current state of the resource."""


class StillRunningError(ConflictError):
    """The execution has not finished."""

    def __init__(self, execution_id: str, status: str) -> None:
        super().__init__(
            f"Execution '{execution_id}' is {status}; it can be rerun after it has finished"
        )


class NotWaitingError(ConflictError):
    """The node is not waiting."""

    def __init__(self, node_id: str, status: str | None) -> None:
        now = f"is {status}" if status else "has not been reached"
        super().__init__(f"Node '{node_id}' is not waiting: it {now}")


class WaitingForChildError(ConflictError):
    """The node waits for the execution that it called and cannot be resumed."""

    def __init__(self, node_id: str, child_id: str) -> None:
        super().__init__(
            f"Node '{node_id}' waits for the execution '{child_id}' that it called, and "
            "continues when that has finished; to end the wait, cancel that execution"
        )


class RetryTakesNoDataError(ConflictError):
    """The node waits for its next attempt, which accepts no data."""

    def __init__(self, node_id: str) -> None:
        super().__init__(
            f"Node '{node_id}' waits for its next attempt and accepts neither 'data' nor "
            "'approved'; resume it without them to start the attempt now"
        )


class WorkflowExistsError(ConflictError):
    """The workflow already exists."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"Workflow '{workflow_id}' already exists")


class WorkflowInUseError(ConflictError):
    """The workflow has executions that have not finished."""

    def __init__(self, workflow_id: str, executions: int) -> None:
        number = "1 execution" if executions == 1 else f"{executions} executions"
        verb = "has" if executions == 1 else "have"
        super().__init__(
            f"{number} of workflow '{workflow_id}' {verb} not finished and would be deleted with "
            "it; wait for them, cancel them, or delete with '?force=true'"
        )


class PreconditionFailedError(WorkflowServiceError):
    """The workflow has changed since the caller read it."""

    def __init__(self, workflow_id: str, version: str) -> None:
        self.version = version
        super().__init__(
            f"Workflow '{workflow_id}' does not have the version that 'If-Match' names; "
            f'its current version is "{version}"'
        )


class QueueFullError(WorkflowServiceError):
    """The queue is full; nothing was stored."""

    def __init__(self, waiting: int, setting: str, organization_id: str | None = None) -> None:
        whose = "" if organization_id is None else f" of the organization '{organization_id}'"
        number = "1 execution" if waiting == 1 else f"{waiting} executions"
        verb = "is" if waiting == 1 else "are"
        super().__init__(f"{number}{whose} {verb} already waiting ({setting}); try again later")


class NotReadyError(WorkflowServiceError):
    """The service cannot accept or run executions now; the message is the reason."""


class TooManyPreviewsError(WorkflowServiceError):
    """Too many node previews are running; the node was not started."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} single-node runs are in progress, which is the maximum "
            "(MAX_CONCURRENT_NODE_PREVIEWS); try again later"
        )


class UnknownNodeTypeError(WorkflowServiceError):
    """The node type has no handler."""

    def __init__(self, node_type: str, known: list[str]) -> None:
        super().__init__(f"Unknown node type '{node_type}'; known are: {', '.join(known)}")


class LeaseLostError(WorkflowServiceError):
    """The worker does not own the execution any longer; it finished, was deleted or taken over."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"The lease of execution '{execution_id}' is lost")


class StorageError(WorkflowServiceError):
    """The database did not execute the operation; the transaction was rolled back."""


class StorageBusyError(StorageError):
    """Another writer locks the database; a later attempt may succeed."""


class StorageFullError(StorageError):
    """The disk of the database is full; nothing was stored."""


class StorageUnavailableError(StorageError):
    """The database is unusable; the message contains the reason and the remedy."""


class UnsupportedValueError(WorkflowServiceError):
    """The database cannot store a value; a retry cannot succeed."""


class NodeError(WorkflowServiceError):
    """A node failed. Handlers raise it with the reason as its message.

    ``retryable``: whether another attempt may succeed. ``retry_after``: the minimum delay before it
    that the server requested, in seconds; not negative. ``status_code``: the HTTP status of the
    response of another service.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = True,
        retry_after: float | None = None,
        status_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = _finite_delay(retry_after)
        self.status_code = status_code


def _finite_delay(seconds: object) -> float | None:
    """Return a finite delay; the value may come from a server."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        delay = float(seconds)
    except OverflowError:
        return None
    return max(0.0, delay) if math.isfinite(delay) else None


class PermanentError(NodeError):
    """A node failed, and no later attempt can succeed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class AddressBlockedError(PermanentError):
    """The request to an address was blocked; nothing was sent.

    The message contains ``host`` as the request names it and only the ``kind`` of its address,
    because the addresses of an internal network are confidential.
    """

    def __init__(self, host: str, kind: str, remedy: str) -> None:
        super().__init__(
            f"ssrf_blocked: calls may not go to '{host}', which is {kind}. "
            f"The operator can allow it with {remedy}."
        )


class ResponseTooLargeError(PermanentError):
    """The response is larger than ``HTTP_MAX_RESPONSE_BYTES``; the rest was not read."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the response is larger than {limit_bytes} bytes (HTTP_MAX_RESPONSE_BYTES)"
        )


class SecretUnavailableError(NodeError):
    """The Prefect server that stores a secret is unavailable."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the secret '{name}' is unavailable: the Prefect server cannot be reached"
        )
        self.problems = [Problem("secret_unavailable", str(self), "")]


class TemplateError(PermanentError):
    """A template is invalid, or names a field that the input does not have."""


def replace_nul(text: str) -> str:
    """Return ``text`` with U+FFFD for each NUL, which PostgreSQL accepts in no text."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def sanitize_for_storage(text: str) -> str:
    """Return ``text`` cut and without NUL and lone surrogates, which databases reject."""
    if len(text) > MAX_ERROR_CHARS:
        text = f"{text[:MAX_ERROR_CHARS]}… ({len(text)} characters)"
    return replace_nul(text).encode(errors="backslashreplace").decode()


def describe(error: BaseException) -> str:
    """Return the reason of a failure, with the type of errors that are not ``NodeError``."""
    try:
        text = str(error).strip()
    except Exception:  # noqa: BLE001 - the exception class of a handler may be broken
        text = ""
    text = sanitize_for_storage(text)
    if isinstance(error, NodeError):
        return text or "the handler returned no reason"
    name = type(error).__name__
    return f"{name}: {text}" if text else name
