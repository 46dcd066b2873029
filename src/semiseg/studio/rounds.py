"""A training's own copy of the dataset: a folder of links, with the labels and lists as they are now.

What is drawn, accepted or moved while it trains does not change it, so that it can be resumed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semiseg.dataset.case import Case, LabeledCase, plain
from semiseg.dataset.description import FILE
from semiseg.dataset.split_file import OURS
from semiseg.labeling.store import Labels
from semiseg.machine.files import read_json, write_json
from semiseg.prediction.scans import stem_of

COMPANIONS = (".json", ".raw", ".zraw", ".img")


def snapshot(
    labels: Labels, folder: Path, *, labeled: Iterable[LabeledCase], val: Iterable[LabeledCase] = (),
    unlabeled: Iterable[Case] = (),
) -> Path:  # fmt: skip
    """Write a dataset folder of links and return it: labeled cases in the order of the list, others."""
    ending = labels.dataset.file_ending
    labeled, val = list(labeled), list(val)
    for part in ("imagesTr", "labelsTr", "imagesUn"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for case in (*labeled, *val):
        _link_case(case, folder / "imagesTr", ending)
        _link(case.label, folder / "labelsTr" / f"{case.id}{ending}")
    for other in unlabeled:
        _link_case(other, folder / "imagesUn", ending)
    described = read_json(labels.root / FILE)
    write_json(folder / FILE, {k: v for k, v in described.items() if k not in ("dataset", "numTraining")})
    rule = labels.dataset.splits.patients if labels.dataset.splits else None
    lists: dict[str, Any] = {"order": [case.id for case in labeled], "val": [case.id for case in val]}
    if rule is not None:
        lists["group_by_patient"] = rule.written
    write_json(folder / OURS, lists)
    return folder


def training_round(labels: Labels, folder: Path) -> Path:
    """The dataset of a training on all labels that there are now, below ``folder``.

    Its ledger says where the labels come from. Without a label it is a DataError.
    """
    bad, split = labels.ledger.bad, labels.dataset.split()
    others = {*bad, *(case.id for case in (*split.labeled, *split.val))}
    rest = [plain(case) for case in labels.cases.values() if case.id not in others]
    target = snapshot(
        labels, folder / labels.dataset.name, labeled=split.labeled, val=split.val, unlabeled=rest
    )
    if labels.ledger.path.is_file():
        shutil.copyfile(labels.ledger.path, target / labels.ledger.path.name)
    return target


def unlabeled_scans(labels: Labels, names: Iterable[str] | None = None) -> list[Case]:
    """The cases to predict: those of ``names``, or all without a label that are in use."""
    bad = labels.ledger.bad
    if names is not None:
        return [plain(labels.case(name)) for name in names]
    return [c for c in labels.cases.values() if not isinstance(c, LabeledCase) and c.id not in bad]


def _link_case(case: Case, folder: Path, ending: str) -> None:
    for channel, path in enumerate(case.images):
        _link(path, folder / f"{case.id}_{channel:04d}{ending}")


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the disk has no links; and what belongs to it."""
    for companion in COMPANIONS:
        beside = source.with_name(stem_of(source) + companion)
        if companion not in source.name and beside.is_file():
            _link_one(beside, target.with_name(beside.name))
    _link_one(source, target)


def _link_one(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except FileExistsError:
        return
    except OSError:
        shutil.copy2(source, target)
