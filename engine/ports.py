"""Ports: the named inputs and outputs of a node type, and the names that connections use for them.

A node type declares its ports once, with its config model. Validation, plan and node
catalog read that declaration.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import normalize

ERROR = "error"
"""The output that every node type has in addition: it is live if the node fails and its ``onError``
is ``branch`` or ``continue``."""

_ERROR_NAMES = frozenset({ERROR, "onerror"})
_AFFIXES = frozenset(
    {"input", "output", "in", "out", "source", "target", "handle", "port", "branch", "path"}
)
"""Words that editors put before or after the name of a port: ``output-true``, ``inputA``."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")
_HANDLE = re.compile(r"\w[\w\s.:/-]*")


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a node type."""

    name: str
    title: str = ""
    """The label in an editor; the name if it is blank."""
    aliases: tuple[str, ...] = ()
    """Other names that connections may use. Upper and lower case are equal."""
    is_default: bool = False
    """Whether a connection without a port uses this one."""
    passes_when_disabled: bool = False
    """Whether a disabled node passes its input to this output. If no output is marked, the first
    one is used."""


ERROR_PORT = Port(ERROR, "Error")

_YES = ("yes", "y", "t", "then", "1")
_NO = ("no", "n", "f", "else", "otherwise", "0")
_STANDARD = {
    port.name: port
    for port in (
        Port("true", "True", _YES),
        Port("false", "False", _NO),
        Port("A", "A", ("left", "first")),
        Port("B", "B", ("right", "second")),
        Port("item", "Each item", ("loop", "each", "body", "items", "iteration", "element")),
        Port(
            "done",
            "Done",
            ("after", "end", "finished", "completed", "complete", "exit"),
            is_default=True,
            passes_when_disabled=True,
        ),
    )
}
"""The ports that a declaration may name by their name alone."""


def ports_of(*declared: str | Port) -> tuple[Port, ...]:
    """Return the ports of a declaration; a standard name brings its title and its aliases.

    Raises:
        ValueError: If two ports have the same name, or one is called ``error``.
    """
    ports = tuple(
        _STANDARD.get(port) or Port(port, port[:1].upper() + port[1:])
        if isinstance(port, str)
        else port
        for port in declared
    )
    names = [port.name.strip().casefold() for port in ports]
    for name in names:
        if not name or names.count(name) > 1:
            raise ValueError(f"the port name '{name}' is blank or declared twice")
        if name == ERROR:
            raise ValueError(f"every node type has the output '{ERROR}': do not declare it")
    return ports


@dataclass(frozen=True, slots=True)
class Ports:
    """The inputs and outputs of a node type."""

    inputs: tuple[Port, ...] = (Port("input", "Input"),)
    outputs: tuple[Port, ...] = (Port("output", "Output"),)

    def input_named(self, name: str | None) -> str | None:
        """Return the input that a connection names; ``None`` if the type has a single input.

        An unknown name of several inputs raises an ``UnknownPortError``.
        """
        if len(self.inputs) < 2 or not name or not name.strip():  # noqa: PLR2004
            return None
        return _named(self.inputs, name)

    def output_named(self, name: str | None) -> str | None:
        """Return the output that a connection names; ``None`` for the whole output.

        ``true`` and ``false`` also have a meaning for a type with a single output, because its
        handler may return ``conditionResult``. An unknown name raises an
        ``UnknownPortError``, as for ``input_named``.
        """
        if not name or not name.strip():
            return next((port.name for port in self.outputs if port.is_default), None)
        if _normal(name) in _ERROR_NAMES:
            return ERROR
        if len(self.outputs) > 1:
            return _named(self.outputs, name)
        return _names((_STANDARD["true"], _STANDARD["false"])).get(_normal(name))

    def passing(self) -> frozenset[str | None]:
        """Return the outputs to which a disabled node passes its input."""
        marked = [port.name for port in self.outputs if port.passes_when_disabled]
        if len(self.outputs) < 2:  # noqa: PLR2004
            marked = ["true", "false"]
        return frozenset([None, *(marked or [port.name for port in self.outputs[:1]])])


PortsOf = Callable[[str], Ports]
"""Returns the ports of a node type."""


def any_ports(_node_type: str) -> Ports:
    """Return one input and one output, for a type without declared ports."""
    return Ports()


class UnknownPortError(ValueError):
    """A node type has several ports, but not the one that a connection names."""

    def __init__(self, known: Iterable[Port]) -> None:
        super().__init__("unknown port")
        self.known = [port.name for port in known]


def _named(ports: tuple[Port, ...], name: str) -> str:
    exact = next((port.name for port in ports if port.name == name), None)
    found = exact or _names(ports).get(_folded(name)) or _names(ports).get(_normal(name))
    if found is None:
        raise UnknownPortError(ports)
    return found


@lru_cache(maxsize=256)
def _names(ports: tuple[Port, ...]) -> dict[str, str]:
    """Return the port of each name and alias, without names that two ports have."""
    found: dict[str, str] = {}
    ambiguous: set[str] = set()
    for port in ports:
        for name in {_folded(port.name), _normal(port.name), *map(_normal, port.aliases)}:
            if found.setdefault(name, port.name) != port.name:
                ambiguous.add(name)
    own = {_folded(port.name): port.name for port in ports}
    return {name: port for name, port in found.items() if name not in ambiguous} | own


def _folded(name: str) -> str:
    return normalize("NFC", normalize("NFC", name).strip().casefold())


def _normal(name: str) -> str:
    """Return a name without case, separators and the words that editors add to a port's name."""
    folded = _folded(name)
    if not _HANDLE.fullmatch(name.strip()):
        return folded
    words = [word.casefold() for word in _WORDS.findall(normalize("NFC", name))]
    return "".join(word for word in words if word not in _AFFIXES) or folded
