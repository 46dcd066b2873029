"""The table of one of our own sweeps: `python benchmarks/table.py SWEEP --name hippocampus`.

SWEEP is what `semiseg sweep benchmarks/specs/NAME.yaml` fills, finished or not, or folders of runs with the
same settings. Their scores are kept beside those of earlier runs (`benchmarks/kept.py`), and what
`semiseg compare` finds in all of them goes to benchmarks/results/NAME.{json,md}. Without SWEEP the table is
made again of what is kept. Then `python benchmarks/page.py` puts it on the page of results and its figures
into the package.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import kept

import semiseg
from semiseg.comparison.group import BOUNDS, with_all_labels
from semiseg.comparison.read import collect
from semiseg.comparison.report import tables
from semiseg.comparison.report.write import as_dict, different
from semiseg.comparison.result import ArmGroup, Comparison
from semiseg.drawing.table import markdown
from semiseg.errors import plural
from semiseg.settings.changes import OF_THE_MACHINE
from semiseg.sweeping.spec import Spec, read_spec

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def compared(
    name: str, folders: Sequence[str] = (), results: Path = RESULTS, *, baseline: str | None = None
) -> Comparison:
    """All runs of a table, those in ``folders`` kept from now on."""
    path = results / "runs" / f"{name}.zip"
    if folders:
        kept.keep(path, [run.folder for run in collect(map(Path, folders)).runs])
    with tempfile.TemporaryDirectory() as place:
        kept.unpack(path, Path(place))
        return semiseg.compare(place, baseline=baseline)


def content(comparison: Comparison, name: str) -> dict[str, Any]:
    """What is kept: the comparison, its runs without the place where they lie, and how to get it again."""
    found = as_dict(comparison)
    runs = [run for group in found["boards"] for arm in group["arms"] for run in arm["runs"]]
    for run in runs:
        run["folder"] = kept.place(Path(run["folder"]))
    commits = list(dict.fromkeys(run["commit"] for run in runs if run["commit"]))
    return {"commands": commands(name), "commits": commits, "comparison": found}


def commands(name: str) -> list[str]:
    """What makes the table."""
    sweep = f"semiseg sweep benchmarks/specs/{name}.yaml"
    return [sweep, f"python benchmarks/table.py runs/{name} --name {name}"]


def spec_of(name: str) -> Spec:
    """The specification of a table."""
    return read_spec(HERE / "specs" / f"{name}.yaml")


def absent(group: ArmGroup, spec: Spec) -> Iterator[str]:
    """What the specification wants of this group and nobody has run yet."""
    done = {(arm.name, run.seed) for arm in group.arms for run in arm.runs}
    wanted = [variant.title for variant in spec.methods]
    wanted += [with_all_labels(BOUNDS)] if spec.bounds in (True, "upper") else []
    for name in wanted:
        if lacking := [str(seed) for seed in spec.seeds if (name, seed) not in done]:
            yield f"{name} ({'seed' if len(lacking) == 1 else 'seeds'} {', '.join(lacking)})"


def absent_groups(comparison: Comparison, spec: Spec) -> Iterator[str]:
    """The numbers of labels that the specification wants and nobody has run yet."""
    wanted = [f"{n} labeled" for n in spec.labeled or ()]
    wanted += [plural(n, "labeled patient") for n in spec.labeled_patients or ()]
    there = {group.budget for group in comparison.groups}
    yield from (budget for budget in wanted if budget not in there)


def text(comparison: Comparison, kept: dict[str, Any], name: str) -> str:
    """A table for each group, as Markdown."""
    made = " and ".join(f"`{command}`" for command in kept["commands"])
    versions = ", ".join(commit[:7] for commit in kept["commits"])
    spec = spec_of(name)
    parts = [f"# {name}\n", f"Commands: {made}. Code of the runs: {versions}.\n"]
    for group in comparison.groups:
        parts.append(markdown(tables.scores(comparison, group)).replace("## ", "### ", 1))
        parts += [f"- {line}" for line in (*remarks(group, spec), *group.notices)]
        parts.append("")
    if lacking := ", ".join(absent_groups(comparison, spec)):
        parts.append(f"Not run yet: {lacking}.\n")
    return "\n".join(parts)


def remarks(group: ArmGroup, spec: Spec) -> list[str]:
    """How long the runs are, how their settings differ, which cells of the sweep have no scores."""
    lengths = sorted({run.iterations for arm in group.arms for run in arm.runs})
    said = [f"{' or '.join(map(str, lengths))} iterations each"]
    said += [
        line
        for line in different(group)
        if line.startswith(("train.", "network.", "plan.")) and not line.startswith(OF_THE_MACHINE)
    ]
    lacking = ", ".join(absent(group, spec))
    return said + ([f"not run yet: {lacking}"] if lacking else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", help="a sweep, or folders of runs; none: those that are kept")
    parser.add_argument("--name", required=True, help="of the result files, and of the specification")
    parser.add_argument("--baseline", help="print the table against this arm instead, and write no results")
    args = parser.parse_args()
    if args.baseline and args.runs:
        parser.error("--baseline shows what is kept: give no runs")
    comparison = compared(args.name, args.runs, baseline=args.baseline)
    kept = content(comparison, args.name)
    if args.baseline:
        print(text(comparison, kept, args.name))
        return
    path = RESULTS / f"{args.name}.json"
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(text(comparison, kept, args.name), encoding="utf-8")


if __name__ == "__main__":
    main()
