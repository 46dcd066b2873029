"""How numbers and metrics are written, the same in the page and in the figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from semiseg.metrics.case import DISTANCES

if TYPE_CHECKING:
    from semiseg.comparison.arm import Arm
    from semiseg.comparison.result import Board, Comparison

Verdict = Literal["baseline", "bound", "better", "worse", "open", "untested"]
DASH = "–"
MINUS = "\N{MINUS SIGN}"


def lower_is_better(metric: str) -> bool:
    """Whether a metric is a distance or an error."""
    return metric in DISTANCES or metric.startswith("VolumeError")


def digits(metric: str) -> int:
    """Decimal places: a distance in mm is not known to a thousandth."""
    return 2 if lower_is_better(metric) else 3


def unit(comparison: Comparison, metric: str) -> str:
    """Blank for a share."""
    return {"VolumeErrorML": "mL"}.get(metric, comparison.unit if metric in DISTANCES else "")


def titled(comparison: Comparison, metric: str) -> str:
    """The metric with its unit: ``HD95 (mm)``."""
    named = unit(comparison, metric)
    return f"{metric} ({named})" if named else metric


def number(value: float, places: int, *, signed: bool = False) -> str:
    """A number with a true minus sign; a dash for what is not known."""
    if math.isnan(value):
        return DASH
    text = f"{value:{'+' if signed else ''}.{places}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def p_value(value: float) -> str:
    """``0.034``, ``< 0.001``, or a dash."""
    if math.isnan(value):
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(how_many: int, one: str, many: str = "") -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{how_many} {one if how_many == 1 else many or one + 's'}"


def listed(names: list[str], *, most: int = 6) -> str:
    """``a, b and c``; the rest of a long list as a count."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def sampled(board: Board) -> str:
    """What tests and ranks count: ``case``, or ``patient`` where it is known whose the cases are."""
    return "case" if board.ranking.n + board.ranking.excluded == len(board.cases) else "patient"


def verdict(board: Board, arm: Arm, alpha: float) -> Verdict:
    """What the test against the baseline says of an arm.

    ``open``: no difference was shown, which is not the same as showing that there is none.
    """
    if arm.bound == "upper":
        return "bound"
    if arm.name == board.baseline:
        return "baseline"
    test = board.test(arm.name)
    if test is None or math.isnan(test.p_holm):
        return "untested"
    if test.p_holm >= alpha or test.effect == 0:
        return "open"
    return "better" if test.effect > 0 else "worse"
