"""Templates: ``{{ field }}`` in configs (contract, section 6); see also test_expressions."""

from typing import Any

import pytest

from engine.errors import TemplateError
from engine.json_values import as_text
from tasks.templating.render import render

DATA = {
    "name": "Ada",
    "age": 36,
    "none": None,
    "ok": True,
    "tags": ["x", "y"],
    "a": {"b": [{"c": 1.5}]},
    "x.y": "dotted",
    "first name": "Augusta",
    "sly": "{{ name }}",
}


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ("no placeholder", "no placeholder"),
        ("", ""),
        ("Hello {{ name }}!", "Hello Ada!"),
        ("{{name}} is {{  age  }}", "Ada is 36"),
        ("{{ name }}{{ name }}", "AdaAda"),
        ("{{\nname\n}}?", "Ada?"),
        ("c = {{ a.b.0.c }}", "c = 1.5"),
        ("{{ x.y }}!", "dotted!"),
        ("{{ first name }}!", "Augusta!"),
        ("ok: {{ ok }}, none: {{ none }}", "ok: true, none: null"),
        ("tags: {{ tags }}", 'tags: ["x","y"]'),
        ("a: {{ a }}", 'a: {"b":[{"c":1.5}]}'),
        ('{"n": {"age": {{ age }}}}', '{"n": {"age": 36}}'),
        ("{{ age }}}}", "36}}"),
        ("{ name } {{ name", "{ name } {{ name"),
        ("}} {{ name }} {{", "}} Ada {{"),
    ],
)
def test_placeholders_in_a_string_are_filled(template: str, rendered: str) -> None:
    assert render(template, DATA) == rendered


@pytest.mark.parametrize("field", ["name", "age", "none", "ok", "tags", "a", "a.b.0"])
@pytest.mark.parametrize("spelling", ["{{%s}}", "{{ %s }}", " {{ %s }}\n"])
def test_a_single_placeholder_keeps_the_type_of_the_value(field: str, spelling: str) -> None:
    expected = {"a.b.0": {"c": 1.5}}.get(field) or DATA.get(field)

    assert render(spelling % field, DATA) == expected


@pytest.mark.parametrize(
    ("template", "text"),
    [("{{ age }}", "36"), ("{{ none }}", "null"), ("{{ tags }}", '["x","y"]'), ("plain", "plain")],
)
def test_a_rendered_value_as_a_string(template: str, text: str) -> None:
    assert as_text(render(template, DATA)) == text


def test_all_strings_and_keys_of_a_config_are_filled() -> None:
    config = {
        "url": "https://x/{{ name }}",
        "headers": [{"key": "X-Age", "value": "{{ age }}"}],
        "{{ name }}": {"deep": ["{{ tags }}", 5, None, True]},
        "{{ age }}": 1,
    }

    assert render(config, DATA) == {
        "url": "https://x/Ada",
        "headers": [{"key": "X-Age", "value": 36}],
        "Ada": {"deep": [["x", "y"], 5, None, True]},
        "36": 1,
    }


def test_the_template_is_not_changed() -> None:
    config = {"list": ["{{ name }}"]}

    render(config, DATA)

    assert config == {"list": ["{{ name }}"]}


def test_the_value_of_a_field_is_not_a_template() -> None:
    assert render("{{ sly }}", DATA) == "{{ name }}"
    assert render("so {{ sly }}", DATA) == "so {{ name }}"


def test_a_path_into_a_list_is_a_position() -> None:
    assert render("{{ 0.id }}", [{"id": 7}]) == 7


@pytest.mark.parametrize("data", [DATA, [1, 2], "text", 5, None])
def test_input_is_the_whole_input(data: Any) -> None:
    assert render("{{ input }}", data) == data


def test_input_may_be_a_prefix_or_a_field() -> None:
    assert render("{{ input.name }}", DATA) == "Ada"
    assert render("{{ input }}", {"input": 5}) == 5


@pytest.mark.parametrize(
    ("template", "data", "message"),
    [
        ("{{ b }}", {"a": 1}, "the input has no field 'b' (it has: a)"),
        ("x {{ a.x }} y", {"a": {}}, "the input has no field 'a.x' (it has: a)"),
        ("{{ b }}", {}, "the input has no field 'b' (it has: no fields)"),
        ("{{ b }}", None, "the input has no field 'b' (it is of type null)"),
        ("{{ b }}", [1], "the input has no field 'b' (it is of type list)"),
        ("{{ 5 }}", [1], "the input has no field '5' (it is of type list)"),
        ("{{ input.b }}", {"a": 1}, "the input has no field 'input.b' (it has: a)"),
        ("{{ }}", {"a": 1}, "'{{  }}' at character 1: does not name a field"),
        ("a {{}} b", {"a": 1}, "'{{  }}' at character 3: does not name a field"),
    ],
)
def test_a_missing_field_is_an_error_that_names_it(template: str, data: Any, message: str) -> None:
    with pytest.raises(TemplateError) as error:
        render(template, data)

    assert str(error.value) == message


def test_a_missing_field_is_found_in_nested_templates() -> None:
    with pytest.raises(TemplateError, match="'gone'"):
        render({"a": [{"b": "{{ gone }}"}]}, DATA)


def test_a_template_error_is_not_retried() -> None:
    with pytest.raises(TemplateError) as error:
        render("{{ gone }}", DATA)

    assert error.value.retryable is False


def test_an_error_lists_a_limited_number_of_fields() -> None:
    with pytest.raises(TemplateError) as error:
        render("{{ gone }}", {f"field{i:03}": i for i in range(500)})

    assert "field019" in str(error.value)
    assert "field020" not in str(error.value)


def test_many_unclosed_placeholders_are_unchanged() -> None:
    text = "{{ name }}" + "{{ " * 50_000

    assert render(text, DATA) == "Ada" + "{{ " * 50_000
