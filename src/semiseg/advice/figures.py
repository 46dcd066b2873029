"""What figures promise of a method: its gain over supervised training, in points of Dice.

A gain measured here, in honest runs, counts for more than a published one; both are drawn towards zero, where
a doubter's single observation stands. Methods without figures get zero, and say so.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from semiseg.advice.rules import SHORTEST
from semiseg.advice.situation import Situation
from semiseg.methods._figures import measured, published

PAPER_SHARE = 0.25
"""Of a published gain, as long as fewer than :data:`ENOUGH` methods have a measured one beside it. Such
figures come from scans cropped around the ground truth and from checkpoints chosen on test scans."""
ENOUGH = 3
DOUBT, PAPER, HERE = 1.0, 1.0, 3.0
"""Weights: of the doubter, of all papers together, of one measured line."""
LACKING = 15.0
"""Points to 100 that supervised training usually lacks. A gain counts by its share of what was lacking where
it was measured: three points are a fifth of it at 85, and a twentieth at 40."""
FLAT = ("acdc", "isic", "promise12", "prostate", "cadis", "refuge")
"""Names of datasets that are trained in 2D; the others are taken for 3D."""

Row = dict[str, str]


@dataclass(frozen=True)
class Gain:
    """An expectation and where it comes from."""

    points: float
    text: str
    measured: bool = False


def gain(method: str, situation: Situation, here: Sequence[Row], papers: Sequence[Row]) -> Gain:
    """The expected gain of a method.

    Args:
        method: its name.
        situation: figures from like datasets count for more.
        here: rows of :func:`semiseg.methods.measured`, of all methods.
        papers: rows of :func:`semiseg.methods.published`, of all methods.
    """
    of_method = [row for row in here if row["method"] == method and row["dice_gain"]]
    own = [(row, like) for row in of_method if (like := likeness(row, situation))]
    claims = claimed(method, papers)
    weight = DOUBT + HERE * sum(like for _, like in own)
    total = HERE * sum(like * usual_points(row) for row, like in own)
    if claims:
        weight += PAPER
        total += PAPER * kept_share(here, papers) * statistics.median(claims)
    points = total / weight
    if own:
        row = max(own, key=lambda pair: pair[1])[0]
        where = f"{baseline(row):.1f} on {row['dataset']} with {row['labeled']} labeled"
        text = f"measured here: {float(row['dice_gain']):+.1f} Dice on top of {where}"
        return Gain(points, text, measured=True)
    if claims:
        of = f"median of {len(claims)} settings" if len(claims) > 1 else "one setting"
        return Gain(points, f"papers: {statistics.median(claims):+.1f} Dice ({of}), not measured here")
    return Gain(points, "no figures that can be compared")


def likeness(row: Row, situation: Situation) -> float:
    """How much a measured line says of this situation, from 0 to 1.

    All of it on the same dataset, half on another one of the same dimension, a quarter on the rest; less for
    other lengths of training, other batches, other numbers of labels and single seeds. Too short a run says
    nothing.
    """
    if int(row["iterations"]) < SHORTEST:
        return 0.0
    dataset = row["dataset"].lower()
    same = dataset.replace("_", "") in situation.dataset.lower().replace("_", "")
    like = 1.0 if same else 0.5 if _dim(dataset) == situation.dim else 0.25
    like *= 1.0 if _near(float(row["iterations"]), situation.iterations, 3) else 0.25
    like *= 1.0 if not row["batch"] or _near(float(row["batch"]), situation.batch, 1.5) else 0.25
    like *= 1.0 if _near(float(row["labeled"]), situation.labeled, 4) else 0.5
    return like * (0.5 if row["seeds"] == "1" else 1.0)


def usual_points(row: Row) -> float:
    """A measured gain, as it would be where supervised training lacks :data:`LACKING` points."""
    return float(row["dice_gain"]) * LACKING / (100 - baseline(row))


def baseline(row: Row) -> float:
    """Dice of the supervised training that a row is compared with."""
    return float(row["dice"]) - float(row["dice_gain"])


def claimed(method: str, papers: Sequence[Row]) -> list[float]:
    """Published Dice minus the best published supervised Dice, for every setting that has both.

    Figures of a training that reads labels of unlabeled scans are no semi-supervised ones.
    """
    found: dict[tuple[str, str, str], list[float]] = {}
    base: dict[tuple[str, str, str], float] = {}
    for row in papers:
        if not row["dice"] or "labels of unlabeled" in row["why"]:
            continue
        setting, dice = (row["dataset"], row["labeled"], row["unit"]), float(row["dice"])
        if row["method"] == "supervised":
            base[setting] = max(dice, base.get(setting, 0.0))
        elif row["method"] == method:
            found.setdefault(setting, []).append(dice)
    return [statistics.median(values) - base[setting] for setting, values in found.items() if setting in base]


def kept_share(here: Sequence[Row], papers: Sequence[Row]) -> float:
    """What is left of published gains where they were measured: least squares through zero, in [0, 1].

    Args:
        here: measured rows; runs too short for unlabeled scans to help do not count.
        papers: published rows.
    """
    found: dict[str, list[float]] = {}
    for row in here:
        if row["dice_gain"] and int(row["iterations"]) >= SHORTEST:
            found.setdefault(row["method"], []).append(usual_points(row))
    pairs = [
        (statistics.median(claims), statistics.mean(gains))
        for method, gains in found.items()
        if (claims := claimed(method, papers))
    ]
    if len(pairs) < ENOUGH:
        return PAPER_SHARE
    slope = sum(paper * own for paper, own in pairs) / sum(paper**2 for paper, _ in pairs)
    return min(1.0, max(0.0, slope))


def all_figures() -> tuple[list[Row], list[Row]]:
    """Measured and published rows."""
    return measured(), published()


def _dim(dataset: str) -> int:
    return 2 if dataset.startswith(FLAT) else 3


def _near(a: float, b: float, factor: float) -> bool:
    return a <= factor * b and b <= factor * a
