"""Put the results together: `python benchmarks/page.py`.

The tables go to docs/results.md, a line per method and number of labels to src/semiseg/methods/measured.csv,
from which `semiseg methods NAME` and the pages of the methods have them (then run `python docs/generate.py`).
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
FIGURES = ROOT / "src" / "semiseg" / "methods" / "measured.csv"
HEAD = """# Results

Every table here was written by the command named in it; `python benchmarks/page.py` collects them from
`benchmarks/results`, where the raw numbers are. Nothing was chosen on test cases: the default recipe was
settled on labels of hippocampus training cases that the runs below do not see as labeled.
"""
ORDER = (
    "hippocampus",
    "steps_hippocampus",
    "acdc",
    "left_atrium",
    "speed",
    "growth",
)


def page() -> str:
    """The whole page: each table, followed by what was found out about it (NAME.notes.md), if anything."""
    found = [
        ROOT / "benchmarks" / "results" / f"{name}{end}" for name in ORDER for end in (".md", ".notes.md")
    ]
    tables = [path.read_text(encoding="utf-8").replace("# ", "## ", 1) for path in found if path.is_file()]
    return "\n".join([HEAD, *tables])


def plots() -> list[Path]:
    """The plots that the page shows; it has copies beside it."""
    return sorted((ROOT / "benchmarks" / "results").glob("*.svg"))


def figures() -> str:
    """The CSV of our own figures; see `semiseg.methods.measured` for its columns."""
    rows = []
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("convention", "semiseg") == "semiseg" and "runs" in content:
            rows += _lines(path.stem, content["command"], content["runs"])
    text = io.StringIO()
    columns = ["method", "dataset", "labeled", "iterations", "seeds"]
    columns += [f"{metric}{more}" for metric in ("dice", "hd95") for more in ("", "_sd", "_gain")]
    writer = csv.DictWriter(text, [*columns, "command"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _lines(dataset: str, command: str, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line per method, number of labels and number of iterations."""
    groups: dict[tuple[str, int, int], dict[int, dict[str, Any]]] = {}
    for run in runs:
        key = (run["method"], run["labeled"], run["iterations"])
        groups.setdefault(key, {})[run["seed"]] = run
    lines = []
    for (method, labeled, iterations), group in groups.items():
        base = {} if method == "supervised" else groups.get(("supervised", labeled, iterations), {})
        line = {"method": method, "dataset": dataset, "labeled": labeled, "iterations": iterations}
        for metric, scale in (("Dice", 100), ("HD95", 1)):
            values = {seed: scale * run[metric] for seed, run in group.items()}
            pairs = [values[seed] - scale * base[seed][metric] for seed in values if seed in base]
            line[metric.lower()] = f"{statistics.mean(values.values()):.2f}"
            line[f"{metric.lower()}_sd"] = (
                f"{statistics.stdev(values.values()):.2f}" if len(values) > 1 else ""
            )
            line[f"{metric.lower()}_gain"] = f"{statistics.mean(pairs):+.2f}" if pairs else ""
        lines.append({**line, "seeds": len(group), "command": command})
    return lines


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    FIGURES.write_text(figures(), encoding="utf-8")
    for plot in plots():
        shutil.copy(plot, PAGE.parent / plot.name)
