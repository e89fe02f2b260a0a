"""Every error the service raises on purpose.

WorkflowServiceError
├── NotFoundError
│   ├── WorkflowNotFoundError
│   └── ExecutionNotFoundError
├── SignatureError *               a delivery is not from whom it should be, or not from now
├── WebhookSecretUnavailableError *
├── BodyTooLargeError *
├── ContentEncodingError *
├── InvalidRequestError                 the caller sent something that cannot be accepted
│   ├── InvalidDocumentError
│   ├── InvalidInputsError
│   ├── InvalidWorkflowError
│   ├── InvalidCursorError
│   ├── InvalidBodyError *
│   └── UnknownOrganizationError
│   └── IdempotencyKeyReusedError
├── ForbiddenError              the caller may not ask for it
├── UnknownNodeTypeError
├── ConflictError                what is asked for does not fit how things stand
│   ├── StillRunningError
│   ├── NotWaitingError
│   ├── WaitingForChildError
│   ├── WorkflowExistsError
│   └── WorkflowInUseError
├── PreconditionFailedError        it is not in the version any more that the caller knows
├── QueueFullError               too many executions wait; try again later
├── LeaseLostError               somebody else decided; the writer stops
├── StorageError                 it may work later
│   ├── StorageBusyError         locked longer than the busy timeout
│   ├── StorageFullError         no space left
│   └── StorageUnavailableError     not a database, read-only, newer than the code
├── UnsupportedValueError        it will never work: the database cannot hold the value
└── NodeError                    a node's handler failed
    ├── AddressBlockedError      a call would have gone where calls may not go
    ├── ResponseTooLargeError
    ├── SecretUnavailableError   it is kept elsewhere, and nobody answers there
    └── TemplateError

The errors marked with * are in ``engine/request_errors.py``.

HTTP statuses are given to them in one place, ``api/errors.py``.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Self

from engine.problems import MAX_PROBLEMS, Problem, format_problems
from engine.reasons import sanitize_for_storage


class WorkflowServiceError(Exception):
    """The root of all errors that the service raises on purpose."""


class NotFoundError(WorkflowServiceError):
    """There is nothing of that id."""


class WorkflowNotFoundError(NotFoundError):
    """There is no workflow of that id."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"Workflow '{workflow_id}' not found")


class ExecutionNotFoundError(NotFoundError):
    """There is no execution of that id."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"Execution '{execution_id}' not found")


class InvalidRequestError(WorkflowServiceError):
    """What was sent cannot be accepted; ``problems`` holds the first ``MAX_PROBLEMS`` reasons."""

    summary = "The request is refused"

    def __init__(
        self, problems: Sequence[Problem], more: int = 0, unchecked_nodes: int = 0
    ) -> None:
        self.problems = list(problems[:MAX_PROBLEMS])
        self.more = more + len(problems) - len(self.problems)
        """Number of further reasons; at least so many if there are nodes that were not checked."""
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
        """The same refusal of a document that was sent at ``pointer`` of a larger one."""
        return type(self)(
            [replace(problem, pointer=f"{pointer}{problem.pointer}") for problem in self.problems],
            [replace(problem, pointer=f"{pointer}{problem.pointer}") for problem in self.warnings],
            self.more,
            self.unchecked_nodes,
        )


class InvalidInputsError(InvalidRequestError):
    """Nothing in the workflow takes some of the inputs."""

    summary = "The inputs do not fit the workflow"


class InvalidWorkflowError(InvalidRequestError):
    """A workflow cannot be saved as it was sent."""

    summary = "The workflow cannot be saved"


class InvalidCursorError(InvalidRequestError):
    """The cursor is none that this list has given."""

    summary = "The cursor cannot be used"

    def __init__(self) -> None:
        detail = "'cursor' is no 'nextCursor' of this list"
        super().__init__([Problem("invalid_cursor", detail, "")])


class UnknownOrganizationError(InvalidRequestError):
    """The database knows no organization of that id."""

    summary = "The organization is not known"

    def __init__(self, organization_id: str) -> None:
        detail = f"there is no organization '{organization_id}'"
        super().__init__([Problem("unknown_organization", detail, "/organizationId")])


class IdempotencyKeyReusedError(InvalidRequestError):
    """The idempotency key stands for another request."""

    summary = "The Idempotency-Key was used before"

    def __init__(self, key: str) -> None:
        detail = f"key '{key}' was sent with another body within the last 24 hours"
        super().__init__([Problem("idempotency_key_reused", detail, "")])


class ForbiddenError(WorkflowServiceError):
    """The caller's key or token is not for what the request names."""


class ConflictError(WorkflowServiceError):
    """What is asked for does not fit how things stand now."""


class StillRunningError(ConflictError):
    """The execution has not ended."""

    def __init__(self, execution_id: str, status: str) -> None:
        super().__init__(
            f"Execution '{execution_id}' is {status}; it can be run again once it ended"
        )


class NotWaitingError(ConflictError):
    """The node does not wait, or does not wait any more."""

    def __init__(self, node_id: str, status: str | None) -> None:
        now = f"is {status}" if status else "has not been reached"
        super().__init__(f"Node '{node_id}' does not wait: it {now}")


