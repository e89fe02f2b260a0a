"""Secrets in workflow documents: masks them, and puts stored values back where a mask was sent.

A secret field is named by its path in a config. Each step of a path is the set of accepted
spellings of a key, or ``None`` for every item of a list or every key of an object. The document
may be in either format, and its parts may have the wrong shape: a value that cannot be read as
its type asks is masked as a whole.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

from engine.credential_headers import is_credential_header
from engine.document import escape_pointer
from engine.errors import Problem
from engine.json_values import JsonValue, encode_json, load_json
from engine.masking import MASK

Step = frozenset[str] | None
SecretPath = tuple[Step, ...]
SecretPaths = Callable[[str], Sequence[SecretPath]]
"""Returns the secret paths of a node type."""

_Place = tuple[str | int, ...]
_HEADERS = re.compile(r"headers$", re.IGNORECASE)
_VALUE: SecretPath = (frozenset({"value"}),)
_CONFIGS: tuple[tuple[str, ...], ...] = (("config",), ("data", "config"), ("data",), ())
"""Where a node's config is stored, the first one has precedence; last the node itself."""


def mask_document(document: JsonValue, paths: SecretPaths) -> JsonValue:
    """Return ``document`` with every secret replaced by the mask; changes it in place.

    A value that is not an object cannot be searched for nodes, and becomes a mask as a whole.
    """
    if document is None:
        return None
    if not isinstance(document, Mapping):
        return MASK
    for node in _nodes(document):
        for config, _ in _configs(node.fields):
            _mask(config, paths(node.type))
    return cast("JsonValue", document)


def find_masks(document: JsonValue, paths: SecretPaths, pointer: str = "") -> list[Problem]:
    """Return a problem for every secret of ``document`` that is a mask instead of a value."""
    found: dict[str, Problem] = {}
    for node, config, prefix in _all_configs(document):
        for place in _places(config, paths(node.type)):
            if _value_at(config, place) == MASK:
                where = f"{pointer}{node.pointer}{_pointer((*prefix, *place))}"
                found.setdefault(where, _problem(node, place, where))
    return list(found.values())


def restore_masked(sent: JsonValue, stored: JsonValue, paths: SecretPaths) -> list[Problem]:
    """Replace every mask in ``sent`` by the value that ``stored`` has for that node and field.

    Items of lists are found by what else they contain, because an editor may insert or move them.
    ``sent`` is changed in place.

    Returns:
        A problem for every mask without a stored value.
    """
    known: dict[str, list[_Rows]] = {}
    for node, config, _ in _all_configs(stored):
        known.setdefault(node.id, []).append(_Rows(config, paths(node.type)))
    problems: dict[str, Problem] = {}
    for node, config, prefix in _all_configs(sent):
        secrets = paths(node.type)
        masked = [it for it in _places(config, secrets) if _value_at(config, it) == MASK]
        rows = _Rows(config, secrets) if masked else None
        for place in masked:
            value = None
            for candidate in known.get(node.id, ()):
                if rows is not None and value is None:
                    value = _counterpart(place, rows, candidate, secrets)
            if value is None or value == MASK:
                where = f"{node.pointer}{_pointer((*prefix, *place))}"
                problems.setdefault(where, _problem(node, place, where))
            else:
                _put(config, place, deepcopy(value))
    return list(problems.values())


@dataclass(frozen=True, slots=True)
class _Node:
    id: str
    type: str
    pointer: str
    fields: dict[str, Any]


def _nodes(document: JsonValue) -> Iterator[_Node]:
    """Every object with a ``type``, wherever it is in the document."""
    todo: list[tuple[Any, str]] = [(document, "")]
    while todo:
        value, pointer = todo.pop()
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            if isinstance(kind := fields.get("type"), str | int):
                yield _Node(str(fields.get("id")), str(kind), pointer, fields)
            todo.extend(
                (cast("object", item), f"{pointer}/{escape_pointer(key)}")
                for key, item in reversed(fields.items())
                if isinstance(item, dict | list)
            )
        elif isinstance(value, list):
            items = cast("list[Any]", value)
            todo.extend((items[at], f"{pointer}/{at}") for at in reversed(range(len(items))))


def _configs(node: dict[str, Any]) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    for prefix in _CONFIGS:
        holder: Any = node
        for key in prefix:
            holder = cast("dict[str, Any]", holder).get(key) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            yield cast("dict[str, Any]", holder), prefix


def _all_configs(document: JsonValue) -> Iterator[tuple[_Node, dict[str, Any], tuple[str, ...]]]:
    for node in _nodes(document):
        for config, prefix in _configs(node.fields):
            yield node, config, prefix


def _mask(config: dict[str, Any], paths: Sequence[SecretPath]) -> None:
    for place in list(_places(config, paths)):
        _put(config, place, MASK)


