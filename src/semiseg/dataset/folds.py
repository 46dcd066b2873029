"""Folds of a cross-validation: every labeled case is held out once, and no patient is cut in two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from semiseg.dataset.patient import PatientRule, rule_from_names
from semiseg.dataset.split import seeded_order
from semiseg.dataset.split_file import Fold, SplitFile
from semiseg.errors import UsageError, plural, some

FOLDS = 5
"""Where nobody says how many, and there are as many patients."""


@dataclass(frozen=True)
class CaseIds:
    """The cases of a dataset by what the folder says of them; ``labeled`` are training cases with a label."""

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


def foldable(file: SplitFile | None, ids: CaseIds) -> list[str]:
    """Labeled cases that may be held out: all that no published list has for validation or test."""
    if file is None:
        return list(ids.labeled)
    others = {*(file.test or ()), *(case for fold in file.folds for case in fold.val)}
    known = set(ids.labeled)
    return [case for case in file.order or ids.labeled if case in known and case not in others]


def in_no_fold(file: SplitFile | None, ids: CaseIds) -> list[str]:
    """Labeled cases that the folds of the file do not know, such as those that were labeled since."""
    if file is None or not file.cross_validation:
        return []
    dealt = {case for fold in file.cross_validation for case in fold.held_out}
    return [case for case in foldable(file, ids) if case not in dealt]


def patient_rule(file: SplitFile | None, ids: CaseIds) -> PatientRule | None:
    """The rule of the file, else what the names of the labeled cases say."""
    return file.patients if file is not None and file.patients is not None else rule_from_names(ids.labeled)


def common_rule(rule: PatientRule | None, ids: CaseIds) -> PatientRule | None:
    """A rule that may stand in the file: it fits every name, and keeps each patient in one list."""
    if rule is None:
        return None
    patients = [{rule.patient(case) for case in cases} for cases in (ids.labeled, ids.unlabeled, ids.test)]
    apart = sum(map(len, patients)) == len(set().union(*patients))
    return rule if apart and not any(None in found for found in patients) else None


def fold_count(file: SplitFile | None, ids: CaseIds, wanted: int | None = None) -> int:
    """How many folds there are in the file, or can be made of the labeled cases (None: five, or fewer).

    Raises:
        UsageError: a single labeled case or patient, more folds than these, or another number of folds in
            the file.
    """
    if file is not None and file.cross_validation:
        there = len(file.cross_validation)
        if wanted not in (None, there):
            raise UsageError(
                f"{plural(wanted or 0, 'fold')}, but {file.source} has {there}",
                hint=f"`semiseg split DATASET --folds {wanted} --overwrite` makes others",
                code="FOLD",
            )
        return there
    rule = patient_rule(file, ids)
    return count_of(by_patient(foldable(file, ids), rule), wanted, rule)


def count_of(
    cases: Sequence[Sequence[str]], wanted: int | None, rule: PatientRule | None, usual: int = FOLDS
) -> int:
    """The number of folds of cases, those of a patient together: the wanted one; else ``usual``, or fewer.

    Raises:
        UsageError: a single group of cases, more folds than groups, or a single fold.
    """
    groups, unit = len(cases), "labeled patient" if rule else "labeled case"
    if groups < 2:
        raise UsageError(
            f"folds need at least 2 {unit}s, one to learn from and one to be held out; got {groups}",
            hint="label one more, or train without --fold, --calibrate and tuning",
            code="TOO_FEW_LABELED",
        )
    if wanted is not None and not 2 <= wanted <= groups:
        got = f"{plural(wanted, 'fold')} of {plural(groups, unit)}"
        raise UsageError(got, hint=f"use 2 to {groups} folds", code="TOO_FEW_LABELED")
    return min(wanted or usual, groups)


def with_folds(
    file: SplitFile | None, ids: CaseIds, count: int, *, val: float | None = None, seed: int = 0
) -> SplitFile:
    """The lists with ``count`` folds of a cross-validation: those that they have, else new ones.

    Unlabeled scans of a patient whose labeled ones are held out are left out of that fold.

    Args:
        file: the published lists.
        ids: of the dataset's cases.
        count: of folds, see :func:`fold_count`.
        val: the share of each fold's remaining cases that chooses its weights; None: the published validation
            list, if there is one.
        seed: draws who is held out together.

    Raises:
        UsageError: see :func:`fold_count`.
    """
    count = fold_count(file, ids, count)
    file = file or SplitFile("folds of the labeled cases")
    if file.cross_validation:
        return file
    rule = patient_rule(file, ids)
    cases, groups = foldable(file, ids), groups_of(file, ids, seed)
    parts = dealt(groups, count)
    listed = cases if file.order else [case for group in groups for case in group]
    folds = []
    for part in map(set, parts):
        chooses = file.folds[0].val
        if val is not None:
            chooses = tuple(share_of([group for group in groups if group[0] not in part], val))
        labeled = tuple(case for case in listed if case not in {*part, *chooses})
        held_out = tuple(case for case in listed if case in part)
        without = None if file.patients else _others(ids, rule, (*part, *chooses))
        folds.append(Fold(labeled, without, chooses, held_out))
    return replace(file, patients=file.patients or common_rule(rule, ids), cross_validation=tuple(folds))


def dealt(groups: Iterable[Sequence[str]], count: int) -> list[list[str]]:
    """The cases in ``count`` parts, a group in one of them; the largest first: parts are alike in size."""
    parts: list[list[str]] = [[] for _ in range(count)]
    for group in sorted(groups, key=len, reverse=True):
        min(parts, key=len).extend(group)
    return parts


def _others(ids: CaseIds, rule: PatientRule | None, kept: Sequence[str]) -> tuple[str, ...] | None:
    """The unlabeled cases without those of patients that are kept for scoring; None where that is all."""
    patients = {rule.patient(case) for case in kept} - {None} if rule else set()
    without = tuple(case for case in ids.unlabeled if rule is None or rule.patient(case) not in patients)
    return without if len(without) < len(ids.unlabeled) else None


def share_of(groups: Sequence[Sequence[str]], share: float) -> list[str]:
    """The cases of the first groups, about this share of all cases; at least one group, and never all.

    Raises:
        UsageError: a share that is none, or a single group.
    """
    if not 0 < share < 1:
        raise UsageError(
            f"a share of {share:g} for validation, wanted one between 0 and 1",
            hint="give a number such as 0.2",
            code="VAL",
        )
    if len(groups) < 2:
        got = some([case for group in groups for case in group])
        raise UsageError(
            f"nothing to learn from is left beside the validation list: {got}",
            hint="label one more patient, or split without --val",
            code="TOO_FEW_LABELED",
        )
    wanted = share * sum(map(len, groups))
    chosen = list(groups[0])
    for group in groups[1:-1]:
        if len(chosen) + len(group) / 2 > wanted:
            break
        chosen += group
    return chosen


def groups_of(file: SplitFile | None, ids: CaseIds, seed: int) -> list[list[str]]:
    """The cases that may be held out, in an order drawn from the seed, those of a patient together."""
    rule = patient_rule(file, ids)
    return by_patient(seeded_order(foldable(file, ids), seed, rule), rule)


def by_patient(cases: Iterable[str], rule: PatientRule | None) -> list[list[str]]:
    """The cases, those of a patient together; a case that the rule does not fit, or without one, is alone."""
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault((rule and rule.patient(case)) or case, []).append(case)
    return list(groups.values())
