"""Documentation: its settings, codes, examples and links match the code."""

import re
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from prefect import Task

from api.errors import STATUSES
from api_service import create_app
from config import ROOT, Settings
from database.tables import (
    callbacks,
    children,
    definitions,
    events,
    fairness,
    idempotency_keys,
    logs,
    runs,
    schedule_runs,
    schedules,
    service_metadata,
    workflow_versions,
)
from engine.conditions import Operator
from engine.document import parse_document
from engine.options import NodeOptions
from flows.execution.running_nodes import NODE_CANCEL_TIMEOUT_SECONDS
from flows.nodes.isolation import HANDLER_CANCEL_TIMEOUT_SECONDS
from tasks.config.rows import aliases
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import DEFAULT, NodeTypes
from tests.support.documents import document, node
from tests.support.service import RunningService

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")])
NONE = "–"  # noqa: RUF001 - the dash of the table
README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = ROOT / "docs" / "reference"
SETTINGS = (REFERENCE / "settings.md").read_text(encoding="utf-8")
EXECUTION = (REFERENCE / "execution.md").read_text(encoding="utf-8")
API = (REFERENCE / "http-api.md").read_text(encoding="utf-8")
ERRORS = (REFERENCE / "errors.md").read_text(encoding="utf-8")
TABLES = (REFERENCE / "database.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def section(node_type: str) -> str:
    return (REFERENCE / "nodes" / f"{node_type}.md").read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """Return the anchor of a heading on GitHub."""
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return kept.replace(" ", "-")


SNIPPETS = blocks(README, "python")
CUSTOM, REGISTRATION, TYPED, TYPED_REGISTRATION = SNIPPETS


def compiled(snippet: str) -> CodeType:
    # No name of a file: Prefect reads the source of a task from it, with newer versions of Python.
    return compile(snippet, "<README.md>", "exec")


def executed(*snippets: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "tasks.custom"}
    for snippet in snippets:
        exec(compiled(snippet), names)
    return names


def custom_types(names: dict[str, Any]) -> NodeTypes:
    configs = {"customNode": names["CustomConfig"]} if "CustomConfig" in names else {}
    handler: Task[..., Any] = names["handle_custom_node"]
    return NodeTypes({**NODE_HANDLERS, "customNode": handler}, {**NODE_CONFIGS, **configs})


# The readme and the settings


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_is_explained_with_its_default(name: str):
    row = re.search(rf"^\| `{name.upper()}` \| (.*?) \| .+ \|$", SETTINGS, re.MULTILINE)
    assert row, f"docs/reference/settings.md does not explain {name.upper()}"
    default = Settings.model_fields[name].default
    if isinstance(default, Path) and default.is_absolute():
        default = default.relative_to(ROOT)
    if isinstance(default, float):
        default = f"{default:g}"
    if isinstance(default, bool):
        default = str(default).lower()
    assert row[1] == (NONE if default in (None, "") else f"`{default}`")


def test_the_readme_has_fewer_than_150_lines():
    assert len(README.splitlines()) < 150


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_the_python_of_the_readme_compiles(snippet: str):
    compiled(snippet)


def test_the_custom_node_of_the_readme_has_the_shape_of_the_contract():
    assert '@task(name="my_custom_node")' in CUSTOM
    assert (
        "async def handle_custom_node(node: dict, input_data: dict | None) -> dict:\n"
        '    config = node.get("config", {})\n'
        "    result = do_something(config, input_data)\n"
        '    return {"success": True, "message": "Custom node executed", "outputData": result}\n'
    ) in CUSTOM
    assert '"customNode": handle_custom_node,' in REGISTRATION


def test_the_custom_node_of_the_readme_runs_in_the_service(tmp_path: Path):
    drawn = document(
        node("start", "trigger"),
        node("mine", "customNode", text="hello"),
        node("end"),
        flow=("start -> mine", "mine -> end"),
    )
    with RunningService(tmp_path, custom_types(executed(CUSTOM))) as service:
        done = service.run(drawn, inputs={"who": "Ada"})
    assert (done["status"], done["error"]) == ("completed", None)
    assert done["finalOutput"] == {"shout": "HELLO", "over": {"who": "Ada"}}


async def test_the_typed_config_of_the_readme_is_validated():
    names = executed(CUSTOM, TYPED)
    handler, config = names["handle_custom_node"], {"customText": "hello", "howOften": "2"}
    result = await handler.fn({"config": config}, None)
    assert result["outputData"] == {"said": ["hello", "hello"]}

    wrong = parse_document({"nodes": [node("n", "customNode", customText="", howOften=11)]})
    problems = custom_types(names).check(wrong.nodes[0])
    assert [problem.pointer for problem in problems] == [
        "/nodes/0/config/customText",
        "/nodes/0/config/howOften",
    ]


# The node reference


@pytest.mark.parametrize("node_type", sorted(NODE_HANDLERS))
def test_every_type_has_a_page_with_a_valid_example(node_type: str):
    (example, *_) = blocks(section(node_type), "json")
    (drawn,) = parse_document(f'{{"nodes": [{example}]}}').nodes
    assert drawn.type == node_type
    assert DEFAULT.check(drawn) == []


@pytest.mark.parametrize("node_type", sorted(NODE_CONFIGS))
def test_every_config_key_and_alias_is_on_the_page_of_its_type(node_type: str):
    model = NODE_CONFIGS[node_type]
    keys = _all_keys(model) - _all_keys(NodeOptions)
    assert {key for key in keys if f"`{key}`" not in section(node_type)} == set()


def _all_keys(model: Any) -> set[str]:
    return {key for name in model.model_fields for key in aliases(model, name)}


@pytest.mark.parametrize("name", list(NodeOptions.model_fields))
def test_every_common_option_is_explained(name: str):
    assert f"| `{NodeOptions.model_fields[name].alias}` |" in EXECUTION


def test_the_time_that_a_handler_has_to_stop_is_stated_on_one_page():
    text = " ".join(EXECUTION.split())
    assert f"the attempt is abandoned after {HANDLER_CANCEL_TIMEOUT_SECONDS:g} seconds" in text
    assert f"waits at most {NODE_CANCEL_TIMEOUT_SECONDS:g} seconds in total" in text
    others = [page for page in PAGES if page.name not in {"execution.md", "CHANGELOG.md"}]
    stated = r"attempt is abandoned after|(?:swallow|suppress)\w* [^.]{0,80}\d+ s(?:econds)?\b"
    assert [page.name for page in others if re.search(stated, page.read_text("utf-8"))] == []


@pytest.mark.parametrize("operator", list(Operator))
def test_every_operator_is_explained(operator: Operator):
    assert f"`{operator}`" in section("condition")


def test_the_examples_of_nodes_use_no_key_that_is_ignored():
    for node_type in NODE_HANDLERS:
        model = NODE_CONFIGS[node_type]
        for example in blocks(section(node_type), "json"):
            (drawn,) = parse_document(f'{{"nodes": [{example}]}}').nodes
            assert drawn.config.keys() <= _all_keys(model), node_type


# The interface and the tables


def test_every_route_is_in_the_table_and_has_a_section():
    paths = create_app(Settings(_env_file=None)).openapi()["paths"]  # pyright: ignore[reportCallIssue]
    routes = {
        f"{method.upper()} {re.sub(r'{[a-z]+_id}', '{id}', path.replace('node_id', 'nodeId'))}"
        for path, methods in paths.items()
        for method in methods
        if method == "post" or "webhook" not in path  # whose methods are all alike
    }
    assert len(routes) >= 7
    assert {route for route in routes if f"## `{route}" not in API} == set()
    listed = {
        re.sub(r"{\w+_id}", "{id}", row) for row in re.findall(r"^\| `(.+?)` \|", API, re.MULTILINE)
    }
    assert {route for route in routes if route.replace("{nodeId}", "{id}") not in listed} == set()


@pytest.mark.parametrize("status", sorted({int(status) for status in STATUSES.values()}))
def test_every_status_of_an_error_is_explained(status: int):
    assert f"| {status} |" in ERRORS


def test_every_error_code_is_explained():
    sources = [
        path for part in ("engine", "tasks", "flows") for path in (ROOT / part).rglob("*.py")
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    codes = set(re.findall(r'Problem\(\s*"([a-z_]+)"', text))
    assert len(codes) >= 8
    assert {code for code in codes if f"| `{code}` |" not in ERRORS} == set()


def test_every_column_of_the_service_is_explained():
    tables = (
        runs,
        definitions,
        events,
        fairness,
        callbacks,
        children,
        idempotency_keys,
        schedules,
        schedule_runs,
        workflow_versions,
        service_metadata,
    )
    ours = [name for table in tables for name in (table.name, *table.columns.keys())]
    names = logs.columns.keys()
    ours += names[names.index("attempt") :]
    assert {"attempt", "resultDetail", "reusedFrom"} <= set(ours)
    assert {column for column in ours if f"`{column}`" not in TABLES} == set()


# All pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_has_a_target(page: Path):
    text = prose(page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    targets += re.findall(r"^\[.+?\]: (\S+)", text, re.MULTILINE)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in {anchor(heading) for heading in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_that_a_page_names_exists(page: Path):
    text = prose(page.read_text(encoding="utf-8"))
    named = re.findall(r"`((?:engine|database|flows|tasks|api|docs|examples)/[\w/.-]+)`", text)
    missing = {name for name in named if not (ROOT / name).exists() and name != "tasks/custom.py"}
    assert missing == set()


def test_decisions_are_numbered_without_a_gap_and_have_their_parts():
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.name[:4]}. ")
        parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences", "Rejected"], page.name


def test_the_template_of_a_decision_has_the_same_parts():
    text = (ROOT / "docs" / "decisions" / "template.md").read_text(encoding="utf-8")
    parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert parts == ["Context", "Decision", "Consequences", "Rejected"]


def test_the_index_lists_every_decision_with_its_title():
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs" / "decisions").glob("[0-9]*.md"):
        title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        assert f"- [{title}]({page.name})" in index, "run make docs"


def test_the_examples_of_the_readme_exist():
    for name in set(re.findall(r"examples/([\w-]+)\.json", README)):
        assert (ROOT / "examples" / f"{name}.json").exists()
    known = {path.stem for path in (ROOT / "examples").glob("*.json")}
    assert set(re.findall(r"example-([a-z-]+)", README)) <= known


def test_no_parameter_of_the_api_accepts_null() -> None:
    document = create_app(Settings(_env_file=None)).openapi()  # pyright: ignore[reportCallIssue]
    parameters = [
        parameter
        for operations in document["paths"].values()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
    ]
    optional = [each for each in parameters if not each.get("required")]
    assert len(optional) > 10
    for parameter in parameters:
        schema = parameter["schema"]
        assert "anyOf" not in schema
        assert schema.get("type", "string") != "null"
        assert {"type", "$ref", "enum", "const"} & schema.keys()
        assert schema.get("default", "") is not None
