"""What must be alike to be compared at all (errors), and what a reader must know (notices)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from semiseg.comparison.result import Arm, RunScores
from semiseg.errors import UsageError, plural, some


def _few(names: Iterable[str]) -> str:
    return some(sorted(names), 3)


def _runs(arms: Iterable[Arm]) -> Iterator[tuple[str, RunScores]]:
    """(name of its arm, run)."""
    return ((arm.name, run) for arm in arms for run in arm.runs)


def require_alike(runs: Sequence[RunScores]) -> None:
    """Refuse scores that were counted by different rules.

    Raises:
        UsageError: two conventions, two tolerances of NSD, other classes or other references in one dataset.
    """
    _one("conventions", runs, lambda run: run.convention, "--convention")
    _one("tolerances of NSD", runs, lambda run: f"{run.nsd_tolerance_mm:g} mm", "--nsd-tolerance")
    for dataset in sorted({run.dataset for run in runs}):
        own = [run for run in runs if run.dataset == dataset]
        _one(f"lists of classes of {dataset}", own, lambda run: ", ".join(sorted(run.classes)), "--dataset")
        _require_same_references(own)


def _require_same_references(runs: Iterable[RunScores]) -> None:
    """Refuse scores against references that differ, as their numbers of voxels show."""
    seen: dict[tuple[str, str], tuple[float, RunScores]] = {}
    for run in runs:
        for case, row in zip(run.cases, run.scores.get("n_ref", ()), strict=False):
            for label, voxels in zip(run.classes, row, strict=True):
                before, other = seen.setdefault((case, label), (voxels, run))
                if voxels != before:
                    raise UsageError(
                        f"{case} was scored against different references: {label} has {before:.0f} voxels in "
                        f"{other.predictions} and {voxels:.0f} in {run.predictions}",
                        hint="score both against the same references: semiseg evaluate REF PRED --overwrite",
                        code="REFERENCES_DIFFER",
                    )


def require_common(cases: Sequence[str], arms: Sequence[Arm]) -> None:
    """Refuse a group without a case that all its runs scored (UsageError that names two arms)."""
    if cases:
        return
    first = arms[0]
    other = next((arm for arm in arms if not set(arm.cases) & set(first.cases)), arms[-1])
    raise UsageError(
        f"no case was scored by all runs of {first.dataset}: {first.name} has {_few(first.cases)}, "
        f"{other.name} has {_few(other.cases)}",
        hint="compare runs that were scored on the same test cases",
        code="NO_COMMON_CASES",
    )


def notices(arms: Sequence[Arm], cases: Sequence[str]) -> tuple[str, ...]:
    """What weakens a comparison, most serious first, one line each."""
    own = [arm for arm in arms if arm.bound != "upper"]
    return (
        *_lost_cases(arms, cases),
        *_splits(own),
        *_training_cases(arms, cases),
        *_seeds(own),
        *_rules(own),
        *_ends(arms),
        *_deviations(arms),
    )


def _one(what: str, runs: Sequence[RunScores], of: Callable[[RunScores], str], flag: str) -> None:
    found: dict[str, RunScores] = {}
    for run in runs:
        found.setdefault(of(run), run)
    if len(found) < 2:
        return
    told = "; ".join(f"{value} in {run.predictions}" for value, run in found.items())
    raise UsageError(
        f"the scores follow {len(found)} {what}: {told}",
        hint=f"score all runs alike: semiseg evaluate REF PRED {flag} … --overwrite",
        code="SCORES_DIFFER",
        details={value: str(run.predictions) for value, run in found.items()},
    )


def _lost_cases(arms: Sequence[Arm], cases: Sequence[str]) -> Iterator[str]:
    everyone = {case for arm in arms for case in arm.cases}
    if lost := everyone - set(cases):
        yield (
            f"compared on the {plural(len(cases), 'case')} that all runs scored; left out everywhere: "
            f"{_few(lost)}, which some run lacks"
        )
    for name, run in _runs(arms):
        yield from (f"{name}, fold {run.fold}, seed {run.seed}: {line}" for line in run.notices)


def _splits(arms: Sequence[Arm]) -> Iterator[str]:
    """Runs of one fold and seed that were trained with different scans or files."""
    cells: dict[tuple[int, int], list[tuple[str, RunScores]]] = {}
    for name, run in _runs(arms):
        cells.setdefault((run.fold, run.seed), []).append((name, run))
    for (fold, seed), runs in cells.items():
        for key, what in (("split_sha256", "lists of cases"), ("data_sha256", "image or label files")):
            by_hash: dict[Any, list[str]] = {}
            for name, run in runs:
                by_hash.setdefault(run.manifest.get(key), []).append(name)
            if len(by_hash) > 1:
                told = " | ".join(_few(names) for names in by_hash.values())
                yield f"fold {fold}, seed {seed}: trained with different {what}: {told}"
                break


def _training_cases(arms: Sequence[Arm], cases: Sequence[str]) -> Iterator[str]:
    for name, run in _runs(arms):
        if seen := set(cases) & set(run.cases) & set(run.split.get("labeled", ())):
            yield f"{name}, seed {run.seed}: scored cases that were labeled in training: {_few(seen)}"
    validated = [(name, run) for name, run in _runs(arms) if run.source == "validation"]
    if validated:
        yield "scores of validation cases: there are no test scores"
    if any(run.source == "held-out" for _, run in _runs(arms)):
        yield "scores of held-out cases, each by the fold that has not seen it: there are no test scores"
    if chosen := {name for name, run in validated if run.manifest.get("selection") == "best-val"}:
        yield f"the scored validation cases also chose the weights of {_few(chosen)}"


def _seeds(arms: Sequence[Arm]) -> Iterator[str]:
    single = [arm.name for arm in arms if arm.replicates == 1]
    if single:
        yield (
            f"one run of {_few(single)}: a test says whether these models differ on these cases, "
            "not whether the methods would differ again with other seeds"
        )
    seeds = {arm.name: arm.seeds for arm in arms}
    if len(set(seeds.values())) > 1:
        told = "; ".join(
            f"{' '.join(map(str, found))}: {_few(n for n, s in seeds.items() if s == found)}"
            for found in sorted(set(seeds.values()))
        )
        yield f"not all have the same seeds ({told})"


RULES = (
    ("how the weights were chosen", lambda run: run.manifest.get("selection")),
    ("protocols", lambda run: run.manifest.get("protocol")),
    ("lengths of training", lambda run: f"{run.iterations} iterations"),
    ("recipes", lambda run: run.recipe),
    ("networks", lambda run: run.network),
    ("patches", lambda run: run.plan.get("patch")),
)
"""What a fair comparison holds fixed."""


def _rules(arms: Sequence[Arm]) -> Iterator[str]:
    for what, of in RULES:
        found: dict[str, list[str]] = {}
        for arm in arms:
            for value in dict.fromkeys(str(of(run)) for run in arm.runs):
                found.setdefault(value, []).append(arm.name)
        if len(found) > 1:
            told = "; ".join(f"{value}: {_few(names)}" for value, names in found.items())
            yield f"{what} differ ({told})"


def _ends(arms: Sequence[Arm]) -> Iterator[str]:
    for name, run in _runs(arms):
        if not run.finished:
            reason = (run.manifest.get("sessions") or [{}])[-1].get("reason", "unknown")
            yield f"{name}, seed {run.seed}: ended early at iteration {run.iterations} ({reason})"


def _deviations(arms: Sequence[Arm]) -> Iterator[str]:
    for arm in arms:
        for told in dict.fromkeys(line for run in arm.runs for line in run.manifest.get("deviations") or ()):
            yield f"{arm.name} deviates: {told.removeprefix(f'{arm.method}: ')}"
