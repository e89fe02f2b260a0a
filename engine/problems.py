"""Problems: the reasons why a document or an input is refused."""

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
        """The contract's shape: ``{code, detail, pointer, nodeId?, connectionId?}``."""
        answer = {"code": self.code, "detail": self.detail, "pointer": self.pointer}
        if self.node_id is not None:
            answer["nodeId"] = self.node_id
        if self.connection_id is not None:
            answer["connectionId"] = self.connection_id
        return answer
