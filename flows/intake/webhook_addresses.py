"""Webhook addresses: finds the webhook node with a given address in a document.

Strangers may guess addresses. Parsed documents are cached, so that the response to a wrong token
takes as long as the one for a workflow that does not exist, however large the document is.
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
from tasks.webhooks.node import WebhookConfig

MAX_CACHED_DOCUMENTS = 256
"""Maximum number of documents whose webhook nodes are cached."""


@dataclass(frozen=True, slots=True)
class WebhookNode:
    """A webhook node that has an address."""

    id: str
    config: WebhookConfig


class WebhookAddresses:
    """Cache of the webhook nodes of recently used documents, for use on one event loop."""

    def __init__(self) -> None:
        self._cache: OrderedDict[bytes, tuple[WebhookNode, ...]] = OrderedDict()

    async def find(self, document: str, token: str | None) -> WebhookNode | None:
        """Return the first webhook node with this token; without a token, the first one without.

        A node that is disabled or has an invalid config has no address. A string that is not a
        valid document has no nodes.
        """
        digest, nodes = await run_sized(len(document), self._look_up, document)
        self._cache[digest] = nodes
        self._cache.move_to_end(digest)
        while len(self._cache) > MAX_CACHED_DOCUMENTS:
            self._cache.popitem(last=False)
        return matching(nodes, token)

    def _look_up(self, document: str) -> tuple[bytes, tuple[WebhookNode, ...]]:
        digest = sha256(document.encode("utf-8", "replace")).digest()
        cached = self._cache.get(digest)
        return digest, webhook_nodes(document) if cached is None else cached


def webhook_nodes(document: str) -> tuple[WebhookNode, ...]:
    """Return the webhook nodes that have an address, in the order of the document."""
    try:
        reading = read_document(document)
    except InvalidDocumentError:
        return ()
    targets = {connection.target for connection in reading.document.connections}
    nodes: list[WebhookNode] = []
    for node in reading.document.nodes:
        if node.type != WEBHOOK or node.disabled or node.id in targets:
            continue
        if node.pointer in reading.incomplete_nodes:
            continue
        try:
            nodes.append(WebhookNode(node.id, WebhookConfig.model_validate(node.config)))
        except ValidationError:
            continue  # it has no address, and callers must not learn the reason
    return tuple(nodes)


def matching(nodes: Sequence[WebhookNode], token: str | None) -> WebhookNode | None:
    """Return the first node with this token; all tokens are compared, in constant time."""
    found: WebhookNode | None = None
    for node in nodes or _DUMMY:
        if _is_same(node.config.webhook_token, token) and found is None and nodes:
            found = node
    return found


def _is_same(expected: str | None, given: str | None) -> bool:
    if expected is None or given is None:
        return expected is given
    # Encoded leniently, because both strings may contain half a surrogate pair.
    wanted, sent = (text.encode("utf-8", "replace") for text in (expected, given))
    return hmac.compare_digest(wanted, sent)


_DUMMY = (WebhookNode("", WebhookConfig.model_validate({"webhookToken": "no such token"})),)
"""Compared if the document has no webhook nodes, so that the duration is the same."""
