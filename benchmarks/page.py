"""Put the results together: `python benchmarks/page.py`.

The tables go to docs/results.md, a line per method and number of labels to src/semiseg/methods/measured.csv,
from which `semiseg methods NAME` and the pages of the methods have them (then run `python docs/generate.py`).
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
FIGURES = ROOT / "src" / "semiseg" / "methods" / "measured.csv"
HEAD = """# Results

Every table here was written by the command named in it; `python benchmarks/page.py` collects them from
`benchmarks/results`, where the raw numbers are. Nothing was chosen on test cases, but for what is told below
the tables `hippocampus_small` and `acdc_small`. The default recipe was settled on labels of hippocampus
training cases that the runs below do not see as labeled.

Tables of sweeps hold what has been run so far of their specification. What each run scored in every case is
kept in `benchmarks/results/runs`: `python benchmarks/table.py --name NAME` makes such a table again, and
further runs join it. The table `hippocampus` is older than that: its runs were not kept, and some were made
one by one with `semiseg train`, `predict` and `evaluate`, before `semiseg sweep` was there.

All runs of the tables before `Settings of prediction` were predicted when windows could still grow beyond the
training patch, which cost Dice and distances, and trained with labels whose ties all went to the larger class
where the plan resampled. They compare methods with one another; the level is lower than it would be today.
"""
ORDER = (
    "hippocampus",
    "hippocampus_small",
    "steps_hippocampus",
    "acdc_small",
    "acdc",
    "left_atrium_small",
    "left_atrium",
    "left_atrium_paper",
    "quality",
    "windows",
    "speed",
    "growth",
    "ranks",
    "small_sample",
    "start_up",
    "larger_than_memory",
    "prediction_memory",
    "unlike",
    "export",
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
    rows: list[dict[str, Any]] = []
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("comparison", {}).get("convention") == "semiseg":
            for board in content["comparison"]["boards"]:
                rows += [{"table": path.stem, **line} for line in _lines(content["commands"][0], board)]
    text = io.StringIO()
    columns = ["method", "table", "dataset", "labeled", "iterations", "batch", "seeds"]
    columns += [f"{metric}{more}" for metric in ("dice", "hd95") for more in ("", "_sd", "_gain")]
    writer = csv.DictWriter(text, [*columns, "command"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _lines(command: str, board: dict[str, Any]) -> list[dict[str, Any]]:
    """A line per arm of a board; variants of a method stay on the page of results."""
    found = {(s["arm"], s["metric"]): s for s in board["summaries"] if s["label"] is None}
    words = re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", board["dataset"].partition("_")[2])
    dataset, lines = "_".join(words).lower(), []
    for arm in board["arms"]:
        name, labeled = arm["name"], arm["labeled"]
        if arm["bound"] != "upper" and name not in (arm["method"], board["baseline"]):
            continue
        (iterations,) = {run["iterations"] for run in arm["runs"]}
        (batch,) = {run.get("batch", "") for run in arm["runs"]}
        line = {"method": arm["method"], "dataset": dataset, "labeled": labeled}
        line |= {"iterations": iterations, "batch": batch}
        for metric, scale in (("Dice", 100), ("HD95", 1)):
            mine, base = found[name, metric], found.get((board["baseline"], metric))
            sd, compared = mine["sd"], base and base is not mine and arm["bound"] != "upper"
            line[metric.lower()] = f"{scale * mine['mean']:.2f}"
            line[f"{metric.lower()}_sd"] = "" if sd is None else f"{scale * sd:.2f}"
            gain = scale * (mine["mean"] - base["mean"]) if compared else None
            line[f"{metric.lower()}_gain"] = "" if gain is None else f"{gain:+.2f}"
        lines.append({**line, "seeds": len(arm["runs"]), "command": command})
    return lines


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    FIGURES.write_text(figures(), encoding="utf-8")
    for plot in plots():
        shutil.copy(plot, PAGE.parent / plot.name)
