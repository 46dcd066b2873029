"""Where clumsy users do their damage: a valid dataset, a trained run and scans, under a watchful eye."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.factories import make_dataset
from tests.trained import make_plan, make_run

SHAPE = (12, 13, 11)
TRAIN = ("train", "data", "--device", "cpu", "-j", "0", "--set", "train.iterations=2", "--runs", "runs")
"""A command line that would train, if nothing were wrong."""


@dataclass(frozen=True)
class Bad:
    """One mistake, and how it must be answered.

    Attributes:
        name: of the test.
        argv: the command line, run in the folder of :func:`make_ground`.
        code: exit code.
        says: texts that the answer must hold (cause, place, what was got or is wanted, the fix).
        spoil: makes the mistake, in that folder.
        word: the machine's word for it, in ``--json``.
    """

    name: str
    argv: Sequence[str]
    code: int
    says: Sequence[str]
    spoil: Callable[[Path], object] | None = None
    word: str = ""


def make_ground(folder: Path) -> Path:
    """A dataset, a run folder, a plan of other data, two scans, and labels with their predictions."""
    made = make_dataset(folder, labeled=3, unlabeled=2, test=1, shape=SHAPE, classes=3)
    made.rename(folder / "data")
    data = folder / "data"
    make_run(folder / "model")
    make_plan(channels=2).save(folder / "other.json")
    for part in ("scans", "labels", "predictions"):
        (folder / part).mkdir()
    for i in range(2):
        shutil.copy(data / "imagesTr" / f"case_0{i}_0000.nii.gz", folder / "scans" / f"scan_{i}_0000.nii.gz")
        for part in ("labels", "predictions"):
            shutil.copy(data / "labelsTr" / f"case_0{i}.nii.gz", folder / part / f"case_0{i}.nii.gz")
    return folder


def snapshot(folder: Path) -> dict[str, str]:
    """Every file and folder below ``folder``, with a hash of what is in it."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }
