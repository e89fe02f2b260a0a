"""Deliveries to webhooks: which node they are for, who sent them, and whether they came before."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import structlog

from database import Database
from database.records import IdempotencyKey, Workflow
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
    is_key,
    named_secret,
    verify,
)

__all__ = ["REPLY", "RESPONSE", "Received", "WebhookIntake", "WebhookReceipt", "WebhookRequest"]

log = structlog.get_logger()

RESPONSE = "webhookResponse"
"""The type of the nodes that decide what the caller is answered."""
MAX_KEY_CHARS = 500
"""Bytes of a delivery's key that are kept as they are; of a longer one its hash. With the longest
organization it is less than the 2,704 bytes that PostgreSQL takes for a key."""

_UNUSABLE_SECRET_MESSAGE = "it cannot be checked; the log of the service says why"  # noqa: S105 - a message

_addresses = WebhookAddresses()


@dataclass(frozen=True, slots=True)
class Received:
    """The body of a delivery as the webhook node gets it, and the request around it."""

    payload: JsonValue
    request: Mapping[str, JsonValue]
    """``{"headers", "query", "method"}``, credentials masked: ``request`` in templates."""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """What somebody sent to a webhook's address. ``headers`` are by names in lower case."""

    workflow_id: str
    token: str | None
    headers: Mapping[str, str]
    body: bytes
    receive: Callable[[], Awaitable[Received]]
    """Reads the body; raises ``InvalidBodyError``. Called once the sender is known."""


@dataclass(frozen=True, slots=True)
class WebhookReceipt:
    """The execution that a delivery started, now or when it came first."""

    execution_id: str
    is_answered_by_node: bool
    """Whether a ``webhookResponse`` node may decide what the caller is answered."""


@dataclass(frozen=True, slots=True)
class WebhookIntake:
    """Takes deliveries in."""

    database: Database
    submissions: SubmissionService
    secrets: Secrets
    """What a ``webhookSecret`` may name."""

    async def deliver(self, delivery: WebhookRequest) -> WebhookReceipt:
        """Start the execution that a delivery asks for, unless it did so before.

        The address is checked first, then the signature. Until both are right, every failure is
        the same, because strangers must not learn which workflows and webhooks exist.

        Raises:
            WorkflowNotFoundError: If no webhook has that address.
            WebhookSecretUnavailableError: If the webhook's secret cannot be read now.
            SignatureError: If the webhook has a secret, and the delivery is not signed with it.
            InvalidRequestError: If the workflow cannot run, or the body cannot be read.
            QueueFullError: If too many executions wait.
            StorageError: If the database did not store it.
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
        if key and (known := await self.database.submissions.known(key)):
            log.info("webhook_duplicate_received", workflow_id=workflow.id, execution_id=known)
            return await self._known(known, node.id)
        graph = await self.submissions.check_aside(workflow.data)
        if received is None:
            received = await delivery.receive()
        accepted = await self.submissions.submit_delivery(
            workflow, graph, node.id, received.payload, received.request, key
        )
        log.info(
            "webhook_received",
            workflow_id=workflow.id,
            node_id=node.id,
            execution_id=accepted.execution_id,
        )
        return WebhookReceipt(accepted.execution_id, _leads_to_response(graph, node.id))

    async def _addressed(self, delivery: WebhookRequest) -> tuple[Workflow, WebhookNode]:
        """Return the workflow and the webhook node at an address.

        Raises:
            WorkflowNotFoundError: If there is none; the reason makes no difference.
        """
        try:
            workflow = await self.database.reads.workflow(delivery.workflow_id)
        except WorkflowNotFoundError:
            matching((), delivery.token)  # the same work
            raise
        node = await _addresses.find(workflow.data, delivery.token)
        if node is None:
            raise WorkflowNotFoundError(delivery.workflow_id)
        return workflow, node

    async def _secret(self, workflow: Workflow, text: str, scheme: SignatureScheme) -> str:
        """Return the secret that a config contains or names.

        Raises:
            WebhookSecretUnavailableError: If the secret cannot be read now.
            SignatureError: If there is no such secret, or it cannot be used.
        """
        name = named_secret(text)
        if name is None:
            return text
        try:
            await self.secrets.prepare(text)
        except SecretUnavailableError as error:
            log.warning("webhook_secret_unavailable", workflow_id=workflow.id, reason=str(error))
            raise WebhookSecretUnavailableError from None
        except NodeError as error:  # the secret that was found cannot be kept
            log.warning("webhook_secret_invalid", workflow_id=workflow.id, reason=str(error))
            raise SignatureError(_UNUSABLE_SECRET_MESSAGE) from None
        value = self.secrets.get(name)
        if not isinstance(value, Missing) and is_key(value, scheme):
            return value
        log.warning("webhook_secret_invalid", workflow_id=workflow.id, secret=name)
        raise SignatureError(_UNUSABLE_SECRET_MESSAGE)

    async def _known(self, execution_id: str, node_id: str) -> WebhookReceipt:
        try:
            past = await self.database.reads.past_run(execution_id)
        except ExecutionNotFoundError:  # forgotten meanwhile
            return WebhookReceipt(execution_id, is_answered_by_node=False)
        stored = self.submissions.stored_graph
        graph = await run_sized(len(past.document), stored, past.document)
        return WebhookReceipt(execution_id, _leads_to_response(graph, node_id))


def _key(workflow: Workflow, node_id: str, sent_id: str | None) -> IdempotencyKey | None:
    """What a repeated delivery is known by, whatever its body.

    It belongs to the node, as one message may go to several. It begins with a line break, which no
    ``Idempotency-Key`` of a request can have in it.
    """
    if not sent_id:
        return None
    key = encode_json([workflow.id, node_id, sent_id])
    if len(key.encode()) > MAX_KEY_CHARS:
        key = sha256(key.encode()).hexdigest()
    return IdempotencyKey(workflow.organization_id or "", f"\nwebhook {key}", "")


def _leads_to_response(graph: Graph, node_id: str) -> bool:
    return any(graph.nodes[reached].type == RESPONSE for reached in graph.reachable({node_id}))
