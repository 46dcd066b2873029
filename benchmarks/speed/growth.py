"""How cost grows: steps with the patch, prediction with the scan, metrics with the surface, start with cases.

    python benchmarks/speed/growth.py                # a quarter of an hour on two cores
    python benchmarks/speed/growth.py --only metric start --quick --results /tmp

Every point is measured in a process of its own. Written to benchmarks/results/growth.{json,svg,md}; an
exponent is the slope in the doubly logarithmic plot between one point and the next: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from benchmarks._machine import store  # noqa: E402
from benchmarks.speed import grown  # noqa: E402
from benchmarks.speed.run import apart  # noqa: E402

from semiseg.machine.hardware import cores  # noqa: E402

Curve = dict[str, Any]
STEEP = 1.15
"""A larger exponent is called super-linear, where a point takes long enough to tell."""
WINDOW = (64, 64, 48)
FULL: dict[str, list[tuple[Any, ...]]] = {
    "step": [(p, 2) for p in ((48, 48, 32), (64, 64, 48), (80, 80, 64), (96, 96, 80), (112, 112, 80))],
    "prediction": [(edge, WINDOW) for edge in (64, 96, 128, 192, 256)],
    "metric": [(radius, shift) for shift in (2, 40) for radius in (10, 20, 40, 80)],
    "start": [(10,), (100,), (1000,)],
}
QUICK: dict[str, list[tuple[Any, ...]]] = {
    "step": [((32, 32, 32), 1), ((48, 32, 32), 1)],
    "prediction": [(40, (32, 32, 32)), (48, (32, 32, 32))],
    "metric": [(5, 2), (10, 2)],
    "start": [(5,), (8,)],
}
LABELS = {
    "step": ("a mean teacher step (V-Net, 2+2 patches)", "voxels of the batch"),
    "prediction": (
        f"prediction, windows of {'x'.join(map(str, WINDOW))} that overlap by half",
        "voxels of all windows",
    ),
    "metric": ("all metrics of one class", "voxels of the reference's surface"),
    "start": ("start-up, scans of 20x20x20", "cases"),
}


def curves(name: str, points: list[dict[str, Any]]) -> list[Curve]:
    """What is drawn of an item: for each kind of time (and memory) a line with its exponents."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        shift = point["arguments"][-1] if name == "metric" else None
        groups.setdefault(f", {shift} voxels apart" if shift else "", []).append(point)
    kinds = [key for key in points[0] if key not in ("size", "arguments") and not key.endswith("wall")]
    found = []
    for what, group in groups.items():
        for kind in kinds:
            values = [point[kind] for point in group]
            sizes = [point["size"] for point in group]
            found.append(
                {"what": kind + what, "sizes": sizes, "values": values, "exponents": slopes(sizes, values)}
            )
    return found


def slopes(sizes: list[float], values: list[float]) -> list[float]:
    """Between one point and the next."""
    points = zip(pairwise(sizes), pairwise(values), strict=True)
    return [math.log(max(v, 1e-9) / max(u, 1e-9)) / math.log(b / a) for (a, b), (u, v) in points]


def verdict(curve: Curve) -> str:
    """In words: the exponent between the largest two points, and whether it is a surprise."""
    last = curve["exponents"][-1]
    word = "**super-linear**" if last > STEEP else "no more than linear"
    return f"exponent {last:.2f} at the end ({max(curve['exponents']):.2f} at most): {word}"


def plot(result: dict[str, list[Curve]], path: Path) -> None:
    """One panel for each item, doubly logarithmic, with a gray line of exponent 1."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    from semiseg.drawing.palette import INK, colors

    figure = Figure(figsize=(5.6 * len(result), 4.6), layout="constrained")
    for axes, (name, lines) in zip(
        figure.subplots(1, len(result), squeeze=False)[0], result.items(), strict=True
    ):
        title, unit = LABELS[name]
        for color, curve in zip(colors(len(lines)), lines, strict=True):
            axes.loglog(curve["sizes"], curve["values"], "o-", color=color, label=_legend(curve["what"]))
        first = lines[0]
        ends = [first["sizes"][0], first["sizes"][-1]]
        start = first["values"][0]
        axes.loglog(ends, [start, start * ends[1] / ends[0]], ":", color="#888888", label="linear")
        axes.set_title(title, fontsize=11, color=INK)
        axes.set_xlabel(unit)
        axes.set_ylabel("CPU seconds (MB for memory)" if name == "prediction" else "CPU seconds")
        axes.xaxis.set_minor_formatter(NullFormatter())  # they would run into one another
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _legend(what: str) -> str:
    return what.replace("mb", "memory").replace(", cpu", "").replace("cpu", "time")


def page(result: dict[str, list[Curve]]) -> str:
    """The sentences."""
    lines = [
        "CPU seconds (and MB) as the work grows, each point in a process of its own. An exponent is the "
        "slope in the doubly logarithmic plot between one point and the next; 1 is linear.",
        "",
        "![Cost against size, doubly logarithmic](growth.svg)",
        "",
        "| what | from | to | CPU s (memory: MB) | exponents |",
        "|---|---|---|---|---|",
    ]
    for name, found in result.items():
        for curve in found:
            sizes, values = curve["sizes"], curve["values"]
            what, unit = LABELS[name]
            cells = [f"{what}: {_legend(curve['what'])}", f"{sizes[0]:,.0f} {unit}", f"{sizes[-1]:,.0f}"]
            cells += [f"{values[0]:.3g} to {values[-1]:.3g}", verdict(curve)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(FULL), default=list(FULL))
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    path = options.results / "growth.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"points": {}}
    points: dict[str, list[dict[str, Any]]] = earlier["points"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEMISEG_HOME"] = folder  # nobody's cache helps, and none is filled
        for name in options.only:
            points[name] = []
            for arguments in (QUICK if options.quick else FULL)[name]:
                found = apart(grown.measured, name, options.threads, Path(folder), *arguments)
                points[name].append({"arguments": list(arguments), **found})
                print(name, arguments, {key: round(value, 4) for key, value in found.items()}, flush=True)
    result = {name: curves(name, points[name]) for name in FULL if name in points}
    command = "python benchmarks/speed/growth.py"
    figures = {"points": points, "curves": result}
    store(options.results, "growth", "How cost grows", command, page(result), figures)
    plot(result, path.with_suffix(".svg"))


if __name__ == "__main__":
    main()
