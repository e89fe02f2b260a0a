"""Deliveries to webhooks: which node they are for, who sent them, and whether they came before."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import structlog
from pydantic import ValidationError

from database import Database
from database.records import IdempotencyKey, Workflow
from engine.document import Document, Node, parse_document
from engine.errors import (
    ExecutionNotFoundError,
    NodeError,
    SecretUnavailableError,
    SignatureError,
    WebhookNotFoundError,
)
from engine.graph import WEBHOOK, Graph
from engine.values import JsonValue, Missing, encode_json
from flows.submission import Submissions
from tasks.configs import WebhookConfig
from tasks.secrets import Secrets
from tasks.signatures import ID, is_key, named_secret, verify
from tasks.webhook_response import REPLY

__all__ = ["REPLY", "RESPONSE", "Delivered", "Deliveries", "Delivery"]

log = structlog.get_logger()

RESPONSE = "webhookResponse"
"""The type of the nodes that decide what the caller is answered."""
LONGEST_KEY = 500
"""Bytes of a delivery's key that are kept as they are; of a longer one its hash. With the longest
organization it is less than the 2,704 bytes that PostgreSQL takes for a key."""

_UNUSABLE = "the webhook's secret is not set, so no signature can be checked"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What somebody sent to a webhook's address. ``headers`` are by names in lower case."""

    workflow_id: str
    token: str | None
    headers: Mapping[str, str]
    body: bytes
    payload: Callable[[], Awaitable[JsonValue]]
    """Reads the body; raises ``BodyRefusedError``. Called once the sender is known."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The execution that a delivery started, now or when it came first."""

    execution_id: str
    is_answered_by_node: bool
    """Whether a ``webhookResponse`` node may decide what the caller is answered."""


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Takes deliveries in."""

    database: Database
    submissions: Submissions
    secrets: Secrets
    """What a ``webhookSecret`` may name."""

    async def deliver(self, delivery: Delivery) -> Delivered:
        """Starts the execution that a delivery asks for, unless it did so before.

        Raises:
            WorkflowNotFoundError: there is no such workflow.
            WebhookNotFoundError: it has no webhook at that address.
            SecretUnavailableError: the webhook's secret cannot be asked for.
            SignatureError: the webhook has a secret, and the delivery is not signed with it.
            RefusedError: the workflow cannot run, or the body is not what it says it is.
            QueueFullError: as many executions wait as may.
            StorageError: the database did not take it; nothing is stored.
        """
        workflow = await self.database.reads.workflow(delivery.workflow_id)
        document = parse_document(workflow.data)
        node, config = self._receiver(workflow, document, delivery.token)
        if config.webhook_secret is not None:
            secret = await self._secret(workflow, config.webhook_secret)
            verify(secret, delivery.body, delivery.headers)
        key = _key(workflow, node, delivery.headers.get(ID))
        if key and (known := await self.database.submissions.known(key)):
            log.info("webhook_repeated", workflow_id=workflow.id, execution_id=known)
            return await self._known(known, node)
        graph = await self.submissions.check_aside(workflow.data)
        payload = await delivery.payload()
        accepted = await self.submissions.submit_delivery(workflow, graph, node.id, payload, key)
        log.info(
            "webhook_received",
            workflow_id=workflow.id,
            node_id=node.id,
            execution_id=accepted.execution_id,
        )
        return Delivered(accepted.execution_id, _leads_to_response(graph, node.id))

    def _receiver(
        self, workflow: Workflow, document: Document, token: str | None
    ) -> tuple[Node, WebhookConfig]:
        """The webhook at an address. Who does not know it learns nothing else of the workflow."""
        fed = {connection.target for connection in document.connections}
        found: tuple[Node, WebhookConfig] | None = None
        for node in document.nodes:
            if node.type != WEBHOOK or node.id in fed or node.disabled:
                continue
            try:
                config = WebhookConfig.model_validate(node.config)
            except ValidationError:
                self.submissions.check(workflow.data)  # raises: it says what is wrong with it
                raise
            # All of them are compared, each in constant time.
            if _is_same(config.webhook_token, token) and found is None:
                found = node, config
        if found is None:
            raise WebhookNotFoundError(workflow.id)
        return found

    async def _secret(self, workflow: Workflow, text: str) -> str:
        """The secret that a config holds or names; the sender is not told more than that."""
        name = named_secret(text)
        if name is None:
            return text
        try:
            await self.secrets.prepare(text)
        except SecretUnavailableError:
            raise
        except NodeError as error:  # what is there is no secret that could be kept
            log.warning("webhook_secret_unusable", workflow_id=workflow.id, reason=str(error))
            raise SignatureError(_UNUSABLE) from None
        value = self.secrets.get(name)
        if not isinstance(value, Missing) and is_key(value):
            return value
        log.warning("webhook_secret_unusable", workflow_id=workflow.id, secret=name)
        raise SignatureError(_UNUSABLE)

    async def _known(self, execution_id: str, node: Node) -> Delivered:
        try:
            past = await self.database.reads.past_run(execution_id)
        except ExecutionNotFoundError:  # forgotten meanwhile
            return Delivered(execution_id, is_answered_by_node=False)
        graph = self.submissions.stored_graph(past.document)
        return Delivered(execution_id, _leads_to_response(graph, node.id))


def _is_same(expected: str | None, given: str | None) -> bool:
    if expected is None or given is None:
        return expected is given
    return hmac.compare_digest(expected.encode(), given.encode(errors="replace"))


def _key(workflow: Workflow, node: Node, delivery_id: str | None) -> IdempotencyKey | None:
    """What a repeated delivery is known by, whatever its body.

    It belongs to the node, as one message may go to several. It begins with a line break, which no
    ``Idempotency-Key`` of a request can have in it.
    """
    if not delivery_id:
        return None
    key = encode_json([workflow.id, node.id, delivery_id])
    if len(key.encode()) > LONGEST_KEY:
        key = sha256(key.encode()).hexdigest()
    return IdempotencyKey(workflow.organization_id or "", f"\nwebhook {key}", "")


def _leads_to_response(graph: Graph, node_id: str) -> bool:
    return any(graph.nodes[reached].type == RESPONSE for reached in graph.reachable({node_id}))
