"""Code blocks: every block of the README and of ``docs/`` runs, in order, as a reader runs it."""

import asyncio
import json
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from config import ROOT
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tests.support.doc_blocks import Block, Reader, blocks_of, commands_of, without_ellipses
from tests.support.service import RunningService, wait_until

DECISIONS = ROOT / "docs" / "decisions"
DOCS = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.parent != DECISIONS]
PAGES = [ROOT / "README.md", *DOCS]
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
NOT_RUN = {
    "mermaid": "a picture",
    "text": "a picture, or lines of a log",
    "ts": "a part of a browser program; the tests of clients/typescript run such programs",
    "tsx": "as ts",
    "yaml": "a part of the settings of another program",
    "sh": "needs Node.js and a browser, a Prefect server, or containers",
}
RUN = {"console", "python", "json", "js", "toml"}
README_PYTHON = 4


def blocks_in(language: str, page: str = "") -> list[Block]:
    return [block for block in BLOCKS if block.language == language and block.page.endswith(page)]


def test_every_block_has_a_language_that_a_test_runs_or_a_reason():
    assert {block.language for block in BLOCKS} <= RUN | NOT_RUN.keys()
    assert len(BLOCKS) > 50


# Commands


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("page", list(dict.fromkeys(block.page for block in blocks_in("console"))))
def test_the_commands_of_a_page_print_what_it_shows(tmp_path: Path, page: str):
    with RunningService(tmp_path) as service:
        reader = Reader(int(service.url.rpartition(":")[2]), service.path)
        for block in blocks_in("console", page):
            for command, shown in commands_of(block):
                _run_until_it_matches(reader, block, command, shown)


def _run_until_it_matches(reader: Reader, block: Block, command: str, shown: str) -> None:
    """Run a command; one that only reads is repeated until its output matches the page."""
    differences: list[str | None] = []

    def matches() -> bool:
        differences.append(reader.difference(shown, reader.run(command)))
        return differences[-1] is None

    if " -d " in command or " -X " in command or not command.startswith("curl"):
        assert matches(), f"{block}: {command}: {differences[-1]}"
        return
    try:
        wait_until(matches)
    except AssertionError:
        raise AssertionError(f"{block}: {command}: {differences[-1]}") from None


# Python


def run(code: str, directory: Path) -> Any:
    """Run ``code`` in a separate interpreter and return the JSON that it prints last."""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


TRY = """
import asyncio, json
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
handler = NODE_HANDLERS["customNode"]
result = asyncio.run(handler.fn({"config": CONFIG}, {"who": "Ada"}))
model = NODE_CONFIGS.get("customNode")
print(json.dumps([model and model.__name__, result]))
"""


def test_the_node_type_of_the_readme_works_when_it_is_pasted(tmp_path: Path):
    copy = tmp_path / "copy"
    for package in ("api", "database", "engine", "flows", "tasks", "tracing"):
        shutil.copytree(
            ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for path in ROOT.glob("*.py"):
        shutil.copy(path, copy)
    snippets = [block.text for block in blocks_in("python", "README.md")]
    assert len(snippets) == README_PYTHON
    handler, registration, typed, typed_registration = snippets
    custom, registry = copy / "tasks" / "custom.py", copy / "tasks" / "node_handlers.py"

    custom.write_text(handler, encoding="utf-8")
    imported, _, lines = registration.partition("\n\n")
    line = next(line for line in lines.splitlines() if '"customNode"' in line)
    opening = "NODE_HANDLERS: dict[str, Task[..., Any]] = {\n"
    text = registry.read_text(encoding="utf-8")
    assert opening in text
    text = text.replace(opening, f"{imported}\n\n{opening}{line}\n")
    registry.write_text(text, encoding="utf-8")
    model, result = run(TRY.replace("CONFIG}", '{"text": "hello"}}'), copy)
    assert model is None
    assert result["outputData"] == {"shout": "HELLO", "over": {"who": "Ada"}}

    custom.write_text(f"{handler}\n\n{typed}", encoding="utf-8")
    registry.write_text(f"{text}\n\n{typed_registration}", encoding="utf-8")
    model, result = run(TRY.replace("CONFIG}", '{"customText": "hello", "howOften": 2}}'), copy)
    assert model == "CustomConfig"
    assert result["outputData"] == {"said": ["hello", "hello"]}


def executed(block: Block) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "tasks.pasted"}
    exec(compile(block.text, str(block), "exec"), names)
    return names


