"""A tuning as the terminal shows it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from semiseg.tuning.entry import Entry, better

if TYPE_CHECKING:
    from semiseg.tuning.outline import Outline
    from semiseg.tuning.tune import Tuned

SHOWN = 10
"""Trials in the table."""


def plan_words(plan: Outline, trials: int) -> Iterator[str]:
    """What will be searched, and at what cost."""
    yield f"rests on {plan.basis}"
    yield f"{trials} trials of up to {plan.folds} trainings, {plan.iterations} iterations each"
    for name, axis in plan.search.axes.items():
        yield f"  {name}: {axis} (now {_short(plan.search.start[name])})"
    reasons: dict[str, list[str]] = {}
    for name, why in plan.search.left_out.items():
        reasons.setdefault(why, []).append(name)
    yield from (f"  {', '.join(names)}: not searched, {why}" for why, names in reasons.items())


def table(tuned: Tuned) -> list[tuple[str, ...]]:
    """Header and rows: the best trials, and the start wherever it stands."""
    metric, search = tuned.outline.metric, tuned.outline.search
    ranked = better(tuned.entries, higher_is_better=metric.higher_is_better)
    shown = [entry for place, entry in enumerate(ranked) if place < SHOWN or entry.start]
    names = list(search.axes)
    rows = [("trial", f"{metric} (mean ± SD of folds)", *names)]
    for entry in shown:
        values = {**search.start, **entry.values} if entry.start else entry.values
        mark = f"{entry.number} (start)" if entry.start else str(entry.number)
        rows.append((mark, _score(entry), *(_short(values.get(name, "")) for name in names)))
    return rows


def result_words(tuned: Tuned) -> Iterator[str]:
    """What follows the table."""
    counts = {state: sum(e.state == state for e in tuned.entries) for state in ("pruned", "failed", "died")}
    counted = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    if counted:
        yield f"also: {counted} (trials.csv says why)"
    if tuned.importance:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in tuned.importance.items())
        yield f"what decides (PED-ANOVA of {len(tuned.entries)} trials): {shares}"
    verdict = tuned.verdict
    yield (
        verdict.reason
        + "; " * (verdict.chosen is None)
        + ("best.yaml keeps the settings as they were" if verdict.chosen is None else "")
    )
    yield f"rests on {tuned.outline.basis}"
    yield f"use it: semiseg train {tuned.outline.dataset.root} -c {tuned.best_file}"


def in_a_line(entry: Entry, metric: str) -> str:
    """``trial 7 done, Dice 0.812 ± 0.021: weight 3.2``."""
    what = f"trial {entry.number}{' (start)' * entry.start} {entry.state}"
    if entry.score is not None:
        what += f", {metric} {_score(entry)}"
    values = values_text(entry.values)
    return what + (f": {values}" if values else "") + (f" ({entry.note})" if entry.note else "")


def values_text(values: Mapping[str, Any]) -> str:
    """``weight 3.2, decay 0.98``."""
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _score(entry: Entry) -> str:
    spread = f" ± {statistics.stdev(entry.folds):.4f}" if len(entry.folds) > 1 else ""
    return f"{entry.score:.4f}{spread}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
