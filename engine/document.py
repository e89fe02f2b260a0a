"""Workflow document: reads either format into one form.

The editor of the main project writes ``nodes`` with ``config`` and ``connections``. React Flow's
``toObject()`` writes ``nodes`` with ``data`` and ``edges``. The other modules use ``Document``,
with JSON pointers into the document as it was sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.errors import InvalidDocumentError, Problem, replace_nul
from engine.failures import named_failure_workflow
from engine.json_values import (
    JsonValue,
    as_text,
    describe_value,
    is_list,
    is_object,
    json_error,
    kind_of,
    load_json,
)
from engine.limits import DocumentLimits
from engine.workflow_limits import declared_limit

PREVIEW_KEYS = frozenset(
    {
        "label",
        "config",
        "disabled",
        "status",
        "inputData",
        "outputData",
        "executionResult",
        "conditionResult",
        "executionStatus",
        "executionError",
        "isExecuting",
        "trueRecords",
        "falseRecords",
        "llmResponse",
    }
)
"""Keys of a React Flow node's ``data`` that do not belong to its config."""


MAX_LABEL_CHARACTERS = 500
"""Maximum length of a label in logs, in characters; each node run stores it."""
OUTPUT_KEYS = ("outputType", "fromPort", "sourceHandle")
"""The keys under which a connection may name its output port."""
INPUT_KEYS = ("inputPort", "toPort", "targetHandle")
_SWITCHES = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a workflow."""

    id: str
    type: str
    label: str
    config: Mapping[str, JsonValue]
    pointer: str = ""
    """JSON pointer to the node in the document as it was sent."""
    config_pointer: str = ""
    """JSON pointer to its config."""
    disabled: bool = False
    """Whether it only passes its input on."""
    declared_type: str = ""
    """The type in the document, if the run uses another one: see ``engine.normalization``."""

    @property
    def shown_type(self) -> str:
        """The type in the document, for logs and errors."""
        return self.declared_type or self.type

    def as_json(self) -> dict[str, JsonValue]:
        """Return the node as handlers get it: ``{"id", "type", "label", "config"}``."""
        return {"id": self.id, "type": self.type, "label": self.label, "config": dict(self.config)}


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection from one node's output to another node's input."""

    id: str
    source: str
    target: str
    output_type: str | None = None
    """The name of its output; in a graph a port of the source's type, or ``None`` for all of it."""
    input_port: str | None = None
    """The name of its input; in a graph a port of the target's type, or ``None``."""
    pointer: str = ""
    output_pointer: str = field(default="", compare=False)
    """JSON pointer to the name of the output."""
    input_pointer: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Document:
    """The nodes and connections of a workflow, in the order of the document."""

    nodes: tuple[Node, ...]
    connections: tuple[Connection, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """The readable part of a document, and the problems of the other parts."""

    document: Document
    """Without the nodes whose ids and the connections whose ends are unreadable."""
    problems: tuple[Problem, ...] = ()
    incomplete_nodes: frozenset[str] = frozenset()
    """Pointers of the nodes in ``document`` whose type or config is unreadable."""
    has_all_nodes: bool = True


def parse_document(data: JsonValue) -> Document:
    """Return the document of ``workflows.data``, which is JSON text or a value.

    Parts with the wrong shape, and invalid JSON, raise an ``InvalidDocumentError``.
    """
    reading = read_document(data)
    if reading.problems:
        raise InvalidDocumentError(list(reading.problems))
    return reading.document


def read_document(data: JsonValue, limits: DocumentLimits | None = None) -> Reading:
    """Return the readable part of a document, and the problems of the other parts.

    Raises:
        InvalidDocumentError: If it is not a JSON object, or has more parts than ``limits`` allow.
    """
    is_text = isinstance(data, str | bytes)
    if is_text:
        try:
            data = load_json(data)
        except ValueError as error:
            raise _invalid_json(str(error)) from None
    if limits is not None:
        limits.check(data)
    if not is_text and (reason := json_error(data)):
        raise _invalid_json(reason)
    return _read(data)


def _read(data: JsonValue) -> Reading:
    if not is_object(data):
        detail = f"the document is of type {kind_of(data)}, not an object"
        raise InvalidDocumentError([Problem("invalid_document", detail, "")])
    reader = _Reader(data)
    document = Document(tuple(reader.nodes()), tuple(reader.connections()))
    for _, problem in (named_failure_workflow(data), declared_limit(data)):
        if problem is not None:
            reader.problems.append(problem)
    return Reading(
        document, tuple(reader.problems), frozenset(reader.incomplete_nodes), reader.has_all_nodes
    )


def _invalid_json(reason: str) -> InvalidDocumentError:
    detail = f"the document is not valid JSON: {reason}"
    return InvalidDocumentError([Problem("invalid_json", detail, "")])


def escape_pointer(token: str) -> str:
    """Return one token of a JSON pointer, escaped according to RFC 6901."""
    return token.replace("~", "~0").replace("/", "~1")


@dataclass(slots=True)
class _Reader:
    """Reads the parts of one document and collects their problems."""

    data: Mapping[str, JsonValue]
    problems: list[Problem] = field(default_factory=list[Problem])
    incomplete_nodes: set[str] = field(default_factory=set[str])
    has_all_nodes: bool = True

    def nodes(self) -> list[Node]:
        before = len(self.problems)
        items = self._items("nodes")
        is_list = len(self.problems) == before
        found = [self._node(item, f"/nodes/{i}") for i, item in enumerate(items)]
        self.has_all_nodes = is_list and None not in found
        return [node for node in found if node is not None]

    def connections(self) -> list[Connection]:
        key = "connections"
        if self.data.get(key) in (None, []) and self.data.get("edges") is not None:
            key = "edges"
        ends = (("source", "fromNodeId"), ("target", "toNodeId"))
        if key == "connections":
            ends = (("fromNodeId", "source"), ("toNodeId", "target"))
        return [
            connection
            for i, item in enumerate(self._items(key))
            if (connection := self._connection(item, f"/{key}/{i}", str(i), ends))
        ]

    def _items(self, key: str) -> list[JsonValue]:
        items = self.data.get(key)
        if items is None:
            if key == "nodes":
                self._reject("the document has no 'nodes'", "")
            return []
        if not is_list(items):
            self._reject(f"'{key}' is of type {kind_of(items)}, not a list", f"/{key}")
            return []
        return items

    def _node(self, item: JsonValue, pointer: str) -> Node | None:
        if not is_object(item):
            self._reject(f"a node is of type {kind_of(item)}, not an object", pointer)
            return None
        node_id = self._name(item, "id", "a node", pointer)
        if node_id is None:
            return None
        node_type = self._name(item, "type", f"node '{node_id}'", pointer, node_id)
        inner = item.get("data")
        data = inner if is_object(inner) else None
        config, config_pointer = self._config(item, data, pointer, node_id)
        label = item.get("label") or (data or {}).get("label")
        if node_type is None or config is None:
            self.incomplete_nodes.add(pointer)
        name = label if isinstance(label, str) else node_id
        if len(name) > MAX_LABEL_CHARACTERS:
            name = f"{name[:MAX_LABEL_CHARACTERS]}…"
        name = replace_nul(name)
        disabled = self._disabled(item, data, config, pointer, node_id)
        return Node(node_id, node_type or "", name, config or {}, pointer, config_pointer, disabled)

    def _disabled(
        self,
        fields: Mapping[str, JsonValue],
        data: Mapping[str, JsonValue] | None,
        config: Mapping[str, JsonValue] | None,
        pointer: str,
        node_id: str,
    ) -> bool:
        for holder, where in ((fields, pointer), (data or {}, f"{pointer}/data")):
            value = holder.get("disabled")
            if value is None or value == "":
                continue
            switch = _SWITCHES.get(as_text(value).strip().casefold())
            if switch is None:
                detail = f"'disabled' of node '{node_id}' should be true or false"
                self._reject(f"{detail}, not {describe_value(value)}", f"{where}/disabled", node_id)
            elif switch:
                return True
        # Another node type may have a setting of that name, so only ``true`` counts there.
        return (config or {}).get("disabled") is True

    def _config(
        self,
        fields: Mapping[str, JsonValue],
        data: Mapping[str, JsonValue] | None,
        pointer: str,
        node_id: str,
    ) -> tuple[Mapping[str, JsonValue] | None, str]:
        for holder, where in ((fields, pointer), (data or {}, f"{pointer}/data")):
            if (config := holder.get("config")) is not None:
                if is_object(config):
                    return config, f"{where}/config"
                detail = f"the config of node '{node_id}' is of type {kind_of(config)}"
                self._reject(f"{detail}, not an object", f"{where}/config", node_id=node_id)
                return None, ""
        if data is not None:
            own = {key: value for key, value in data.items() if key not in PREVIEW_KEYS}
            return own, f"{pointer}/data"
        return {}, f"{pointer}/config"

    def _connection(
        self, item: JsonValue, pointer: str, position: str, end_keys: tuple[tuple[str, str], ...]
    ) -> Connection | None:
        if not is_object(item):
            self._reject(f"a connection is of type {kind_of(item)}, not an object", pointer)
            return None
        raw_id = item.get("id")
        is_valid = isinstance(raw_id, str | int) and not isinstance(raw_id, bool)
        connection_id = str(raw_id) if is_valid else position
        ends: list[str | None] = []
        for keys in end_keys:
            key = next((key for key in keys if item.get(key) is not None), keys[0])
            owner = f"connection '{connection_id}'"
            ends.append(self._name(item, key, owner, pointer, connection_id=connection_id))
        source, target = ends
        output = self._port(item, OUTPUT_KEYS, connection_id, pointer)
        input_ = self._port(item, INPUT_KEYS, connection_id, pointer)
        if source is None or target is None:
            return None
        return Connection(
            connection_id, source, target, output[0], input_[0], pointer, output[1], input_[1]
        )

    def _port(
        self,
        fields: Mapping[str, JsonValue],
        keys: tuple[str, ...],
        connection_id: str,
        pointer: str,
    ) -> tuple[str | None, str]:
        """Return the name of a port and the pointer to it; the name is ``None`` if none is set."""
        for key in keys:
            value = fields.get(key)
            where = f"{pointer}/{key}"
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            if isinstance(value, bool):
                return "true" if value else "false", where
            if isinstance(value, float) and value.is_integer():
                return str(int(value)), where
            if isinstance(value, str | int | float):
                return str(value), where
            detail = f"the '{key}' of connection '{connection_id}' is of type {kind_of(value)}"
            self._reject(f"{detail}, not a string", where, connection_id=connection_id)
            return None, where
        return None, pointer

    def _name(
        self,
        fields: Mapping[str, JsonValue],
        key: str,
        owner: str,
        pointer: str,
        node_id: str | None = None,
        connection_id: str | None = None,
    ) -> str | None:
        """Return an id or a type, which is a string or an integer; ``None`` if it is invalid."""
        value = fields.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value:
            return value
        if value is None or value == "":
            detail = f"{owner} has no '{key}'"
        else:
            detail = f"the '{key}' of {owner} is of type {kind_of(value)}, not a string"
        self._reject(detail, f"{pointer}/{key}", node_id, connection_id)
        return None

    def _reject(
        self,
        detail: str,
        pointer: str,
        node_id: str | None = None,
        connection_id: str | None = None,
    ) -> None:
        self.problems.append(Problem("invalid_document", detail, pointer, node_id, connection_id))
