"""What trials are ranked by: a metric of whole scans, over all classes or of one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from semiseg.errors import SemisegError, unknown_name
from semiseg.metrics.case import DISTANCES, OVERLAP


@dataclass(frozen=True)
class Metric:
    """A metric as the folds are scored by it.

    Attributes:
        name: such as ``Dice``.
        label: a class; empty for the mean over the foreground classes.
        index: of the class, from 1.
    """

    name: str
    label: str = ""
    index: int = 0

    @classmethod
    def parse(cls, text: str, labels: list[str]) -> Metric:
        """``Dice`` or ``HD95/left atrium``; ``labels`` are the foreground classes in their order.

        Raises:
            UsageError: there is no such metric, or no such class; names the nearest.
        """
        name, slash, label = text.partition("/")
        same = {metric.lower(): metric for metric in (*OVERLAP, *DISTANCES)}
        if name.lower() not in same:
            raise unknown_name("metric", name, same.values())
        if slash and label not in labels:
            raise unknown_name("class", label, labels)
        return cls(same[name.lower()], label, labels.index(label) + 1 if label else 0)

    def __str__(self) -> str:
        return f"{self.name}/{self.label}" if self.label else self.name

    @property
    def higher_is_better(self) -> bool:
        """Distances are better when they are low."""
        return self.name not in DISTANCES

    @property
    def curve(self) -> str | None:
        """The column of ``metrics.csv`` that follows it during training; only Dice is measured then."""
        if self.name != "Dice":
            return None
        return f"val/dice/{self.label}" if self.label else "val/dice"

    def read(self, run: Path) -> float:
        """The score of a finished run on its validation list.

        Raises:
            SemisegError: no held-out case defines it.
        """
        summary = json.loads((run / "validation" / "summary.json").read_text())
        means = summary["mean"][str(self.index)] if self.label else summary["foreground_mean"]
        value = means[self.name]
        if value is None:
            raise SemisegError(
                f"{run}: no held-out case has a {self}",
                hint="choose another metric, or fewer folds, so that each holds a case with every class",
                code="NO_SCORE",
            )
        return float(value)
