"""Problems: the reasons why a document or an input is rejected, as errors list them."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a document or an input is refused.

    ``pointer`` is a JSON pointer (RFC 6901) into what was sent, in the spelling that was sent.
    """

    code: str
    detail: str
    pointer: str
    node_id: str | None = None
    connection_id: str | None = None

    def as_json(self) -> dict[str, str]:
        """The contract's shape: ``{code, detail, pointer, nodeId?, connectionId?}``.

        Texts are cut after ``MAX_PROBLEM_CHARACTERS``.
        """
        answer = {"code": self.code, "detail": self.detail, "pointer": self.pointer}
        if self.node_id is not None:
            answer["nodeId"] = self.node_id
        if self.connection_id is not None:
            answer["connectionId"] = self.connection_id
        return {name: cut_detail(text) for name, text in answer.items()}


MAX_PROBLEMS = 100
"""Maximum number of problems that an error lists; the others are counted."""
MAX_PROBLEM_CHARACTERS = 1_000
"""Maximum length of each text of a problem in a response, in characters."""


def cut_detail(text: str) -> str:
    """Return a text of a problem as responses show it: a long one is cut."""
    if len(text) <= MAX_PROBLEM_CHARACTERS:
        return text
    return f"{text[:MAX_PROBLEM_CHARACTERS]}…"


def format_remaining(more: int, unchecked_nodes: int = 0) -> str:
    """Return the end of a list of problems; empty if it is complete."""
    if unchecked_nodes:
        return f"and at least {more} more; {unchecked_nodes} nodes were not checked"
    return f"and {more} more" if more else ""


def format_problems(problems: Iterable[Problem], more: int, unchecked_nodes: int) -> str:
    """Return the details of problems as one text that also counts the others."""
    end = format_remaining(more, unchecked_nodes)
    reasons = [cut_detail(problem.detail) for problem in problems]
    return "; ".join([*reasons, end] if end else reasons)
