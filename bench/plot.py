"""Plot: draws the figures of a run as a PNG. Run by the comparison environment.

``plot.py FIGURES_JSON PNG``
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

PANELS = (
    ("perSecond", "executions per second"),
    ("aloneMs", "one execution alone, ms"),
    ("cpuMs", "CPU of an execution, ms"),
    ("atOnceSeconds", "200 at once, s"),
)
COLORS = {"ours": "#2563eb", "DBOS": "#9ca3af"}


def draw(figures: Path, image: Path) -> None:
    """Draw one panel of bars for each figure."""
    rows = json.loads(figures.read_text(encoding="utf-8"))["contenders"][::-1]
    names = [f"{row['name']}, {row['mode']}" for row in rows]
    colors = [COLORS[row["name"].split(",")[0]] for row in rows]
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    canvas, axes = plt.subplots(2, 2, figsize=(10, 0.5 * len(rows) + 2), layout="constrained")
    for axis, (key, title) in zip(axes.flat, PANELS, strict=True):
        bars = axis.barh(names, [row[key] or 0 for row in rows], color=colors)
        axis.bar_label(bars, fmt="%.3g", padding=2)
        axis.set_title(title, loc="left", fontsize=10)
        axis.margins(x=0.15)
    canvas.savefig(image, dpi=120)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
