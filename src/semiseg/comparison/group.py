"""Arms (runs alike but for seed and fold), and groups of arms (one dataset, one number of labels)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from semiseg.comparison.differences import fixed, settings, told_apart
from semiseg.comparison.read import SOURCES
from semiseg.comparison.result import Arm, MissingCell, RunScores, Source
from semiseg.errors import UsageError, plural
from semiseg.runs.score import to_score

BOUNDS = "supervised"
"""The method of lower and upper bounds."""


@dataclass(frozen=True)
class UncomputedGroup:
    """The arms of a group before anything is computed."""

    dataset: str
    budget: str
    source: Source
    arms: tuple[Arm, ...]
    """Upper bounds last."""

    @property
    def labeled(self) -> int:
        """Cases with a label."""
        return next(arm for arm in self.arms if arm.bound != "upper").labeled


def group_runs(runs: Sequence[RunScores]) -> tuple[list[UncomputedGroup], list[MissingCell]]:
    """Sort runs that were scored into the arms of groups, datasets by name and fewest labels first.

    Test scores are compared with test scores: where a dataset has them, a run that has been scored on other
    cases only is missing. So it is with scores of held-out cases where some run has these.

    Raises:
        UsageError: two runs of one arm with the same fold and seed.
    """
    groups: list[UncomputedGroup] = []
    missing: list[MissingCell] = []
    for dataset in sorted({run.dataset for run in runs}):
        own = [run for run in runs if run.dataset == dataset]
        source: Source = next(source for source in SOURCES if any(run.source == source for run in own))
        missing += [_scored_on_others(run, source) for run in own if run.source != source]
        groups += _groups(dataset, source, _arms([run for run in own if run.source == source]))
    return groups, missing


def budget(run: RunScores) -> str:
    """What a run was given, in words; the same for all seeds and folds."""
    data = run.config["data"]
    if data["labeled_patients"]:
        return plural(data["labeled_patients"], "labeled patient")
    return f"{data['labeled']} labeled" if data["labeled"] else "all labeled"


def _asked(run: RunScores) -> Hashable:
    return run.config["data"]["labeled_patients"], run.config["data"]["labeled"]


def _arms(runs: Sequence[RunScores]) -> list[Arm]:
    """One arm per base name, settings and budget; names are the same at all budgets."""
    kinds: dict[str, dict[Hashable, dict[str, Any]]] = {}
    keys: list[tuple[str, Hashable]] = []
    for run in runs:
        known = settings(run)
        keys.append((_base(run), fixed(known)))
        kinds.setdefault(_base(run), {})[fixed(known)] = known
    names: dict[tuple[str, Hashable], str] = {}
    for base, variants in kinds.items():
        for key, suffix in zip(variants, told_apart(list(variants.values())), strict=True):
            names[base, key] = f"{base} ({suffix})" if suffix else base
    parts: dict[tuple[str, Hashable], list[RunScores]] = {}
    for run, key in zip(runs, keys, strict=True):
        parts.setdefault((names[key], _asked(run)), []).append(run)
    return [_arm(name, part) for (name, _), part in parts.items()]


def _base(run: RunScores) -> str:
    return run.variant or run.method


def _arm(name: str, runs: Sequence[RunScores]) -> Arm:
    ordered = sorted(runs, key=lambda run: (run.fold, run.seed))
    for one, other in pairwise(ordered):
        if (one.fold, one.seed) == (other.fold, other.seed):
            raise UsageError(
                f"two runs of {name} have fold {one.fold} and seed {one.seed}: "
                f"{one.folder} and {other.folder}",
                hint="the same run twice is not two seeds: leave one out",
                code="SAME_RUN_TWICE",
            )
    first = ordered[0]
    cases = tuple(dict.fromkeys(case for run in ordered for case in run.cases))
    return Arm(name, first.method, first.dataset, first.labeled, tuple(ordered), cases, first.classes)


def _groups(dataset: str, source: Source, arms: Sequence[Arm]) -> list[UncomputedGroup]:
    """Arms by budget; supervised training is the lower bound, on all labels the upper one elsewhere."""
    by_budget: dict[str, list[Arm]] = {}
    for arm in sorted(arms, key=lambda arm: arm.labeled):
        by_budget.setdefault(budget(arm.runs[0]), []).append(arm)
    everything = [arm for arm in arms if _is_upper(arm)]
    groups = []
    for words, own in by_budget.items():
        if len(by_budget) > 1 and all(arm in everything for arm in own):
            continue
        lower = [replace(arm, bound="lower") if arm.method == BOUNDS else arm for arm in own]
        above = [replace(a, bound="upper", name=with_all_labels(a.name)) for a in everything if a not in own]
        groups.append(UncomputedGroup(dataset, words, source, (*lower, *above)))
    return groups


def with_all_labels(name: str) -> str:
    """What an upper bound is called in the group of a smaller budget, where the lower bound has its name."""
    return f"{name}, all labels"


def _is_upper(arm: Arm) -> bool:
    """Whether a sweep said so, or every training case was labeled, as asked for or because so many were."""
    told = any(run.bound == "upper" for run in arm.runs)
    return told or (
        arm.method == BOUNDS
        and (_asked(arm.runs[0]) == (None, None) or not any(run.split.get("unlabeled") for run in arm.runs))
    )


def _scored_on_others(run: RunScores, source: Source) -> MissingCell:
    return MissingCell(
        dataset=run.dataset,
        name=_base(run),
        labeled=run.labeled,
        fold=run.fold,
        seed=run.seed,
        reason=f"scored on its {run.source} cases only, the others on {source} cases",
        command=" && ".join(to_score(run.folder, run.dataset)),
        folder=run.folder,
    )


def patients_of(arms: Iterable[Arm], cases: Sequence[str]) -> tuple[int, ...]:
    """For each case the number of its patient, from 0; empty where every case is a patient of its own.

    Whose a case is, the runs have from the split file (``group_by_patient``).
    """
    told: dict[str, str] = {}
    for arm in arms:
        for run in arm.runs:
            told.update(run.split.get("patients") or {})
    numbers: dict[str, int] = {}
    units = tuple(numbers.setdefault(told.get(case, f"case {case}"), len(numbers)) for case in cases)
    return units if len(numbers) < len(cases) else ()


def common_cases(arms: Iterable[Arm]) -> tuple[str, ...]:
    """The cases that every run of every arm scored (over all folds of a seed), by name.

    By name, so that the draws of a bootstrap do not depend on the order of the files.
    """
    scored = [{case for run in runs for case in run.cases} for arm in arms for runs in arm.replicated]
    return tuple(sorted(set.intersection(*scored)))
