"""Config schema: JSON Schema draft-07 for strict readers, with hints for a form."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from prefect import task
from pydantic import BaseModel, Field

from flows.node_catalog import DescribedType, describe_node_types
from tasks.config.base import FormModel, NodeConfig
from tasks.config.json_schema import WIDGET, describe_config
from tasks.config.rows import aliases
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import DEFAULT, NodeTypes

COMMON = [
    "retries",
    "retryDelaySeconds",
    "retryBackoff",
    "timeoutSeconds",
    "onError",
    "concurrencyKey",
    "hideData",
]
DRAFT_07 = {
    *("$schema", "$ref", "definitions", "title", "description", "default", "writeOnly"),
    *(
        "type",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "if",
        "then",
        "else",
        "else",
        "format",
        "pattern",
    ),
    *("minimum", "maximum", "exclusiveMinimum", "properties", "required"),
    *("additionalProperties", "propertyNames", "minProperties", "maxProperties"),
    *("maxLength", "minLength", "items", "minItems", "maxItems", "uniqueItems"),
}


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all schemas inside it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key, value in schema.items():
        if key in {"properties", "definitions"}:
            for item in value.values():
                yield from parts(item)
        elif key in {"anyOf", "oneOf", "allOf"}:
            for item in value:
                yield from parts(item)
        elif key in {"items", "additionalProperties", "not", "if", "then", "else"}:
            yield from parts(value)


def described(node_type: str, types: NodeTypes = DEFAULT) -> DescribedType:
    (found,) = [item for item in describe_node_types(types) if item.type == node_type]
    return found


@pytest.mark.parametrize("node_type", sorted(NODE_CONFIGS))
def test_the_schema_has_keywords_of_draft_07_only(node_type: str):
    schema = describe_config(NODE_CONFIGS[node_type]).schema
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert {key for part in parts(schema) for key in part} <= DRAFT_07


@pytest.mark.parametrize("node_type", sorted(NODE_CONFIGS))
def test_optional_settings_are_not_nullable(node_type: str):
    schema = describe_config(NODE_CONFIGS[node_type]).schema
    for field in schema["properties"].values():
        assert {"type": "null"} not in [*field.get("anyOf", ()), field]
        assert field.get("default", "") is not None


@pytest.mark.parametrize("node_type", sorted(NODE_CONFIGS))
def test_the_schema_lists_first_aliases_and_own_fields_first(node_type: str):
    model = NODE_CONFIGS[node_type]
    keys = list(describe_config(model).schema["properties"])
    assert set(keys) == {aliases(model, name)[0] for name in model.model_fields}
    assert keys[-len(COMMON) :] == COMMON


@pytest.mark.parametrize("node_type", sorted(NODE_CONFIGS))
def test_the_defaults_match_the_model(node_type: str):
    config = describe_config(NODE_CONFIGS[node_type])
    for key, field in config.schema["properties"].items():
        assert config.defaults.get(key) == field.get("default")
    needed = {
        "http": {"httpUrl": "http://x/"},
        "llm": {"llmPrompt": "hi"},
        "condition": {"conditionField": "a"},
        "wait": {"waitSeconds": "1"},
        "waitForEvent": {"eventName": "paid"},
        "splitText": {"splitField": "a"},
        "splitColumns": {"columnsOutputA": ["a"]},
        "renameColumns": {"renameMapping": {"a": "b"}},
        "filter": {"conditionField": "a"},
        "code": {"code": "input"},
        "python": {"pythonCode": "input"},
        "sql": {"sqlConnection": "crm", "sqlQuery": "SELECT 1"},
        "sendEmail": {"emailTo": ["ada@example.com"]},
        "switch": {"switchField": "a", "switchCases": [{"value": 1}]},
        "subworkflow": {"subworkflowId": "w"},
        "schedule": {"scheduleEverySeconds": 60},
    }.get(node_type, {})
    model = NODE_CONFIGS[node_type]
    assert model.model_validate({**config.defaults, **needed}) == model.model_validate(needed)


def test_the_common_options_have_titles_descriptions_and_limits():
    properties = describe_config(NodeConfig).schema["properties"]
    assert list(properties) == COMMON
    assert all(field["title"] and field["description"] for field in properties.values())
    assert (properties["retries"]["minimum"], properties["retries"]["maximum"]) == (0, 10)
    assert properties["timeoutSeconds"]["exclusiveMinimum"] == 0
    assert properties["retryBackoff"]["enum"] == ["fixed", "exponential"]


@pytest.mark.parametrize(
    ("node_type", "secrets"),
    [
        ("http", ["/httpAuth/password", "/httpAuth/token", "/httpAuth/value"]),
        ("webhook", ["/webhookSecret", "/webhookToken"]),
        ("addField", []),
    ],
)
def test_secrets_are_listed_and_marked(node_type: str, secrets: list[str]):
    config = describe_config(NODE_CONFIGS[node_type])
    assert config.secret_fields == secrets
    marked = [part for part in parts(config.schema) if part.get("writeOnly")]
    assert len(marked) == len(secrets)
    assert all(part["format"] == "password" for part in marked)


def test_hints_have_the_shape_of_the_schema():
    http = describe_config(NODE_CONFIGS["http"]).ui_schema
    assert http["ui:order"] == list(describe_config(NODE_CONFIGS["http"]).schema["properties"])
    hidden = {"ui:widget": "hidden"}
    assert http["httpAuth"]["oneOf"][1] == {"type": hidden, "token": {"ui:widget": "password"}}
    assert describe_config(NODE_CONFIGS["llm"]).ui_schema["llmPrompt"] == {"ui:widget": "textarea"}


# The catalog


def test_every_type_has_a_category():
    faces = {item.type: item for item in describe_node_types(DEFAULT)}
    assert list(faces) == sorted(NODE_HANDLERS)
    assert {item.type for item in faces.values() if item.category == "custom"} == set()
    assert faces["condition"].outputs == faces["approval"].outputs == ("true", "false")
    assert faces["join"].inputs == ("A", "B")
    for entry in ("trigger", "webhook", "schedule", "manualInput"):
        assert (faces[entry].inputs, faces[entry].outputs) == ((), ("output",))


def test_common_options_have_defaults():
    hints = described("http").config.ui_schema
    assert hints["retries"] == {"ui:placeholder": "2"}
    assert hints["retryDelaySeconds"] == {"ui:placeholder": "1"}
    assert hints["retryBackoff"] == {"ui:placeholder": "exponential"}
    assert described("join").config.ui_schema["retries"] == {"ui:placeholder": "0"}


@task(name="my_custom_node", retries=4)
async def handle_custom_node(node: dict, input_data: dict | None) -> dict:
    """Says it ``loudly``,
    as it should be.

    And this is for those who read the code.
    """
    return {}


def test_a_handler_without_a_model_is_described_by_its_task():
    found = described("customNode", NodeTypes({"customNode": handle_custom_node}, {}))
    assert (found.title, found.category) == ("My custom node", "custom")
    assert found.description == "Says it 'loudly', as it should be."
    assert (found.inputs, found.outputs) == (("input",), ("output",))
    assert list(found.config.schema["properties"]) == COMMON
    assert found.config.schema["title"] == "My custom node"
    assert found.config.ui_schema["retries"] == {"ui:placeholder": "4"}
    assert "additionalProperties" not in found.config.schema


class Level(BaseModel):
    """A recursive level."""

    name: str = "x"
    below: list["Level"] = Field(default_factory=list["Level"])


class Kind(FormModel):
    type: Literal["kind"]
    key: str = Field(json_schema_extra={"writeOnly": True})


class ShapedConfig(NodeConfig, category="flow", inputs=(), outputs=("yes", "no")):
    """A model with all kinds of fields."""

    level: Level | None = Field(default=None, title="Where it begins")
    kinds: list[Kind] = Field(default_factory=list[Kind])
    by_name: dict[str, Kind] = Field(default_factory=dict[str, Kind])
    note: str = Field(default="", json_schema_extra={WIDGET: "textarea"})


def test_a_recursive_model_keeps_a_definition():
    config = describe_config(ShapedConfig)
    level = config.schema["properties"]["level"]
    assert level["title"] == "Where it begins"
    assert level["properties"]["below"]["items"] == {"$ref": "#/definitions/Level"}
    inner = config.schema["definitions"]["Level"]["properties"]["below"]["items"]
    assert inner == {"$ref": "#/definitions/Level"}
    assert "$defs" not in config.schema


def test_secrets_inside_lists_and_objects_are_found_at_every_item():
    assert describe_config(ShapedConfig).secret_fields == ["/byName/*/key", "/kinds/*/key"]


def test_a_model_defines_the_category_of_its_type():
    types = NodeTypes({"customNode": handle_custom_node}, {"customNode": ShapedConfig})
    found = described("customNode", types)
    assert (found.category, found.inputs, found.outputs) == ("flow", (), ("yes", "no"))
    assert found.description == "A model with all kinds of fields."
    assert found.title == "My custom node"
    assert NodeConfig.info.category == "custom"
