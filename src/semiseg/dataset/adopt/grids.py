"""What is done to a volume between its file and the dataset, see :attr:`Source.steps`: channels of one
case are resampled onto one grid; voxel sizes, the order of axes, a second mask, a region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from semiseg.dataset.adopt.draft import Draft, Item, Source, Step
from semiseg.dataset.adopt.looks import load, look
from semiseg.errors import DataError, UsageError, plural, unknown_name
from semiseg.images.dicom import read_series_header
from semiseg.images.grid import Grid, Volume, scaling, times, turned

LABEL = "label"
"""What ``--resample-to`` calls the grid of the masks."""


@dataclass(frozen=True)
class Resampled:
    """A volume on another grid, by the headers alone: nothing is registered.

    Scans are interpolated linearly, masks take the nearest voxel. Where the grid reaches beyond the volume,
    scans have their lowest value and masks background.
    """

    grid: Grid
    nearest: bool = False

    def __call__(self, volume: Volume) -> Volume:
        """The resampled voxels; of a color image each channel."""
        back = np.linalg.inv(_square(volume.grid)) @ _square(self.grid)
        axes = len(self.grid.shape)
        array = volume.array if self.nearest else volume.array.astype(np.float32)
        lowest = 0.0 if self.nearest or not array.size else float(array.min())
        found = ndimage.affine_transform(
            array,
            back[:axes, :axes],
            offset=back[:axes, 3],
            output_shape=self.grid.shape,
            order=0 if self.nearest else 1,
            mode="grid-constant",  # the last voxels count also where rounding puts them a hair outside
            cval=lowest,
        )
        return Volume(found, self.grid)  # without the header of the file, which is about the other grid


def _square(grid: Grid) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.asarray(grid.affine, np.float64)


def settle_grids(draft: Draft, grids: Mapping[str, Grid | None], resample_to: str) -> None:
    """See that the channels of each case lie on one grid, or bring them onto the one that was asked for.

    Raises:
        DataError: channels on different grids, and nothing was said; names them.
        UsageError: no channel of this name.
    """
    several = [item for item in draft.items if len(item.images) > 1 or (resample_to and item.label)]
    if draft.colors or not several:
        return
    names = list(draft.channel_names)
    known = {item.id: [_grid(source, grids) for source in item.images] for item in several}
    masks = {item.id: _grid(item.label, grids) for item in several if item.label is not None}
    first = _reference(known, masks)
    if resample_to:
        target = _named(resample_to, names)
        _resample(several, known, masks, first if target is None else target, target is None, draft)
        return
    off = {
        names[channel]: [case for case, own in known.items() if _differ(own[channel], own[first])]
        for channel in range(len(names))
        if channel != first
    }
    odd = {name: cases for name, cases in off.items() if cases}
    if odd:
        raise _different(odd, known, names, first, bool(masks))


def _grid(source: Source | None, grids: Mapping[str, Grid | None]) -> Grid | None:
    if source is None:
        return None
    if source.series is not None:
        return read_series_header(source.series).grid
    return grids[source.shown] if source.shown in grids else look(source).grid


def _differ(one: Grid | None, other: Grid | None) -> bool:
    if one is None or other is None or one.matches(other):
        return False
    return turned(np.broadcast_to(0, one.shape), one, other) is None


def _reference(known: Mapping[str, Sequence[Grid | None]], masks: Mapping[str, Grid | None]) -> int:
    """The first channel of those that lie on the masks' grid in most cases; without masks, the first."""
    channels = range(min(map(len, known.values())))
    fits = [sum(not _differ(known[case][k], mask) for case, mask in masks.items()) for k in channels]
    return fits.index(max(fits)) if masks else 0


def _named(resample_to: str, names: Sequence[str]) -> int | None:
    """The channel that is meant, None for the label.

    Raises:
        UsageError: there is none of this name.
    """
    spelled = {name.casefold(): number for number, name in enumerate(names)}
    wanted = resample_to.strip().casefold()
    if wanted == LABEL:
        return None
    if wanted not in spelled:
        raise unknown_name(
            "channel", resample_to, [*names, LABEL], hint="--resample-to takes a channel or label"
        )
    return spelled[wanted]


def _resample(
    items: Sequence[Item],
    known: Mapping[str, Sequence[Grid | None]],
    masks: Mapping[str, Grid | None],
    channel: int,
    to_label: bool,
    draft: Draft,
) -> None:
    counts: dict[str, int] = {}
    for item in items:
        own, mask = known[item.id], masks.get(item.id)
        target = (mask if to_label else None) or own[channel]
        if target is None:
            raise UsageError(
                f"--resample-to: the grid of {item.id} is not known",
                hint="resample it by hand",
                code="CHANNEL_GRIDS",
            )
        images = []
        for name, source, grid in zip(draft.channel_names, item.images, own, strict=True):
            moved = _differ(grid, target)
            counts[name] = counts.get(name, 0) + moved
            images.append(_with_step(source, Resampled(target)) if moved else source)
        item.images = tuple(images)
        if item.label is not None and _differ(mask, target):
            counts["the label"] = counts.get("the label", 0) + 1
            item.label = _with_step(item.label, Resampled(target, nearest=True))
    told = [f"{name} of {plural(count, 'case')}" for name, count in counts.items() if count]
    where = "the label" if to_label else draft.channel_names[channel]
    if told:
        draft.decisions.append(
            f"{' and '.join(told)}: resampled onto the grid of {where} by the headers (nothing is registered)"
        )


def _with_step(source: Source, step: Resampled) -> Source:
    return replace(source, steps=(*source.steps, step))


