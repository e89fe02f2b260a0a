"""Config schema: describes a config model as JSON Schema draft-07 and as hints for a form library.

The schema of pydantic is simplified for strict readers: optional settings do not accept null,
OpenAPI keywords are removed, and only recursive models are referenced. Keywords that only a form
needs (``x-…``) move from the schema into the hints.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, NoDefault
from pydantic_core import core_schema

from engine.document import escape_pointer
from engine.options import NodeOptions
from tasks.config.rows import aliases

DIALECT = "http://json-schema.org/draft-07/schema#"

WIDGET = "x-widget"
"""Keyword for the form widget of a field: ``json_schema_extra={WIDGET: "textarea"}``."""

SomeSchema = dict[str, Any]

_VALUE = "value"
_ANY_VALUE: SomeSchema = {
    "title": "Value",
    "anyOf": [
        {"type": "string", "title": "Text"},
        {"type": "number", "title": "Number"},
        {"type": "boolean", "title": "Yes or no"},
        {
            "type": "object",
            "title": "Object",
            "additionalProperties": {"$ref": f"#/definitions/{_VALUE}"},
        },
        {"type": "array", "title": "List", "items": {"$ref": f"#/definitions/{_VALUE}"}},
    ],
}
"""Any JSON value as a list of types, because forms show no field for an empty schema. Null is only
a type of nested values, because an empty field is omitted."""
_ANY_VALUE_INSIDE = {
    **_ANY_VALUE,
    "anyOf": [*_ANY_VALUE["anyOf"], {"type": "null", "title": "Nothing"}],
}
_TYPE_KEYWORDS = {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "not"}


@dataclass(frozen=True, slots=True)
class ConfigSchema:
    """Description of a config in the node type catalog."""

    schema: SomeSchema
    """JSON Schema draft-07; each field has its first alias."""
    ui_schema: SomeSchema
    """Hints for react-jsonschema-form: order and widgets."""
    defaults: dict[str, Any]
    """Default of each field that has one."""
    secret_fields: list[str] = field(default_factory=list[str])
    """JSON pointers into a config; ``*`` matches each item of a list and each key."""


@cache
def describe_config(model: type[BaseModel]) -> ConfigSchema:
    """Return the schema and hints of a config model; the cached value must not be changed.

    ``PydanticInvalidForJsonSchema`` means that JSON cannot represent a field.
    """
    written: SomeSchema = model.model_json_schema(
        ref_template="#/definitions/{model}", schema_generator=_PlainJsonSchema
    )
    definitions: SomeSchema = written.pop("$defs", {})
    inlined = _SchemaInliner(definitions)
    schema = _own_fields_first(inlined.without_references(written))
    schema["$schema"] = DIALECT
    if inlined.kept:
        schema["definitions"] = inlined.kept
    properties: SomeSchema = schema.get("properties", {})
    defaults = {key: item["default"] for key, item in properties.items() if "default" in item}
    hints = {"ui:order": list(properties), **_take_hints(schema)}
    return ConfigSchema(schema, hints, deepcopy(defaults), sorted(_secrets(schema)))


def required_when(needed: str, key: str, value: str, **more: Any) -> SomeSchema:
    """Return a schema that requires ``needed``, with keywords ``more``, if ``key`` is ``value``."""
    return {
        "if": {"properties": {key: {"const": value}}, "required": [key]},
        "then": {"properties": {needed: more}, "required": [needed]},
    }


class _PlainJsonSchema(GenerateJsonSchema):
    """Generates pydantic's schema without null for optional settings and OpenAPI keywords."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        factory = schema.get("default_factory")
        if factory is not None and not schema.get("default_factory_takes_data"):
            return cast("Callable[[], Any]", factory)()
        default = super().get_default_value(schema)
        return NoDefault if default is None else default

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        written = super().model_schema(schema)
        model = cast("type[BaseModel]", schema["cls"])
        for name, text in _field_docstrings(model).items():
            if (field := written.get("properties", {}).get(aliases(model, name)[0])) is not None:
                field.setdefault("description", text)
        return written

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        written = super().tagged_union_schema(schema)
        written.pop("discriminator", None)
        return written


