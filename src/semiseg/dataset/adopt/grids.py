"""Channels of one case that lie on different voxel grids: which, and resampled onto which one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from semiseg.dataset.adopt.draft import Draft, Item, Source
from semiseg.dataset.adopt.looks import look
from semiseg.errors import DataError, UsageError, unknown_name
from semiseg.images.dicom import read_series_header
from semiseg.images.grid import Grid, Volume, turned

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

    Args:
        draft: with items and channel names; gets steps and a decision.
        grids: shown path -> grid, as far as headers were read already.
        resample_to: a channel's name, or ``label``; empty where nothing was said.

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
    told = [f"{name} of {count} cases" for name, count in counts.items() if count]
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
    how_many = f"all {total}" if len(cases) == total else f"{len(cases)} of {total}"
    others = [f"{other} of {len(found)}" for other, found in odd.items() if other != name]
    beside = f"{names[first]}{' and the masks' if masks else ''}"
    kept = ",".join(other for other in names if other not in odd)
    also = f" (also {', '.join(others)})" if others else ""
    return DataError(
        f"{name} of {how_many} cases{also} lies on another grid than {beside}: {_shown(mine)}, wanted "
        f"{_shown(theirs)}, in {case}",
        hint=f"--resample-to {names[first]} resamples it (linear; nothing is registered), --channels {kept} "
        "leaves it out",
        code="CHANNEL_GRIDS",
        details={"channels": {other: list(found) for other, found in odd.items()}},
    )


def _shown(grid: Grid | None) -> str:
    if grid is None:
        return "unknown"
    return f"{' x '.join(map(str, grid.shape))} voxels of {' x '.join(f'{s:.3g}' for s in grid.spacing)} mm"