class WaitingForChildError(ConflictError):
    """The node waits for the execution that it called, and for nobody's answer."""

    def __init__(self, node_id: str, child_id: str) -> None:
        super().__init__(
            f"Node '{node_id}' waits for the execution '{child_id}' that it called, and goes on "
            "when that has ended; to end it earlier, cancel it"
        )


class RetryTakesNoDataError(ConflictError):
    """The node waits for its next attempt, which takes no answer."""

    def __init__(self, node_id: str) -> None:
        super().__init__(
            f"Node '{node_id}' waits for its next attempt and takes no 'data' and no 'approved': "
            "resume it without them to start the attempt now"
        )


class WorkflowExistsError(ConflictError):
    """There is a workflow of that id."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"There is a workflow '{workflow_id}' already")


class WorkflowInUseError(ConflictError):
    """Executions of the workflow have not ended; they would go with it."""

    def __init__(self, workflow_id: str, executions: int) -> None:
        some = "1 execution" if executions == 1 else f"{executions} executions"
        verb = "has" if executions == 1 else "have"
        super().__init__(
            f"{some} of workflow '{workflow_id}' {verb} not ended, and would be deleted with it; "
            "wait for them, cancel them, or delete with '?force=true'"
        )


class PreconditionFailedError(WorkflowServiceError):
    """The workflow is not in the version any more that the caller knows."""

    def __init__(self, workflow_id: str, version: str) -> None:
        self.version = version
        super().__init__(
            f"Workflow '{workflow_id}' is not in the version that 'If-Match' names; "
            f'it is in version "{version}" now'
        )


class QueueFullError(WorkflowServiceError):
    """As many executions wait as may; nothing was stored."""

    def __init__(self, waiting: int, setting: str, organization_id: str | None = None) -> None:
        whose = "" if organization_id is None else f" of the organization '{organization_id}'"
        some = "1 execution" if waiting == 1 else f"{waiting} executions"
        verb = "is" if waiting == 1 else "are"
        super().__init__(f"{some}{whose} {verb} waiting already ({setting}); try again later")


class TooManyPreviewsError(WorkflowServiceError):
    """Too many single nodes run at the same time; the node was not started."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} single-node runs are in progress, which is the maximum "
            "(MAX_CONCURRENT_NODE_PREVIEWS); try again later"
        )


class UnknownNodeTypeError(WorkflowServiceError):
    """No handler is registered for that node type."""

    def __init__(self, node_type: str, known: list[str]) -> None:
        super().__init__(f"Unknown node type '{node_type}'; known are: {', '.join(known)}")


class LeaseLostError(WorkflowServiceError):
    """The execution is no longer this service's: it was ended, deleted or taken over."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"The lease of execution '{execution_id}' is lost")


class StorageError(WorkflowServiceError):
    """The database did not do what was asked; nothing was half-stored."""


class StorageBusyError(StorageError):
    """The database is locked by another writer; try again in a moment."""


class StorageFullError(StorageError):
    """The disk that holds the database is full; nothing was stored."""


class StorageUnavailableError(StorageError):
    """The database cannot be used as it is; the message says why and what to do."""


class UnsupportedValueError(WorkflowServiceError):
    """The database cannot hold a value; nothing was stored, and trying again is in vain."""


class NodeError(WorkflowServiceError):
    """A node failed. Handlers raise it with the reason as its message.

    ``retryable`` says whether another attempt may succeed; ``retry_after`` is the minimum delay in
    seconds before it that the other side requested, a finite number that is not negative, or
    ``None``; ``status_code`` is the HTTP status with which another service answered.
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
    """Return a delay that can be computed with: handlers may pass what a server sent."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        delay = float(seconds)
    except OverflowError:
        return None
    return max(0.0, delay) if math.isfinite(delay) else None


class AddressBlockedError(NodeError):
    """A call would have gone where calls may not go; nothing was sent.

    ``host`` is the host as the call names it. Where a name leads is said by ``kind`` alone: what a
    resolver inside a network knows is nobody's business outside.
    """

    def __init__(self, host: str, kind: str, remedy: str) -> None:
        super().__init__(
            f"ssrf_blocked: calls may not go to '{host}', which is {kind}. "
            f"The operator can allow it with {remedy}.",
            retryable=False,
        )


class ResponseTooLargeError(NodeError):
    """The answer to a call is larger than ``HTTP_MAX_RESPONSE_BYTES``; the rest was not read."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the response is larger than {limit_bytes} bytes (HTTP_MAX_RESPONSE_BYTES)",
            retryable=False,
        )


class SecretUnavailableError(NodeError):
    """The Prefect server that may keep a secret cannot be asked for it. Never shows a value."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the secret '{name}' cannot be had now: the Prefect server cannot be asked for it"
        )
        self.problems = [Problem("secret_unavailable", str(self), "")]


class TemplateError(NodeError):
    """A template names a field that the input does not have, or is no template."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


def describe(error: BaseException) -> str:
    """The reason of a failure for people, fit for any column; a stranger is named by its type."""
    try:
        text = str(error).strip()
    except Exception:  # noqa: BLE001 - a handler's own exception class may be broken
        text = ""
    text = sanitize_for_storage(text)
    if isinstance(error, NodeError):
        return text or "the handler gave no reason"
    name = type(error).__name__
    return f"{name}: {text}" if text else name
