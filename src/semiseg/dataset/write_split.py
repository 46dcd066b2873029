"""``semiseg split``: folds and a validation list of the labeled cases, written into ``splits.json``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semiseg.dataset.dataset import Dataset
from semiseg.dataset.folds import (
    CaseIds,
    common_rule,
    fold_count,
    foldable,
    groups_of,
    in_no_fold,
    patient_rule,
    share_of,
    with_folds,
)
from semiseg.dataset.patient import PatientRule
from semiseg.dataset.problem import raise_if_any
from semiseg.dataset.split_file import OURS, Fold, SplitFile
from semiseg.errors import UsageError, plural, some
from semiseg.machine.claim import held
from semiseg.machine.files import read_json, write_json, writing

log = logging.getLogger("semiseg.data")


@dataclass(frozen=True)
class SplitLists:
    """What :func:`split` wrote.

    Attributes:
        file: the ``splits.json``.
        folds: of the cross-validation, each with ``labeled``, ``val`` and ``held_out``; none where only a
            validation list was made.
        val: the validation list of a run that names no fold.
        patients: how many patients the labeled cases are of; the number of cases where none is known.
        decisions: what was found out and done, one sentence each.
    """

    file: Path
    folds: tuple[Fold, ...]
    val: tuple[str, ...]
    patients: int
    decisions: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "file": str(self.file),
            "folds": [_lists(fold) for fold in self.folds],
            "val": list(self.val),
            "patients": self.patients,
            "decisions": self.decisions,
        }


def split(
    dataset: str | Path | Dataset,
    *,
    folds: int | None = None,
    val: float | None = None,
    group: str | int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> SplitLists:
    """Cut the labeled cases into folds, patient by patient, and write them into ``splits.json``.

    Each labeled case is held out by one fold, and looked at there when the weights are chosen, to be scored.
    Cases of published validation and test lists stay out of the folds. No image and no label is opened.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or an opened dataset.
        folds: number of folds; None is five (or one per patient), and none where only ``val`` is given.
        val: the share of the labeled cases, such as 0.2, that chooses the exported weights: of each fold's
            remaining cases, or without folds of all of them.
        group: which cases are one patient's: the number of leading characters of their names, or a regular
            expression with one group; None is the rule of the split file, or what the names say.
        seed: draws who is held out together.
        overwrite: replace lists that ``splits.json`` has already.

    Raises:
        UsageError: more folds than patients, lists that are there already, a rule that does not fit the
            names, a folder that cannot be written.
        DataError: a split file that is broken.
    """
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    raise_if_any(opened.split_faults, str(opened.root))
    with held(opened.root, "a dataset folder that can be written"):
        file = opened.root / OURS
        content = read_json(file) if file.is_file() else {}
        content = content if isinstance(content, dict) else {"folds": content}
        wanted = "both" if val is not None and folds else "val" if val is not None else "folds"
        known = _cleared(opened.splits or SplitFile(OURS), content, wanted, overwrite)
        ids = opened.ids
        known = replace(known, patients=_rule(group, known, ids))
        rule = known.patients if group is not None else common_rule(known.patients, ids)
        if rule is not None and (group is not None or "group_by_patient" not in content):
            content["group_by_patient"] = rule.written
        groups = groups_of(known, ids, seed)
        made = SplitLists(file, (), (), len(groups), [_whose(known, groups)])
        if wanted == "val":
            made = replace(made, val=tuple(share_of(groups, val or 0.0)))
            content["val"] = list(made.val)
            if "order" in content:
                content["order"] = [case for case in content["order"] if case not in made.val]
        else:
            cut = with_folds(known, ids, fold_count(known, ids, folds), val=val, seed=seed)
            made = replace(made, folds=cut.cross_validation)
            content["cross_validation"] = [_lists(fold) for fold in made.folds]
        content["seed"] = seed
        _write(file, content)
    return made


def _cleared(file: SplitFile, content: dict[str, Any], wanted: str, overwrite: bool) -> SplitFile:
    """The lists without those that are to be made; they go from ``content`` too.

    Raises:
        UsageError: some are there, and must not be replaced.
    """
    there = {
        "folds": file.published,
        "cross_validation": bool(file.cross_validation) and wanted != "val",
        "val": bool(file.folds[0].val) and wanted != "folds" and not file.published,
        "order": file.order is not None and wanted == "val" and not file.published,
    }
    names = [name for name, is_there in there.items() if is_there]
    if names and not overwrite:
        raise UsageError(
            f"{file.source} has lists already: {', '.join(names)}",
            hint="--overwrite replaces them; `semiseg train` uses them as they are",
            code="EXISTS",
        )
    for name in set(names) - {"order"}:
        content.pop(name, None)
    if file.published:
        return SplitFile(OURS, test=file.test, patients=file.patients)
    first = replace(file.folds[0], val=()) if "val" in names else file.folds[0]
    return replace(file, folds=(first,), cross_validation=())


def _rule(group: str | int | None, file: SplitFile, ids: CaseIds) -> PatientRule | None:
    """The rule that was given, if it fits every name; else that of the file or of the names.

    Raises:
        UsageError: it is no rule, or does not fit some name.
    """
    if group is None:
        return patient_rule(file, ids)
    given = int(group) if isinstance(group, str) and group.strip().isdigit() else group
    rule = PatientRule.parse(given)
    if isinstance(rule, str):
        raise UsageError(
            f"--group {group} is not a valid rule (got {rule})",
            hint="give a number of leading characters, or a regular expression with a group: '(patient\\d+)'",
            code="GROUP",
        )
    cases = (*ids.labeled, *ids.unlabeled, *ids.test)
    nameless = [case for case in cases if rule.patient(case) is None]
    if nameless:
        raise UsageError(
            f"--group {rule.text} does not fit {len(nameless)} of {plural(len(cases), 'name')}: "
            f"{some(nameless)}",
            hint="the rule is matched from the beginning of a case name",
            code="GROUP",
        )
    return rule


def _whose(file: SplitFile, groups: Sequence[Sequence[str]]) -> str:
    rule, cases = file.patients, sum(map(len, groups))
    if rule is None:
        known = plural(cases, "labeled case")
        return f"{known}, each a patient of its own: nothing says whose they are (--group RULE)"
    how = (
        f"the first {plural(rule.prefix, 'character')} of their names"
        if rule.prefix
        else f"the rule {rule.text}"
    )
    return f"{plural(cases, 'labeled case')} of {plural(len(groups), 'patient')}, told by {how}"


def _lists(fold: Fold) -> dict[str, list[str]]:
    unlabeled = {} if fold.unlabeled is None else {"unlabeled": fold.unlabeled}
    lists = {"labeled": fold.labeled or (), **unlabeled, "val": fold.val, "held_out": fold.held_out}
    return {name: list(cases) for name, cases in lists.items()}


def _write(file: Path, content: dict[str, Any]) -> None:
    hint = "check permissions and free space; folds can be made without the file: train --fold N"
    with writing(str(file), hint):
        write_json(file, content)


def keep_folds(dataset: Dataset, count: int) -> Dataset:
    """The dataset with ``count`` folds of its labeled cases, kept in ``splits.json`` if it can be written.

    A log line says that folds were made. In a folder that cannot be written they are the same each time, as
    long as the labeled cases are.
    """
    if dataset.splits is not None and dataset.splits.cross_validation:
        if without := in_no_fold(dataset.splits, dataset.ids):
            log.warning(
                "%s in no fold of %s, used without a label (%s); "
                "`semiseg split DATASET --overwrite` makes new folds",
                *(plural(len(without), "labeled case"), dataset.splits.source, some(without)),
            )
        return dataset
    try:
        made = split(dataset, folds=count)
        where = str(made.file)
    except UsageError as error:
        if error.code not in ("NOT_WRITABLE", "IN_USE"):
            raise
        where = f"not kept: {error.message}"
    kept = dataset.with_folds(count)
    cases = plural(len(foldable(dataset.splits, dataset.ids)), "labeled case")
    whose = " patient by patient" if patient_rule(kept.splits, dataset.ids) else ""
    log.info("made %s of %s%s (%s)", plural(count, "fold"), cases, whose, where)
    return kept
