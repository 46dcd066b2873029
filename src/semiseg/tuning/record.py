"""A trial as the study tells it, and their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the study has it.

    Attributes:
        number: from 0, which is the setting as it was before tuning.
        state: ``done``, ``pruned``, ``failed``, ``died`` (and tried again) or ``running``.
        values: of what is searched; empty for a start that is not in the space.
        folds: score per fold.
        note: why it failed.
        attempt: from 1; an earlier one died.
        home: number under which its runs are kept.
        repeats: an earlier trial with the same values, whose score it has.
    """

    number: int
    state: str
    values: Mapping[str, Any]
    score: float | None = None
    folds: tuple[float, ...] = ()
    seconds: float | None = None
    note: str = ""
    attempt: int = 1
    home: int = 0
    repeats: int | None = None
    deviations: tuple[str, ...] = ()
    start: bool = False


def better(entries: Sequence[TrialRecord], *, higher_is_better: bool) -> list[TrialRecord]:
    """The scored trials without repetitions, best first."""
    scored = [entry for entry in entries if entry.state == "done" and entry.repeats is None]
    sign = -1 if higher_is_better else 1
    return sorted(scored, key=lambda entry: (sign * (entry.score or 0.0), entry.number))
