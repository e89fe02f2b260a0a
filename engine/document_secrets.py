"""Document secrets: masks secrets in workflow documents and restores masked values.

A secret field is named by its path in a config. Each step of a path is the set of accepted
keys, or ``None`` for every item of a list or every key of an object. The document may be in either
format, and its parts may have the wrong shape: a value with the wrong type is masked as a whole.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeGuard

from engine.document import escape_pointer
from engine.errors import Problem
from engine.json_values import JsonValue, encode_json, is_blank, is_list, is_object, load_json
from engine.masking import MASK, is_credential_header

Step = frozenset[str] | None
SecretPath = tuple[Step, ...]
SecretPaths = Callable[[str], Sequence[SecretPath]]
"""Returns the secret paths of a node type."""

_Path = tuple[str | int, ...]
_Identity = tuple[bool | str | tuple[str | int, int], ...]
_HEADERS = re.compile(r"headers$", re.IGNORECASE)
_VALUE: SecretPath = (frozenset({"value"}),)
_CONFIGS: tuple[tuple[str, ...], ...] = (("config",), ("data", "config"), ("data",), ())
"""Keys of a node under which its config may be stored, in order of precedence."""


def mask_document(document: JsonValue, paths: SecretPaths) -> JsonValue:
    """Return ``document`` with every secret replaced by the mask; changes it in place.

    A value that is not an object cannot be searched for nodes, and becomes a mask as a whole.
    """
    if document is None:
        return None
    if not is_object(document):
        return MASK
    for node in _nodes(document):
        for config, _ in _configs(node.fields):
            _mask(config, paths(node.type))
    return document


def find_masks(document: JsonValue, paths: SecretPaths, pointer: str = "") -> list[Problem]:
    """Return a problem for every secret of ``document`` that is a mask instead of a value."""
    found: dict[str, Problem] = {}
    for node, config, prefix in _all_configs(document):
        for path in _secret_paths(config, paths(node.type)):
            if _value_at(config, path) == MASK:
                where = f"{pointer}{node.pointer}{_pointer((*prefix, *path))}"
                found.setdefault(where, _problem(node, path, where))
    return list(found.values())


def restore_masked(sent: JsonValue, stored: JsonValue, paths: SecretPaths) -> list[Problem]:
    """Replace every mask in ``sent`` by the value that ``stored`` has for that node and field.

    Items of lists are found by their other fields, because an editor may insert or move them.
    ``sent`` is changed in place. Return a problem for every mask without a stored value.
    """
    stored_secrets: dict[str, list[_Secrets]] = {}
    for node, config, _ in _all_configs(stored):
        stored_secrets.setdefault(node.id, []).append(_Secrets(config, paths(node.type)))
    problems: dict[str, Problem] = {}
    for node, config, prefix in _all_configs(sent):
        secrets = _Secrets(config, paths(node.type))
        for path in secrets.paths:
            if _value_at(config, path) != MASK:
                continue
            found = (known.get(secrets, path) for known in stored_secrets.get(node.id, ()))
            value = next((value for value in found if value is not None), MASK)
            if value == MASK:
                where = f"{node.pointer}{_pointer((*prefix, *path))}"
                problems.setdefault(where, _problem(node, path, where))
            else:
                _put(config, path, deepcopy(value))
    return list(problems.values())


@dataclass(frozen=True, slots=True)
class _Node:
    id: str
    type: str
    pointer: str
    fields: dict[str, Any]


def _nodes(document: JsonValue) -> Iterator[_Node]:
    """Yield every object with a ``type`` at any position in the document."""
    todo: list[tuple[Any, str]] = [(document, "")]
    while todo:
        value, pointer = todo.pop()
        if _is_dict(value):
            if isinstance(node_type := value.get("type"), str | int):
                yield _Node(str(value.get("id")), str(node_type), pointer, value)
            todo.extend(
                (item, f"{pointer}/{escape_pointer(key)}")
                for key, item in reversed(value.items())
                if _is_dict(item) or is_list(item)
            )
        elif is_list(value):
            todo.extend((value[at], f"{pointer}/{at}") for at in reversed(range(len(value))))


def _configs(node: dict[str, Any]) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    for prefix in _CONFIGS:
        holder: Any = node
        for key in prefix:
            holder = holder.get(key) if _is_dict(holder) else None
        if _is_dict(holder):
            yield holder, prefix


def _all_configs(document: JsonValue) -> Iterator[tuple[_Node, dict[str, Any], tuple[str, ...]]]:
    for node in _nodes(document):
        for config, prefix in _configs(node.fields):
            yield node, config, prefix


def _mask(config: dict[str, Any], paths: Sequence[SecretPath]) -> None:
    for path in list(_secret_paths(config, paths)):
        _put(config, path, MASK)


def _secret_paths(config: dict[str, Any], paths: Sequence[SecretPath]) -> Iterator[_Path]:
    """Return the paths of the secrets in a config, without duplicates."""
    found: dict[_Path, None] = {}
    for pattern in paths:
        found.update(dict.fromkeys(_along(config, pattern, ())))
    for key, value in config.items():
        if _HEADERS.search(key):
            found.update(dict.fromkeys(_credentials(value, (key,))))
    # A path inside another one is masked with it.
    return (path for path in found if not any(path[:at] in found for at in range(len(path))))


def _along(value: Any, pattern: SecretPath, path: _Path) -> Iterator[_Path]:
    if not pattern:
        if not is_blank(value):
            yield path
        return
    step, *rest = pattern
    if _is_dict(value):
        keys = value.keys() if step is None else value.keys() & step
        for key in keys:
            yield from _along(value[key], tuple(rest), (*path, key))
    elif is_list(value):
        following = tuple(rest) if step is None else pattern
        for at, item in enumerate(value):
            yield from _along(item, following, (*path, at))
    elif path and isinstance(value, str) and not is_blank(value):
        yield path  # For example a table that a form sends as JSON text.


def _credentials(value: Any, path: _Path) -> Iterator[_Path]:
    """Yield the paths of credential headers in an object, in rows, or in JSON text."""
    if _is_dict(value):
        for key, item in value.items():
            if is_credential_header(key) and not is_blank(item):
                yield (*path, key)
    elif is_list(value):
        for at, row in enumerate(value):
            name = (row.get("key") or row.get("name")) if _is_dict(row) else None
            if isinstance(name, str) and is_credential_header(name.strip()):
                yield from _along(row, _VALUE, (*path, at))
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            inner = load_json(value)
        except ValueError:
            yield path
            return
        if any(True for _ in _credentials(inner, path)):
            yield path
    elif value == MASK:
        yield path  # A JSON text that was masked.


class _Secrets:
    """The secrets of a config, by identities that stay the same when an editor moves rows.

    Each list is read once, so that the cost is linear in the size of the config.
    """

    def __init__(self, config: dict[str, Any], patterns: Sequence[SecretPath]) -> None:
        self.paths = list(_secret_paths(config, patterns))
        self._patterns = patterns
        self._masked = deepcopy(config)
        _mask(self._masked, patterns)
        self._rows: dict[int, list[tuple[str, int]]] = {}
        self._values: dict[_Identity, Any] = {}
        for path in self.paths:
            for identity in self._identities(path):
                self._values.setdefault(identity, _value_at(config, path))

    def get(self, sent: "_Secrets", path: _Path) -> Any:
        """Return the value of the secret at ``path`` of another version of the config, or None."""
        found = (self._values.get(identity) for identity in sent._identities(path))
        return next((value for value in found if value is not None), None)

    def _identities(self, path: _Path) -> Iterator[_Identity]:
        """Yield the identities of a path, the most specific one first.

        A key is itself or any name of the same setting. A row is its other fields or, if one of
        them was edited, its position in a list of the same length.
        """
        for by_key, by_fields in product((True, False), repeat=2):
            holder: Any = self._masked
            identity: list[Any] = [by_key, by_fields]
            for depth, token in enumerate(path):
                if isinstance(token, str):
                    identity.append(token if by_key else self._setting(token, depth))
                else:
                    identity.append(self._row(holder, token) if by_fields else (token, len(holder)))
                holder = holder[token]
            yield tuple(identity)

    def _setting(self, key: str, depth: int) -> str:
        steps = (path[depth] for path in self._patterns if len(path) > depth)
        names = [min(step) for step in steps if step is not None and key in step]
        return min(names, default=key.lower())  # the names of headers are case-insensitive

    def _row(self, rows: list[Any], at: int) -> tuple[str, int]:
        """Return the JSON text of a row and the number of equal rows before it."""
        if id(rows) not in self._rows:
            seen: Counter[str] = Counter()
            keys = self._rows[id(rows)] = []
            for text in map(encode_json, rows):
                keys.append((text, seen[text]))
                seen[text] += 1
        return self._rows[id(rows)][at]


def _value_at(config: Any, path: _Path) -> Any:
    for token in path:
        config = config[token]
    return config


def _put(config: Any, path: _Path, value: Any) -> None:
    _value_at(config, path[:-1])[path[-1]] = value


def _is_dict(value: object) -> TypeGuard[dict[str, JsonValue]]:
    return isinstance(value, dict)


def _pointer(path: Sequence[str | int]) -> str:
    return "".join(f"/{escape_pointer(str(token))}" for token in path)


def _problem(node: _Node, path: _Path, pointer: str) -> Problem:
    field = ".".join(map(str, path))
    detail = (
        f"node '{node.id}' ({node.type}): '{field}' is the mask '{MASK}', and no value is stored "
        "for it; send the value"
    )
    return Problem("masked_value", detail, pointer, node_id=node.id)
