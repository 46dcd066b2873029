"""A dataset folder: nnU-Net v2's layout plus ``imagesUn`` for scans without a label.

Opening one lists file names and reads two small JSON files. No image and no label is opened, and a case
without a label has no label field, so nothing downstream can read one by accident.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semiseg.data.cases import Case, LabeledCase
from semiseg.data.dataset_json import Description, read_description
from semiseg.data.locate import locate
from semiseg.data.problem import Problem, raise_if_any
from semiseg.data.scan import Scan, num_training, scan
from semiseg.data.split import Budget, Split, make_split
from semiseg.data.split_file import SplitFile, read_split_file

__all__ = ["Case", "Dataset", "LabeledCase", "Split"]

log = logging.getLogger("semiseg.data")


@dataclass(frozen=True)
class Dataset:
    """A dataset folder as its file names and ``dataset.json`` describe it.

    Attributes:
        root: the folder.
        name: its name.
        channel_names: one per input channel.
        labels: class name -> value in the label files (after ``label_map``), by value, without ``ignore``.
        ignore_value: the value that masks the loss, or None.
        label_map: raw value in a label file -> declared value.
        file_ending: of images and labels, with the dot.
        annotated: imagesTr cases with a label, in the published order if there is one, else by id.
        unannotated: imagesTr cases without a label, then imagesUn.
        test: imagesTs cases, with labels where labelsTs has them.
        notices: what a user should be told, one sentence each.
        splits: the published lists, if any.
    """

    root: Path
    name: str
    channel_names: tuple[str, ...]
    labels: dict[str, int]
    ignore_value: int | None
    label_map: dict[int, int]
    file_ending: str
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
        raise_if_any(found.problems, str(root))
        splits, split_faults = read_split_file(root)
        return cls(
            root=root,
            name=root.resolve().name,
            channel_names=description.channel_names,
            labels=dict(description.labels),
            ignore_value=description.ignore_value,
            label_map=dict(description.label_map),
            file_ending=description.file_ending,
            annotated=_published_order(found.annotated, splits),
            unannotated=tuple(found.unannotated),
            test=tuple(found.test),
            notices=_notices(description, found),
            splits=splits,
            split_faults=tuple(split_faults),
        )

    def split(
        self,
        labeled: int | None = None,
        fold: int = 0,
        seed: int = 0,
        *,
        labeled_patients: int | None = None,
    ) -> Split:
        """The labeled, unlabeled, validation and test cases of a run.

        Cases that have a label but are not chosen become plain :class:`Case` objects: their label path is
        dropped. Without a split file the labeled cases are drawn by ``seed`` and there is no validation list.

        Args:
            labeled: how many cases to use as labeled, the first ones of the published order; None for all.
            fold: which fold of the split file.
            seed: orders the annotated cases where no order is published.
            labeled_patients: instead of ``labeled``: all cases of the first so many patients.

        Raises:
            UsageError: a number that does not fit, or that cuts a patient in two (names the nearest that do).
            DataError: the split file is broken, names unknown cases, or puts a case or patient in two lists.
        """
        raise_if_any(self.split_faults, str(self.root))
        training: dict[str, Case] = {c.id: c for c in (*self.annotated, *self.unannotated)}
        test: dict[str, Case] = {c.id: c for c in self.test}
        budget = Budget(labeled, labeled_patients)
        split = make_split(training, test, self.splits, budget=budget, fold=fold, seed=seed)
        listed = {c.id for c in (*split.labeled, *split.unlabeled, *split.val, *split.test)}
        unused = len({*training, *test} - listed)
        if unused:
            log.info("%d cases are in no list of %s and are not used", unused, split.source)
        return split


def _published_order(annotated: Sequence[LabeledCase], splits: SplitFile | None) -> tuple[LabeledCase, ...]:
    place = {name: index for index, name in enumerate((splits.order if splits else None) or ())}
    return tuple(sorted(annotated, key=lambda case: (place.get(case.id, len(place)), case.id)))


def _notices(description: Description, found: Scan) -> list[str]:
    notices = list(found.notices)
    warnings = [p for p in found.problems if p.severity == "warning"]
    count = num_training(description, found)
    notices += [p.as_line().removeprefix("warning ") for p in warnings]
    if count is not None:
        notices.append(count.as_line().removeprefix("error "))
    for notice in notices:
        log.info(notice)
    return notices
