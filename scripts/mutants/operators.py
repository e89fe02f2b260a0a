"""Operators: the mutations that are tried, those of cosmic-ray and two of this project.

Of each kind of operator only the subtle variants are tried. ``<`` becomes ``<=`` but not ``!=``,
because a test that detects the subtle change detects the coarse one, and ``==`` does not become
``is``, because that rarely changes a result.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol

_parso: Any = import_module("parso")  # these packages have no types
_plugins: Any = import_module("cosmic_ray.plugins")

Position = tuple[tuple[int, int], tuple[int, int]]

_COMPARISONS = [
    "Eq_NotEq",
    "NotEq_Eq",
    "Lt_LtE",
    "LtE_Lt",
    "Gt_GtE",
    "GtE_Gt",
    "Is_IsNot",
    "IsNot_Is",
]
_BINARY = [
    "Add_Sub",
    "Sub_Add",
    "Mul_Div",
    "Div_Mul",
    "FloorDiv_Mul",
    "Mod_FloorDiv",
    "BitOr_BitAnd",
    "BitAnd_BitOr",
    "LShift_RShift",
    "RShift_LShift",
]
_UNARY = ("Delete_Not", "Delete_USub", "Delete_Invert")
_OTHERS = [
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "AddNot",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ExceptionReplacer",
    "NumberReplacer",
    "ZeroIterationForLoop",
]


class Operator(Protocol):
    """An operator of cosmic-ray. ``node`` is a node of parso's syntax tree."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Yield the start and the end of each part of a node that can be changed."""
        ...

    def mutate(self, node: Any, index: int) -> Any:
        """Return the node after the change of the part with this index."""
        ...


class DeleteCall:
    """Replaces a statement that only calls a function with ``pass``."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Yield the position of the call of such a statement."""
        if node.type == "simple_stmt" and _is_call(node.children[0]):
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Return the statement ``pass`` in the place of the call."""
        del index
        prefix = node.get_first_leaf().prefix
        node.children[0] = _parso.parse(f"{prefix}pass")
        return node


class DeleteCondition:
    """Removes one argument of ``.where(…)``, and of ``and_(…)`` and ``or_(…)`` if others remain."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Yield the position of each argument."""
        for argument in _conditions(node):
            yield argument.start_pos, argument.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Return the call without the argument, and without the comma that follows it."""
        argument = _conditions(node)[index]
        siblings = argument.parent.children
        place = siblings.index(argument)
        if siblings is node.children:  # the only argument of ``.where()``
            del siblings[place]
        else:
            comma = place if place + 1 < len(siblings) else place - 1
            del siblings[comma : comma + 2]
        return node


def _is_call(node: Any) -> bool:
    if node.type not in ("atom_expr", "power"):
        return False
    last = node.children[-1]
    return last.type == "trailer" and last.children[0] == "("


def _conditions(node: Any) -> list[Any]:
    if node.type != "trailer" or node.children[0] != "(" or len(node.children) != 3:  # noqa: PLR2004 - ( … )
        return []
    function = node.get_previous_sibling()
    name = function.get_last_leaf().value if function is not None else ""
    if name not in ("where", "and_", "or_"):
        return []
    arguments = node.children[1]
    if arguments.type == "arglist":
        return [child for child in arguments.children if child != "," and child.type != "argument"]
    return [arguments] if name == "where" and arguments.type != "argument" else []


def _core(name: str) -> Operator:
    return _plugins.get_operator(f"core/{name}")()


OPERATORS: dict[str, Operator] = {
    **{f"Comparison_{name}": _core(f"ReplaceComparisonOperator_{name}") for name in _COMPARISONS},
    **{f"Binary_{name}": _core(f"ReplaceBinaryOperator_{name}") for name in _BINARY},
    **{f"Unary_{name}": _core(f"ReplaceUnaryOperator_{name}") for name in _UNARY},
    **{name: _core(name) for name in _OTHERS},
    "DeleteCall": DeleteCall(),
    "DeleteCondition": DeleteCondition(),
}
"""All operators by name."""
