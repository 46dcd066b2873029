"""Whether the best trial is better than the start, or only the luckiest.

Three things make the best of many trials look good. Folds share most of their training cases, and so say
less than as many independent ones: hence the corrected variance of Nadeau and Bengio (Machine Learning 52,
2003, doi:10.1023/A:1024068626366). There are few of them: hence Student's t. And among many equal settings
one comes out on top: hence not the middle of t, but where the largest of so many draws is expected (Blom,
1958).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from semiseg.errors import plural
from semiseg.settings.config import Config
from semiseg.tuning.outline import Outline
from semiseg.tuning.trial import TrialRecord, better


@dataclass(frozen=True)
class Verdict:
    """What to train with.

    Attributes:
        chosen: the trial; None for the start.
        best: the trial with the best score; None where there is no other than the start.
        gain: of the best over the start, positive for better, mean over the folds.
        chance: the gain that the best of as many equal settings is expected to show.
        reason: one sentence.
    """

    chosen: TrialRecord | None
    best: TrialRecord | None
    gain: float
    chance: float
    reason: str


def judge(
    entries: Sequence[TrialRecord],
    metric: str,
    *,
    higher_is_better: bool,
    deviations: frozenset[str] = frozenset(),
    force: bool = False,
) -> Verdict:
    """Compare the best trial with the start, fold by fold."""
    start = next((entry for entry in entries if entry.start and entry.state == "done"), None)
    others = [
        entry
        for entry in better(entries, higher_is_better=higher_is_better)
        if not entry.start and deviations.issuperset(entry.deviations)
    ]
    if start is None or not others:
        what = "the start" if start is None else "no other trial than the start"
        return Verdict(None, None, 0.0, 0.0, f"{what} was {'not ' * (start is None)}scored")
    best = others[0]
    sign = 1.0 if higher_is_better else -1.0
    gains = [sign * (mine - theirs) for mine, theirs in zip(best.folds, start.folds, strict=True)]
    gain, chance = statistics.mean(gains), standard_error(gains) * expected_best(len(others), len(gains))
    if gain <= 0:
        return Verdict(None, best, gain, chance, f"no trial has a better {metric} than the start")
    compared = (
        f"trial {best.number} gains {gain:.4f} {metric} over the start; the best of {len(others)} equal "
        f"settings would gain about {chance:.4f} by the noise between {plural(len(gains), 'fold')}"
    )
    if force or gain > chance:
        return Verdict(best, best, gain, chance, compared + (", but it was asked for" * (gain <= chance)))
    return Verdict(None, best, gain, chance, f"within noise: {compared}")


def standard_error(gains: Sequence[float]) -> float:
    """Of the mean over folds, whose training cases overlap: ``SD sqrt(1/k + 1/(k-1))``."""
    folds = len(gains)
    return statistics.stdev(gains) * math.sqrt(1 / folds + 1 / (folds - 1))


def expected_best(count: int, folds: int) -> float:
    """The largest of ``count`` draws of t with ``folds - 1`` degrees of freedom, about; at least 1."""
    return max(1.0, float(stats.t.ppf((count - 0.375) / (count + 0.25), folds - 1)))


@dataclass(frozen=True)
class Tuned:
    """What a tuning found.

    Attributes:
        folder: its files, see :mod:`semiseg.tuning`.
        outline: what was to be done.
        entries: every trial, in their order.
        verdict: the choice and its reason.
        importance: name -> how much it decides whether a trial is among the best; empty for few trials.
        config: for the final training, as ``best.yaml`` has it.
    """

    folder: Path
    outline: Outline
    entries: Sequence[TrialRecord]
    verdict: Verdict
    importance: dict[str, float]
    config: Config

    @property
    def best_file(self) -> Path:
        """For ``semiseg train -c``."""
        return self.folder / "best.yaml"
