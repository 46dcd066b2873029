"""From network output to the scan's own voxels, rows at a time: resample, un-crop, turn.

Scores may come in any number of pieces along T0: the result is the same, and only a piece is held. Where
nothing is resampled, labels come back bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError
from semiseg.preparation.geometry import Geometry, Shape
from semiseg.preparation.labels import file_values, smallest_unsigned
from semiseg.preparation.plan import Plan
from semiseg.preparation.resample import Winners, apply_weights, axis_weights, resampling_order

Image = NDArray[np.float32]


class Rows(NamedTuple):
    """Finished rows of some maps."""

    start: int
    """The first, along T0."""
    height: int
    maps: Iterator[Image]
    """(height, T1, T2) each; made one by one."""


class RowResampler:
    """Linear resampling of maps that arrive in pieces along T0, each voxel as if they had come whole."""

    def __init__(self, before: Shape, after: Shape) -> None:
        self._before, self._after = before, after
        self._order = resampling_order(before, after)
        self._seen = self._done = 0
        self._kept_from = 0
        self._kept: Image | None = None
        if before[0] != after[0]:
            weights = axis_weights(before[0], after[0], "linear")
            used = np.split(weights.indices, weights.indptr[1:-1])
            self._first = np.array([row.min() for row in used])
            self._last = np.array([row.max() for row in used])
            self._weights = weights

    def push(self, piece: Image) -> Rows:
        """Take the next rows of all maps, (N, rows, T1, T2); give the rows that are complete by now.

        ``maps`` must be used up before the next call.
        """
        count = piece.shape[1]
        self._seen += count
        if self._before[0] == self._after[0]:
            start = self._seen - count
            return Rows(start, count, (self._plane(values) for values in piece))
        start = self._done
        self._done = int(np.searchsorted(self._last, self._seen - 1, side="right"))
        below = self._kept
        weights = self._weights[start : self._done, self._kept_from : self._seen]
        self._keep(piece)
        if self._done == start:
            return Rows(start, 0, (np.empty((0, *self._after[1:]), np.float32) for _ in piece))
        return Rows(start, self._done - start, self._mixed(piece, below, weights))

    def _mixed(self, piece: Image, below: Image | None, weights: Any) -> Iterator[Image]:
        for k, values in enumerate(piece):
            rows = values if below is None else np.concatenate([below[k], values])
            yield self._plane(rows, weights)

    def _plane(self, rows: Image, weights: Any = None) -> Image:
        """Resample along all axes in the order that the whole volume would take."""
        out = np.ascontiguousarray(rows, np.float32)
        for axis in self._order:
            if axis == 0:
                out = apply_weights(out, 0, weights)
            else:
                out = apply_weights(out, axis, axis_weights(self._before[axis], self._after[axis], "linear"))
        return out

    def _keep(self, piece: Image) -> None:
        """Hold on to the rows that later ones need."""
        wanted = self._seen
        if self._done < self._after[0]:
            wanted = min(int(self._first[self._done]), self._seen)
        piece_from = self._seen - piece.shape[1]
        if self._kept is not None and wanted < piece_from:
            self._kept = np.concatenate([self._kept[:, wanted - self._kept_from :], piece], 1)
        else:
            self._kept = piece[:, wanted - piece_from :].copy()
        self._kept_from = wanted


class LabelRestorer:
    """Class scores in pieces -> a label map on the scan's own voxels.

    Scores are resampled class by class: beside the label map, memory holds a piece, and two maps of its size.
    """

    def __init__(self, geometry: Geometry, plan: Plan) -> None:
        self._geometry = geometry
        self._resampler = RowResampler(geometry.shape, geometry.cropped_shape)
        self._values = file_values(plan)
        self._painted = [self._values[k] for k in plan.head.painted]
        self._full = np.full(
            geometry.turned_shape, self._values[0], smallest_unsigned(self._values)
        )  # outside of the crop the first class (background) is certain
        self._inside = geometry.crop(self._full)
        self._rows = 0

    def add(self, scores: Image) -> None:
        """Take the next rows: (K, rows, T1, T2); the largest score wins, of equals any (:class:`Winners`).

        Of regions, those above 0.5 are painted one over another.
        """
        start, height, maps = self._resampler.push(scores)
        self._rows = start + height
        inside = self._inside[start : start + height]
        if self._painted:
            for share, value in zip(maps, self._painted, strict=True):
                np.copyto(inside, value, where=share > 0.5)
            return
        winners = Winners(inside.shape, start * inside[:1].size)
        for share, value in zip(maps, self._values, strict=True):
            np.copyto(inside, value, where=winners.take(share))

    def add_classes(self, classes: NDArray[np.uint8]) -> None:
        """Take the next rows as classes (rows, T1, T2), places in ``plan.labels``; if :attr:`direct`."""
        rows = slice(self._rows, self._rows + len(classes))
        self._inside[rows] = np.asarray(self._values, self._full.dtype)[classes]
        self._rows = rows.stop

    @property
    def direct(self) -> bool:
        """Whether nothing is resampled, so that the winner of each voxel is all there is to know."""
        return not self._geometry.resampled

    def result(self) -> NDArray[Any]:
        """(*S) in the smallest unsigned integer type that holds the values."""
        return np.ascontiguousarray(self._geometry.turn_back(self._full))


class MapRestorer:
    """A map such as uncertainty, in pieces -> the scan's own voxels."""

    def __init__(self, geometry: Geometry, fill: float = 0.0) -> None:
        self._geometry = geometry
        self._resampler = RowResampler(geometry.shape, geometry.cropped_shape)
        self._full = np.full(geometry.turned_shape, fill, np.float32)
        self._inside = geometry.crop(self._full)

    def add(self, values: Image) -> None:
        """Take the next rows, (rows, T1, T2)."""
        start, height, maps = self._resampler.push(values[None])
        self._inside[start : start + height] = next(maps)

    def result(self) -> Image:
        """(*S) float32."""
        return np.ascontiguousarray(self._geometry.turn_back(self._full))


