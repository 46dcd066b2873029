"""A dataset folder by path, name or number: nnU-Net v2's layout plus ``imagesUn`` for scans without a label.

Opening one lists file names and reads two small JSON files. No image and no label is opened, and a case
without a label has no label field, so nothing downstream can read one by accident.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from semiseg.dataset.case import Case, LabeledCase
from semiseg.dataset.description import FILE, Description, read_description
from semiseg.dataset.files import FolderContents, num_training, scan
from semiseg.dataset.folds import CaseIds, fold_count, with_folds
from semiseg.dataset.ledger import Ledger
from semiseg.dataset.problem import Problem, raise_if_any
from semiseg.dataset.split import LabelBudget, Split, make_split
from semiseg.dataset.split_file import SplitFile, read_split_file
from semiseg.errors import DataError, UsageError, nearest, plural, some

__all__ = ["Case", "Dataset", "LabeledCase", "Split"]

log = logging.getLogger("semiseg.data")


@dataclass(frozen=True, kw_only=True)
class Dataset(Description):
    """A dataset folder: what ``dataset.json`` says (see :class:`Description`), and the cases that are there.

    Attributes:
        root: the folder.
        name: its name.
        annotated: imagesTr cases with a label, in the published order if there is one, else by id.
        unannotated: imagesTr cases without a label, then imagesUn.
        test: imagesTs cases, with labels where labelsTs has them.
        notices: what a user should be told, one sentence each.
        splits: the published lists, if any.
    """

    root: Path
    name: str
    annotated: tuple[LabeledCase, ...]
    unannotated: tuple[Case, ...]
    test: tuple[Case | LabeledCase, ...]
    notices: list[str]
    splits: SplitFile | None = None
    split_faults: tuple[Problem, ...] = field(default=(), repr=False)

    @classmethod
    def open(cls, folder: str | int | Path) -> Dataset:
        """Open a dataset by path, or by name or nnU-Net id under ``$SEMISEG_DATA`` and ``$nnUNet_raw``.

        Raises:
            UsageError: there is no such folder; names the nearest one.
            DataError: ``dataset.json`` or the files do not fit; names every problem at once.
        """
        root = locate(folder)
        description, faults = read_description(root)
        raise_if_any(faults, str(root))
        found = scan(root, description)
        raise_if_any([*found.problems, *_strangers(description, found)], str(root))
        splits, split_faults = read_split_file(root, found.ids)
        return cls(
            **vars(description),
            root=root,
            name=root.resolve().name,
            annotated=_published_order(found.annotated, splits),
            unannotated=tuple(found.unannotated),
            test=tuple(found.test),
            notices=_notices(description, found),
            splits=splits,
            split_faults=tuple(split_faults),
        )

    @property
    def source(self) -> Mapping[str, Any]:
        """The public data set that it was made of, its form and where voxel sizes come from."""
        source = self.free.get("source")
        return source if isinstance(source, Mapping) else {}

    @property
    def channels(self) -> dict[str, int]:
        """Region, or class but background -> its channel in the output of a network."""
        return {name: k for k, name in enumerate(self.regions or self.labels) if self.regions or k}

    @property
    def label_form(self) -> Literal["classes", "partial", "regions"]:
        """What a method must be able to train on.

        One class per voxel; the same, but the labels of some cases are of some classes; or regions, which
        overlap.
        """
        return "regions" if self.regions else "partial" if self.labeled_classes else "classes"

    def fold_count(self, wanted: int | None = None) -> int | None:
        """The number of folds: those of the split file's cross-validation, or as many as can be made.

        None where the split file lists folds of its own and no number is wanted.

        Raises:
            UsageError: fewer labeled cases or patients than folds, or another number of folds in the file.
        """
        if self.splits is not None and self.splits.published and wanted is None:
            return None
        return fold_count(self.splits, self.ids, wanted)

    def with_folds(self, count: int) -> Dataset:
        """The dataset with ``count`` folds of its labeled cases, those of the split file or new ones.

        Raises:
            UsageError: see :meth:`fold_count`.
        """
        return replace(self, splits=with_folds(self.splits, self.ids, count))

    @property
    def ids(self) -> CaseIds:
        """The names of all cases, by what the folder says of them."""
        lists = (self.annotated, self.unannotated, self.test)
        return CaseIds(*(tuple(case.id for case in cases) for cases in lists))

    def split(
        self,
        labeled: int | None = None,
        fold: int = 0,
        seed: int = 0,
        *,
        labeled_patients: int | None = None,
        folds: int | None = None,
        accepted: float = 1.0,
    ) -> Split:
        """The labeled, unlabeled, validation, test and held-out cases of a run.

        Cases that have a label but are not chosen become plain :class:`Case` objects: their label path is
        dropped. Without a split file the labeled cases are drawn by ``seed`` and there is no validation list.

        Args:
            labeled: how many cases to use as labeled, the first ones of the published order; None for all.
            fold: which fold of the split file, or of a cross-validation.
            seed: orders the annotated cases where no order is published.
            labeled_patients: instead of ``labeled``: all cases of the first so many patients.
            folds: of a cross-validation, which ``fold`` is one of: those of the split file, or else as
                :func:`semiseg.dataset.folds.with_folds` makes them. None: a published fold.
            accepted: weight, in [0, 1], of labels that are accepted predictions, as ``labels.jsonl`` says. A
                case of weight 0 is an unlabeled one.

        Raises:
            UsageError: a number that does not fit, or that cuts a patient in two (names the nearest that do).
            DataError: the split file is broken, names unknown cases, or puts a case or patient in two lists.
        """
        raise_if_any(self.split_faults, str(self.root))
        training: dict[str, Case] = {c.id: c for c in (*self.annotated, *self.unannotated)}
        test: dict[str, Case] = {c.id: c for c in self.test}
        budget = LabelBudget(labeled, labeled_patients)
        file = (self if folds is None else self.with_folds(folds)).splits
        weights = dict.fromkeys(Ledger(self.root).accepted, accepted) if accepted < 1 else {}
        split = make_split(
            training, test, file, budget=budget, fold=fold, folds=folds, seed=seed, weights=weights
        )
        used = {c.id for c in (*split.labeled, *split.unlabeled, *split.val, *split.test, *split.held_out)}
        if unused := len({*training, *test} - used):
            told = plural(unused, "case is", "cases are")
            log.info("%s in no list of %s and not used", told, split.source)
        return split


def _published_order(annotated: Sequence[LabeledCase], splits: SplitFile | None) -> tuple[LabeledCase, ...]:
    place = {name: index for index, name in enumerate((splits.order if splits else None) or ())}
    return tuple(sorted(annotated, key=lambda case: (place.get(case.id, len(place)), case.id)))


def _strangers(description: Description, found: FolderContents) -> list[Problem]:
    """Cases that ``labeled_classes`` names and that are not there: a slip would teach all classes."""
    there = {case.id for case in (*found.annotated, *found.unannotated, *found.test)}
    strange = sorted(set(description.labeled_classes) - there)
    got, fix = f"labeled_classes of {some(strange)}", "write the names of cases as their files have them"
    return [Problem("DATASET_JSON", got, "cases of this dataset", fix, file=FILE)] if strange else []


def _notices(description: Description, found: FolderContents) -> list[str]:
    notices = list(found.notices)
    notices += [p.as_line().removeprefix("warning ") for p in found.problems if p.severity == "warning"]
    if (count := num_training(description, found)) is not None:
        notices.append(count.as_line().removeprefix("error "))
    for notice in notices:
        log.info(notice)
    return notices


ROOT_VARIABLES = ("SEMISEG_DATA", "nnUNet_raw")
"""Environment variables that name folders of datasets (several, separated as in PATH)."""


def roots() -> list[Path]:
    """The existing folders named by ``SEMISEG_DATA`` and ``nnUNet_raw``, in that order."""
    named = [part for name in ROOT_VARIABLES for part in os.environ.get(name, "").split(os.pathsep) if part]
    return [path for path in (Path(part).expanduser() for part in named) if path.is_dir()]


def locate(name: str | int | Path) -> Path:
    """The dataset folder that ``name`` means.

    A path that exists wins; a bare name or an nnU-Net id (``104``, ``Dataset104``, the full name) is then
    looked up under ``$SEMISEG_DATA`` and ``$nnUNet_raw``.

    Raises:
        UsageError: nothing found (with the nearest name), or an id that several folders carry.
    """
    path = Path(str(name)).expanduser()
    if path.name == "dataset.json" and path.is_file():
        return path.parent
    if is_run(path):
        raise UsageError(
            f"{path} is the folder of a run, wanted a dataset",
            hint=f"give the dataset that it was trained on: {path / 'manifest.json'} names it",
            code="NO_DATASET",
            details={"got": str(path)},
        )
    if path.is_dir():
        return path if path.name not in ("", "..") else path.resolve()  # so that messages can name it
    if path.is_file():
        raise DataError(
            f"{path} is a file, wanted a dataset folder",
            hint="give the folder that holds dataset.json; `semiseg init` makes one from a pile of scans",
            code="NOT_A_FOLDER",
        )
    bare = len(path.parts) == 1
    found = [folder for root in roots() for folder in _named(root, str(name))] if bare else []
    if len(found) > 1 and len({folder.resolve() for folder in found}) > 1:
        raise UsageError(
            f"{name} names {len(found)} datasets: {', '.join(map(str, found))}",
            hint="give the full path",
            code="AMBIGUOUS_DATASET",
        )
    if found:
        return found[0]
    raise _not_found(path, bare)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a training, which has a ``dataset.json``, too."""
    return all((folder / name).is_file() for name in ("config.yaml", "plan.json"))


