"""How label arrays lie on their scans where their own affine is wrong, by the HU inside the mask.

A mask in its place holds one tissue, so the standard deviation of HU inside is small and their mean that of
soft tissue. Flipped, it holds whatever lies opposite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.adopt.draft import Source
from semiseg.dataset.adopt.grids import LaidOn
from semiseg.dataset.adopt.looks import in_threads, load
from semiseg.errors import DataError, plural, some
from semiseg.images.grid import Grid, times
from semiseg.inference.postprocess import box_of

FLIPS: dict[str, tuple[int, ...]] = {
    "none": (), "y": (1,), "z": (2,), "yz": (1, 2), "x": (0,), "xy": (0, 1), "xz": (0, 2), "xyz": (0, 1, 2),
}  # fmt: skip
AUTO = ("none", "y", "z", "yz")
"""Flips that are tried; along x none is known."""
TISSUE = (0.0, 150.0)
"""HU of the mean inside a mask of an organ in a portal-venous scan."""
CLEAR = 0.8
"""The smallest deviation must be at most this share of the next one."""

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Laid:
    """One label on its scan.

    Attributes:
        name: of the flips.
        grid: of the scan.
        box: of the mask, in the scan's voxels.
        mean: HU inside.
        sd: their standard deviation.
        clear: whether no other way fits nearly as well.
    """

    name: str
    grid: Grid
    box: Box
    mean: float
    sd: float
    clear: bool = True

    @property
    def flips(self) -> tuple[int, ...]:
        """The axes that are flipped."""
        return FLIPS[self.name]

    @property
    def step(self) -> LaidOn:
        """What is done to the label."""
        return LaidOn(self.grid, self.flips)


def lay(pairs: Mapping[str, tuple[Source, Source]], flip: str, workers: int | None) -> dict[str, Laid]:
    """How each label lies.

    Args:
        pairs: case -> scan (HU) and label.
        flip: one of :data:`FLIPS`; ``auto`` finds the one way that fits all, ``each`` the best of each.
        workers: cases read at a time.

    Raises:
        DataError: a label that fits nowhere clearly, or one that fits otherwise than the others; names it.
    """
    ways = (flip,) if flip in FLIPS else AUTO
    tried = in_threads(lambda pair: _tried(*pair, ways), list(pairs.values()), workers)
    best = dict(zip(pairs, tried, strict=True))
    if flip in FLIPS:
        return best
    unclear = [name for name, one in best.items() if not one.clear]
    if unclear:
        one = best[unclear[0]]
        raise DataError(
            f"clearly right in no orientation: {plural(len(unclear), 'label')}, {some(unclear)} (best: "
            f"{one.name}, "
            f"{one.mean:.0f} +- {one.sd:.0f} HU inside)",
            hint="look at them, and add --with flip=y or another axis",
            code="LABEL_FLIP",
        )
    usual, count = Counter(one.name for one in best.values()).most_common(1)[0]
    odd = [name for name, one in best.items() if one.name != usual]
    if odd and flip == "auto":
        told = ", ".join(f"{name} {_said(best[name].name)}" for name in odd[:5])
        raise DataError(
            f"{plural(count, 'label fits its scan', 'labels fit their scans')} {_said(usual)}, "
            f"{len(odd)} otherwise: {told}",
            hint="look at these; --with flip=each takes each label's own way",
            code="LABEL_FLIP",
            details={"odd": odd, "usual": usual},
        )
    return best


def _said(way: str) -> str:
    return "as stored" if way == "none" else f"flipped along {way}"


def _tried(image: Source, label: Source, ways: tuple[str, ...]) -> Laid:
    scan = load(image)
    mask = load(label, label=True).array > 0
    if mask.shape != scan.grid.shape:
        raise DataError(
            f"{label.shown}: {times(mask.shape)} voxels for a scan of {times(scan.grid.shape)} "
            f"({image.shown})",
            hint="a slice is missing, or the label is of another scan",
            code="GEOMETRY",
        )
    if not mask.any():
        raise DataError(f"{label.shown} is empty", hint="get it again", code="EMPTY_LABEL")
    inside = {way: scan.array[np.flip(mask, FLIPS[way])] for way in ways}
    found = {way: (float(values.mean()), float(values.std())) for way, values in inside.items()}
    fitting = {way: hu for way, hu in found.items() if TISSUE[0] <= hu[0] <= TISSUE[1]} or found
    order = sorted(fitting, key=lambda way: fitting[way][1])
    best = order[0]
    others = [found[way][1] for way in found if way != best]
    clear = not others or found[best][1] <= CLEAR * min(others)
    return Laid(best, scan.grid, box_of(np.flip(mask, FLIPS[best])) or (), *found[best], clear)


def overlay(image: Source, label: Source, flips: tuple[int, ...]) -> NDArray[np.uint8]:
    """(rows, columns, 3): the slice with most of the mask, windowed for soft tissue, its border in red."""
    scan = load(image).array
    mask = np.flip(load(label, label=True).array > 0, flips)
    k = int(mask.sum(axis=(0, 1)).argmax())
    gray = np.clip((scan[..., k].T.astype(np.float32) + 125) / 400, 0, 1)
    picture = np.repeat((255 * gray).astype(np.uint8)[..., None], 3, axis=2)
    inside = mask[..., k].T
    border = inside & ~(
        np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
    )
    picture[border] = (255, 40, 40)
    return picture
