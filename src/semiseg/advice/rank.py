"""From a situation to a ranking: what figures promise plus what the rules say, and last what does not fit.

Figures promise a gain over supervised training, in points of Dice. One that was measured here counts for more
than a published one, and both are drawn towards zero, as by one more observation of no gain. Methods without
figures get zero, and say so.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from semiseg import methods
from semiseg.advice.rules import RULES, SHORTEST
from semiseg.advice.situation import Situation
from semiseg.errors import plural
from semiseg.methods._catalog import Description, measured, published


@dataclass(frozen=True)
class Reason:
    """Why a method stands where it stands."""

    points: float
    text: str
    evidence: str


@dataclass(frozen=True)
class Choice:
    """A method in the ranking."""

    method: str
    score: float
    """Expected points of Dice more than supervised training; a guess."""
    reasons: tuple[Reason, ...]
    """The weightiest first."""
    work: float | None
    memory_gb: float
    minutes: float | None
    iterations: int
    """That fit the time."""
    obstacle: str = ""
    """Why it does not fit; empty if it does."""


def rank(
    situation: Situation,
    names: Sequence[str] | None = None,
    *,
    figures: tuple[Sequence[Row], Sequence[Row]] | None = None,
) -> list[Choice]:
    """All methods, the best first; those that do not fit last. ``figures``: measured and published rows."""
    here, papers = figures or (measured(), published())
    share = kept_share(here, papers)
    choices = []
    for name in methods.names() if names is None else names:
        reasons = [Reason(r.points, r.why, r.evidence) for r in RULES if r.applies(name, situation)]
        reasons.append(BASELINE if name == "supervised" else gain(name, situation, here, papers, share))
        choices.append(_choice(name, situation, reasons))
    return sorted(choices, key=_place)


def _place(choice: Choice) -> tuple[bool, float, bool, float, str]:
    """Best first; of equals supervised training, then the cheaper."""
    equal = (choice.method != "supervised", choice.work or 0.0, choice.method)
    return (bool(choice.obstacle), -round(choice.score, 2), *equal)


def _choice(name: str, situation: Situation, reasons: list[Reason]) -> Choice:
    about = methods.description(name)
    return Choice(
        method=name,
        score=sum(reason.points for reason in reasons),
        reasons=tuple(sorted(reasons, key=lambda reason: -abs(reason.points))),
        work=about.facts.work,
        memory_gb=situation.needs_gb(about),
        minutes=situation.needs_minutes(about),
        iterations=situation.affordable(about),
        obstacle=_obstacle(situation, about),
    )


def _obstacle(situation: Situation, about: Description) -> str:
    need, have = situation.needs_gb(about), situation.memory_gb
    if have is not None and need > have:
        return f"needs more than the {have:g} GB of memory"
    count = situation.affordable(about)
    if count < SHORTEST and count < situation.iterations and about.name != "supervised":
        few = f"{plural(count, 'iteration')} in {plural(situation.minutes or 0, 'minute')}"
        return f"{few}: too few for unlabeled scans to help"
    return ""


PAPER_SHARE = 0.25
"""Of a published gain, as long as fewer than :data:`ENOUGH` methods have a measured one beside it. Such
figures come from scans cropped around the ground truth and from checkpoints chosen on test scans."""
ENOUGH = 3
DOUBT, PAPER, HERE = 1.0, 1.0, 3.0
"""Weights: of an observation of no gain, of all papers together, of one measured line."""
LACKING = 15.0
"""Points to 100 that supervised training usually lacks. A gain counts by its share of what was lacking where
it was measured: three points are a fifth of it at 85, and a twentieth at 40."""
FLAT = ("acdc", "isic", "promise12", "prostate", "cadis", "refuge")
"""Names of datasets that are trained in 2D; the others are taken for 3D."""

Row = dict[str, str]


BASELINE = Reason(0.0, "learns from the labels alone: what the others must beat", "by definition")


def gain(
    method: str, situation: Situation, here: Sequence[Row], papers: Sequence[Row], share: float | None = None
) -> Reason:
    """The expected gain of a method; figures from like datasets count for more.

    ``here`` and ``papers`` are rows of :func:`semiseg.methods.measured` and
    :func:`semiseg.methods.published`, of all methods; ``share`` is what :func:`kept_share` says of them.
    """
    of_method = [row for row in here if row["method"] == method and row["dice_gain"]]
    own = [(row, like) for row in of_method if (like := likeness(row, situation))]
    claims = claimed(method, papers, situation.dim)
    if share is None:
        share = kept_share(here, papers)
    weight = DOUBT + HERE * sum(like for _, like in own)
    total = HERE * sum(like * usual_points(row) for row, like in own)
    if claims and share:
        weight += PAPER
        total += PAPER * share * statistics.median(claims)
    points = total / weight
    if own:
        row = max(own, key=lambda pair: pair[1])[0]
        labels = plural(int(row["labeled"]), "label")
        where = f"{row['dataset']}, {labels}: {baseline(row):.1f} -> {float(row['dice']):.1f}"
        text = f"{float(row['dice_gain']):+.1f} Dice over supervised in our benchmark ({where})"
        return Reason(points, text, "benchmarks/results")
    if claims:
        of = f"median of {len(claims)} settings" if len(claims) > 1 else "one setting"
        left = "" if share else ", without weight: of such gains nothing was left in our benchmark"
        text = f"papers: {statistics.median(claims):+.1f} Dice ({of}), not in our benchmark{left}"
        return Reason(points, text, "published.csv")
    return Reason(points, "no comparable figures yet", "published.csv")


def likeness(row: Row, situation: Situation) -> float:
    """How much a measured line says of this situation, from 0 to 1.

    All of it on the same dataset, half on another one of the same dimension, nothing on the rest; less for
    other lengths of training, other batches, other numbers of labels and single seeds. Too short a run says
    nothing.
    """
    if int(row["iterations"]) < SHORTEST:
        return 0.0
    dataset = row["dataset"].lower()
    same = dataset.replace("_", "") in situation.dataset.lower().replace("_", "")
    like = 1.0 if same else 0.5 if _dim(dataset) == situation.dim else 0.0
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


def claimed(method: str, papers: Sequence[Row], dim: int | None = None) -> list[float]:
    """Published Dice minus the best published supervised Dice, for every setting that has both.

    Figures of a training that reads labels of unlabeled scans are no semi-supervised ones, and a re-run by
    others is not the method's own figure. With ``dim``, data of the other dimension says nothing.
    """
    found: dict[tuple[str, str, str], list[float]] = {}
    base: dict[tuple[str, str, str], float] = {}
    for row in papers:
        if not row["dice"] or "labels of unlabeled" in row["why"] or row.get("kind") == "rerun":
            continue
        if dim is not None and _dim(row["dataset"].lower()) != dim:
            continue
        setting, dice = (row["dataset"], row["labeled"], row["unit"]), float(row["dice"])
        if row["method"] == "supervised":
            base[setting] = max(dice, base.get(setting, 0.0))
        elif row["method"] == method:
            found.setdefault(setting, []).append(dice)
    return [statistics.median(values) - base[setting] for setting, values in found.items() if setting in base]


def kept_share(here: Sequence[Row], papers: Sequence[Row]) -> float:
    """What is left of published gains where they were measured: least squares through zero, in [0, 1]."""
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


def _dim(dataset: str) -> int:
    return 2 if dataset.startswith(FLAT) else 3


def _near(a: float, b: float, factor: float) -> bool:
    return a <= factor * b and b <= factor * a
