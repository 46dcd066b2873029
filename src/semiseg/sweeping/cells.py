"""One cell of a sweep: everything that a worker must know of it, and the hash of what decides its result."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from semiseg.config import Config
from semiseg.data.cases import LabeledCase
from semiseg.data.dataset import Dataset

FREE = ("max_time", "checkpoint_minutes", "log_every")
"""Settings of the loop that decide nothing about the weights."""


class Scoring(BaseModel):
    """Which cases are scored, where they are, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: Literal["test", "validation"]
    convention: str
    nsd_tolerance: float
    images: str
    """Folder of their scans."""
    labels: str
    """Folder of their references."""
    cases: tuple[str, ...]


class Cell(BaseModel):
    """A training and its scores. ``place`` is its run folder, relative to the sweep folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    training: str
    """Hash of what decides the weights: two cells that have it in common can share a run folder."""
    split: str
    """Hash of its lists of cases."""
    dataset: str
    root: str
    """The dataset's folder."""
    variant: str
    method: str
    network: str
    recipe: str
    iterations: int
    labeled: int
    """Cases."""
    budget: str
    """As asked for: ``8``, ``2patients`` or ``all``."""
    fold: int
    seed: int
    bound: Literal["lower", "upper"] | None
    config: dict[str, Any]
    """The whole configuration, as in ``config.yaml``."""
    scoring: Scoring
    place: str

    @property
    def scores(self) -> str:
        """The folder of its scores, relative to the sweep folder."""
        return f"{self.place}/{self.scoring.score}"

    @property
    def title(self) -> str:
        """How it is named in messages."""
        fold = f" fold {self.fold}" if self.fold else ""
        return f"{self.dataset} {self.variant} labeled {self.budget}{fold} seed {self.seed}"


def digest(values: Any) -> str:
    """Twelve hexadecimal digits that stand for JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def settings_of(config: Config) -> dict[str, Any]:
    """What of a configuration decides the weights and how scans are predicted.

    Defaults are left out, so that a version which adds a setting does not run everything again; so is the
    memory that a sweep plans for, which follows from its methods.
    """
    whole = config.model_dump(mode="json", exclude={"recipe"}, exclude_defaults=True)
    train = {key: value for key, value in whole.pop("train", {}).items() if key not in FREE}
    plan = {key: value for key, value in whole.pop("plan", {}).items() if key != "networks"}
    return {**whole, **({"plan": plan} if plan else {}), "train": train}


class Contents:
    """What the files of a dataset hold, as far as it decides results; every file is looked at once.

    Labels count by their bytes, scans by their size: the labels are what a user corrects, and reading every
    scan before a sweep goes on would take minutes.
    """

    def __init__(self, dataset: Dataset) -> None:
        known = (*dataset.annotated, *dataset.unannotated, *dataset.test)
        self._images = {case.id: case.images for case in known}
        self._labels = {case.id: case.label for case in known if isinstance(case, LabeledCase)}
        self._description = _hash(dataset.root / "dataset.json")
        self._hashes: dict[Path, str] = {}

    def of(self, *, labeled: list[str], plain: list[str]) -> list[Any]:
        """Values for :func:`digest`: the cases whose labels count, and those whose scans alone do."""
        sizes = [[case, *(path.stat().st_size for path in self._images[case])] for case in labeled + plain]
        return [self._description, sizes, [self._label(self._labels[case]) for case in labeled]]

    def _label(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = _hash(path)
        return self._hashes[path]


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
