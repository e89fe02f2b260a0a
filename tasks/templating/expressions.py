"""What stands between ``{{`` and ``}}``: a path, or a path and filters.

Jinja2 parses, compiles and runs it, in its sandbox. Of Jinja's language only constants, paths and
the filters of ``tasks.templating.filters`` are accepted: everything else is rejected while the
syntax tree is checked, before anything runs. Paths are taken out of the tree as well and looked up
here, in JSON values, so that what Jinja runs gets at no attribute of any Python object.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from jinja2 import TemplateSyntaxError, nodes
from jinja2.environment import TemplateExpression
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.errors import TemplateError
from engine.json_values import MISSING, JsonValue, Missing, json_error, lookup
from offload import count_read
from tasks.templating.filters import FILTERS, MissingValue

MAX_EXPRESSION_CHARS = 1_000
"""Characters that one expression may have."""
MAX_NESTING = 20
"""Brackets, and filters after one another, that one expression may have."""
SECRETS_ROOT = "secrets"
"""The service's secrets; the only name that no field of the input takes the place of."""
_KEPT = 2_048
_COMPILATION_COST = 4_096
"""Characters that a compilation counts as: it takes a third of a millisecond."""

_PLAIN = re.compile(r"""[^'"()\[\]{}|,*/+%~<>=!\\]+""")
"""A path as it has always been: any field's name, such as ``order-id`` or ``2nd``, and dots."""

_WORDS: dict[type[nodes.Node], str] = {
    nodes.Call: "a call",
    nodes.CondExpr: "if and else",
    nodes.Test: "a test with is",
    nodes.Compare: "a comparison",
    nodes.Getitem: "what stands in these brackets",
    nodes.BinExpr: "an operator",
    nodes.UnaryExpr: "an operator",
    nodes.Concat: "an operator",
    nodes.Literal: "a list or an object written out",
}


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja's sandbox with our filters and nothing else in it."""
    # Jinja's optimizer would run filters on constants while a workflow is only being checked.
    environment = ImmutableSandboxedEnvironment(autoescape=False, cache_size=0, optimized=False)
    for table in ("globals", "tests", "filters"):
        cast("dict[str, object]", getattr(environment, table)).clear()
    cast("dict[str, object]", environment.filters).update(FILTERS)  # pyright: ignore[reportUnknownMemberType] - Jinja does not say what a filter is
    return environment


_ENVIRONMENT = _environment()


@dataclass(frozen=True, slots=True)
class Path:
    """A way into JSON values. ``rest`` is dotted text, or keys where it was written in brackets."""

    text: str
    root: str
    rest: str | tuple[str, ...]

    @classmethod
    def plain(cls, text: str) -> "Path":
        """The path that a dotted text is."""
        root, _, rest = text.partition(".")
        return cls(text, root, rest)

    def reach(self, value: JsonValue) -> JsonValue | Missing:
        """What lies at the whole path in ``value``."""
        if isinstance(self.rest, str):
            return lookup(value, self.text)
        return follow(value, (self.root, *self.rest))


