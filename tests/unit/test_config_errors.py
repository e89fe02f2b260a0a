"""Errors of node configs: paths as sent, rows without blank ones, and templates."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator

from engine.errors import PermanentError
from tasks.config.base import (
    TEMPLATED,
    ConfigError,
    FormModel,
    MissingSettingError,
    NodeConfig,
    Templated,
    config_errors,
    invalid_templates,
    is_incomplete,
    read_config,
)
from tasks.config.json_schema import WIDGET, describe_config
from tasks.config.rows import is_blank_row, without_blank_rows


class Row(FormModel):
    """A row of a list."""

    name: str
    kind: Literal["text", "number"] = "text"
    row_values: list[int] = Field(default=[])


class Text(FormModel):
    """One branch of a union."""

    kind: Literal["text"]
    text_value: str


class Number(FormModel):
    """The other branch."""

    kind: Literal["number"]
    number_value: int


class Settings(NodeConfig):
    """Settings of a node type."""

    rows: list[Row] = Field(default=[])
    one: Annotated[Text | Number | None, Field(discriminator="kind")] = None
    max_count: int = 1
    template: Annotated[str, TEMPLATED] = ""
    body: Annotated[Any, Templated(may_be_json=True)] = None
    plain_text: str = ""
    aliased: str = Field(default="", validation_alias="other")


def _errors(config: dict[str, Any]) -> list[tuple[str, str]]:
    return [(error.path_text, error.reason) for error in config_errors(Settings, config)]


@pytest.mark.parametrize(
    ("config", "errors"),
    [
        ({}, []),
        ({"maxCount": "x"}, [("maxCount", "should be a whole number")]),
        ({"max_count": 1.5}, [("max_count", "should be a whole number")]),
        ({"maxCount": "", "max_count": "x"}, [("max_count", "should be a whole number")]),
        ({"rows": "x"}, [("rows", "should be a list")]),
        ({"rows": [{}, {"name": "a"}, {"kind": "number"}]}, [("rows.2.name", "is required")]),
        ({"rows": [{"name": ["x"]}]}, [("rows.0.name", "should be a string, not of type list")]),
        (
            {"rows": [None, {"name": "a", "rowValues": [1, "x"]}]},
            [("rows.1.rowValues.1", "should be a whole number")],
        ),
        (
            {"rows": [{"name": "a", "row_values": ["x"]}]},
            [("rows.0.row_values.0", "should be a whole number")],
        ),
        ({"one": {"kind": "text"}}, [("one.textValue", "is required")]),
        (
            {"one": {"kind": "number", "number_value": "x"}},
            [("one.number_value", "should be a whole number")],
        ),
        ({"one": 1}, [("one", "should be an object")]),
        ({"plainText": [1]}, [("plainText", "should be a string, not of type list")]),
    ],
)
def test_an_error_has_the_path_that_was_sent(config: dict[str, Any], errors: list[tuple[str, str]]):
    found = _errors(config)
    assert [path for path, _ in found] == [path for path, _ in errors]
    for (_, reason), (_, expected) in zip(found, errors, strict=True):
        assert reason.startswith(expected)


def test_the_path_of_the_whole_config_is_config():
    assert ConfigError((), "is wrong").path_text == "config"
    assert ConfigError(("a", "0"), "is wrong", ("1",)).path_text == "a.0.1"


def test_an_invalid_config_is_one_error_that_names_all_fields():
    with pytest.raises(PermanentError) as caught:
        read_config(Settings, {"config": {"maxCount": "x", "rows": 1}})
    assert str(caught.value) == (
        "the config is not valid: 'rows' should be a list; 'maxCount' should be a whole number"
    )
    assert read_config(Settings, {"config": None}) == Settings()
    assert read_config(Settings, {}) == Settings()


class Required(NodeConfig):
    """A config with a required setting and a required input."""

    url: str
    method: str = "get"

    @field_validator("method")
    @classmethod
    def _check(cls, method: str) -> str:
        if method == "missing":
            raise MissingSettingError("body is required")
        if method == "wrong":
            raise ValueError("is unknown")
        return method

    def needs_input(self) -> bool:
        return self.method == "post"


@pytest.mark.parametrize(
    ("config", "incomplete"),
    [
        ({}, True),
        ({"url": "u"}, False),
        ({"url": "u", "method": "post"}, True),
        ({"url": "u", "method": "missing"}, True),
        ({"url": "u", "method": "wrong"}, False),
        ({"url": ["u"]}, False),
        ({"url": ["u"], "method": "missing"}, True),
    ],
)
def test_a_config_is_incomplete_without_a_setting_or_an_input(
    config: dict[str, Any], incomplete: bool
):
    assert is_incomplete(Required, config) is incomplete


# Templates

BAD = "{{ a | unknown }}"


@pytest.mark.parametrize(
    ("config", "paths"),
    [
        ({"template": "{{ a }}"}, []),
        ({"template": BAD}, ["template"]),
        ({"plainText": BAD}, []),
        ({"template": f'["{BAD}"]'}, ["template"]),
        ({"body": [1, BAD]}, ["body.1"]),
        ({"body": {"k": BAD}}, ["body.k"]),
        ({"body": f'{{"k": "{BAD}"}}'}, ["body.k"]),
        ({"body": None, "template": None}, []),
        ({"body": BAD, "template": BAD}, ["template", "body"]),
    ],
)
def test_an_invalid_template_is_found_where_a_handler_fills_it(
    config: dict[str, Any], paths: list[str]
):
    assert [error.path_text for error in invalid_templates(Settings, config)] == paths


def test_a_template_inside_a_string_has_the_path_of_its_setting():
    (found,) = invalid_templates(Settings, {"body": f'{{"k": "{BAD}"}}'})
    assert (found.path, found.inside) == (("body",), ("k",))
    (found,) = invalid_templates(Settings, {"body": {"k": BAD}})
    assert (found.path, found.inside) == (("body", "k"), ())


# Rows


@pytest.mark.parametrize(
    ("row", "blank"),
    [
        ({}, True),
        (None, True),
        ("", True),
        ("x", False),
        (0, False),
        ({"name": ""}, True),
        ({"name": " ", "kind": "number"}, True),
        ({"name": "a"}, False),
        ({"kind": "text"}, True),
        ({"kind": "number"}, False),
        ({"id": "7", "uuid": "8", "_id": "9"}, True),
        ({"id": "7", "name": "a"}, False),
        ({"rowValues": []}, True),
        ({"rowValues": {}, "name": None}, True),
        ({"rowValues": [0]}, False),
        ({"unknown": "x"}, False),
        ({"unknown": "", "kind": "number"}, True),
    ],
)
def test_a_row_without_values_is_blank(row: Any, blank: bool):
    assert is_blank_row(Row, row) is blank
    rows = without_blank_rows(Row, [row, {"name": "a"}])
    assert rows == ([{"name": "a"}] if blank else [row, {"name": "a"}])


def test_an_id_that_the_model_has_is_a_value():
    class WithId(BaseModel):
        id: str = ""

    assert not is_blank_row(WithId, {"id": "7"})
    assert is_blank_row(Row, {"id": "7"})
    assert (is_blank_row(None, ""), is_blank_row(None, {})) == (True, False)


# Hints of forms


class Look(NodeConfig):
    """A config with hints at every place."""

    text: str = Field(default="", json_schema_extra={WIDGET: "textarea"})
    secret: str = Field(default="", json_schema_extra={"format": "password", "writeOnly": True})
    both: str = Field(default="", json_schema_extra={"format": "password", WIDGET: "textarea"})
    plain: str = ""
    items: list[Annotated[str, Field(json_schema_extra={WIDGET: "color"})]] = Field(default=[])
    numbers: list[int] = Field(default=[])
    kind: Literal["only"] = "only"


def test_hints_are_taken_from_the_schema():
    described = describe_config(Look)
    hints = {key: hint for key, hint in described.ui_schema.items() if key != "ui:order"}
    assert hints == {
        "text": {"ui:widget": "textarea"},
        "secret": {"ui:widget": "password"},
        "both": {"ui:widget": "textarea"},
        "items": {"items": {"ui:widget": "color"}},
        "kind": {"ui:widget": "hidden"},
    }
    assert described.secret_fields == ["/secret"]
    assert WIDGET not in str(described.schema)


class Needs(NodeConfig):
    """A config with required strings."""

    free: str
    chosen: Literal["a", "b"]
    patterned: str = Field(pattern="^x$")
    optional: str = ""
    number: int


def test_a_required_string_must_not_be_blank():
    properties = describe_config(Needs).schema["properties"]
    patterns = {key: properties[key].get("pattern") for key in Needs.__annotations__}
    assert patterns == {
        "free": r"\S",
        "chosen": None,
        "patterned": "^x$",
        "optional": None,
        "number": None,
    }
