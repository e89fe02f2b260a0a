"""Webhook addresses and keys: which node receives a request, and which requests are the same."""

import hmac
import json
from contextlib import suppress
from typing import Any

import pytest

from database.records import Workflow
from flows.intake import webhook_addresses, webhooks
from flows.intake.callers import MAX_ID_CHARS, calling_execution, use_calling_execution
from flows.intake.webhook_addresses import WebhookAddresses, matching, webhook_nodes
from flows.intake.webhooks import MAX_KEY_CHARS
from tests.support.documents import document, node

WORKFLOW = Workflow("w", "W", "{}", "org")


def webhook(node_id: str, token: str | None = None, **more: Any) -> dict[str, Any]:
    config = {} if token is None else {"webhookToken": token}
    return {**node(node_id, "webhook", **config), **more}


def text_of(*nodes: dict[str, Any], flow: tuple[str, ...] = ()) -> str:
    return json.dumps(document(*nodes, flow=flow))


def test_only_enabled_entry_nodes_with_a_valid_config_have_an_address() -> None:
    text = text_of(
        webhook("second", "b"),
        webhook("disabled", "c", disabled=True),
        webhook("behind", "d"),
        node("other", "manualInput", webhookToken="e"),
        node("invalid", "webhook", webhookSignature="unknown"),
        webhook("first", "a"),
        flow=("other -> behind",),
    )
    assert [found.id for found in webhook_nodes(text)] == ["second", "first"]
    assert webhook_nodes("not a document") == ()


@pytest.mark.parametrize(
    ("token", "found"),
    [("a", "one"), ("b", "two"), ("c", None), ("", None), (None, "open"), ("no such token", None)],
)
def test_a_token_finds_its_node_and_no_token_the_open_one(
    token: str | None, found: str | None
) -> None:
    nodes = webhook_nodes(
        text_of(
            webhook("one", "a"),
            webhook("same", "a"),
            webhook("two", "b"),
            webhook("open"),
            webhook("also open"),
        )
    )
    match = matching(nodes, token)
    assert (None if match is None else match.id) == found
    assert matching((), token) is None


def test_half_a_surrogate_pair_is_a_wrong_token() -> None:
    assert matching(webhook_nodes(text_of(webhook("n", "a"))), "\ud800") is None


@pytest.mark.parametrize("token", ["a", "b", "wrong"])
def test_all_tokens_are_compared_whichever_one_matches(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def record(wanted: bytes, sent: bytes) -> bool:
        compared.append(wanted)
        return compare(wanted, sent)

    monkeypatch.setattr(webhook_addresses.hmac, "compare_digest", record)
    matching(webhook_nodes(text_of(webhook("one", "a"), webhook("two", "b"))), token)
    assert compared == [b"a", b"b"]
    compared.clear()
    matching((), token)  # a workflow without webhooks takes as long as a wrong token
    assert len(compared) == 1


async def test_the_document_that_was_used_least_recently_is_parsed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[str] = []

    def parse(text: str) -> tuple[Any, ...]:
        parsed.append(text)
        return webhook_nodes(text)

    monkeypatch.setattr(webhook_addresses, "webhook_nodes", parse)
    monkeypatch.setattr(webhook_addresses, "MAX_CACHED_DOCUMENTS", 2)
    addresses = WebhookAddresses()
    texts = {name: text_of(webhook(name, name)) for name in "abc"}
    for name in "abaca":
        found = await addresses.find(texts[name], name)
        assert found is not None
        assert found.id == name
    assert parsed == [texts[name] for name in "abc"]
    await addresses.find(texts["b"], "b")
    assert parsed[3:] == [texts["b"]]


# Keys of deliveries


def test_a_delivery_without_an_id_has_no_key() -> None:
    assert webhooks._key(WORKFLOW, "n", None) is None
    assert webhooks._key(WORKFLOW, "n", "") is None


def test_deliveries_are_the_same_only_for_the_same_node_and_id() -> None:
    other = Workflow("other", "W", "{}", "org")
    keys = [
        webhooks._key(WORKFLOW, "n", "1"),
        webhooks._key(WORKFLOW, "n", "2"),
        webhooks._key(WORKFLOW, "m", "1"),
        webhooks._key(other, "n", "1"),
    ]
    texts = {key.key for key in keys if key is not None}
    assert len(texts) == 4
    # A line break cannot be in a header, so that no request of a client has this key.
    assert all(text.startswith("\nwebhook ") for text in texts)
    assert {(key.organization, key.body_hash) for key in keys if key} == {("org", "")}
    unowned = webhooks._key(Workflow("w", "W", "{}", None), "n", "1")
    assert unowned is not None
    assert unowned.organization == ""


@pytest.mark.parametrize(("character", "size"), [("a", 1), ("é", 2)])
def test_a_key_is_replaced_by_its_hash_if_it_is_longer_than_an_index_allows(
    character: str, size: int
) -> None:
    rest = len('["w","n",""]')
    longest = character * ((MAX_KEY_CHARS - rest) // size)
    kept, replaced = (webhooks._key(WORKFLOW, "n", text) for text in (longest, longest + "bb"))
    assert kept is not None
    assert replaced is not None
    assert longest in kept.key
    assert len(kept.key.encode()) == len("\nwebhook ") + MAX_KEY_CHARS
    assert len(replaced.key) == len("\nwebhook ") + 64


# Callers


@pytest.mark.parametrize(
    ("key", "caller"),
    [
        ("execution:node", "execution"),
        ("execution:node:7", "execution"),
        ("execution", None),
        ("", None),
        ("x" * MAX_ID_CHARS + ":n", "x" * MAX_ID_CHARS),
        ("x" * (MAX_ID_CHARS + 1) + ":n", None),
    ],
)
def test_the_key_of_a_node_run_names_its_execution(key: str, caller: str | None) -> None:
    assert calling_execution() is None
    with use_calling_execution("outer:n"):
        with suppress(LookupError), use_calling_execution(key):
            assert calling_execution() == caller
            raise LookupError
        assert calling_execution() == "outer"
    assert calling_execution() is None
