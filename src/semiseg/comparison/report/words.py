"""How numbers and metrics are written, the same in the page and in the figures.

What the numbers say, in plain words, no more than they say.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from semiseg.evaluation.case import DISTANCES

if TYPE_CHECKING:
    from semiseg.comparison.result import Arm, Board, Comparison, PairTest

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


def reading_of(comparison: Comparison, board: Board) -> list[str]:
    """Sentences on one board, one paragraph when joined.

    Args:
        comparison: gives the metric and alpha.
        board: what is read.
    """
    return [
        *_outcome(comparison, board),
        *_largest(comparison, board),
        *_ranks(comparison, board),
        *_seeds(board),
        *_missing(board),
    ]


def _outcome(comparison: Comparison, board: Board) -> list[str]:
    tested = [arm.name for arm in board.arms if board.test(arm.name) is not None and arm.bound != "upper"]
    if board.baseline is None:
        return ["There is no baseline, so that nothing was tested against one."]
    if not tested:
        return [f"There is no other method than the baseline {board.baseline}."]
    found = {name: verdict(board, board.arm(name), comparison.alpha) for name in tested}

    def those(kind: str) -> list[str]:
        return [name for name in tested if found[name] == kind]

    better, worse, level, untested = map(those, ("better", "worse", "open", "untested"))
    where = f"On {count(len(board.cases), f'{board.source} case')}"
    alpha = f"α\u00a0=\u00a0{comparison.alpha:g}"
    how = f"{board.baseline} in {comparison.metric} after Holm's correction ({alpha})"
    sentences = [f"{where}, {len(better) or 'none'} of {len(tested)} methods beat {how}{_named(better)}."]
    if len(tested) == 1:
        sentences = [f"{where}, {tested[0]} {'beats' if better else 'does not beat'} {how}."]
    if worse:
        sentences.append(f"{len(worse)} did worse{_named(worse)}.")
    if few := [name for name in level if _cannot_show(comparison, board, name)]:
        level = [name for name in level if name not in few]
        told = "; ".join(_observed(comparison, board, name) for name in few)
        sentences.append(f"There are too few cases for a test to show anything at this level: {told}.")
    if level:
        sentences.append(
            f"No difference was shown for {listed(level)}, which is not evidence that there is none."
        )
    if untested:
        why = next(test.why_not for name in untested if (test := board.test(name)) is not None)
        sentences.append(f"{len(untested)} could not be tested{_named(untested)}: {why or 'no p value'}.")
    return sentences


def _cannot_show(comparison: Comparison, board: Board, name: str) -> bool:
    """Whether even an arm that wins or loses every case would have a corrected p of alpha or more."""
    test = board.test(name)
    return test is not None and 2.0 ** (1 - test.n) * len(board.against_baseline) >= comparison.alpha


def _observed(comparison: Comparison, board: Board, name: str) -> str:
    """``mean_teacher -0.190, better in 0 of 4``."""
    test = board.test(name)
    if test is None:
        return name
    difference = number(test.difference, digits(comparison.metric), signed=True)
    return f"{name} {difference}, better in {test.wins} of {test.n}"


def _largest(comparison: Comparison, board: Board) -> list[str]:
    """The largest gain that a test supports, and how far it leads towards all labels."""
    gains = [
        test
        for test in board.against_baseline
        if verdict(board, board.arm(test.a), comparison.alpha) == "better"
    ]
    if not gains:
        return []
    sign = -1 if lower_is_better(comparison.metric) else 1
    best = max(gains, key=lambda test: sign * test.difference)
    picked = len(board.against_baseline) > 2
    where = f"better in {count(best.wins, sampled(board))} of {best.n}"
    return [
        f"{'The largest' if len(gains) > 1 else 'Its'} gain is {_gain(comparison, best)}, {where}"
        f"{f' ({best.a})' if len(gains) > 1 else ''}.",
        *_share(comparison, board, best),
        *(["Picked as the largest of several, it is likely to be smaller next time."] if picked else []),
    ]


def _gain(comparison: Comparison, test: PairTest) -> str:
    places = digits(comparison.metric)
    named = unit(comparison, comparison.metric)
    text = f"{number(test.difference, places, signed=True)}{f' {named}' if named else ''}"
    if not math.isnan(test.interval.low):
        low, high = (number(v, places, signed=True) for v in (test.interval.low, test.interval.high))
        text += f" ({100 * test.interval.level:.0f}\u00a0% interval {low} to {high})"
    return text


def _share(comparison: Comparison, board: Board, best: PairTest) -> list[str]:
    if board.upper is None or board.baseline is None:
        return []
    low, high, reached = (
        board.summary(name, comparison.metric).mean for name in (board.baseline, board.upper.name, best.a)
    )
    sign = -1 if lower_is_better(comparison.metric) else 1
    if math.isnan(high - low) or sign * (high - low) <= 0 or sign * (reached - low) <= 0:
        return []
    share = (reached - low) / (high - low)
    if share >= 1:
        return [f"It reaches what supervised training with all {board.upper.labeled} labels does."]
    return [
        f"That is {100 * share:.0f}\u00a0% of the way from {board.baseline} with {board.labeled} labels to "
        f"supervised training with all {board.upper.labeled}."
    ]


def _ranks(comparison: Comparison, board: Board) -> list[str]:
    ranking = board.ranking
    if ranking.why_not or math.isnan(ranking.p):
        return []
    if ranking.p >= comparison.alpha:
        return [f"Friedman's test finds no difference among all of them (p = {p_value(ranking.p)})."]
    first = next(iter(ranking.mean_ranks))
    level = [name for clique in ranking.cliques if first in clique for name in clique if name != first]
    if not level:
        return [f"In mean rank {first} is ahead of all others."]
    return [f"In mean rank {first} comes first, and is not told apart from {listed(level)}."]


def _seeds(board: Board) -> list[str]:
    counts = {arm.replicates for arm in board.arms if arm.bound != "upper"}
    if counts == {1}:
        return [
            "One seed only: the spread between seeds is unknown, and another seed may order the methods anew."
        ]
    single = [arm.name for arm in board.arms if arm.replicates == 1 and arm.bound != "upper"]
    if single:
        return [f"With one seed the spread between seeds is unknown for {listed(single)}."]
    return []


def _missing(board: Board) -> list[str]:
    if not board.missing:
        return []
    number_of = len(board.missing)
    return [f"{count(number_of, 'run')} that should be here {'is' if number_of == 1 else 'are'} missing."]


def _named(names: list[str]) -> str:
    return f": {listed(names)}" if names else ""