def restore_labels(probabilities: Image, geometry: Geometry, plan: Plan) -> NDArray[Any]:
    """The most probable class of each of the scan's own voxels (*S), as the values in the user's files.

    ``probabilities`` (K, T0, T1, T2) may be any scores: the largest wins, of equals any.
    """
    _require_fit(probabilities, geometry, plan.classes)
    restorer = LabelRestorer(geometry, plan)
    restorer.add(probabilities)
    return restorer.result()


def restore_map(values: Image, geometry: Geometry, fill: float = 0.0) -> Image:
    """A map such as uncertainty, (T0, T1, T2), on the scan's own voxels: (*S), ``fill`` outside the crop."""
    _require_fit(values[None], geometry, 1)
    restorer = MapRestorer(geometry, fill)
    restorer.add(values)
    return restorer.result()


def restore_probabilities(probabilities: Image, geometry: Geometry, plan: Plan) -> Image:
    """Class probabilities, (K, T0, T1, T2) summing to one over K, on the scan's own voxels: (K, *S).

    Outside the crop the first class (background) is certain, or no region is there.
    """
    _require_fit(probabilities, geometry, plan.classes)
    out = np.empty((len(probabilities), *geometry.source.shape), np.float32)
    for k, values in enumerate(probabilities):
        out[k] = restore_map(values, geometry, fill=float(k == 0 and not plan.regions))
    return out


def _require_fit(values: Image, geometry: Geometry, classes: int) -> None:
    if values.shape != (classes, *geometry.shape):
        raise DataError(
            f"got values of shape {values.shape}, wanted {(classes, *geometry.shape)}",
            hint="the plan and the geometry must be those that the scan was prepared with",
            code="SHAPE",
        )
