"""Webhook intake: finds the node of a request, verifies its sender and detects duplicates."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import structlog

from database import Database
from database.executions.inputs import IdempotencyKey
from database.records import Workflow
from engine.errors import (
    ExecutionNotFoundError,
    NodeError,
    SecretUnavailableError,
    WorkflowNotFoundError,
)
from engine.graph import Graph
from engine.json_values import JsonValue, Missing, encode_json
from engine.request_errors import SignatureError, WebhookSecretUnavailableError
from flows.intake.submissions import SubmissionService
from flows.intake.webhook_addresses import WebhookAddresses, WebhookNode, matching
from offload import run_sized
from tasks.secrets import Secrets
from tasks.webhooks.response import REPLY
from tasks.webhooks.signatures import (
    SignatureScheme,
    delivery_id,
    has_id_in_body,
    is_valid_key,
    secret_name_of,
    verify,
)

__all__ = ["REPLY", "RESPONSE", "Received", "WebhookIntake", "WebhookReceipt", "WebhookRequest"]

log = structlog.get_logger()

RESPONSE = "webhookResponse"
"""Type of the nodes that define the HTTP response to a webhook request."""
MAX_KEY_CHARS = 500
"""Maximum length of a stored delivery key, in bytes; a longer key is replaced by its hash. Together
with the longest organization id it fits into the 2,704 bytes of a PostgreSQL index entry."""

_UNUSABLE_SECRET_MESSAGE = "it cannot be verified; see the log of the service"  # noqa: S105 - a message

_addresses = WebhookAddresses()


@dataclass(frozen=True, slots=True)
class Received:
    """The body of a webhook request as its node receives it, and data about the request."""

    payload: JsonValue
    request: Mapping[str, JsonValue]
    """``{"headers", "query", "method"}`` with masked credentials: ``request`` in templates."""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A request to a webhook address. The names in ``headers`` are in lower case."""

    workflow_id: str
    token: str | None
    headers: Mapping[str, str]
    body: bytes
    receive: Callable[[], Awaitable[Received]]
    """Reads the body, or raises ``InvalidBodyError``. It is called after the sender is verified."""


@dataclass(frozen=True, slots=True)
class WebhookReceipt:
    """The execution that a delivery started, now or as the original of a duplicate."""

    execution_id: str
    is_answered_by_node: bool
    """Whether a ``webhookResponse`` node can define the HTTP response."""


@dataclass(frozen=True, slots=True)
class WebhookIntake:
    """Starts executions for webhook requests."""

    database: Database
    submissions: SubmissionService
    secrets: Secrets
    """Secrets that a ``webhookSecret`` can refer to."""

    async def deliver(self, delivery: WebhookRequest) -> WebhookReceipt:
        """Start the execution of a delivery, unless it is a duplicate.

        The address is checked first, then the signature. Until both are valid, every failure
        looks the same, so that strangers cannot find out which workflows and webhooks exist.

        Raises:
            WorkflowNotFoundError: If no webhook has that address.
            WebhookSecretUnavailableError: If the webhook's secret cannot be read now.
            SignatureError: If the webhook has a secret and the signature is not valid.
            InvalidRequestError: If the workflow cannot run, or the body cannot be read.
            QueueFullError: If the maximum number of executions is pending.
            StorageError: If the database is unavailable.
        """
        workflow, node = await self._addressed(delivery)
        scheme = node.config.webhook_signature
        if node.config.webhook_secret is not None:
            secret = await self._secret(workflow, node.config.webhook_secret, scheme)
            now = self.database.clock().timestamp()
            verify(scheme, secret, delivery.body, delivery.headers, now)
        received = await delivery.receive() if has_id_in_body(scheme) else None
        payload = None if received is None else received.payload
        key = _key(workflow, node.id, delivery_id(scheme, delivery.headers, payload))
        if key and (known := await self.database.submissions.find_by_key(key)):
            log.info("webhook_duplicate_received", workflow_id=workflow.id, execution_id=known)
            return await self._known(known, node.id)
        graph = await self.submissions.check_in_thread(workflow.data)
        if received is None:
            received = await delivery.receive()
        receipt = await self.submissions.submit_delivery(
            workflow, graph, node.id, received.payload, received.request, key
        )
        log.info(
            "webhook_received",
            workflow_id=workflow.id,
            node_id=node.id,
            execution_id=receipt.execution_id,
        )
        return WebhookReceipt(receipt.execution_id, _leads_to_response(graph, node.id))

    async def _addressed(self, delivery: WebhookRequest) -> tuple[Workflow, WebhookNode]:
        """Return the workflow and the webhook node at an address.

        Raises:
            WorkflowNotFoundError: If the workflow, the node or the token does not exist.
        """
        try:
            workflow = await self.database.queries.workflow(delivery.workflow_id)
        except WorkflowNotFoundError:
            matching((), delivery.token)  # takes as long as a wrong token
            raise
        node = await _addresses.find(workflow.data, delivery.token)
        if node is None:
            raise WorkflowNotFoundError(delivery.workflow_id)
        return workflow, node

    async def _secret(self, workflow: Workflow, text: str, scheme: SignatureScheme) -> str:
        """Return the secret that a config contains or refers to.

        Raises:
            WebhookSecretUnavailableError: If the secret cannot be read now.
            SignatureError: If the secret does not exist or is not a valid key.
        """
        name = secret_name_of(text)
        if name is None:
            return text
        try:
            await self.secrets.prepare(text)
        except SecretUnavailableError as error:
            log.warning("webhook_secret_unavailable", workflow_id=workflow.id, reason=str(error))
            raise WebhookSecretUnavailableError from None
        except NodeError as error:  # the secret exists, but it cannot be masked
            log.warning("webhook_secret_invalid", workflow_id=workflow.id, reason=str(error))
            raise SignatureError(_UNUSABLE_SECRET_MESSAGE) from None
        value = self.secrets.get(name)
        if not isinstance(value, Missing) and is_valid_key(value, scheme):
            return value
        log.warning("webhook_secret_invalid", workflow_id=workflow.id, secret=name)
        raise SignatureError(_UNUSABLE_SECRET_MESSAGE)

    async def _known(self, execution_id: str, node_id: str) -> WebhookReceipt:
        try:
            past = await self.database.queries.past_run(execution_id)
        except ExecutionNotFoundError:  # retention deleted it
            return WebhookReceipt(execution_id, is_answered_by_node=False)
        stored = self.submissions.stored_graph
        graph = await run_sized(len(past.document), stored, past.document)
        return WebhookReceipt(execution_id, _leads_to_response(graph, node_id))


def _key(workflow: Workflow, node_id: str, sent_id: str | None) -> IdempotencyKey | None:
    """Return the key that identifies a delivery and its duplicates, whatever their body.

    It contains the node id, because several nodes may receive the same message. It begins with a
    line break, so that it never equals the ``Idempotency-Key`` header of a request.
    """
    if not sent_id:
        return None
    key = encode_json([workflow.id, node_id, sent_id])
    if len(key.encode()) > MAX_KEY_CHARS:
        key = sha256(key.encode()).hexdigest()
    return IdempotencyKey(workflow.organization_id or "", f"\nwebhook {key}", "")


def _leads_to_response(graph: Graph, node_id: str) -> bool:
    return any(graph.nodes[reached].type == RESPONSE for reached in graph.reachable({node_id}))
