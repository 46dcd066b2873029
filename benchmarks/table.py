"""The table of one of our own sweeps: `python benchmarks/table.py SWEEP --name hippocampus`.

SWEEP is what `semiseg sweep benchmarks/specs/NAME.yaml` fills, finished or not, or folders of runs with the
same settings. What `semiseg compare` finds in it goes to benchmarks/results/NAME.{json,md}. Then
`python benchmarks/page.py` puts the table on the page of results and its figures into the package.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import semiseg
from semiseg.comparison.record import as_dict
from semiseg.comparison.result import Board, Comparison
from semiseg.comparison.write import different
from semiseg.report import comparison_tables as tables
from semiseg.report.table import markdown

RESULTS = Path(__file__).parent / "results"


def content(comparison: Comparison, name: str) -> dict[str, Any]:
    """What is kept: the comparison, its runs without the place where they lie, and how to get it again."""
    found = as_dict(comparison)
    runs = [run for board in found["boards"] for arm in board["arms"] for run in arm["runs"]]
    for run in runs:
        run["folder"] = "/".join(Path(run["folder"]).parts[-3:])
    for part in [found, *found["boards"]]:
        part["missing"] = [{**cell, "folder": None, "command": ""} for cell in part["missing"]]
    commits = list(dict.fromkeys(run["commit"] for run in runs if run["commit"]))
    return {"commands": commands(name), "commits": commits, "comparison": found}


def commands(name: str) -> list[str]:
    """What makes the table."""
    sweep = f"semiseg sweep benchmarks/specs/{name}.yaml"
    return [sweep, f"python benchmarks/table.py runs/{name} --name {name}"]


def text(comparison: Comparison, kept: dict[str, Any], name: str) -> str:
    """A table for each board, as Markdown."""
    made = " and ".join(f"`{command}`" for command in kept["commands"])
    versions = ", ".join(commit[:7] for commit in kept["commits"])
    parts = [f"# {name}\n", f"Commands: {made}. Code of the runs: {versions}.\n"]
    for board in comparison.boards:
        parts.append(markdown(tables.scores(comparison, board)).replace("## ", "### ", 1))
        parts += [f"- {line}" for line in (*remarks(board), *board.notices)]
        parts.append("")
    return "\n".join(parts)


def remarks(board: Board) -> list[str]:
    """How long the runs are, how their settings differ, which cells of the sweep have no scores."""
    lengths = sorted({run.iterations for arm in board.arms for run in arm.runs})
    said = [f"{' or '.join(map(str, lengths))} iterations each"]
    said += [line for line in different(board) if line.startswith(("train.", "network.", "plan."))]
    absent = list(dict.fromkeys(f"{cell.name} with seed {cell.seed}" for cell in board.missing))
    return said + ([f"not run to the end yet: {', '.join(absent)}"] if absent else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="a sweep, or folders of runs")
    parser.add_argument("--name", required=True, help="of the result files, and of the specification")
    args = parser.parse_args()
    comparison = semiseg.compare(*args.runs)
    kept = content(comparison, args.name)
    path = RESULTS / f"{args.name}.json"
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(text(comparison, kept, args.name), encoding="utf-8")


if __name__ == "__main__":
    main()
