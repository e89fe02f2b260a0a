"""Reruns: the latency of a dry run for a changed definition (``python -m bench.reruns [NODES]``).

One execution of a line of nodes ends. Then the last node changes, and each dry run computes which
results the new definition can reuse.
"""

import copy
import statistics
import sys
import tempfile
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.client import Client
from bench.service import running_service

NODES = 1_000
DRY_RUNS = 10


def line_of(nodes: int) -> dict[str, Any]:
    """Return a trigger and ``nodes`` - 1 nodes that add a field each, one after another."""
    ids = ["start", *(f"n{number}" for number in range(1, nodes))]
    config = {"addFieldName": "x", "addFieldValue": 1}
    return {
        "nodes": [
            {"id": ids[0], "type": "trigger", "config": {}},
            *({"id": node_id, "type": "addField", "config": config} for node_id in ids[1:]),
        ],
        "connections": [
            {"id": f"c{number}", "fromNodeId": source, "toNodeId": target}
            for number, (source, target) in enumerate(pairwise(ids))
        ],
    }


def main(nodes: int) -> None:
    """Print the latency of the dry runs, and the processor time of the service (on Linux)."""
    document = line_of(nodes)
    changed = copy.deepcopy(document)
    changed["nodes"][-1]["config"] = {"addFieldName": "x", "addFieldValue": 2}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        running_service(Path(directory), 1) as service,
        closing(Client(service.port)) as client,
    ):
        client.save("line", document)
        started = client.submit("line", headers={"Prefer": "wait=60"}).body
        assert started["status"] == "completed", started["status"]
        path = f"/api/executions/{started['executionId']}"
        body = {"graph": changed, "dryRun": True}
        before = service.cpu_seconds() or 0.0
        runs = [client.post(f"{path}/rerun", body) for _ in range(DRY_RUNS)]
        cpu_ms = ((service.cpu_seconds() or 0.0) - before) * 1_000 / DRY_RUNS
    assert runs[-1].body["willRun"] == [changed["nodes"][-1]["id"]]
    times = [run.seconds * 1_000 for run in runs]
    print(
        f"{nodes} nodes: median {statistics.median(times):.0f} ms, maximum {max(times):.0f} ms,"
        f" processor time {cpu_ms:.0f} ms"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else NODES)
