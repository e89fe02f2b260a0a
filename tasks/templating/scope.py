"""Template scope: resolves the names in templates.

Fields of the input take precedence over built-in names: if the input has a field ``now``,
``{{ now }}`` is that field. The prefix ``input.`` always refers to the input.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from engine.json_values import JsonValue, Missing, describe_fields, is_object
from tasks.context import NodeRun
from tasks.templating.expressions import SECRETS_ROOT, Path, follow
from tasks.templating.filters import VALUE_COST, MissingValue, charge

_OUTPUT = "output"
_PARTS = (_OUTPUT, "result")
_PART = re.compile(rf"(?<=.)\.({'|'.join(_PARTS)})(?=\.|$)", re.DOTALL)
_HEADERS = "headers"


@dataclass(slots=True)
class TemplateScope:
    """Names that a template can use for the input ``data`` in the node run ``run``."""

    data: JsonValue
    run: NodeRun

    def resolve(self, path: Path) -> JsonValue | MissingValue:
        """Return the value at ``path``, or the reason why it is missing."""
        if path.root == SECRETS_ROOT:
            # Never a field of the input, because the sender must not choose the secret.
            return self._secret(path)
        value = path.lookup_in(self.data)
        if not isinstance(value, Missing):
            return value
        named = _NAMED.get(path.root)
        return self._no_field(path) if named is None else named(self, path)

    def _no_field(self, path: Path) -> MissingValue:
        return MissingValue(f"the input has no field '{path.text}' ({_fields(self.data)})")

    def _input(self, path: Path) -> JsonValue | MissingValue:
        value = follow(self.data, path.rest)
        return self._no_field(path) if isinstance(value, Missing) else value

    def _inputs(self, path: Path) -> JsonValue | MissingValue:
        inputs = self.run.inputs()
        value = follow(inputs, path.rest)
        if isinstance(value, Missing):
            return MissingValue(
                f"the inputs of the execution have no field '{path.text}' ({_fields(inputs)})"
            )
        return value

    def _nodes(self, path: Path) -> JsonValue | MissingValue:
        node_id, part, rest = _split_node_path(path.rest)
        if part is None:
            return MissingValue(
                f"'{path.text}' should be nodes.<id>.output or nodes.<id>.result, "
                f"or nodes['<id>'].output"
            )
        read = self.run.output_of if part == _OUTPUT else self.run.result_of
        data = read(node_id)
        if isinstance(data, Missing):
            return MissingValue(
                f"node '{node_id}' has no {part}: no such node completed before this one"
            )
        value = follow(data, rest)
        if isinstance(value, Missing):
            return MissingValue(f"the {part} of node '{node_id}' has no field '{_written(rest)}'")
        return value

    def _execution(self, path: Path) -> JsonValue | MissingValue:
        if self.run.execution_id is None:
            return MissingValue(f"'{path.text}' is not available outside an execution")
        value = follow({"id": self.run.execution_id}, path.rest)
        if isinstance(value, Missing):
            return MissingValue(f"'{path.text}' does not exist; use execution.id")
        return value

    def _request(self, path: Path) -> JsonValue | MissingValue:
        request = self.run.request()
        if not is_object(request):
            return MissingValue(
                f"'{path.text}' is not available: no webhook request started the execution"
            )
        value = follow(request, path.rest)
        if isinstance(value, Missing):  # names of headers are stored in lower case
            value = follow(request, _in_lower_case(path.rest))
        if not isinstance(value, Missing):
            return value
        headers = request["headers"]
        return MissingValue(
            f"the request has no '{path.text}'; it has request.method, request.query and "
            f"request.headers ({_fields(headers)})"
        )

    def _loop(self, path: Path) -> JsonValue | MissingValue:
        loop = self.run.loop()
        if isinstance(loop, Missing):
            return MissingValue(f"'{path.text}' is not available: the node is not inside a loop")
        value = follow(loop, path.rest)
        if isinstance(value, Missing):
            return MissingValue(f"the loop has no field '{path.text}' ({_fields(loop)})")
        return value

    def _secret(self, path: Path) -> JsonValue | MissingValue:
        name = path.rest if isinstance(path.rest, str) else path.rest[0]
        value = self.run.settings.secrets.get(name)
        if isinstance(value, Missing):
            return MissingValue(
                f"no secret '{name}': set SECRET_{name} in the environment or in .env, "
                f"or {name} in the file that SECRETS_FILE names"
            )
        return value

    def _now(self, path: Path) -> JsonValue | MissingValue:
        if path.rest:
            return MissingValue(f"'{path.text}' does not exist; now is a string")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return now.replace("+00:00", "Z")


_NAMED: dict[str, Callable[[TemplateScope, Path], JsonValue | MissingValue]] = {
    "input": TemplateScope._input,  # pyright: ignore[reportPrivateUsage] - same module
    "inputs": TemplateScope._inputs,  # pyright: ignore[reportPrivateUsage]
    "nodes": TemplateScope._nodes,  # pyright: ignore[reportPrivateUsage]
    "execution": TemplateScope._execution,  # pyright: ignore[reportPrivateUsage]
    "request": TemplateScope._request,  # pyright: ignore[reportPrivateUsage]
    "loop": TemplateScope._loop,  # pyright: ignore[reportPrivateUsage]
    "now": TemplateScope._now,  # pyright: ignore[reportPrivateUsage]
}


def _split_node_path(
    rest: str | tuple[str, ...],
) -> tuple[str, str | None, str | tuple[str, ...]]:
    """Return the node id, the part and the path of a name that begins with ``nodes.``.

    The id may contain dots; the part is ``output``, ``result`` or, for another path, ``None``.
    """
    if isinstance(rest, tuple):
        part = "".join(rest[1:2])
        return ("".join(rest[:1]), part, rest[2:]) if part in _PARTS else ("", None, "")
    match = _PART.search(rest)
    return (rest[: match.start()], match[1], rest[match.end() + 1 :]) if match else ("", None, "")


def _in_lower_case(rest: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(rest, str):
        head, dot, name = rest.partition(".")
        return f"{head}{dot}{name.lower()}" if head == _HEADERS else rest
    return (rest[0], *(key.lower() for key in rest[1:])) if rest[:1] == (_HEADERS,) else rest


def _written(rest: str | tuple[str, ...]) -> str:
    return rest if isinstance(rest, str) else ".".join(rest)


def _fields(data: JsonValue) -> str:
    charge(VALUE_COST * len(data) if is_object(data) else 0)
    return describe_fields(data)
