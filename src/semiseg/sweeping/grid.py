"""The cells of a specification, in the order in which they are to run.

One cell of a sweep: everything that a worker must know of it, and the hash of what decides its result.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from semiseg import methods
from semiseg.dataset.case import LabeledCase
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.split import Split
from semiseg.errors import DataError, SemisegError
from semiseg.runs.folder import budget, run_name
from semiseg.settings.config import Config
from semiseg.sweeping.spec import Data, Spec, Variant, config_of, name_problems, wrong

Budget = dict[str, Any]
"""The labels of a cell as fields of ``Config.data``; empty for all of them."""


def grid(spec: Spec, where: str = "sweep") -> list[SweepCell]:
    """Every cell, the first seed of everything first, supervised training before what it is the bound of.

    Raises:
        UsageError: names, settings, datasets, numbers of labels or folds that do not fit; all at once.
    """
    problems = list(name_problems(spec))
    if problems:
        raise wrong(where, problems)
    parts = []
    for data in spec.datasets:
        try:
            parts.append(_Part(spec, data, Dataset.open(data.dataset)))
        except SemisegError as error:
            problems.append(error.message)
    names = [part.dataset.name for part in parts]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f"datasets: {name} is given {names.count(name)} times" for name in twice]
    cells = [cell for seed in spec.seeds for part in parts for cell in part.cells(seed)]
    problems += dict.fromkeys(problem for part in parts for problem in part.problems)
    if problems:
        raise wrong(where, problems)
    return cells


@dataclass
class _Part:
    """The cells on one dataset."""

    spec: Spec
    data: Data
    dataset: Dataset
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.contents = Contents(self.dataset)
        self._configs: dict[str, Config | None] = {}
        self._splits: dict[tuple[Any, ...], Split | None] = {}
        self._folds = self._fold_count()

    @property
    def folds(self) -> tuple[int, ...]:
        """The numbers of the folds."""
        return self.spec.folds if self.data.folds is None else self.data.folds

    def _fold_count(self) -> int | None:
        """How many folds of a cross-validation there are; None where no fold of one was asked for."""
        asked = self.data.folds is not None or "folds" in self.spec.model_fields_set
        known = self.dataset.splits is not None and self.dataset.splits.cross_validation
        if not asked or (self.folds == (0,) and not known):
            return None
        try:
            return self.dataset.fold_count()
        except SemisegError as error:
            self.problems.append(error.message)
            return None

    def cells(self, seed: int) -> Iterator[SweepCell]:
        for fold in self.folds:
            for wanted, variant in self._wanted():
                config = self._config(variant)
                split = self._split(wanted, fold, seed, config.data.accepted if config else 1.0)
                if config is not None and split is not None and split.labeled:
                    yield self._cell(variant, _chosen(config, wanted, fold, self._folds, seed), split)

    def _wanted(self) -> Iterator[tuple[Budget, Variant]]:
        """Budgets and variants with the bounds among them; nothing twice."""
        spec = self.spec
        budgets = self._budgets()
        baseline = _baseline(spec)
        lower = [baseline] if spec.bounds in (True, "lower") else []
        pairs = [
            (wanted, variant) for wanted in budgets for variant in _unique([*lower, *spec.methods], baseline)
        ]
        if spec.bounds in (True, "upper"):
            pairs.append(({}, baseline))
        seen = set()
        for wanted, variant in pairs:
            key = (str(wanted), variant.title)
            if key not in seen:
                seen.add(key)
                yield wanted, variant

    def _budgets(self) -> list[Budget]:
        own = self.data.labeled is not None or self.data.labeled_patients is not None
        layer: Spec | Data = self.data if own else self.spec
        if layer.labeled is not None and layer.labeled_patients is not None:
            self.problems.append("labeled and labeled_patients exclude each other; give one of them")
        for name in ("labeled", "labeled_patients"):
            if (amounts := getattr(layer, name)) is not None:
                return [{} if amount == "all" else {name: amount} for amount in dict.fromkeys(amounts)]
        return [{}]

    def _config(self, variant: Variant) -> Config | None:
        """The configuration, or None and its problems; asked once for each variant."""
        if variant.title not in self._configs:
            self._configs[variant.title] = None
            try:
                methods.require_form(variant.method, self.dataset.label_form)
                self._configs[variant.title] = config_of(self.spec, self.data, variant)
            except SemisegError as error:
                found = error.details.get("problems") or [error.message]
                self.problems += [f"{variant.title}: {problem}" for problem in found]
        return self._configs[variant.title]

    def _split(self, wanted: Budget, fold: int, seed: int, accepted: float) -> Split | None:
        key = (str(wanted), fold, seed, accepted)
        if key not in self._splits:
            self._splits[key] = None
            try:
                split = self.dataset.split(
                    wanted.get("labeled"),
                    fold,
                    seed,
                    labeled_patients=wanted.get("labeled_patients"),
                    folds=self._folds,
                    accepted=accepted,
                )
                self._scoring(split)
                self._splits[key] = split
            except SemisegError as error:
                self.problems.append(error.message)
        return self._splits[key]

    def _cell(self, variant: Variant, config: Config, split: Split) -> SweepCell:
        scoring = self._scoring(split)
        ids = {name: [case.id for case in getattr(split, name)] for name in ("labeled", "unlabeled", "val")}
        read = self.contents.of(labeled=ids["labeled"] + ids["val"], plain=ids["unlabeled"])
        weights = [dict(split.weights)] if split.weights else []
        training = digest([settings_of(config), self.dataset.name, ids, read, *weights])
        rules = scoring.model_dump(mode="json", exclude={"images", "labels"})
        scored = self.contents.of(labeled=list(scoring.cases), plain=[])
        asked, bound = budget(config.data), None
        if variant.title == _baseline(self.spec).title:
            bound = "upper" if asked == "all" else "lower"
        return SweepCell(
            id=digest([training, variant.title, rules, scored]),
            training=training,
            split=split.sha256(),
            dataset=self.dataset.name,
            root=str(self.dataset.root.resolve()),
            variant=variant.title,
            method=config.method.name,
            network=config.network.name,
            recipe=Path(config.recipe).stem,
            iterations=int(config.train.iterations),
            labeled=len(split.labeled),
            budget=asked,
            fold=config.data.fold,
            seed=config.train.seed,
            bound=bound,
            config=config.model_dump(mode="json"),
            scoring=scoring,
            place=f"{self.dataset.name}/{run_name(config, variant=variant.title)}",
        )

    def _scoring(self, split: Split) -> Scoring:
        """Where the scored cases are (DataError: there are none, or they are not together)."""
        spec, dataset = self.spec, self.dataset
        lists = {"test": split.test, "validation": split.val, "held_out": split.held_out}
        listed = {case.id for case in lists[spec.score]}
        known = (case for case in (*dataset.test, *dataset.annotated) if case.id in listed)
        cases = {case.id: case for case in known if isinstance(case, LabeledCase)}
        others = (name for name, cases in lists.items() if cases and name != spec.score)
        other = next(others, "validation" if spec.score == "test" else "test")
        if not cases:
            raise DataError(
                f"{dataset.name} has no {spec.score} case with a label; `score: {other}`?",
                hint="without labels nothing can be scored",
            )
        images = {str(case.images[0].parent.resolve()) for case in cases.values()}
        labels = {str(case.label.parent.resolve()) for case in cases.values()}
        if len(images) > 1 or len(labels) > 1:
            raise DataError(
                f"the {spec.score} cases of {dataset.name} lie in several folders, wanted one",
                hint="move their images into one folder and their labels into another",
            )
        return Scoring(
            score=spec.score,
            convention=spec.convention,
            nsd_tolerance=spec.nsd_tolerance,
            images=images.pop(),
            labels=labels.pop(),
            cases=tuple(sorted(cases)),
        )


def _chosen(config: Config, wanted: Budget, fold: int, folds: int | None, seed: int) -> Config:
    """The configuration with labels, fold and seed."""
    update = {"labeled": None, "labeled_patients": None, **wanted, "fold": fold, "folds": folds}
    return config.changed("data", **update).changed("train", seed=seed)


def _baseline(spec: Spec) -> Variant:
    """What the bounds are trained with: the first variant of supervised training, or the plain method."""
    named = (variant for variant in spec.methods if variant.method == "supervised")
    return next(named, Variant(method="supervised"))


def _unique(variants: Iterable[Variant], first: Variant) -> list[Variant]:
    """Each title once, ``first`` before the others where it is among them."""
    found = {variant.title: variant for variant in variants}
    return sorted(found.values(), key=lambda variant: variant.title != first.title)


FREE = ("max_time", "checkpoint_minutes", "log_every")
"""Settings of the loop that decide nothing about the weights."""


class Scoring(BaseModel):
    """Which cases are scored, where they are, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: Literal["test", "validation", "held_out"]
    convention: str
    nsd_tolerance: float
    images: str
    """Folder of their scans."""
    labels: str
    """Folder of their references."""
    cases: tuple[str, ...]


class SweepCell(BaseModel):
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
        self._hash = functools.cache(_hash)

    def of(self, *, labeled: list[str], plain: list[str]) -> list[Any]:
        """Values for :func:`digest`: the cases whose labels count, and those whose scans alone do."""
        sizes = [[case, *(path.stat().st_size for path in self._images[case])] for case in labeled + plain]
        return [self._description, sizes, [self._hash(self._labels[case]) for case in labeled]]


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
