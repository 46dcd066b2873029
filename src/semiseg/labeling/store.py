"""The labels of a dataset folder: saved whole or not at all, checked before, the former version kept.

A save writes the new version into ``studio/labels/CASE``, then a line into the ledger, then ``labelsTr``. If
it was interrupted, it is finished when the store is opened again.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg import images
from semiseg.dataset.case import Case, LabeledCase, case_header
from semiseg.dataset.check import check_label
from semiseg.dataset.check.case import value_counts
from semiseg.dataset.dataset import Dataset, locate
from semiseg.dataset.description import Description, read_description
from semiseg.dataset.ledger import STUDIO, Entry, Ledger, entry_of
from semiseg.dataset.problem import Problem
from semiseg.errors import DataError, UsageError, unknown_name
from semiseg.images.grid import Grid, Volume, turned
from semiseg.labeling import lists
from semiseg.machine.claim import held
from semiseg.machine.files import remove_leftovers, replacing
from semiseg.machine.folders import Scratch

log = logging.getLogger("semiseg.labeling")

PATIENCE = 30.0
"""Seconds to wait while another process saves."""


@dataclass(frozen=True)
class Origin:
    """Where a label comes from."""

    source: str
    """See :data:`semiseg.dataset.ledger.LABELED`."""
    by: str = ""
    run: str | None = None
    model: str | None = None
    agreement: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Saved:
    """A label that was saved."""

    case: str
    version: int
    warnings: tuple[str, ...] = ()


class Labels:
    """The labels of one dataset folder.

    Raises:
        UsageError: there is no such folder.
        DataError: its files do not fit.
    """

    def __init__(self, dataset: str | Path) -> None:
        self.root = locate(dataset)
        self._lock = threading.RLock()  # no thread looks at the folder while another moves files in it
        self.ledger = Ledger(self.root)
        if self.ledger.last is not None:
            with self._held():
                self._finish()
        self.reload()

    def reload(self) -> None:
        """Read the folder again; labels that something else has changed become versions of their own."""
        with self._lock:
            self.dataset = Dataset.open(self.root)
            self.description: Description = self.dataset
            self.test = {case.id: case for case in self.dataset.test}
            training = (*self.dataset.annotated, *self.dataset.unannotated)
            self.cases: dict[str, Case] = {case.id: case for case in training}
            if changed := [case for case in self.dataset.annotated if self._changed_outside(case)]:
                with self._held():
                    for case in changed:
                        self._note_outside(case)

    def case(self, name: str) -> Case:
        """A training case by its id.

        Raises:
            UsageError: there is none; or it is a test case, which is not labeled here.
        """
        if name in self.test:
            raise UsageError(
                f"{name} is a test case: it is not labeled here",
                hint="move its image to imagesUn to use it for training",
                code="TEST_CASE",
            )
        if name not in self.cases:
            raise unknown_name("case", name, self.cases, hint=f"the cases are those of {self.root}")
        return self.cases[name]

    def version(self, name: str) -> int:
        """Of the label that counts; 0 for none."""
        current = self.ledger.current(name)
        return current.version if current else int(isinstance(self.cases.get(name), LabeledCase))

    def file(self, name: str, version: int) -> Path | None:
        """The file of a version, or None."""
        case, kept = self.cases.get(name), self._kept(name, version)
        if kept.is_file():
            return kept
        return case.label if isinstance(case, LabeledCase) and version == self.version(name) else None

    def save(self, name: str, volume: Volume, *, base: int, origin: Origin) -> Saved:
        """Make ``volume`` the label of a case.

        Args:
            name: of a training case.
            volume: values as the dataset's files hold them, on the grid of the case.
            base: the version that was drawn on, 0 where there was none.
            origin: where it comes from.

        Raises:
            UsageError: no such case; a newer version than ``base`` (``OUTDATED_VERSION``): this one is kept
                beside it, as the version that ``details["kept"]`` says.
            DataError: the label has an error that ``semiseg check`` would tell (``BAD_LABEL``).
        """
        case = self.case(name)
        array = on_grid(volume, case_header(case).grid, name)
        with self._candidate(case, array) as candidate:
            labeled = LabeledCase(case.id, case.images, candidate)
            problems = check_label(labeled, self.description, self.root)
            errors = [problem for problem in problems if problem.severity == "error"]
            if errors:
                raise bad_label(name, errors)
            with self._held():
                number = self._save(name, array, candidate, base, origin)
        return Saved(name, number, tuple(problem.sentence() for problem in problems))

    def _save(self, name: str, array: NDArray[Any], candidate: Path, base: int, origin: Origin) -> int:
        """Make a checked file the next version."""
        self.reload()
        case, current = self.case(name), self.version(name)
        number = max(self.ledger.newest(name), current) + 1
        digest = hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()
        entry = entry_of(
            name, "label", origin.by, version=number, source=origin.source, since=base, run=origin.run,
            model=origin.model, agreement=origin.agreement, seconds=origin.seconds, sha256=digest,
        )  # fmt: skip
        kept = self._kept(name, number)
        self._keep_current(case)
        _copy(candidate, kept)
        if base != current:
            self.ledger.append(replace(entry, event="conflict"))
            raise self._outdated(name, base, current, number)
        self.ledger.append(replace(entry, state=_state(kept)))
        self._put(name, kept)
        self.reload()
        return number

    def reject(self, name: str, reason: str, by: str = "") -> None:
        """Take a scan out of use; a label that it has is put aside."""
        with self._held():
            self.reload()
            case = self.case(name)
            self._keep_current(case)
            self.ledger.append(entry_of(name, "reject", by, note=reason[:500]))
            self._put_aside(case)
            self.reload()

    def restore(self, name: str, by: str = "") -> None:
        """Take a scan back into use, with the label that it had."""
        with self._held():
            self.reload()
            self.case(name)
            self.ledger.append(entry_of(name, "restore", by))
            self._put_back(name)
            self.reload()

    def _kept(self, name: str, version: int) -> Path:
        return self.root / STUDIO / "labels" / name / f"{version:04d}{self.description.file_ending}"

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._lock, held(self.root, "DATASET", patience=PATIENCE):
            yield

    @contextmanager
    def _candidate(self, case: Case, array: NDArray[Any]) -> Iterator[Path]:
        """The label as a file in the dataset's format, in a folder that goes with this process."""
        first = images.read_header(case.images[0])
        with Scratch() as folder:
            path = folder / f"{case.id}{self.description.file_ending}"
            images.write(path, array, first.grid)
            yield path

    def _keep_current(self, case: Case) -> None:
        """A copy of the label that counts, and a line for one that came with the dataset."""
        if not isinstance(case, LabeledCase):
            return
        version = self.version(case.id)
        kept = self._kept(case.id, version)
        if not kept.is_file():
            _copy(case.label, kept)
        if self.ledger.current(case.id) is None:
            state = _state(case.label)
            self.ledger.append(
                entry_of(case.id, "label", "dataset", version=version, source="dataset", state=state)
            )

    def _put(self, name: str, kept: Path) -> None:
        """Put a version into the dataset: move an unlabeled scan among the training scans, list the case."""
        lists.move_to_training(self.root, name, self.description.file_ending)
        label = self.root / "labelsTr" / f"{name}{self.description.file_ending}"
        _copy(kept, label)
        lists.add(self.root, name, label)

    def _put_aside(self, case: Case) -> None:
        if isinstance(case, LabeledCase):
            lists.drop(self.root, case.id)
            case.label.unlink(missing_ok=True)

    def _put_back(self, name: str) -> None:
        current = self.ledger.current(name)
        if current is not None and self._kept(name, current.version).is_file():
            self._put(name, self._kept(name, current.version))

    def _finish(self) -> None:
        """Do the rest of the newest event, which a kill may have broken off."""
        self.description, _ = read_description(self.root)
        last, ending = self.ledger.last, self.description.file_ending
        if last is None or not ending:
            return
        for folder in (self.root / "labelsTr", *(self.root / STUDIO / "labels").glob("*/")):
            remove_leftovers(folder)
        label = self.root / "labelsTr" / f"{last.case}{ending}"
        if last.event == "label" and last.source not in ("dataset", "outside"):
            self._finish_save(last, label)
        elif last.event == "reject" and label.is_file():
            self._put_aside(LabeledCase(last.case, (), label))
        elif last.event == "restore":
            self._put_back(last.case)

    def _finish_save(self, entry: Entry, label: Path) -> None:
        kept, before = self._kept(entry.case, entry.version), self._kept(entry.case, entry.since)
        if not kept.is_file():
            return
        unchanged = before.is_file() and label.is_file() and _state(label) == _state(before)
        if not label.is_file() or unchanged:
            log.info("%s: the save of version %d is finished", entry.case, entry.version)
        elif _state(label) != entry.state:
            return
        self._put(entry.case, kept)

    def _changed_outside(self, case: LabeledCase) -> bool:
        current = self.ledger.current(case.id)
        return current is not None and current.state is not None and current.state != _state(case.label)

    def _note_outside(self, case: LabeledCase) -> None:
        number = self.ledger.newest(case.id) + 1
        kept = self._kept(case.id, number)
        _copy(case.label, kept)
        told = {"version": number, "source": "outside", "since": number - 1, "state": _state(case.label)}
        self.ledger.append(entry_of(case.id, "label", "another program", **told))

    def _outdated(self, name: str, base: int, current: int, kept: int) -> UsageError:
        entry = self.ledger.current(name)
        who = f" (by {entry.by}, {entry.time})" if entry else ""
        return UsageError(
            f"{name}: version {base} was drawn on, but version {current} is there now{who}",
            hint=f"look at version {current}, then save again on top of it; yours is kept as version {kept}",
            code="OUTDATED_VERSION",
            details={
                "case": name, "current": current, "yours": base, "kept": kept,
                "by": entry.by if entry else None,
            },
        )  # fmt: skip