def _named(root: Path, name: str) -> list[Path]:
    if (root / name).is_dir():
        return [root / name]
    number = re.fullmatch(r"(?:Dataset)?(\d{1,3})", name)
    if not number:
        return []
    prefix = f"Dataset{int(number[1]):03d}_"
    return sorted(folder for folder in root.iterdir() if folder.is_dir() and folder.name.startswith(prefix))


def _not_found(path: Path, bare: bool) -> UsageError:
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    places = [parent, *(roots() if bare else [])]
    siblings = [f for place in places for f in _folders(place)]
    # The first folder that does not exist is where the typo is, not always the last one.
    missing = path.parts[len(parent.parts)] if len(path.parts) > len(parent.parts) else path.name
    if str(parent) == "." and path.parts:
        missing = path.parts[0]
    folders = {folder.name: folder for folder in reversed(siblings)}
    near = nearest(missing, folders, n=1)
    guess = _with_rest(folders[near[0]], path, missing) if near else None
    return UsageError(
        f"no dataset folder {str(path)!r}." + (f" Did you mean {guess}?" if guess else ""),
        hint=f"{_where_looked(places, bare)}; to make one: semiseg init SCANS -o {shlex.quote(str(path))}",
        code="NO_DATASET",
        details={"got": str(path), "near": str(guess) if guess else None},
    )


def _with_rest(near: Path, path: Path, missing: str) -> Path:
    """The folder that was meant with what followed the typo, where that exists."""
    rest = path.parts[path.parts.index(missing) + 1 :]
    return near.joinpath(*rest) if near.joinpath(*rest).is_dir() else near


def _where_looked(places: list[Path], bare: bool) -> str:
    known = [f.name for place in places for f in _folders(place) if (f / "dataset.json").is_file()]
    there = f"; datasets there: {', '.join(known[:8])}" if known else ""
    unset = [v for v in ROOT_VARIABLES if bare and not os.environ.get(v)]
    also = f"; set {' or '.join(unset)} to search another folder" if unset else ""
    return f"looked in {', '.join(str(place.resolve()) for place in places)}{there}{also}"


def _folders(place: Path) -> Iterable[Path]:
    try:
        there = [f for f in place.iterdir() if f.is_dir() and not f.name.startswith(".")]
        return sorted(f for f in there if not is_run(f))
    except OSError:
        return []
