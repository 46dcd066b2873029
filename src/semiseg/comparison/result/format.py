"""Numbers, metrics and outcomes as text, and the sentences of a comparison: no more than the numbers say."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal

from semiseg.errors import plural
from semiseg.evaluation.case import DISTANCES

if TYPE_CHECKING:
    from semiseg.comparison.result import Arm, ArmGroup, Comparison, Difference, Interval, PairTest

Verdict = Literal["baseline", "bound", "better", "worse", "open", "untested"]
VERDICTS: dict[Verdict, str] = {
    "better": "▲ better",
    "worse": "▼ worse",
    "open": "no difference shown",
    "baseline": "baseline",
    "bound": "upper bound",
    "untested": "not tested",
}
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


def span(interval: Interval, places: int, *, signed: bool = False) -> str:
    """``0.81 to 0.84``."""
    return " to ".join(number(end, places, signed=signed) for end in (interval.low, interval.high))


def listed(names: list[str], *, most: int = 6) -> str:
    """``a, b and c``; the rest of a long list as a count."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def by_value(difference: Difference) -> dict[str, list[str]]:
    """Value of a setting as text -> the arms that have it."""
    found: dict[str, list[str]] = {}
    for arm, values in difference.values.items():
        text = " and ".join(_value(difference.key, value) for value in values)
        found.setdefault(text, []).append(arm)
    return found


def _value(key: str, value: Any) -> str:
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text[:9] if key.endswith(".commit") else text


def sampled(group: ArmGroup) -> str:
    """What tests and ranks count: ``case``, or ``patient`` where it is known whose the cases are."""
    return "case" if group.ranking.n + group.ranking.excluded == len(group.cases) else "patient"


def verdict(group: ArmGroup, arm: Arm, alpha: float) -> Verdict:
    """What the test against the baseline says of an arm.

    ``open``: no difference was shown, which is not the same as showing that there is none.
    """
    if arm.bound == "upper":
        return "bound"
    if arm.name == group.baseline:
        return "baseline"
    test = group.test(arm.name)
    if test is None or math.isnan(test.p_holm):
        return "untested"
    if test.p_holm >= alpha or test.effect == 0:
        return "open"
    return "better" if test.effect > 0 else "worse"


def reading_of(comparison: Comparison, group: ArmGroup) -> list[str]:
    """Sentences on one group, one paragraph when joined."""
    return [
        *_outcome(comparison, group),
        *_largest(comparison, group),
        *_ranks(comparison, group),
        *_seeds(group),
        *_missing(group),
    ]


def _outcome(comparison: Comparison, group: ArmGroup) -> list[str]:
    tested = [arm.name for arm in group.arms if group.test(arm.name) is not None and arm.bound != "upper"]
    if group.baseline is None:
        return ["There is no baseline, so that nothing was tested against one."]
    if not tested:
        return [f"There is no other method than the baseline {group.baseline}."]
    found = {name: verdict(group, group.arm(name), comparison.alpha) for name in tested}

    def those(kind: str) -> list[str]:
        return [name for name in tested if found[name] == kind]

    better, worse, level, untested = map(those, ("better", "worse", "open", "untested"))
    where = f"On {plural(len(group.cases), f'{group.source} case')}"
    alpha = f"α\u00a0=\u00a0{comparison.alpha:g}"
    how = f"{group.baseline} in {comparison.metric} after Holm's correction ({alpha})"
    sentences = [f"{where}, {len(better) or 'none'} of {len(tested)} methods beat {how}{_named(better)}."]
    if len(tested) == 1:
        sentences = [f"{where}, {tested[0]} {'beats' if better else 'does not beat'} {how}."]
    if worse:
        sentences.append(f"{len(worse)} did worse{_named(worse)}.")
    if few := [name for name in level if _cannot_show(comparison, group, name)]:
        level = [name for name in level if name not in few]
        told = "; ".join(_observed(comparison, group, name) for name in few)
        sentences.append(f"There are too few cases for a test to show anything at this level: {told}.")
    if level:
        sentences.append(
            f"No difference was shown for {listed(level)}, which is not evidence that there is none."
        )
    if untested:
        why = next(test.why_not for name in untested if (test := group.test(name)) is not None)
        sentences.append(f"{len(untested)} could not be tested{_named(untested)}: {why or 'no p value'}.")
    return sentences