@pytest.mark.parametrize(
    "block", [block for block in blocks_in("python") if block.page != "README.md"], ids=str
)
def test_a_python_block_runs_when_it_is_pasted(block: Block):
    names = executed(block)
    if "receive" in names:
        secret, body = "whsec_" + "A" * 32, b'{"status": "completed"}'
        now = datetime.now(UTC)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign("msg_1", now, body.decode()),
        }
        assert names["receive"](secret, body, headers) == {"status": "completed"}
    elif "RouteConfig" in names:
        assert names["RouteConfig"].model_validate({"fromHour": 9}).from_hour == 9
    elif "RepeatConfig" in names:
        assert NODE_CONFIGS.pop("repeat") is names["RepeatConfig"]
        del NODE_HANDLERS["repeat"]
    elif "handle_await_parcel" in names:
        result = asyncio.run(names["handle_await_parcel"].fn({}, {"order": 1}))
        assert result["park"]["fail"] == "the parcel is late"
    elif "handle_read_pages" in names:
        assert asyncio.run(names["handle_read_pages"].fn({}, {}))["success"] is True
    else:
        assert callable(names["handle_fetch_page"].fn)  # a page of the internet is not fetched


# Data


@pytest.mark.parametrize("block", blocks_in("json"), ids=str)
def test_a_json_block_is_json(block: Block):
    text = without_ellipses(block.text)
    assert json.loads(text if text.lstrip().startswith(("{", "[")) else f"{{{text}}}")


@pytest.mark.parametrize("block", blocks_in("toml"), ids=str)
def test_a_toml_block_is_toml(block: Block):
    assert tomllib.loads(block.text)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
@pytest.mark.parametrize("block", blocks_in("js"), ids=str)
def test_a_js_block_can_be_parsed(block: Block, tmp_path: Path):
    script = tmp_path / "block.mjs"
    script.write_text(block.text, encoding="utf-8")
    checked = subprocess.run(["node", "--check", script], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr.decode()


# Nodes


NODE_BLOCKS = [block for block in blocks_in("json") if "/nodes/" in block.page]


def node_snippets() -> list[dict[str, Any]]:
    parsed = [json.loads(without_ellipses(block.text)) for block in NODE_BLOCKS]
    return [value for value in parsed if isinstance(value, dict) and {"id", "type"} <= value.keys()]


SNIPPETS = {snippet["id"]: snippet for snippet in node_snippets()}
NOT_STARTED = {
    "stock": "calls a private service",
    "topic": "needs a language model",
    "prices": "code is off by default",
    "customer": "no database is set",
    "mail": "no mail server is set",
}
INPUTS: dict[str, Any] = {
    "large": [{"total": 700}, {"total": 3}],
    "ship": {"city": "Rome"},
    "each": {"orders": [1, 2]},
    "matched": {"A": [{"customerId": 1}], "B": [{"customerId": 1, "name": "Ada"}]},
    "names": {"name": "Ada King Lovelace"},
    "halves": [{"id": 7, "name": "Tea", "price": 4}],
    "english": {"Ort": "Rom", "Betrag": 3},
    "open": [{"status": "open", "total": 200}],
    "perCity": [{"city": "Rome", "total": 5}],
    "later": {"opensAt": "2036-12-24T08:00:00Z"},
    "ask": {"amount": 7, "name": "Ada"},
    "print": {"invoice": {"number": 7}},
    "paid": {"orderId": "A-17"},
    "reply": {"order": {"id": 7}},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with RunningService(tmp_path_factory.mktemp("plain")) as service:
        yield service


@pytest.mark.parametrize("node_id", sorted(SNIPPETS.keys() - NOT_STARTED.keys()))
def test_a_node_of_the_reference_runs(plain: RunningService, node_id: str):
    snippet = SNIPPETS[node_id]
    body = {"workflowId": "w", "nodeId": node_id, "nodeType": snippet["type"], "node": snippet}
    response = plain.http.post(
        "/api/nodes/execute", json={**body, "inputData": INPUTS.get(node_id, {})}
    )
    assert response.json().get("success") is True, response.text


@pytest.mark.parametrize("node_id", sorted(SNIPPETS.keys() - {"prices"}))
def test_a_node_of_the_reference_is_accepted_in_a_workflow(plain: RunningService, node_id: str):
    graph = {"nodes": [{"id": "a", "type": "trigger"}, SNIPPETS[node_id]], "connections": []}
    response = plain.http.post("/api/workflows/validate", json={"graph": graph}).json()
    assert (response["valid"], response["errors"]) == (True, [])
