"""Webhook addresses: finds the webhook node of a document that an address belongs to.

Strangers may try addresses. The reading of a document is kept, so that a wrong token takes as
long as a workflow that does not exist, however large the document is.
"""

import hmac
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from pydantic import ValidationError

from engine.document import read_document
from engine.errors import InvalidDocumentError
from engine.graph import WEBHOOK
from offload import run_sized
from tasks.config.fields import WebhookConfig

MAX_KEPT_DOCUMENTS = 256
"""Maximum number of documents whose webhook nodes are kept."""


@dataclass(frozen=True, slots=True)
class WebhookNode:
    """A webhook node that has an address."""

    id: str
    config: WebhookConfig


class WebhookAddresses:
    """The webhook nodes of the documents that were read last. Use it on one event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[WebhookNode, ...]] = OrderedDict()

    async def find(self, document: str, token: str | None) -> WebhookNode | None:
        """Return the webhook node with this token, or without any; of two, the first one.

        A node that is disabled or has an invalid config has no address, and neither has any node
        of a text that is not a document.
        """
        digest, nodes = await run_sized(len(document), self._look_up, document)
        self._kept[digest] = nodes
        self._kept.move_to_end(digest)
        while len(self._kept) > MAX_KEPT_DOCUMENTS:
            self._kept.popitem(last=False)
        return matching(nodes, token)

    def _look_up(self, document: str) -> tuple[bytes, tuple[WebhookNode, ...]]:
        digest = sha256(document.encode("utf-8", "replace")).digest()
        kept = self._kept.get(digest)
        return digest, webhook_nodes(document) if kept is None else kept


def webhook_nodes(document: str) -> tuple[WebhookNode, ...]:
    """Return the webhook nodes of a document that have an address, in its order."""
    try:
        reading = read_document(document)
    except InvalidDocumentError:
        return ()
    fed = {connection.target for connection in reading.document.connections}
    found: list[WebhookNode] = []
    for node in reading.document.nodes:
        if node.type != WEBHOOK or node.disabled or node.id in fed:
            continue
        if node.pointer in reading.half_read:
            continue
        try:
            found.append(WebhookNode(node.id, WebhookConfig.model_validate(node.config)))
        except ValidationError:
            continue  # it cannot be called, and strangers do not learn the reason
    return tuple(found)


def matching(nodes: Sequence[WebhookNode], token: str | None) -> WebhookNode | None:
    """Return the first node with this token; all tokens are compared, in constant time."""
    found: WebhookNode | None = None
    for node in nodes or _NOBODY:
        if _is_same(node.config.webhook_token, token) and found is None and nodes:
            found = node
    return found


def _is_same(expected: str | None, given: str | None) -> bool:
    if expected is None or given is None:
        return expected is given
    # An address may contain any bytes, and a document half a surrogate pair.
    wanted, sent = (text.encode("utf-8", "replace") for text in (expected, given))
    return hmac.compare_digest(wanted, sent)


_NOBODY = (WebhookNode("", WebhookConfig.model_validate({"webhookToken": "no such token"})),)
"""Compared where there are no nodes, so that the work is the same."""
