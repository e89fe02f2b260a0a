"""Scaling plot: draws the model of ``bench.scaling`` as a PNG. Run by the comparison environment.

``scaling_plot.py FIGURES_JSON PNG``
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

CORES_PER_MACHINE = 8
BUSY = 0.7
"""Share of the cores that a machine uses in steady operation."""
DATABASE_CORES = (8, 32)
MACHINES = [2**power for power in range(9)]


def draw(figures: Path, image: Path) -> None:
    """Draw the measured ratios, and the executions per second by number of machines."""
    rows = json.loads(figures.read_text(encoding="utf-8"))["measured"]
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    canvas, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    counts = [row["services"] for row in rows]
    left.plot(counts, [row["per_second"] / rows[0]["per_second"] for row in rows], "o-")
    left.plot(counts, counts, ":", color="gray")
    left.set_title("throughput, as a ratio to one service", loc="left", fontsize=10)
    left.set_xlabel("services on this machine")
    left.set_xticks(counts)
    service = rows[0]["service_cpu_ms"] / 1_000
    database = rows[0]["database_cpu_ms"] / 1_000
    carried = [machines * CORES_PER_MACHINE * BUSY / service for machines in MACHINES]
    right.plot(MACHINES, carried, "o-", label=f"services, {CORES_PER_MACHINE} cores each")
    for cores in DATABASE_CORES:
        limit = cores * BUSY / database
        right.axhline(limit, linestyle="--", color="gray")
        right.text(1, limit * 1.1, f"PostgreSQL, {cores} cores: {limit:.0f}/s")
    right.set_xscale("log", base=2)
    right.set_yscale("log")
    right.set_title("model: executions per second", loc="left", fontsize=10)
    right.set_xlabel("machines with services")
    right.legend(loc="lower right")
    canvas.savefig(image, dpi=120)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