def _cannot_show(comparison: Comparison, group: ArmGroup, name: str) -> bool:
    """Whether even an arm that wins or loses every case would have a corrected p of alpha or more."""
    test = group.test(name)
    return test is not None and 2.0 ** (1 - test.n) * len(group.against_baseline) >= comparison.alpha


def _observed(comparison: Comparison, group: ArmGroup, name: str) -> str:
    """``mean_teacher -0.190, better in 0 of 4``."""
    test = group.test(name)
    if test is None:
        return name
    difference = number(test.difference, digits(comparison.metric), signed=True)
    return f"{name} {difference}, better in {test.wins} of {test.n}"


def _largest(comparison: Comparison, group: ArmGroup) -> list[str]:
    """The largest gain that a test supports, and how far it leads towards all labels."""
    gains = [
        test
        for test in group.against_baseline
        if verdict(group, group.arm(test.a), comparison.alpha) == "better"
    ]
    if not gains:
        return []
    sign = -1 if lower_is_better(comparison.metric) else 1
    best = max(gains, key=lambda test: sign * test.difference)
    picked = len(group.against_baseline) > 2
    where = f"better in {plural(best.wins, sampled(group))} of {best.n}"
    return [
        f"{'The largest' if len(gains) > 1 else 'Its'} gain is {_gain(comparison, best)}, {where}"
        f"{f' ({best.a})' if len(gains) > 1 else ''}.",
        *_share(comparison, group, best),
        *(["Picked as the largest of several, it is likely to be smaller next time."] if picked else []),
    ]


def _gain(comparison: Comparison, test: PairTest) -> str:
    places = digits(comparison.metric)
    named = unit(comparison, comparison.metric)
    text = f"{number(test.difference, places, signed=True)}{f' {named}' if named else ''}"
    if not math.isnan(test.interval.low):
        between = span(test.interval, places, signed=True)
        text += f" ({100 * test.interval.level:.0f}\u00a0% interval {between})"
    return text


def _share(comparison: Comparison, group: ArmGroup, best: PairTest) -> list[str]:
    if group.upper is None or group.baseline is None:
        return []
    low, high, reached = (
        group.summary(name, comparison.metric).mean for name in (group.baseline, group.upper.name, best.a)
    )
    sign = -1 if lower_is_better(comparison.metric) else 1
    if math.isnan(high - low) or sign * (high - low) <= 0 or sign * (reached - low) <= 0:
        return []
    share = (reached - low) / (high - low)
    if share >= 1:
        return [f"It reaches what supervised training with all {plural(group.upper.labeled, 'label')} does."]
    return [
        f"That is {100 * share:.0f}\u00a0% of the way from {group.baseline} with "
        f"{plural(group.labeled, 'label')} to supervised training with all {group.upper.labeled}."
    ]


def _ranks(comparison: Comparison, group: ArmGroup) -> list[str]:
    ranking = group.ranking
    if ranking.why_not or math.isnan(ranking.p):
        return []
    if ranking.p >= comparison.alpha:
        return [f"Friedman's test finds no difference among all of them (p = {p_value(ranking.p)})."]
    first = next(iter(ranking.mean_ranks))
    level = [name for clique in ranking.cliques if first in clique for name in clique if name != first]
    if not level:
        return [f"In mean rank {first} is ahead of all others."]
    return [f"In mean rank {first} comes first, and is not told apart from {listed(level)}."]


def _seeds(group: ArmGroup) -> list[str]:
    counts = {arm.replicates for arm in group.arms if arm.bound != "upper"}
    if counts == {1}:
        return [
            "One seed only: the spread between seeds is unknown, and another seed may change their order."
        ]
    single = [arm.name for arm in group.arms if arm.replicates == 1 and arm.bound != "upper"]
    if single:
        return [f"With one seed the spread between seeds is unknown for {listed(single)}."]
    return []


def _missing(group: ArmGroup) -> list[str]:
    if not group.missing:
        return []
    number_of = len(group.missing)
    return [f"{plural(number_of, 'run')} that should be here {'is' if number_of == 1 else 'are'} missing."]


def _named(names: list[str]) -> str:
    return f": {listed(names)}" if names else ""
