"""Documented sizes: the pages of the documentation name the limits that the database applies."""

import pytest

from config import ROOT
from database.bulk.store import MAX_BULK_ITEMS
from database.executions.submissions import IDEMPOTENCY_KEY_TTL_HOURS
from database.human_tasks.timers import MAX_MESSAGE_CHARACTERS
from database.payloads import (
    MAX_EXECUTION_TEXT_CHARACTERS,
    MAX_NODE_TEXT_CHARACTERS,
    PREVIEW_CHARACTERS,
)
from database.queries.event_feed import MAX_SNAPSHOT_LOGS, MAX_SNAPSHOTS, PAYLOAD_PREVIEW_CHARS
from database.queries.failures import EXAMPLES_PER_GROUP


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("http-api", f"It is stored for {IDEMPOTENCY_KEY_TTL_HOURS} hours"),
        ("http-api", f"{MAX_BULK_ITEMS:,} can match"),
        ("http-api", f"`message` has at most {MAX_MESSAGE_CHARACTERS:,} characters"),
        ("database", f"more than {MAX_NODE_TEXT_CHARACTERS:,} characters in `inputData`"),
        ("database", f"more than {MAX_EXECUTION_TEXT_CHARACTERS:,} in"),
        ("streams", f"a snapshot contains the newest {MAX_SNAPSHOT_LOGS}"),
        ("streams", f"newest {MAX_SNAPSHOTS} unfinished executions"),
    ],
)
def test_the_documentation_names_the_limit(page: str, sentence: str):
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text(encoding="utf-8")
    assert sentence in " ".join(text.split())


def test_previews_have_8_kib_and_groups_name_three_executions():
    assert PAYLOAD_PREVIEW_CHARS == PREVIEW_CHARACTERS == 8 * 1024
    assert EXAMPLES_PER_GROUP == 3
