"""Node run keys: identify the node runs of an execution."""

import re
from typing import NamedTuple

ItemPath = tuple[int, ...]
"""Positions of the items of the loops around a node run, outermost first."""

_PATH = re.compile(r"(?:\[(?:0|[1-9]\d{0,8})\])+\Z", re.ASCII)


class NodeRunKey(NamedTuple):
    """A node, and the items that it runs for.

    The string form is stored in the database: ``fetch``, or ``fetch[3][0]`` inside two loops.
    A tuple, because planning hashes keys often.
    """

    node_id: str
    path: ItemPath = ()

    @classmethod
    def parse(cls, text: str) -> "NodeRunKey":
        """Return the key with this string form."""
        found = _PATH.search(text) if text.endswith("]") else None
        if found is None:
            return cls(text)
        return cls(text[: found.start()], tuple(map(int, found[0][1:-1].split("]["))))

    def inside(self, path: ItemPath) -> "NodeRunKey":
        """Return the key for the items at ``path`` of the loops around the node."""
        return NodeRunKey(self.node_id, self.path + path)

    def __str__(self) -> str:
        return self.node_id + "".join(f"[{item}]" for item in self.path)
