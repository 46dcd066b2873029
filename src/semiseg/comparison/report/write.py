"""The files of a comparison: tables, figures, the page, and JSON without the values of single cases."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from semiseg.comparison.report import tables
from semiseg.comparison.report.examples import Example, examples_of
from semiseg.comparison.report.figures.style import Rendered, rendered
from semiseg.comparison.report.gallery import Plate, plates_of_dataset, plates_of_group
from semiseg.comparison.report.page import Drawn, page
from semiseg.comparison.result import Arm, ArmGroup, Comparison
from semiseg.comparison.result.format import by_value, listed
from semiseg.drawing.table import Value, csv_rows, csv_text, latex, markdown
from semiseg.machine.claim import held
from semiseg.machine.files import atomic_file, plain, write_text, writing

log = logging.getLogger("semiseg.compare")

FILES = ("table.csv", "per_case.csv", "pairs.csv", "table.tex", "table.md", "comparison.json", "report.html")
TEX_HEAD = "% \\usepackage{booktabs} in the preamble; \\resizebox{\\linewidth}{!}{...} where too wide\n"


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write all of :data:`FILES` and the figures, each whole or not at all; what was written, report last.

    Raises:
        UsageError: the folder cannot be written.
    """
    log.info("writing tables and figures into %s", folder)
    groups = comparison.groups
    content = {
        "table.csv": csv_text(tables.scores(comparison, group) for group in groups),
        "per_case.csv": csv_rows(per_case(comparison)),
        "pairs.csv": csv_text(tables.pairs(comparison, group) for group in groups),
        "table.tex": TEX_HEAD + "\n".join(latex(tables.scores(comparison, group)) for group in groups),
        "table.md": as_markdown(comparison),
        "comparison.json": json.dumps(as_dict(comparison), indent=1, allow_nan=False) + "\n",
    }
    with writing(f"the comparison into {folder}", "choose another output folder with -o"), held(folder, "-o"):
        for name, text in content.items():
            write_text(folder / name, text)
        report, *figures = write_report(comparison, folder)
    return [*(folder / name for name in content), *figures, report]


def as_markdown(comparison: Comparison) -> str:
    """Every table and every notice."""
    parts = ["# Comparison\n"]
    for group in comparison.groups:
        found = list(tables.shown(comparison, group, per_class=True))
        found += [tables.pairs(comparison, group)] if group.pairs else []
        found += [papers] if (papers := tables.papers(comparison, group)) else []
        parts += [markdown(table) for table in found]
        parts += [_bullets("Notices", group.notices), _bullets("Settings that differ", different(group))]
    parts.append(_bullets("Elsewhere", comparison.notices))
    return "\n".join(part for part in parts if part)


def different(group: ArmGroup) -> list[str]:
    """A line for each setting in which arms differ: its values and whose they are."""
    return [
        f"{found.key.removeprefix('config.')}: "
        + "; ".join(f"{value} ({listed(arms)})" for value, arms in by_value(found).items())
        for found in group.differences
    ]


def _bullets(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "".join(f"- {line}\n" for line in lines) if lines else ""


MOST_EXAMPLES = 40
"""Arms with pictures, over all groups: three of about 15 kB each."""


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``report.html`` and ``figures/NAME.svg`` and ``.pdf``, each whole or not at all; the page first.

    The page comes last, so that whoever sees it finds the figures that it names.

    Raises:
        OSError: the folder cannot be written.
    """
    groups = {i: _drawn(plates_of_group(comparison, group)) for i, group in enumerate(comparison.groups)}
    datasets = {name: _drawn(plates_of_dataset(comparison, name)) for name in comparison.datasets}
    written = []
    for entry, drawing in (pair for pairs in (*groups.values(), *datasets.values()) for pair in pairs):
        if drawing is not None:
            written += _save(drawing, folder / "figures" / entry.name)
    count = itertools.count()

    def examples(group: ArmGroup, name: str) -> list[Example] | None:
        return examples_of(group.arm(name), comparison.metric) if next(count) < MOST_EXAMPLES else None

    report = folder / "report.html"
    write_text(report, page(comparison, Drawn(groups, datasets, examples)))
    return [report, *written]


def _drawn(plates: Iterable[Plate]) -> list[tuple[Plate, Rendered | None]]:
    return [(plate, None if plate.lacking else rendered(plate.draw())) for plate in plates]


def _save(drawing: Rendered, stem: Path) -> list[Path]:
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("svg", "pdf")]
    for path, content in zip(paths, (drawing.svg, drawing.pdf), strict=True):
        with atomic_file(path) as stream:
            stream.write(content)
    return paths


ROW = ("dataset", "budget", "method", "fold", "seed", "case", "class")
"""What names a row of ``per_case.csv``."""


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as ``comparison.json`` and ``--json`` have it; NaN and infinity become None."""
    groups = [{**vars(group), "arms": [_arm(arm) for arm in group.arms]} for group in comparison.groups]
    others = {name: value for name, value in vars(comparison).items() if name != "groups"}
    content: dict[str, Any] = plain({"boards": groups, **others})  # the key of earlier versions
    return content


def per_case(comparison: Comparison) -> list[dict[str, Value]]:
    """A row for each run, case and class with every metric; runs that stand in two groups come twice."""
    rows: list[dict[str, Value]] = []
    for group in comparison.groups:
        for arm in group.arms:
            for run in arm.runs:
                for i, case in enumerate(run.cases):
                    for k, label in enumerate(run.classes):
                        place = (group.dataset, group.budget, arm.name, run.fold, run.seed, case, label)
                        scored = {metric: float(values[i, k]) for metric, values in run.scores.items()}
                        rows.append({**dict(zip(ROW, place, strict=True)), **scored})
    return rows


def _arm(arm: Arm) -> dict[str, Any]:
    """An arm without what its run folders hold anyway."""
    runs = [
        {
            "folder": str(run.folder),
            "fold": run.fold,
            "seed": run.seed,
            "iterations": run.iterations,
            "batch": run.plan.get("batch"),
            "cost": run.cost,
            "commit": (run.manifest.get("git") or {}).get("commit"),
        }
        for run in arm.runs
    ]
    known = {name: getattr(arm, name) for name in ("name", "method", "labeled", "bound", "replicates")}
    return {**known, "cost": arm.cost, "runs": runs}