def follow(value: JsonValue, rest: str | tuple[str, ...]) -> JsonValue | Missing:
    """What lies at the rest of a path, dotted or as keys, in ``value``; no rest is ``value``."""
    if isinstance(rest, str):
        return lookup(value, rest) if rest else value
    for key in rest:
        if isinstance(value, Mapping):
            value = cast("Mapping[str, JsonValue]", value).get(key, MISSING)
        else:
            value = lookup(value, key) if key.isdigit() else MISSING
        if isinstance(value, Missing):
            return value
    return value


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression: the paths in it, and what Jinja makes of their values."""

    paths: tuple[Path, ...]
    filtered: TemplateExpression | None = None
    """``None`` where the one path is all there is."""

    def value(self, resolve: Callable[[Path], JsonValue | MissingValue]) -> JsonValue:
        """What it comes to.

        Raises:
            TemplateError: a field is missing, or a filter cannot take what it was given.
        """
        found: Any
        if self.filtered is None:
            found = resolve(self.paths[0])
        else:
            named = {f"p{i}": resolve(path) for i, path in enumerate(self.paths)}
            found = cast("object", self.filtered(named))
        if isinstance(found, MissingValue):
            raise TemplateError(found.reason)
        return found


class InvalidExpressionError(TemplateError):
    """The text between the braces is no expression of a template."""


@functools.lru_cache(maxsize=_KEPT)
def compile_expression(text: str) -> Expression:
    """The expression that ``text``, of between ``{{`` and ``}}``, is.

    Raises:
        InvalidExpressionError: it is none; the message says what is not allowed.
    """
    paths, filtered = _read(text)
    return Expression(paths, None if filtered is None else _compiled(filtered))


def check_expression(text: str) -> bool:
    """Whether there are filters in ``text``. Takes a tenth of the time of ``compile_expression``.

    Raises:
        InvalidExpressionError: as there.
    """
    return _read(text)[1] is not None


def _read(text: str) -> tuple[tuple[Path, ...], nodes.Expr | None]:
    """The paths in an expression, and what is made of them where it is more than one path."""
    text = text.strip()
    if not text:
        raise InvalidExpressionError("names no field")
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
            # Jinja would take ``order-id`` for a subtraction, and ``2nd`` for nothing at all.
            return _parsed(f"head |{chain}", Path.plain(head))
        return _parsed(text, None)
    except TemplateSyntaxError as error:
        reason = f"is no expression ({error.message})"
    except RecursionError:
        reason = "is nested too deeply"
    raise InvalidExpressionError(reason)


def _parsed(source: str, head: Path | None) -> tuple[tuple[Path, ...], nodes.Expr | None]:
    parser = Parser(_ENVIRONMENT, source, state="variable")
    parsed = parser.parse_expression()
    if not parser.stream.eos:
        raise TemplateSyntaxError(f"unexpected '{parser.stream.current}'", 1)
    rewriting = _Rewriting(head)
    expression = rewriting.rewritten(parsed, leftmost=True)
    paths = tuple(rewriting.paths)
    return paths, None if isinstance(expression, nodes.Name) else expression


def _compiled(expression: nodes.Expr) -> TemplateExpression:
    count_read(_COMPILATION_COST)
    # As Environment.compile_expression does it, which takes a text alone.
    body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)]
    template = nodes.Template(body, lineno=1)
    template.set_environment(_ENVIRONMENT)
    return TemplateExpression(_ENVIRONMENT.from_string(template), undefined_to_none=False)


@dataclass(slots=True)
class _Rewriting:
    """Lets constants and filters through, makes variables of paths, refuses all else."""

    head: Path | None
    paths: list[Path] = field(default_factory=list[Path])

    def rewritten(self, node: nodes.Node, *, leftmost: bool = False) -> nodes.Expr:
        if isinstance(node, nodes.Const):
            if reason := json_error(cast("object", node.value)):
                raise InvalidExpressionError(f"holds what JSON cannot: {reason}")
            return node
        if isinstance(node, nodes.Filter):
            return self._filter(node, leftmost=leftmost)
        path = self.head if leftmost and self.head else _path(node)
        if path is None:
            kind = next((words for type_, words in _WORDS.items() if isinstance(node, type_)), None)
            raise InvalidExpressionError(
                f"{kind or 'this'} is not allowed; there are paths and filters only. "
                "A name of such characters goes into brackets: input['…']"
            )
        self.paths.append(_allowed(path))
        return nodes.Name(f"p{len(self.paths) - 1}", "load", lineno=1)

    def _filter(self, node: nodes.Filter, *, leftmost: bool) -> nodes.Filter:
        function = FILTERS.get(node.name)
        if function is None:
            known = ", ".join(sorted(FILTERS))
            raise InvalidExpressionError(f"there is no filter '{node.name}'; known are: {known}")
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise InvalidExpressionError("* and ** are not allowed")
        if node.node is None:
            raise InvalidExpressionError("a filter needs something before it")
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
                "of secrets there is secrets.NAME only, letters, digits and _; "
                "a field called so is input.secrets"
            )
    return path


def _path(node: nodes.Node) -> Path | None:
    """The path that names, dots and brackets around constants are; ``None`` for anything else."""
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
