"""Template expressions: the path between ``{{`` and ``}}``, and its filters.

Jinja2 parses, compiles and runs an expression in its sandbox. Only constants, paths and our filters
are accepted; everything else is rejected before it runs. Paths are replaced by variables and looked
up here, in JSON values, so that Jinja cannot access attributes of Python objects.
"""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from jinja2 import TemplateSyntaxError, nodes
from jinja2.environment import TemplateExpression
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.errors import TemplateError
from engine.json_values import MISSING, JsonValue, Missing, is_object, json_error, lookup
from offload import count_read
from tasks.templating.filters import FILTERS, MissingValue

MAX_EXPRESSION_CHARS = 1_000
"""Maximum length of an expression, in characters."""
MAX_NESTING = 20
"""Maximum number of brackets and filters in an expression."""
SECRETS_ROOT = "secrets"
"""Name of the service's secrets; a field of the input cannot replace it."""
_CACHE_SIZE = 2_048
_COMPILATION_COST = 4_096
"""Cost of a compilation, in characters; it takes a third of a millisecond."""

_PLAIN = re.compile(r"""[^'"()\[\]{}|,*/+%~<>=!\\]+""")
"""A path without brackets: names of fields, such as ``order-id`` or ``2nd``, and dots."""

_NODE_NAMES: dict[type[nodes.Node], str] = {
    nodes.Call: "a call",
    nodes.CondExpr: "if and else",
    nodes.Test: "a test with is",
    nodes.Compare: "a comparison",
    nodes.Getitem: "the content of these brackets",
    nodes.BinExpr: "an operator",
    nodes.UnaryExpr: "an operator",
    nodes.Concat: "an operator",
    nodes.Literal: "a literal list or object",
}


def _environment() -> ImmutableSandboxedEnvironment:
    """Return Jinja's sandbox with only our filters."""
    # Not optimized, because Jinja's optimizer would run filters while a workflow is checked.
    environment = ImmutableSandboxedEnvironment(autoescape=False, cache_size=0, optimized=False)
    for table in ("globals", "tests", "filters"):
        cast("dict[str, object]", getattr(environment, table)).clear()
    cast("dict[str, object]", environment.filters).update(FILTERS)  # pyright: ignore[reportUnknownMemberType] - Jinja does not declare the type of filters
    return environment


_ENVIRONMENT = _environment()


@dataclass(frozen=True, slots=True)
class Path:
    """A path into JSON values. ``rest`` is a dotted string, or the keys of a path with brackets."""

    text: str
    root: str
    rest: str | tuple[str, ...]

    @classmethod
    def plain(cls, text: str) -> "Path":
        """Return the path of a dotted string."""
        root, _, rest = text.partition(".")
        return cls(text, root, rest)

    def lookup_in(self, value: JsonValue) -> JsonValue | Missing:
        """Return the value at the whole path in ``value``."""
        if isinstance(self.rest, str):
            return lookup(value, self.text)
        return follow(value, (self.root, *self.rest))


