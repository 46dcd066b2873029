"""Folds of the labeled cases: each part is held out once, and the others teach.

The dataset that comes out knows the labels of the labeled cases and no others: those of unlabeled, test and
validation cases have no path any more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from semiseg.config import Config
from semiseg.data.dataset import Dataset
from semiseg.data.split import Split
from semiseg.data.split_file import Fold, SplitFile
from semiseg.errors import UsageError

FOLDS = 4


def fold_count(dataset: Dataset, split: Split, wanted: int | None) -> int:
    """Folds that the labeled cases allow: as many as wanted (None: 4), at most one per case or patient.

    Raises:
        UsageError: a single labeled case or patient, or fewer of them than the folds that were asked for.
    """
    groups = len(_groups(dataset, split))
    unit = "labeled patients" if dataset.splits and dataset.splits.patients else "labeled cases"
    if groups < 2:
        raise UsageError(
            f"tuning needs at least 2 {unit}, one to learn from and one to be scored on; got {groups}",
            hint="label one more, or train without tuning: nothing honest can choose between settings",
            code="TOO_FEW_LABELED",
        )
    if wanted is not None and not 2 <= wanted <= groups:
        raise UsageError(
            f"{wanted} folds of {groups} {unit}", hint=f"use 2 to {groups} folds", code="TOO_FEW_LABELED"
        )
    return min(wanted or FOLDS, groups)


def folded(dataset: Dataset, split: Split, folds: int) -> Dataset:
    """The dataset cut down to what tuning may see, with the folds as its published lists.

    Args:
        dataset: as opened.
        split: the run's lists; its labeled cases are cut into folds, a patient's cases staying together.
        folds: see :func:`fold_count`.
    """
    groups = _groups(dataset, split)
    unlabeled = tuple(case.id for case in split.unlabeled)
    lists = []
    for number in range(folds):
        held = [case for group in groups[number::folds] for case in group]
        taught = tuple(case.id for case in split.labeled if case.id not in held)
        lists.append(Fold(taught, unlabeled, tuple(held)))
    return dataclasses.replace(
        dataset,
        annotated=split.labeled,
        unannotated=split.unlabeled,
        test=(),
        notices=[],
        splits=SplitFile(f"tuning, {folds} folds of {split.source}", tuple(lists), test=()),
        split_faults=(),
    )


def fold_config(config: Config, fold: int) -> Config:
    """The configuration of one training: lists and plan come from outside, the last weights are scored."""
    plain = Config()
    return config.model_copy(
        update={
            "data": plain.data.model_copy(update={"fold": fold}),
            "plan": plain.plan,
            "select": "last",  # the best on the held-out cases would be scored on what it was chosen by
            "train": config.train.model_copy(update={"max_time": None}),
        }
    )


def _groups(dataset: Dataset, split: Split) -> Sequence[Sequence[str]]:
    """The labeled cases, those of a patient together, in the order of the list."""
    rule = dataset.splits.patients if dataset.splits else None
    groups: dict[str, list[str]] = {}
    for case in split.labeled:
        groups.setdefault((rule and rule.patient(case.id)) or case.id, []).append(case.id)
    return list(groups.values())
