"""Secret fields: finds the paths of config values that the catalog marks as secret."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, cast, get_args

from pydantic import BaseModel

from engine.document_secrets import SecretPath, SecretPaths
from tasks.config.json_schema import describe_config
from tasks.config.rows import aliases
from tasks.registry import NodeTypes

_EVERY = "*"
"""Path part for every item of a list or key of an object, in the catalog's ``secretFields``."""


def secret_paths(node_types: NodeTypes) -> SecretPaths:
    """Return a function from a node type to its secret paths, custom types included.

    An unknown type, such as one of a package that is no longer installed, has the secret paths of
    all types.
    """
    known = set(node_types.known)
    all_paths: list[SecretPath] = []

    def paths(node_type: str) -> Sequence[SecretPath]:
        if node_type in known:
            return _paths_of(node_types.config(node_type))
        if not all_paths:
            all_paths.extend({path for name in known for path in paths(name)})
        return all_paths

    return paths


@cache
def _paths_of(model: type[BaseModel]) -> tuple[SecretPath, ...]:
    keys = _accepted_keys(model)
    paths: list[SecretPath] = []
    for pointer in describe_config(model).secret_fields:
        names = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
        paths.append(
            tuple(None if name == _EVERY else keys.get(name, frozenset({name})) for name in names)
        )
    return tuple(paths)


def _accepted_keys(model: type[BaseModel]) -> dict[str, frozenset[str]]:
    """Return the accepted aliases of every key of a model and its nested models, by catalog key."""
    keys: dict[str, frozenset[str]] = {}
    todo, seen = [model], {model}
    while todo:
        inner = todo.pop()
        for name, field in inner.model_fields.items():
            accepted = [*aliases(inner, name), name]
            keys[accepted[0]] = keys.get(accepted[0], frozenset()) | frozenset(accepted)
            for other in _models_in(field.annotation, *field.metadata):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
    return keys


def _models_in(*annotations: Any) -> Iterator[type[BaseModel]]:
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        yield from _models_in(*get_args(annotation))
        if (
            sent := getattr(cast("object", annotation), "json_schema_input_type", None)
        ) is not None:
            kinds: tuple[Any, ...] = (sent,) if isinstance(sent, type) else get_args(sent)
            yield from _models_in(*kinds)
