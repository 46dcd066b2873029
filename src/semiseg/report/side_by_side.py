"""Results side by side, for the terminal (one column per method) and for Markdown (one row per method)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from semiseg.report.table import Cell, Table, markdown, terminal

if TYPE_CHECKING:
    from rich.table import Table as RichTable

UNITS = {"HD95": "mm", "ASD": "mm", "ASSD": "mm"}

METRICS = ("Dice", "HD95", "ASSD")
"""Shown unless others are asked for."""


@dataclass(frozen=True)
class Scores:
    """What one method reached: case -> class -> metric -> value (NaN where it is not defined)."""

    name: str
    cases: Mapping[str, Mapping[str, Mapping[str, float]]]

    @classmethod
    def of_summary(cls, name: str, summary: Mapping[str, Any], labels: Mapping[str, int]) -> Scores:
        """Read the ``summary.json`` that ``semiseg evaluate`` (or nnU-Net) writes.

        Args:
            name: of the method.
            summary: the parsed file.
            labels: class name -> label value.
        """
        classes = {str(value): label for label, value in labels.items()}
        cases: dict[str, dict[str, dict[str, float]]] = {}
        for entry in summary["metric_per_case"]:
            case = PurePath(PurePath(str(entry["reference_file"])).name.removesuffix(".gz")).stem
            cases[case] = {
                classes.get(key, key): {metric: _float(value) for metric, value in metrics.items()}
                for key, metrics in entry["metrics"].items()
            }
        return cls(name, cases)

    @property
    def classes(self) -> list[str]:
        """Names of the classes that were scored, in order."""
        return list(dict.fromkeys(name for case in self.cases.values() for name in case))

    def values(self, metric: str, label: str | None = None) -> dict[str, float]:
        """Case -> value of a class, or the mean over classes; cases where it is not defined are left out."""
        found: dict[str, float] = {}
        for case, classes in self.cases.items():
            chosen = [label] if label else list(classes)
            numbers = [classes[c][metric] for c in chosen if c in classes and metric in classes[c]]
            defined = [number for number in numbers if not math.isnan(number)]
            if defined:
                found[case] = statistics.fmean(defined)
        return found


def comparison_table(scores: Sequence[Scores], *, title: str, metrics: Sequence[str] = METRICS) -> RichTable:
    """The comparison as a rich table, one column per method; mean ± standard deviation over cases.

    Args:
        scores: the methods; the first is what the others are compared with.
        title: above the table.
        metrics: which to show of every class.
    """
    columns = tuple(zip(*_cells(scores, metrics), strict=True))
    return terminal(_table(title, [("", *columns[0][1:]), *columns[1:]], scores))


def comparison_markdown(scores: Sequence[Scores], *, metrics: Sequence[str] = METRICS) -> str:
    """The comparison as a Markdown table with its caption; see :func:`comparison_table`."""
    return markdown(_table("", _cells(scores, metrics), scores))


def caption(scores: Sequence[Scores]) -> str:
    """How to read the table, and how each method did against the first, case by case."""
    count = len({case for score in scores for case in score.cases})
    lines = [f"Mean ± standard deviation over {count} cases."]
    for other in scores[1:]:
        differences = paired_differences(scores[0], other)
        if differences:
            better = sum(d > 0 for d in differences)
            mean = statistics.fmean(differences)
            lines.append(
                f"Dice of {other.name} minus {scores[0].name}, case by case: mean {mean:+.3f}, "
                f"higher in {better} of {len(differences)} cases."
            )
    return " ".join(lines)


def paired_differences(first: Scores, second: Scores) -> list[float]:
    """Mean Dice over classes of ``second`` minus ``first``, for the cases that both have."""
    before, after = first.values("Dice"), second.values("Dice")
    return [after[case] - before[case] for case in before if case in after]


def _table(title: str, lines: Sequence[Sequence[str]], scores: Sequence[Scores]) -> Table:
    head, *rows = lines
    cells = tuple(tuple(map(Cell, row)) for row in rows)
    return Table(title, tuple(head), cells, notes=(caption(scores),))


def _cells(scores: Sequence[Scores], metrics: Sequence[str]) -> list[list[str]]:
    classes = list(dict.fromkeys(name for score in scores for name in score.classes))
    columns: list[tuple[str, str | None]] = [("Dice", None)] if len(classes) > 1 else []
    columns += [(metric, name) for metric in metrics for name in classes]
    head = ["method", *(_head(metric, name) for metric, name in columns)]
    rows = [
        [score.name, *(_spread(score.values(m, name).values(), m) for m, name in columns)] for score in scores
    ]
    return [head, *rows]


def _head(metric: str, label: str | None) -> str:
    unit = f" ({UNITS[metric]})" if metric in UNITS else ""
    return f"{metric}{unit} {label or 'mean'}"


def _spread(values: Iterable[float], metric: str) -> str:
    numbers = list(values)
    if not numbers:
        return "–"
    digits = 2 if metric in UNITS else 3
    spread = f" ± {statistics.stdev(numbers):.{digits}f}" if len(numbers) > 1 else ""
    return f"{statistics.fmean(numbers):.{digits}f}{spread}"


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)