def _places(config: dict[str, Any], paths: Sequence[SecretPath]) -> Iterator[_Place]:
    """Where secrets are in a config, each place once."""
    found: dict[_Place, None] = {}
    for path in paths:
        found.update(dict.fromkeys(_along(config, path, ())))
    for key, value in config.items():
        if _HEADERS.search(key):
            found.update(dict.fromkeys(_credentials(value, (key,))))
    # A place inside of another one is masked with it.
    return (place for place in found if not any(place[:at] in found for at in range(len(place))))


def _along(value: Any, path: SecretPath, place: _Place) -> Iterator[_Place]:
    if not path:
        if not _is_blank(value):
            yield place
        return
    step, *rest = path
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        keys = fields.keys() if step is None else fields.keys() & step
        for key in keys:
            yield from _along(fields[key], tuple(rest), (*place, key))
    elif isinstance(value, list):
        items = cast("list[Any]", value)
        following = tuple(rest) if step is None else path
        for at, item in enumerate(items):
            yield from _along(item, following, (*place, at))
    elif place and isinstance(value, str) and not _is_blank(value):
        yield place  # such as a table that a form sends as JSON text


def _credentials(value: Any, place: _Place) -> Iterator[_Place]:
    """Values of headers that carry credentials, in an object, in rows, or in JSON text."""
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            if is_credential_header(key) and not _is_blank(item):
                yield (*place, key)
    elif isinstance(value, list):
        for at, row in enumerate(cast("list[Any]", value)):
            if not isinstance(row, dict):
                continue
            fields = cast("dict[str, Any]", row)
            name = fields.get("key") or fields.get("name")
            if isinstance(name, str) and is_credential_header(name.strip()):
                yield from _along(fields, _VALUE, (*place, at))
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            inner = load_json(value)
        except ValueError:
            yield place
            return
        if any(True for _ in _credentials(inner, place)):
            yield place
    elif value == MASK:
        yield place  # of such a text that was masked


class _Rows:
    """The items of the lists of a config, compared without their secrets.

    Each list is read once, so that a config with many secret rows costs no more than its size.
    """

    def __init__(self, config: dict[str, Any], paths: Sequence[SecretPath]) -> None:
        self.config = config
        self.shown = deepcopy(config)
        _mask(self.shown, paths)
        self._keys: dict[int, list[tuple[str, int]]] = {}
        self._positions: dict[int, dict[tuple[str, int], int]] = {}

    def keys(self, items: list[Any]) -> list[tuple[str, int]]:
        """Return the text of each item, and how many equal ones come before it."""
        if id(items) not in self._keys:
            seen: Counter[str] = Counter()
            keys: list[tuple[str, int]] = []
            for item in items:
                text = encode_json(item)
                keys.append((text, seen[text]))
                seen[text] += 1
            self._keys[id(items)] = keys
            self._positions[id(items)] = {key: at for at, key in enumerate(keys)}
        return self._keys[id(items)]

    def position(self, items: list[Any], key: tuple[str, int]) -> int | None:
        """Return where the item with this key is."""
        self.keys(items)
        return self._positions[id(items)].get(key)


def _counterpart(place: _Place, sent: _Rows, stored: _Rows, paths: Sequence[SecretPath]) -> Any:
    """The stored value of a place; ``None`` if there is none."""
    here: Any = sent.shown
    there: Any = stored.config
    there_shown: Any = stored.shown
    for depth, token in enumerate(place):
        at: int | str | None
        if isinstance(token, int):
            if not isinstance(there, list) or not isinstance(there_shown, list):
                return None
            items = cast("list[Any]", there_shown)
            at = stored.position(items, sent.keys(here)[token])
            if at is None and len(items) == len(here):
                at = token  # the row was edited in another field
        else:
            at = _same_key(there, token, paths, depth)
        if at is None:
            return None
        here, there = here[token], cast("Any", there)[at]
        if isinstance(there_shown, dict | list):
            there_shown = cast("Any", there_shown)[at]
    return None if _is_blank(there) else there


def _same_key(stored: Any, key: str, paths: Sequence[SecretPath], depth: int) -> str | None:
    if not isinstance(stored, dict):
        return None
    fields = cast("dict[str, Any]", stored)
    if key in fields:
        return key
    steps = {step for path in paths if len(path) > depth and (step := path[depth]) is not None}
    others = [other for step in steps if key in step for other in sorted(step) if other in fields]
    if not others:
        others = [other for other in fields if other.lower() == key.lower()]  # a header's name
    return others[0] if others else None


def _value_at(config: Any, place: _Place) -> Any:
    for token in place:
        config = config[token]
    return config


def _put(config: Any, place: _Place, value: Any) -> None:
    _value_at(config, place[:-1])[place[-1]] = value


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _pointer(place: Sequence[str | int]) -> str:
    return "".join(f"/{escape_pointer(str(token))}" for token in place)


def _problem(node: _Node, place: _Place, pointer: str) -> Problem:
    field = ".".join(map(str, place))
    detail = (
        f"node '{node.id}' ({node.type}): '{field}' is the mask '{MASK}', and no value is stored "
        "for it; send the value"
    )
    return Problem("masked_value", detail, pointer, node_id=node.id)