def follow(value: JsonValue, rest: str | tuple[str, ...]) -> JsonValue | Missing:
    """Return the value at ``rest`` in ``value``, or ``value`` itself for an empty rest."""
    if isinstance(rest, str):
        return lookup(value, rest) if rest else value
    for key in rest:
        if is_object(value):
            value = value.get(key, MISSING)
        else:
            value = lookup(value, key) if key.isdigit() else MISSING
        if isinstance(value, Missing):
            return value
    return value


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression: its paths, and the filters that are applied to their values."""

    paths: tuple[Path, ...]
    filtered: TemplateExpression | None = None
    """``None`` if the expression is a single path."""

    def value(self, resolve: Callable[[Path], JsonValue | MissingValue]) -> JsonValue:
        """Return the value, or raise a ``TemplateError`` for a missing or unsuitable field."""
        value: Any
        if self.filtered is None:
            value = resolve(self.paths[0])
        else:
            named = {f"p{i}": resolve(path) for i, path in enumerate(self.paths)}
            value = cast("object", self.filtered(named))
        if isinstance(value, MissingValue):
            raise TemplateError(value.reason)
        return value


class InvalidExpressionError(TemplateError):
    """The string between the braces is not a valid expression."""


@functools.lru_cache(maxsize=_CACHE_SIZE)
def compile_expression(text: str) -> Expression:
    """Return the expression of ``text``, the string between ``{{`` and ``}}``.

    An ``InvalidExpressionError`` names the invalid part.
    """
    paths, filtered = _read(text)
    return Expression(paths, None if filtered is None else _compiled(filtered))


def check_expression(text: str) -> bool:
    """Return whether an expression has filters, ten times faster than ``compile_expression``.

    Raises an ``InvalidExpressionError`` like that function.
    """
    return _read(text)[1] is not None


def _read(text: str) -> tuple[tuple[Path, ...], nodes.Expr | None]:
    """Return the paths of an expression, and its syntax tree unless it is a single path."""
    text = text.strip()
    if not text:
        raise InvalidExpressionError("does not name a field")
    if _PLAIN.fullmatch(text) and len(text) <= MAX_EXPRESSION_CHARS:
        return (_allowed(Path.plain(text)),), None
    if len(text) > MAX_EXPRESSION_CHARS:
        raise InvalidExpressionError(
            f"the expression has {len(text)} characters, more than {MAX_EXPRESSION_CHARS}"
        )
    if sum(map(text.count, "([{|-")) > MAX_NESTING:
        raise InvalidExpressionError(f"more than {MAX_NESTING} brackets and filters")
    head, bar, chain = text.partition("|")
    head = head.strip()
    try:
        if bar and _PLAIN.fullmatch(head):
            # Replaced by a name, because Jinja would parse ``order-id`` as a subtraction.
            return _parsed(f"head |{chain}", Path.plain(head))
        return _parsed(text, None)
    except TemplateSyntaxError as error:
        reason = f"is not a valid expression ({error.message})"
    except RecursionError:
        reason = "is nested too deeply"
    raise InvalidExpressionError(reason)


def _parsed(source: str, head: Path | None) -> tuple[tuple[Path, ...], nodes.Expr | None]:
    parser = Parser(_ENVIRONMENT, source, state="variable")
    parsed = parser.parse_expression()
    if not parser.stream.eos:
        raise TemplateSyntaxError(f"unexpected '{parser.stream.current}'", 1)
    rewriter = _Rewriter(head)
    expression = rewriter.rewritten(parsed, leftmost=True)
    paths = tuple(rewriter.paths)
    return paths, None if isinstance(expression, nodes.Name) else expression


def _compiled(expression: nodes.Expr) -> TemplateExpression:
    count_read(_COMPILATION_COST)
    # The same as Environment.compile_expression, which accepts only a string.
    body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)]
    template = nodes.Template(body, lineno=1)
    template.set_environment(_ENVIRONMENT)
    return TemplateExpression(_ENVIRONMENT.from_string(template), undefined_to_none=False)


@dataclass(slots=True)
class _Rewriter:
    """Replaces paths by variables, keeps constants and filters, and rejects everything else."""

    head: Path | None
    paths: list[Path] = field(default_factory=list[Path])

    def rewritten(self, node: nodes.Node, *, leftmost: bool = False) -> nodes.Expr:
        if isinstance(node, nodes.Const):
            if reason := json_error(cast("object", node.value)):
                raise InvalidExpressionError(f"contains a value that is not valid JSON: {reason}")
            return node
        if isinstance(node, nodes.Filter):
            return self._filter(node, leftmost=leftmost)
        path = self.head if leftmost and self.head else _path(node)
        if path is None:
            kind = next(
                (name for type_, name in _NODE_NAMES.items() if isinstance(node, type_)), None
            )
            raise InvalidExpressionError(
                f"{kind or 'this'} is not allowed; use paths and filters. "
                "Write a name with such characters in brackets: input['…']"
            )
        self.paths.append(_allowed(path))
        return nodes.Name(f"p{len(self.paths) - 1}", "load", lineno=1)

    def _filter(self, node: nodes.Filter, *, leftmost: bool) -> nodes.Filter:
        function = FILTERS.get(node.name)
        if function is None:
            known = ", ".join(sorted(FILTERS))
            raise InvalidExpressionError(f"unknown filter '{node.name}'; known filters: {known}")
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise InvalidExpressionError("* and ** are not allowed")
        if node.node is None:
            raise InvalidExpressionError("a filter needs a value before it")
        try:
            named = {str(pair.key): pair for pair in node.kwargs}
            inspect.signature(function).bind(None, *node.args, **named)
        except TypeError as error:
            raise InvalidExpressionError(f"the filter '{node.name}': {error}") from None
        node.node = self.rewritten(node.node, leftmost=leftmost)
        node.args = [self.rewritten(argument) for argument in node.args]
        for pair in node.kwargs:
            pair.value = self.rewritten(pair.value)
        return node


def _allowed(path: Path) -> Path:
    if path.root == SECRETS_ROOT:
        keys = (path.rest,) if isinstance(path.rest, str) else path.rest
        if len(keys) != 1 or not keys[0].isidentifier() or not keys[0].isascii():
            raise InvalidExpressionError(
                "a secret is secrets.NAME, with letters, digits and _; "
                "a field 'secrets' of the input is input.secrets"
            )
    return path


def _path(node: nodes.Node) -> Path | None:
    """Return the path of names, dots and constants in brackets; ``None`` for anything else."""
    keys: list[str] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            keys.append(node.attr)
        elif isinstance(node.arg, nodes.Const) and type(node.arg.value) in (str, int):
            keys.append(str(node.arg.value))
        else:
            return None
        node = node.node
    if not isinstance(node, nodes.Name):
        return None
    keys.reverse()
    text = ".".join((node.name, *keys))
    return Path(text, node.name, tuple(keys))
