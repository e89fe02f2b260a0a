"""Problems: the reasons why a document or an input is rejected."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a document or an input is rejected.

    ``pointer`` is a JSON pointer (RFC 6901) into the request as it was sent.
    """

    code: str
    detail: str
    pointer: str
    node_id: str | None = None
    connection_id: str | None = None

    def as_json(self) -> dict[str, str]:
        """Return ``{code, detail, pointer, nodeId?, connectionId?}``, with long strings cut."""
        fields = {"code": self.code, "detail": self.detail, "pointer": self.pointer}
        if self.node_id is not None:
            fields["nodeId"] = self.node_id
        if self.connection_id is not None:
            fields["connectionId"] = self.connection_id
        return {name: cut_detail(text) for name, text in fields.items()}


MAX_PROBLEMS = 100
"""Maximum number of problems that an error lists; the others are counted."""
MAX_PROBLEM_CHARACTERS = 1_000
"""Maximum length of each string of a problem in a response, in characters."""


def cut_detail(text: str) -> str:
    """Return a string of a problem, cut to ``MAX_PROBLEM_CHARACTERS``."""
    if len(text) <= MAX_PROBLEM_CHARACTERS:
        return text
    return f"{text[:MAX_PROBLEM_CHARACTERS]}…"


def format_remaining(more: int, unchecked_nodes: int = 0) -> str:
    """Return the end of a list of problems; empty if it is complete."""
    if unchecked_nodes:
        return f"and at least {more} more; {unchecked_nodes} nodes were not checked"
    return f"and {more} more" if more else ""


def format_problems(problems: Iterable[Problem], more: int, unchecked_nodes: int) -> str:
    """Return the details of problems as one string, with the number of the others."""
    end = format_remaining(more, unchecked_nodes)
    reasons = [cut_detail(problem.detail) for problem in problems]
    return "; ".join([*reasons, end] if end else reasons)
