"""What the strategies know of scans: the uncertainty of predictions, and features.

Each is computed once, when it is asked for. No label is opened: of labeled scans, only their images.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.core import SegOutput
from semiseg.dataset.case import Case, load_case
from semiseg.errors import SemisegError, UsageError
from semiseg.labeling.planes import PlaneToLabel, planes_to_label
from semiseg.prediction.doubt import Doubt
from semiseg.prediction.model import Model
from semiseg.prediction.record import read_record
from semiseg.preparation.unlike import looks, turned

log = logging.getLogger("semiseg.labeling")

Vector = NDArray[np.float64]
Record = dict[str, Any]


class Facts:
    """Facts about cases, each computed once.

    Args:
        cases: id -> case, whose images may be opened.
        model: that has predicted them, or None.
        predictions: a folder of its predictions, whose records are read instead of predicting again.
        progress: called after every scan that was read.
        order: which channel of a scan each channel of the model is, where they differ.
        slices: keep what is said of the single slices too.
    """

    def __init__(
        self,
        cases: Mapping[str, Case],
        model: Model | None = None,
        predictions: Path | None = None,
        progress: Callable[[], None] | None = None,
        order: Sequence[int] | None = None,
        *,
        slices: bool = False,
    ) -> None:
        self._cases, self.model, self._order = cases, model, order
        self._predictions, self._progress = predictions, progress
        self._doubts: dict[str, Record] = {}
        self._features: dict[str, Vector] = {}
        self._disagreements: dict[str, float] = {}
        self._slices = slices
        self._planes: dict[str, list[PlaneToLabel]] = {}
        self.failed: dict[str, str] = {}
        """Scans that could not be read, and why."""

    def doubt(self, name: str) -> Record:
        """What :class:`semiseg.prediction.doubt.Doubt` says of a prediction, and ``sizes`` per class."""
        if name not in self._doubts:
            record = self._recorded(name)
            if record is None:
                self._predict(name)
            else:
                self._doubts[name] = {**record["uncertainty"], "sizes": record.get("sizes") or {}}
        return self._doubts.get(name, {})

    def known_doubt(self, name: str) -> Record | None:
        """:meth:`doubt`, if it needs no work."""
        return self._doubts.get(name) or (self.doubt(name) if self._recorded(name) is not None else None)

    def features(self, name: str) -> Vector | None:
        """A vector: the pooled deepest maps of the model's encoder, or what the image looks like without one.

        None for a scan that cannot be read.
        """
        if name not in self._features and name not in self.failed:
            if self.model is None:
                self._look(name)
            else:
                self._predict(name)
        return self._features.get(name)

    def disagreement(self, name: str) -> float:
        """1 - mean Dice between the members of an ensemble, or between a scan as it is and mirrored.

        Raises:
            UsageError: one network that was trained without mirrored images.
        """
        if name not in self._disagreements:
            self._disagreements[name] = self._compare(name)
        return self._disagreements[name]

    def planes(self, name: str) -> list[PlaneToLabel]:
        """The planes of a scan that are most worth a label; none of a picture or of what cannot be read."""
        if name not in self._planes and (found := self._image(name)) is not None:
            image, grid, _ = found
            entropy = None
            if self.model is not None and len(grid.shape) == 3:
                entropy = self.model.infer(self.model.prepare(image, grid), entropy=True).result().entropy
            self._planes[name] = planes_to_label(grid, entropy)
        return self._planes.get(name, [])

    def _recorded(self, name: str) -> Record | None:
        if self._predictions is None:
            return None
        record = read_record(self._predictions / f"{name}.json")
        same = record is not None and (
            self.model is None or (record.get("model") or {}).get("id") == self.model.id
        )
        return record if same and record is not None and record.get("uncertainty") else None

    def _image(self, name: str) -> Any:
        """The scan as read, or None where that fails; told once."""
        if name in self.failed:
            return None
        try:
            channels = None if self.model is None else len(self.model.plan.channels)
            image, grid, meta = load_case(self._cases[name], channels)
        except (SemisegError, OSError) as error:
            self.failed[name] = str(error)
            log.warning("%s is left out: %s", name, error)
            return None
        if self._progress is not None:
            self._progress()
        return (image if self._order is None else image[list(self._order)]), grid, meta

    def _look(self, name: str) -> None:
        found = self._image(name)
        if found is None:
            return
        image, grid, _ = found
        parts: list[Any] = [
            np.log(np.maximum(turned(grid.spacing, grid), 1e-3)),
            np.log(turned(grid.shape, grid)),
        ]
        for look in looks(image, grid):
            parts += [look.profile / np.sqrt(len(look.profile)), look.rough, look.picture / 5]
        self._features[name] = np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])

    def _predict(self, name: str) -> None:
        """One pass of the model: doubt, sizes and features of a scan, its planes where these are wanted."""
        found = self._image(name)
        if found is None:
            return
        if self.model is None:
            raise UsageError(
                "this strategy needs a model", hint="give a trained run with -m", code="NEEDS_MODEL"
            )
        image, grid, _ = found
        seen = _Pooled()
        doubt = Doubt(self.model.plan)
        with self.model.observed(seen):
            scan = self.model.prepare(image, grid)
            made = self.model.infer(scan, entropy=self._slices, also=doubt.add).result()
        counts = {key: float(np.isin(made.labels, v).sum()) for key, v in self.model.structures.items()}
        if self._slices:
            self._planes[name] = planes_to_label(grid, made.entropy)
        self._doubts[name] = {**doubt.result(), "sizes": counts}
        if seen.vector is not None:
            self._features[name] = seen.vector

    def _compare(self, name: str) -> float:
        found = self._image(name)
        if found is None or self.model is None:
            return 0.0
        image, grid, _ = found
        votes = [one.segment(image, grid).labels for one in variants(self.model)]
        pairs = [(a, b) for i, a in enumerate(votes) for b in votes[i + 1 :]]
        scores = [_dice(a, b, v) for a, b in pairs for v in self.model.structures.values()]
        known = [score for score in scores if score is not None]
        return 1 - float(np.mean(known)) if known else 0.0


def variants(model: Model) -> list[Model]:
    """Models that should agree: the members of an ensemble, or one as it is and on mirrored views.

    Raises:
        UsageError: one network that was trained without mirrored images.
    """
    if len(model.members) > 1:
        return [
            Model((m,), model.settings, model.device, model.precision, model.copies) for m in model.members
        ]
    plain, mirrored = model.with_settings(mirror=False), model.with_settings(mirror=True)
    if not mirrored.mirrored(mirrored.members[0]):
        raise UsageError(
            "disagreement needs an ensemble, or a network that was trained with mirrored images",
            hint="give -m several times, or choose another strategy",
            code="NO_DISAGREEMENT",
        )
    return [plain, mirrored]


class _Pooled:
    """The mean over voxels and windows of the deepest map that the networks give."""

    def __init__(self) -> None:
        self._sum: Vector | None = None
        self._count = 0

    def __call__(self, output: SegOutput) -> None:
        maps = output.levels[0] if output.levels else output.features
        if maps is None:
            return
        pooled = maps.float().mean(tuple(range(2, maps.ndim)))
        total = pooled.sum(0).double().cpu().numpy()
        self._sum = total if self._sum is None else self._sum + total
        self._count += len(pooled)

    @property
    def vector(self) -> Vector | None:
        return None if self._sum is None else self._sum / self._count


def _dice(a: NDArray[Any], b: NDArray[Any], values: tuple[int, ...]) -> float | None:
    mine, theirs = np.isin(a, values), np.isin(b, values)
    total = int(mine.sum()) + int(theirs.sum())
    return None if total == 0 else 2 * float((mine & theirs).sum()) / total
