"""From a situation to a ranking: what figures promise plus what the rules say, and last what does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semiseg import methods
from semiseg.advice.figures import Row, all_figures, gain
from semiseg.advice.rules import RULES, SHORTEST, Rule
from semiseg.advice.situation import Situation
from semiseg.methods._describe import Description


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
    rules: Sequence[Rule] = RULES,
) -> list[Choice]:
    """All methods, the best first; those that do not fit last.

    Args:
        situation: see :mod:`semiseg.advice.look`.
        names: the methods; None for all of the folder.
        figures: measured and published rows; None for those that come with semiseg.
        rules: the selection guide.
    """
    here, papers = all_figures() if figures is None else figures
    choices = []
    for name in methods.names() if names is None else names:
        reasons = [Reason(r.points, r.why, r.evidence) for r in rules if r.applies(name, situation)]
        if name == "supervised":
            reasons.append(
                Reason(0.0, "learns from the labels alone: what the others must beat", "by definition")
            )
        else:
            promise = gain(name, situation, here, papers)
            source = "benchmarks/results" if promise.measured else "published.csv"
            reasons.append(Reason(promise.points, promise.text, source))
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
        work=about.work,
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
        return f"{count} iterations in {situation.minutes:g} minutes: too few for unlabeled scans to help"
    return ""
