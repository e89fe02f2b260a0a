"""Node inputs: the data that the live connections into a node pass on, merged."""

from collections.abc import Iterable
from dataclasses import dataclass

from engine.data_flow import branches_of, is_live, passed_value
from engine.document import Connection
from engine.graph import Graph
from engine.inputs import RunStart
from engine.json_encoding import size_within
from engine.json_values import JsonValue, is_list
from engine.outcome import ScopeOutcomes
from engine.ports import ERROR


@dataclass(frozen=True, slots=True)
class NodeInputs:
    """The inputs of the nodes of one scope."""

    graph: Graph
    start: RunStart

    def value(self, node_id: str, outcomes: ScopeOutcomes) -> JsonValue:
        """Return the input of a node that is ready."""
        if node_id in self.start.payloads:
            return self.start.payloads[node_id]
        live = [
            (connection, passed_value(connection, outcomes[connection.source]))
            for connection in self._live(node_id, outcomes)
        ]
        if not live:
            return None
        if len(self.graph.inputs(node_id)) > 1:
            return self._by_port(node_id, live)
        return _merged(live)

    def size(self, node_id: str, outcomes: ScopeOutcomes, max_size: int) -> int | None:
        """Return the approximate size of the input of a node that is ready.

        Reads at most ``max_size`` characters, and returns ``None`` if the input has more.
        """
        if node_id in self.start.payloads:
            return size_within(self.start.payloads[node_id], max_size)
        remaining = max_size
        for connection in self._live(node_id, outcomes):
            value = passed_value(connection, outcomes[connection.source])
            size = size_within(value, remaining)
            if size is None:
                return None
            remaining -= size
        return max_size - remaining

    def _live(self, node_id: str, outcomes: ScopeOutcomes) -> Iterable[Connection]:
        """Yield the live connections into a node, without those that pass on the same data.

        Names of outputs that neither the type nor the result distinguishes are one port.
        """
        seen: set[tuple[str, str | None, str | None]] = set()
        for connection in self.graph.incoming[node_id]:
            port, outcome = connection.output_type, outcomes[connection.source]
            if port not in (None, ERROR) and not self.graph.has_several_outputs(connection.source):
                port = port if branches_of(outcome.result) else None
            ends = (connection.source, port, connection.input_port)
            if ends not in seen:
                seen.add(ends)
                if is_live(self.graph, connection, outcome):
                    yield connection

    def _by_port(
        self, node_id: str, live: list[tuple[Connection, JsonValue]]
    ) -> dict[str, JsonValue]:
        """Return the input of a node with several ports, such as ``{"A": …, "B": …}`` of a join.

        The data of several connections into one port is put into one list.
        """
        ports = self._ports(node_id)
        values_of: dict[str, list[JsonValue]] = {}
        for connection, value in live:
            values_of.setdefault(ports[connection.pointer], []).append(value)
        return {
            port: values[0]
            if len(values) == 1
            else [row for value in values for row in _rows(value)]
            for port, values in sorted(values_of.items())
        }

    def _ports(self, node_id: str) -> dict[str, str]:
        """Return the port of each connection into a node, by the pointer of the connection.

        Connections that name no port take the ports that no connection names, and then the last.
        """
        incoming = self.graph.incoming[node_id]
        declared = [port.name for port in self.graph.inputs(node_id)]
        named = {connection.input_port for connection in incoming}
        free = [port for port in declared if port not in named]
        ports: dict[str, str] = {}
        for connection in incoming:
            port = connection.input_port
            ports[connection.pointer] = port or (free.pop(0) if free else declared[-1])
        return ports


def _merged(live: list[tuple[Connection, JsonValue]]) -> JsonValue:
    """Return the input of a node with one port; several values are merged in connection order."""
    values = [value for _, value in live]
    if len(values) == 1:
        return values[0]
    if all(isinstance(value, dict) for value in values):
        return {key: inner for value in values for key, inner in value.items()}
    if all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    return {connection.source: value for connection, value in live}


def _rows(value: JsonValue) -> list[JsonValue]:
    return value if is_list(value) else [value]