def on_grid(volume: Volume, grid: Grid, name: str) -> NDArray[Any]:
    """The label (*S) as whole numbers on ``grid``, with its axes turned where that is all that differs.

    Raises:
        DataError: another grid, a color image, or values that are no whole numbers (``BAD_LABEL``).
    """
    if volume.array.shape != volume.grid.shape:
        raise _refused(name, "a color image", "one value per voxel", "save it as a gray image")
    array = volume.array if volume.grid.matches(grid) else turned(volume.array, volume.grid, grid)
    if array is None:
        got = f"a label of {volume.grid}"
        raise _refused(name, got, str(grid), "draw it on this scan, or resample it with nearest neighbor")
    counts, odd = value_counts(array)
    if odd:
        got = f"values such as {', '.join(f'{value:g}' for value in odd)}"
        raise _refused(name, got, "whole numbers", "export class numbers, without interpolation")
    low, high = min(counts, default=0), max(counts, default=0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise _refused(name, f"values from {low} to {high}", "class numbers", "export class numbers")
    return np.ascontiguousarray(array).astype(np.min_scalar_type(high))


def bad_label(name: str, problems: list[Problem]) -> DataError:
    """The error for a label that ``semiseg check`` would refuse."""
    return DataError(
        replace(problems[0], case=name, file="").sentence(with_fix=False),  # its file is ours for a moment
        hint=problems[0].fix,
        code="BAD_LABEL",
        details={"case": name, "problems": [problem.as_dict() for problem in problems]},
    )


def _refused(name: str, got: str, wanted: str, fix: str) -> DataError:
    return bad_label(name, [Problem("BAD_LABEL", got, wanted, fix, case=name)])


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all, with the time of the source, by which a later change is seen; and its sidecar."""
    ending = images.ending_of(source) or ""
    beside = source.with_name(f"{source.name.removesuffix(ending)}.json")
    if beside.is_file():
        _copy_file(beside, target.with_name(f"{target.name.removesuffix(ending)}.json"))
    _copy_file(source, target)


def _copy_file(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copy2(source, temporary)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