def _different(
    odd: Mapping[str, Sequence[str]],
    known: Mapping[str, Sequence[Grid | None]],
    names: Sequence[str],
    first: int,
    masks: bool,
) -> DataError:
    name, cases = next(iter(odd.items()))
    case, total = cases[0], len(known)
    mine, theirs = known[case][names.index(name)], known[case][first]
    how_many = ("all " if len(cases) == total else f"{len(cases)} of ") + plural(total, "case")
    others = [f"{other} of {len(found)}" for other, found in odd.items() if other != name]
    beside = f"{names[first]}{' and the masks' if masks else ''}"
    kept = ",".join(other for other in names if other not in odd)
    also = f" (also {', '.join(others)})" if others else ""
    return DataError(
        f"{name} of {how_many}{also} lies on another grid than {beside}: {mine}, wanted {theirs}, in {case}",
        hint=f"--resample-to {names[first]} resamples it (linear; nothing is registered), --channels {kept} "
        "leaves it out",
        code="CHANNEL_GRIDS",
        details={"channels": {other: list(found) for other, found in odd.items()}},
    )


@dataclass(frozen=True)
class Sized:
    """Voxels of a known size (mm along the axes) that the file does not say, or says wrongly."""

    spacing: tuple[float, ...]
    only_unknown: bool = False
    """Leave volumes alone whose file says a size."""

    def __call__(self, volume: Volume) -> Volume:
        """The same voxels in the same directions, this far apart."""
        if self.only_unknown and volume.grid.unit == "mm":
            return volume
        if len(self.spacing) != len(volume.grid.shape):
            raise UsageError(
                f"a spacing of {plural(len(self.spacing), 'number')} for {len(volume.grid.shape)}D scans",
                hint="give one number per axis, in mm",
                code="SPACING",
            )
        affine = volume.grid.affine.copy()
        axes = len(self.spacing)
        affine[:3, :axes] *= np.array(self.spacing) / np.array(volume.grid.spacing)
        return replace(volume, grid=Grid(volume.grid.shape, affine))


@dataclass(frozen=True)
class Reordered:
    """Axes in another order; position and direction are lost, so this is for files that have none."""

    axes: tuple[int, ...]

    def __call__(self, volume: Volume) -> Volume:
        """The array with its axes in this order, on an upright grid of the same unit."""
        spacing = [volume.grid.spacing[axis] for axis in self.axes]
        array = np.ascontiguousarray(volume.array.transpose(self.axes))
        return replace(volume, array=array, grid=Grid(array.shape, scaling(spacing), volume.grid.unit))


@dataclass(frozen=True)
class LaidOn:
    """An array whose own place is not to be trusted, flipped and laid on the grid of its scan."""

    grid: Grid
    flips: tuple[int, ...] = ()

    def __call__(self, volume: Volume) -> Volume:
        """The flipped array on the grid.

        Raises:
            DataError: another shape.
        """
        if volume.array.shape != self.grid.shape:
            raise DataError(
                f"a label of {times(volume.array.shape)} voxels for a scan of {times(self.grid.shape)}",
                hint="look for the label of another release, or for slices that are missing",
                code="GEOMETRY",
            )
        array = np.ascontiguousarray(np.flip(volume.array, self.flips))
        return replace(volume, array=array, grid=self.grid)


@dataclass(frozen=True)
class Painted:
    """A second mask of the same scan, painted where the first one has nothing."""

    other: Source
    value: int

    def __call__(self, volume: Volume) -> Volume:
        """The label with the second mask as one more value.

        Raises:
            DataError: the second mask has another shape.
        """
        more = load(self.other, label=True).array
        if more.shape != volume.array.shape:
            shapes = f"{times(more.shape)} voxels beside a label of {times(volume.array.shape)}"
            raise DataError(
                f"{self.other.shown}: {shapes}", hint="look for the mask of the same scan", code="GEOMETRY"
            )
        return replace(volume, array=np.where((volume.array == 0) & (more > 0), self.value, volume.array))


_IN_PLANE = 2


@dataclass(frozen=True)
class Cropped:
    """The voxels inside a box, on their part of the grid."""

    box: tuple[slice, ...]

    def __call__(self, volume: Volume) -> Volume:
        """The part of the volume, which stays where it lies."""
        return replace(volume, array=volume.array[self.box], grid=_part(volume.grid, self.box))


def around(
    grid: Grid, mask: tuple[slice, ...], margin: float, size: float = 1.0
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Steps of scan and label: cut in plane to the mask's box and ``margin`` mm, then ``size`` mm voxels.

    Some published protocols have it so.
    """
    box = tuple(
        _widened(one, margin / step, count) if axis < _IN_PLANE else slice(0, count)
        for axis, (one, step, count) in enumerate(zip(mask, grid.spacing, grid.shape, strict=True))
    )
    part = _part(grid, box)
    affine = part.affine.copy()
    affine[:3, :3] *= size / np.array(part.spacing)
    shape = tuple(max(1, round(n * s / size)) for n, s in zip(part.shape, part.spacing, strict=True))
    fine = Grid(shape, affine)
    return (Cropped(box), Resampled(fine)), (Cropped(box), Resampled(fine, nearest=True))


def _widened(one: slice, margin: float, count: int) -> slice:
    return slice(max(0, int(one.start - margin)), min(count, int(np.ceil(one.stop + margin))))


def _part(grid: Grid, box: tuple[slice, ...]) -> Grid:
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([one.start for one in box])
    return Grid(tuple(one.stop - one.start for one in box), affine, grid.unit)
