"""From slabs of probabilities to a scan's prediction on its own voxels; a slab is let go before the next."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.errors import SemisegError
from semiseg.inference.accumulate import Slab
from semiseg.inference.postprocess import postprocess
from semiseg.inference.predictor import entropy as entropy_of
from semiseg.preparation.back import LabelRestorer, MapRestorer, restore_probabilities
from semiseg.preparation.geometry import Geometry
from semiseg.preparation.labels import file_values
from semiseg.preparation.plan import Plan
from semiseg.settings.config import InferenceConfig

MUCH = 0.5
"""Dropped voxels over those of the largest piece, above which a person should look."""


class Segmentation(NamedTuple):
    """A scan's prediction on the scan's own voxels."""

    labels: NDArray[Any]
    """(*S), the user's label values, smallest unsigned integer type."""
    probabilities: NDArray[np.float32] | None = None
    """(K, *S), where asked for."""
    entropy: NDArray[np.float32] | None = None
    """(*S) in [0, 1], 0 certain, where asked for."""
    dropped: Mapping[str, float] = MappingProxyType({})
    """Class of one piece in the training labels -> dropped voxels apart from its largest piece, over those
    of that piece; only where they are many."""


class Assembly:
    """Takes slabs in order and makes the label map of them, and what else is asked for."""

    def __init__(
        self,
        geometry: Geometry,
        plan: Plan,
        settings: InferenceConfig,
        *,
        entropy: bool = False,
        probabilities: bool = False,
    ) -> None:
        self._geometry, self._plan = geometry, plan
        self._settings = settings
        self._labels = LabelRestorer(geometry, plan)
        self._entropy = MapRestorer(geometry) if entropy else None
        self._shares: list[NDArray[np.float32]] | None = [] if probabilities else None

    def add(self, slab: Slab) -> None:
        """Take the next rows (SemisegError: the network's answer is not finite)."""
        scores = slab.probabilities
        if not bool(torch.isfinite(scores.sum())):
            raise SemisegError(
                "the network's output for this scan is NaN or infinite",
                hint="the training has diverged, or --precision 16 overflows: try precision 32",
                code="NOT_FINITE",
            )
        if self._entropy is not None:
            self._entropy.add(_numpy(entropy_of(scores, regions=bool(self._plan.regions))))
        if self._shares is not None:
            self._shares.append(_numpy(scores))
        if self._labels.direct and scores.device.type != "cpu":  # one byte per voxel travels instead of 4 K
            kind = torch.uint8 if len(scores) <= 256 else torch.int32
            self._labels.add_classes(self._plan.head.decide(scores).to(kind).cpu().numpy())
        else:
            self._labels.add(_numpy(scores))

    def result(self) -> Segmentation:
        """The post-processed label map and its companions, once all rows are in."""
        settings = self._settings
        background, *_ = values = file_values(self._plan)
        members = {name: [values[k] for k in places] for name, places in self._plan.structures.items()}
        found = self._labels.result()
        labels = postprocess(
            found,
            {name: values[k] for name, k in self._plan.written.items()},
            regions=members if self._plan.regions else None,
            fill_holes=settings.fill_holes,
            largest_component=settings.largest_component,
            minimum_mm3=settings.minimum_mm3,
            spacing=self._geometry.source.spacing,
            background=background,
        )
        shares = None
        if self._shares is not None:
            shares = restore_probabilities(np.concatenate(self._shares, 1), self._geometry, self._plan)
        entropy = None if self._entropy is None else self._entropy.result()
        return Segmentation(labels, shares, entropy, self._dropped(found, labels, values))

    def _dropped(self, found: NDArray[Any], kept: NDArray[Any], values: Sequence[int]) -> dict[str, float]:
        shares = {}
        for name in self._plan.one_piece if kept is not found else ():
            value = values[self._plan.written[name]]
            after = int(np.count_nonzero(kept == value))
            apart = int(np.count_nonzero(found == value)) - after
            if apart > MUCH * after:
                shares[name] = round(apart / after, 3)
        return shares


Slabs = Generator[Slab, None, None]


def mean_slabs(parts: Sequence[tuple[int, Slabs]]) -> Slabs:
    """The weighted mean of several predictions of one scan, whose slabs may be cut differently."""
    if len(parts) == 1:
        yield from parts[0][1]
        return
    whole = sum(weight for weight, _ in parts)
    with ExitStack() as stack:
        for _, slabs in parts:
            stack.enter_context(closing(slabs))
        current = [next(slabs, None) for _, slabs in parts]
        while all(slab is not None for slab in current):
            found = [slab for slab in current if slab is not None]
            start, stop = found[0].start, min(slab.start + slab.probabilities.shape[1] for slab in found)
            total = torch.zeros_like(found[0].probabilities[:, : stop - start])
            for (weight, _), slab in zip(parts, found, strict=True):
                rows = slab.probabilities[:, : stop - start]
                total.add_(rows.to(total.device), alpha=weight / whole)
            yield Slab(start, total)
            current = [
                _rest(slab, stop) or next(slabs, None) for slab, (_, slabs) in zip(found, parts, strict=True)
            ]


def _rest(slab: Slab, start: int) -> Slab | None:
    """What of the slab lies at ``start`` and below."""
    left = slab.probabilities[:, start - slab.start :]
    return Slab(start, left) if left.shape[1] else None


def _numpy(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array
