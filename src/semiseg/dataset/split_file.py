"""Reading ``splits.json`` (ours, both forms) and nnU-Net's ``splits_final.json``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.dataset.files import respelled
from semiseg.dataset.patient import PatientRule
from semiseg.dataset.problem import Problem
from semiseg.errors import nearest
from semiseg.machine.files import read_json

OURS, NNUNET = "splits.json", "splits_final.json"
LISTS = ("order", "val", "test", "folds", "cross_validation", "group_by_patient")
"""Keys of which a split file has one or more; what else it says (notes, sources) is not ours."""
NNUNET_FOLDER = "nnUNet_preprocessed"
"""The variable naming the folder where nnU-Net keeps its split files."""


@dataclass(frozen=True)
class Fold:
    """One fold's lists of case ids; None where the file does not say.

    ``val`` chooses the exported weights. ``held_out``, of a fold of a cross-validation, is looked at when
    these are chosen, and is what the fold is scored on.
    """

    labeled: tuple[str, ...] | None = None
    unlabeled: tuple[str, ...] | None = None
    val: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitFile:
    """The lists a dataset publishes.

    Attributes:
        source: where they come from, for reports.
        folds: at least one; a run that names none has the first.
        test: ids, or None when imagesTs is meant.
        patients: the rule that keeps a patient's cases together.
        published: whether the file lists ``folds`` itself, instead of one order.
        cross_validation: folds that hold out each labeled case once; for runs that name one of them.
        cut: the cases of each patient whom published lists train on and hold out, as ``convert`` found them.
    """

    source: str
    folds: tuple[Fold, ...] = (Fold(),)
    test: tuple[str, ...] | None = None
    patients: PatientRule | None = None
    published: bool = False
    cross_validation: tuple[Fold, ...] = ()
    cut: tuple[frozenset[str], ...] = ()

    @property
    def order(self) -> tuple[str, ...] | None:
        """The published order of the labeled cases (of the first fold)."""
        return self.folds[0].labeled


def read_split_file(root: Path, known: Iterable[str] = ()) -> tuple[SplitFile | None, list[Problem]]:
    """The split file of the dataset at ``root``, if there is one, and everything wrong with it.

    Args:
        root: the dataset folder.
        known: ids of its cases, whose spelling counts (see :func:`semiseg.dataset.files.respelled`).
    """
    path = _find(root)
    if path is None:
        return None, []
    faults: list[Problem] = []

    def report(got: str, wanted: str, fix: str = "") -> None:
        faults.append(Problem("SPLITS", got, wanted, fix or f"fix {path.name}", file=path.name))

    try:
        raw = read_json(path)
    except (OSError, ValueError) as error:
        report(f"a file that cannot be read as JSON ({error})", "a JSON object or list")
        return None, faults
    if isinstance(raw, list):
        raw = {"folds": raw}
    if not isinstance(raw, dict):
        report(f"a JSON {type(raw).__name__}", 'an object such as {"order": ["case_1", "case_2"]}')
        return None, faults
    raw = respelled(raw, known)
    return _parse(raw, path.name if path.parent == root else str(path), report), faults


def _find(root: Path) -> Path | None:
    places = [root / OURS, root / NNUNET]
    preprocessed = os.environ.get(NNUNET_FOLDER, "")
    if preprocessed:
        places.append(Path(preprocessed) / root.resolve().name / NNUNET)
    return next((place for place in places if place.is_file()), None)


Report = Callable[..., None]


def _parse(raw: Mapping[str, Any], source: str, report: Report) -> SplitFile:
    _unknown(raw, report)
    patients = PatientRule.parse(raw["group_by_patient"]) if "group_by_patient" in raw else None
    if isinstance(patients, str):
        report(
            f"group_by_patient = {patients}",
            "a number of leading characters, a regular expression with one group, or case -> patient",
            'write e.g. "group_by_patient": 10',
        )
        patients = None
    folds: tuple[Fold, ...]
    if "folds" in raw:
        folds = _folds(raw["folds"], "folds", report)
    else:
        folds = (Fold(_ids(raw, ("order",), report), None, _ids(raw, ("val",), report) or ()),)
    parts = _folds(raw["cross_validation"], "cross_validation", report) if "cross_validation" in raw else ()
    if parts and not all(fold.held_out for fold in parts):
        report("a fold of cross_validation without held_out", "cases that the fold is scored on")
    test, cut = _ids(raw, ("test",), report), _cut(raw.get("published"))
    return SplitFile(source, folds, test, patients, "folds" in raw, parts, cut)


def _cut(published: Any) -> tuple[frozenset[str], ...]:
    told = published.get("same_patient") if isinstance(published, dict) else None
    return tuple(frozenset(map(str, ids)) for ids in told or () if isinstance(ids, list))


def _unknown(raw: Mapping[str, Any], report: Report) -> None:
    """A misspelled key would leave its list out, and a file without any list says nothing."""
    for key in raw:
        near = nearest(key, LISTS, n=1, cutoff=0.75)
        if key not in LISTS and near:
            report(f"a key {key!r}", f"{near[0]!r}", f"rename it, or remove it from {OURS}")
    if not set(LISTS) & set(raw):
        report(f"the keys {sorted(raw)}", f"one of {', '.join(LISTS)}")


def _folds(given: Any, key: str, report: Report) -> tuple[Fold, ...]:
    if not isinstance(given, list) or not given or not all(isinstance(fold, dict) for fold in given):
        report(f"{key} = {str(given)[:60]}", 'a list such as [{"labeled": [], "unlabeled": [], "val": []}]')
        return (Fold(),)
    folds = []
    for number, fold in enumerate(given):
        labeled = _ids(fold, ("labeled", "labelled", "train"), report)
        if labeled is None:
            report(f"fold {number} without a list 'labeled'", "labeled (or nnU-Net's train) in each fold")
        unlabeled = _ids(fold, ("unlabeled", "unlabelled"), report)
        val, held_out = (_ids(fold, (name,), report) or () for name in ("val", "held_out"))
        folds.append(Fold(labeled or (), unlabeled, val, held_out))
    return tuple(folds)


def _ids(raw: Mapping[str, Any], keys: tuple[str, ...], report: Report) -> tuple[str, ...] | None:
    key = next((key for key in keys if raw.get(key) is not None), None)
    if key is None:
        return None
    given = raw[key]
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        report(f"{key} = {str(given)[:60]}", "a list of case ids in quotes")
        return ()
    return tuple(given)
