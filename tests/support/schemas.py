"""Generated configs: values for a JSON Schema, both likely and unusual."""

from typing import Any

from hypothesis import strategies as st

TEXTS = st.one_of(
    st.sampled_from(["", " ", "a", " name ", "a.b.0", "{{ a }}", "http://x/", "https://{{ h }}/"]),
    st.sampled_from(["2026-11-23", "2026-11-23T08:00:00Z", "25", "none", "a, b", ",", "ключ"]),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8),
)
NUMBERS = st.one_of(
    st.integers(-2, 12), st.floats(-1, 3), st.sampled_from([86_400, 1e9, 31_536_000, 0.5])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for values; most of them are valid for ``schema``."""
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return st.one_of([values(branch) for branch in schema[keyword]])
    kind = schema.get("type")
    if kind == "object":
        return _objects(schema)
    if kind == "array":
        return st.lists(values(schema.get("items", {})), max_size=3)
    return {
        "string": TEXTS,
        "integer": st.integers(-1, 12),
        "number": NUMBERS,
        "boolean": st.booleans(),
    }.get(kind or "", VALUES)


def _objects(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    properties = schema.get("properties")
    if properties is None:
        return st.dictionaries(TEXTS, VALUES, max_size=3)
    required = set(schema.get("required", ()))
    fields = {key: values(item) for key, item in properties.items()}
    return st.fixed_dictionaries(
        {key: value for key, value in fields.items() if key in required},
        optional={key: value for key, value in fields.items() if key not in required},
    )
