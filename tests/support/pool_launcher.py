"""Starts a worker of a work pool with the probe nodes; ``GATES_DIRECTORY`` contains their gates."""

from collections.abc import Sequence

import start_worker
from tasks.node_handlers import NODE_HANDLERS
from tests.support.probe_nodes import PROBES


def main(arguments: Sequence[str]) -> int:
    """Add the probe nodes, and start the worker."""
    NODE_HANDLERS.update(PROBES)
    return start_worker.main(arguments)
