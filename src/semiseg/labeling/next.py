"""``semiseg next``: which scans to label next, with reasons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.dataset.case import Case, LabeledCase, plain
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.ledger import Ledger
from semiseg.errors import DataError, UsageError
from semiseg.labeling.facts import Facts
from semiseg.labeling.strategies import NEED_MODEL, Choice, Pool, find
from semiseg.prediction.model import Model
from semiseg.prediction.scans import channel_numbers

FAR_OUT = 3.5
"""Robust standard deviations from the median at which a volume is implausible (Iglewicz and Hoaglin 1993)."""
ENOUGH = 8
"""Scans from which a volume can be called implausible."""


@dataclass(frozen=True)
class Ranking:
    """What to label next.

    Attributes:
        dataset: the folder.
        strategy: that was used.
        cases: the best first.
        failed: scans that could not be read, and why.
    """

    dataset: Path
    strategy: str
    cases: tuple[Choice, ...]
    failed: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        listed = []
        for rank, case in enumerate(self.cases, start=1):
            about = {"score": round(case.score, 6), "reason": case.reason}
            slices = {"slices": asdict(case)["slices"]} if case.slices else {}
            listed.append({"id": case.id, "rank": rank, **about, **slices})
        about = {"dataset": str(self.dataset), "strategy": self.strategy}
        return {**about, "cases": listed, "failed": self.failed}


def next_cases(
    dataset: str | Path | Dataset,
    model: Model | str | Path | Sequence[str | Path] | None = None,
    *,
    strategy: str = "default",
    n: int = 5,
    slices: bool = False,
    predictions: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    allow_code: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Suggest which unlabeled scans to label next. No label is opened.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or an opened dataset; scans that were
            rejected in the studio are left out.
        model: a run folder, a checkpoint, several of them (an ensemble), or a loaded model; None for the cold
            start, by what the images look like.
        strategy: one of :data:`semiseg.labeling.strategies.STRATEGIES`; ``default`` is ``typiclust`` without
            a model and ``mixed`` with one.
        n: number of scans.
        slices: also say which three planes of each scan (of three axes) to label, if not all of it.
        predictions: a folder of the model's predictions; scans that have a record there are not predicted
            again where the strategy needs no more than that.
        seed: random seed of what is drawn.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; for a model that is not loaded yet.
        allow_code: modules that may be imported where a checkpoint names a network of other code.
        progress: called with (scans read, scans there are).

    Returns:
        The scans, the best first, each with a score and a reason.

    Raises:
        UsageError: an unknown strategy, one that needs a model, or a number that is not above 0.
        DataError: there is no unlabeled scan, or the model wants other channels.
    """
    if n < 1:
        raise UsageError(f"n is {n}, wanted at least 1", hint="such as -n 5")
    name, choose = find(strategy, model=model is not None)
    if model is None and name in NEED_MODEL:
        raise UsageError(
            f"the strategy {name} needs a model", hint="give a trained run with -m", code="NEEDS_MODEL"
        )
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    if model is not None and not isinstance(model, Model):
        model = Model.load(model, device, allow_code=allow_code)
    pool = _pool(opened, model, predictions, seed, progress, slices=slices)
    found = choose(pool, n)
    found = _implausible(pool, found)
    if slices:
        found = [_with_slices(pool, one) for one in found]
    return Ranking(opened.root, name, tuple(found), pool.facts.failed)


def _pool(
    dataset: Dataset,
    model: Model | None,
    predictions: str | Path | None,
    seed: int,
    progress: Callable[[int, int], None] | None,
    *,
    slices: bool,
) -> Pool:
    bad = Ledger(dataset.root).bad
    cases: dict[str, Case] = {c.id: plain(c) for c in (*dataset.annotated, *dataset.unannotated)}
    labeled = [c.id for c in dataset.annotated]
    held_out = set(dataset.splits.folds[0].val) if dataset.splits else set()
    unlabeled = [
        c.id for c in dataset.unannotated if not isinstance(c, LabeledCase) and c.id not in {*bad, *held_out}
    ]
    if not unlabeled:
        raise DataError(
            f"every scan of {dataset.root} has a label", hint="add scans to imagesUn", code="NO_SCANS"
        )
    read = 0

    def tick() -> None:
        nonlocal read
        read += 1
        if progress is not None:
            progress(read, len(cases))

    folder = Path(predictions) if predictions else None
    if folder is not None and not folder.is_dir():
        raise UsageError(
            f"no folder {folder}",
            hint="give --predictions the folder that -o of `semiseg predict` named",
            code="NOT_FOUND",
        )
    order = None
    if model is not None:
        names = [channel.name for channel in model.plan.channels]
        order = channel_numbers(dataset.root / "imagesTr", names)
    facts = Facts(cases, model, folder, tick, order, slices=slices)
    return Pool(unlabeled, labeled, facts, np.random.default_rng(seed))


def _with_slices(pool: Pool, choice: Choice) -> Choice:
    planes = tuple(pool.facts.planes(choice.id))
    words = f"; slices: {', '.join(map(str, planes))}" if planes else ""
    return replace(choice, slices=planes, reason=choice.reason + words)


def _implausible(pool: Pool, chosen: Sequence[Choice]) -> list[Choice]:
    """The choices, with a word where a predicted volume lies far from those of the other scans."""
    sizes: dict[str, dict[str, float]] = {}
    for name in pool.unlabeled:
        known = pool.facts.known_doubt(name)
        if known and known.get("sizes"):
            sizes[name] = known["sizes"]
    if len(sizes) < ENOUGH:
        return list(chosen)
    told = []
    for one in chosen:
        odd = [kind for kind in sizes.get(one.id, {}) if _far_out(kind, one.id, sizes)]
        words = f"; implausible volume of {', '.join(odd)}" if odd else ""
        told.append(replace(one, reason=one.reason + words))
    return told


def _far_out(kind: str, name: str, sizes: dict[str, dict[str, float]]) -> bool:
    volumes = np.array([found.get(kind, 0.0) for found in sizes.values()])
    middle = float(np.median(volumes))
    spread = float(np.median(np.abs(volumes - middle))) * 1.4826
    return spread > 0 and abs(sizes[name].get(kind, 0.0) - middle) / spread > FAR_OUT
