"""Runs in, comparison out: collected, checked, grouped and computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from semiseg.comparison import compute
from semiseg.comparison.checks import notices, require_alike, require_common
from semiseg.comparison.compute import Rule, beside
from semiseg.comparison.differences import differences
from semiseg.comparison.group import BOUNDS, UncomputedGroup, common_cases, group_runs, patients_of
from semiseg.comparison.read import collect
from semiseg.comparison.result import Arm, ArmGroup, Comparison, MissingCell, RunScores
from semiseg.errors import UsageError, plural, unknown_name
from semiseg.evaluation import conventions
from semiseg.evaluation.case import DISTANCES, OVERLAP

SHOWN = ("Dice", "HD95", "HD95Max", "ASSD")
"""Beside the metric that is tested; ASD where distances are in voxels, as papers have it."""


def compare(
    *runs: str | Path | Iterable[str | Path],
    metric: str = "Dice",
    baseline: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Comparison:
    """Compare trained runs on the test cases that all of them scored, per dataset and number of labels.

    A run's scores are those that ``semiseg evaluate`` wrote into its folder ``test``, else those of its
    validation cases.

    Args:
        runs: run folders, folders above run folders, sweeps, or lists of them.
        metric: what is tested and ranked: Dice, Jaccard, NSD, HD95, HD95Max, ASD,
            ASDReverse or ASSD.
        baseline: the method that all others are tested against; None is supervised training with the
            same labels.
        alpha: the level of the tests, between 0 and 1; confidence intervals have 1 - alpha.
        seed: the seed of the bootstrap.

    Returns:
        The comparison, as plain data; ``semiseg.comparison.write(comparison, folder)`` writes tables, figures
        and a report. Runs without scores are listed in ``missing``.

    Raises:
        UsageError: no runs or no scores, an unknown metric or baseline, scores that cannot be compared.
    """
    _require_known(metric, alpha)
    given = ([each] if isinstance(each, str | Path) else each for each in runs)
    found = collect(Path(path) for several in given for path in several)
    if not found.runs:
        raise _nothing(found.missing)
    require_alike(found.runs)
    parts, unscored = group_runs(found.runs)
    missing = (*found.missing, *unscored)
    rule = Rule(metric, alpha, seed)
    metrics = _shown(metric, found.runs)
    _require_baseline(baseline, parts)
    groups = tuple(_group(part, rule, metrics, baseline, missing) for part in parts)
    run = found.runs[0]
    return Comparison(
        groups=groups,
        metric=metric,
        metrics=metrics,
        alpha=alpha,
        seed=seed,
        resamples=rule.resamples,
        convention=run.convention,
        unit=next((other.unit for other in found.runs if other.unit != "px"), run.unit),
        nsd_tolerance_mm=run.nsd_tolerance_mm,
        missing=missing,
        notices=(*_left_out(found.runs), *_elsewhere(missing, groups)),
    )


def _group(
    part: UncomputedGroup,
    rule: Rule,
    metrics: Sequence[str],
    baseline: str | None,
    missing: Sequence[MissingCell],
) -> ArmGroup:
    cases = common_cases(part.arms)
    require_common(cases, part.arms)
    rule = replace(rule, units=patients_of(part.arms, cases))
    arms = [replace(arm, cases=cases) for arm in part.arms]
    upper = [arm for arm in arms if arm.bound == "upper"]
    own = [arm for arm in arms if arm.bound != "upper"]
    base, why = _baseline(own, baseline)
    first = [base] if base else []
    others = [arm for arm in compute.ordered(own, rule) if arm is not base]
    rows = (*first, *others, *upper)
    summaries = compute.summaries(rows, metrics, rule)
    return ArmGroup(
        dataset=part.dataset,
        labeled=part.labeled,
        budget=part.budget,
        source=part.source,
        cases=cases,
        classes=rows[0].classes,
        arms=rows,
        baseline=base.name if base else None,
        summaries=summaries,
        against_baseline=compute.family(((arm, base) for arm in others), rule) if base else (),
        pairs=compute.all_pairs(own, rule),
        ranking=compute.ranking(own, rule),
        published=beside(rows, metrics, summaries),
        missing=tuple(cell for cell in missing if _belongs(cell, part.dataset, part.labeled)),
        differences=differences(rows),
        notices=(*why, *_sample(rule, len(cases), len(others) if base else 0), *notices(part.arms, cases)),
    )


def _baseline(arms: Sequence[Arm], name: str | None) -> tuple[Arm | None, list[str]]:
    """The arm that others are tested against, or why there is none in this group."""
    if name is not None:
        chosen = next((arm for arm in arms if arm.name == name), None)
        return chosen, [] if chosen else [
            f"no {name} with this number of labels: nothing is tested against it"
        ]
    supervised = [arm for arm in arms if arm.method == BOUNDS]
    plain = [arm for arm in supervised if arm.name == BOUNDS]  # a sweep's own, beside variants with names
    candidates = plain or supervised
    if len(candidates) == 1:
        return candidates[0], []
    if not supervised:
        return None, [f"no {BOUNDS} run with this number of labels: no lower bound to test against"]
    names = ", ".join(arm.name for arm in supervised)
    return None, [f"several arms could be the baseline ({names}): choose one with --baseline"]


def _sample(rule: Rule, cases: int, tests: int) -> list[str]:
    """What a reader must know of who was scanned, where ``tests`` arms are tested against the baseline."""
    count = max(rule.units) + 1 if rule.units else cases
    told = []
    if rule.units:
        told.append(
            f"{plural(cases, 'case')} of {plural(count, 'patient')}: each patient counts once in "
            "intervals, tests and ranks"
        )
    smallest = 2.0 ** (1 - count)
    if smallest >= rule.alpha:
        told.append(
            f"no signed-rank test of {count} can reach p < {rule.alpha:g}: the smallest is {smallest:.3g}"
        )
    elif smallest * tests >= rule.alpha:
        told.append(
            f"no signed-rank test of {count} can reach p < {rule.alpha:g} after the correction for {tests} "
            f"tests: the smallest is {min(smallest * tests, 1.0):.3g}"
        )
    return told


def _require_known(metric: str, alpha: float) -> None:
    if metric not in (*OVERLAP, *DISTANCES):
        raise unknown_name("metric", metric, (*OVERLAP, *DISTANCES))
    if not 0 < alpha < 1:
        raise UsageError(f"alpha is {alpha}", hint="give a level between 0 and 1, such as 0.05")


def _require_baseline(baseline: str | None, groups: Sequence[UncomputedGroup]) -> None:
    names = {arm.name for part in groups for arm in part.arms if arm.bound != "upper"}
    if baseline is not None and baseline not in names:
        raise unknown_name("baseline", baseline, names)


def _shown(metric: str, runs: Sequence[RunScores]) -> tuple[str, ...]:
    """The tested metric, then those that are always shown, as far as every run has them."""
    voxels = conventions.find(runs[0].convention).unit == "voxel"
    usual = [("ASD" if voxels and m == "ASSD" else m) for m in SHOWN]
    shown = tuple(m for m in dict.fromkeys([metric, *usual]) if all(m in run.scores for run in runs))
    if metric not in shown:
        lacking = next(run for run in runs if metric not in run.scores)
        raise UsageError(
            f"{lacking.predictions} has no {metric}",
            hint="score it again with `semiseg evaluate REF PRED --distances`, or choose another --metric",
            code="NO_METRIC",
        )
    return shown


def _left_out(runs: Sequence[RunScores]) -> list[str]:
    """A line for each metric that only some of the runs have, as those scored by older versions lack some."""
    lines = []
    for metric in SHOWN:
        without = [run for run in runs if metric not in run.scores]
        if without and len(without) < len(runs):
            some = f"{len(without)} of {plural(len(runs), 'run was', 'runs were')}"
            lines.append(
                f"{metric} is not shown: {some} scored without it, such as "
                f"{without[0].folder}; `semiseg evaluate REF PRED --overwrite` adds it"
            )
    return lines


def _nothing(missing: Sequence[MissingCell]) -> UsageError:
    first = missing[0] if missing else None
    return UsageError(
        f"none of {plural(len(missing), 'run')} has scores" + (f"; {first.why}" if first else ""),
        hint=(
            f"for the first one, where the folder {first.dataset} lies: {first.command}"
            if first and first.command
            else "run `semiseg predict -o RUN/test` and `semiseg evaluate` for each"
        ),
        code="NO_SCORES",
        details={"missing": [str(cell) for cell in missing]},
    )


def _belongs(cell: MissingCell, dataset: str, labeled: int) -> bool:
    """Whether a group shows a cell; one with all labels stands below every group of its dataset."""
    return cell.dataset == dataset and cell.labeled in (None, labeled)


def _elsewhere(missing: Sequence[MissingCell], groups: Sequence[ArmGroup]) -> tuple[str, ...]:
    """Missing cells that no group shows."""
    lost = [cell for cell in missing if not any(_belongs(cell, b.dataset, b.labeled) for b in groups)]
    return tuple(f"missing in {cell.dataset or 'an unknown dataset'}: {cell}" for cell in lost)