@dataclass(slots=True)
class _SchemaInliner:
    """Replaces references by their definitions; those of recursive models are kept inside them."""

    definitions: SomeSchema
    kept: SomeSchema = field(default_factory=dict[str, Any])

    def without_references(self, schema: SomeSchema, inside: tuple[str, ...] = ()) -> SomeSchema:
        schema = dict(schema)
        reference = schema.pop("$ref", None)
        if isinstance(reference, str):
            name = reference.rpartition("/")[2]
            if name not in inside:
                merged = {**self.definitions[name], **schema}
                return self.without_references(merged, (*inside, name))
            if name not in self.kept:
                self.kept[name] = {}
                self.kept[name] = self.without_references(self.definitions[name], (name,))
            # In allOf, because draft-07 ignores keywords next to a reference.
            reference = {"$ref": f"#/definitions/{name}"}
            return {**schema, "allOf": [reference]} if schema else reference
        if "enum" not in schema:
            schema = {key: self._inside(key, value, inside) for key, value in schema.items()}
        if schema.get("type") == "object":
            _reject_blank_required_strings(schema)
        return schema

    def _inside(self, key: str, value: Any, inside: tuple[str, ...]) -> Any:
        if key in {"properties", "definitions"}:
            fields = cast("SomeSchema", value)
            return {name: self._field(item, inside) for name, item in fields.items()}
        if key in {"items", "additionalProperties"} and isinstance(value, Mapping):
            return self._field(cast("SomeSchema", value), inside)
        if key in {"anyOf", "oneOf", "allOf"}:
            return [self._field(item, inside) for item in cast("list[SomeSchema]", value)]
        return deepcopy(value)

    def _field(self, schema: SomeSchema, inside: tuple[str, ...]) -> SomeSchema:
        schema = self.without_references(schema, inside)
        if isinstance(text := schema.get("description"), str):
            schema["description"] = plain(text)
        if _TYPE_KEYWORDS.isdisjoint(schema):
            self.kept[_VALUE] = deepcopy(_ANY_VALUE_INSIDE)
            return {**deepcopy(_ANY_VALUE), **schema}
        return schema


def _field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings below the fields of a model and of its base classes.

    They are read here, because pydantic would read the source of each model when it is imported,
    which takes a tenth of the start of the service.
    """
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        declared = inspect.get_annotations(cls)
        found = {name: text for name, text in found.items() if name not in declared}
        if declared and issubclass(cls, BaseModel):
            found.update(_docstrings_in(cls))
    return {name: text for name, text in found.items() if name in model.model_fields}


@cache
def _docstrings_in(cls: type[BaseModel]) -> dict[str, str]:
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}  # a class whose source is unavailable has no descriptions
    return {
        field.target.id: inspect.cleandoc(text)
        for field, below in pairwise(cast("ast.ClassDef", definition).body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(text := below.value.value, str)
    }


def plain(text: str) -> str:
    """Return a docstring on one line, with literals in ordinary quotation marks."""
    return " ".join(text.replace("``", "'").split())


def _reject_blank_required_strings(schema: SomeSchema) -> None:
    """Reject blank strings for required settings, because a blank string counts as not set."""
    for key in schema.get("required", ()):
        item = schema.get("properties", {}).get(key, {})
        if item.get("type") == "string" and not {"enum", "const", "pattern"} & item.keys():
            item["pattern"] = r"\S"


def _own_fields_first(schema: SomeSchema) -> SomeSchema:
    """Return the schema with the settings of the type before the common options."""
    common = [field.alias or name for name, field in NodeOptions.model_fields.items()]
    properties: SomeSchema = schema.get("properties", {})
    own = {key: item for key, item in properties.items() if key not in common}
    shared = {key: properties[key] for key in common if key in properties}
    return {**schema, "properties": {**own, **shared}}


def _take_hints(schema: SomeSchema) -> SomeSchema:
    """Remove the form keywords from ``schema``, and return them as hints of the same shape."""
    hints: SomeSchema = {}
    widget = schema.pop(WIDGET, None)
    if widget is None and schema.get("format") == "password":
        widget = "password"
    if widget is None and "const" in schema:
        widget = "hidden"
    if widget is not None:
        hints["ui:widget"] = widget
    for key, item in cast("SomeSchema", schema.get("properties", {})).items():
        if inner := _take_hints(item):
            hints[key] = inner
    if isinstance(items := schema.get("items"), Mapping) and (
        inner := _take_hints(cast("SomeSchema", items))
    ):
        hints["items"] = inner
    for keyword in ("anyOf", "oneOf"):
        branches = cast("list[SomeSchema]", schema.get(keyword, []))
        if any(inner := [_take_hints(branch) for branch in branches]):
            hints[keyword] = inner
    return hints


def _secrets(schema: SomeSchema, pointer: str = "") -> set[str]:
    pointers = {pointer} if schema.get("writeOnly") else set[str]()
    for key, item in cast("SomeSchema", schema.get("properties", {})).items():
        pointers |= _secrets(item, f"{pointer}/{escape_pointer(key)}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(inner := schema.get(keyword), Mapping):
            pointers |= _secrets(cast("SomeSchema", inner), f"{pointer}/*")
    for keyword in ("anyOf", "oneOf", "allOf"):
        for branch in cast("list[SomeSchema]", schema.get(keyword, [])):
            pointers |= _secrets(branch, pointer)
    return pointers
