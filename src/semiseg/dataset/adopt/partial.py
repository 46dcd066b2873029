"""What some cases lack: a channel, the labels of most slices, the label of most frames of a film."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.adopt.draft import UNJUDGED, Draft, Item, Missing
from semiseg.dataset.adopt.listing import FoundFile
from semiseg.dataset.adopt.looks import in_threads, load
from semiseg.errors import DataError, plural, some
from semiseg.images.grid import Volume

_FILM = re.compile(r"[_-]?(4d|cine|dyn|dynamic|perf|perfusion)$", re.IGNORECASE)
_AXES = 3

Files = dict[str | None, FoundFile]
"""Channel word -> file of one case."""


@dataclass(frozen=True)
class Blank:
    """A channel that a case lacks: zeros where another channel lies."""

    def __call__(self, volume: Volume) -> Volume:
        """The grid of the volume with zeros."""
        return replace(volume, array=np.zeros_like(volume.array))


def complete_channels(
    cases: Mapping[str, Files], wanted: Sequence[str | None], missing: Missing, draft: Draft
) -> dict[str, Files]:
    """The cases that have all channels, or get zeros for those that they lack.

    Raises:
        DataError: some lack one, and nothing was said; names them.
    """
    complete = {name: files for name, files in cases.items() if set(files) == set(wanted)}
    partial = {name: files for name, files in cases.items() if name not in complete}
    names = dict(zip(wanted, draft.channel_names, strict=False))
    absent = {
        name: [names.get(word, str(word)) for word in wanted if word not in files]
        for name, files in partial.items()
    }
    told = some([f"{name} ({', '.join(words)})" if words else name for name, words in absent.items()])
    if partial and not complete:
        raise DataError(
            f"no case has all channels {', '.join(map(str, wanted))}; {len(partial)} have some: "
            f"{some(partial)}",
            hint="keep those that all have with --channels NAMES, or give the channels of a case one name",
            code="MISSING_CHANNEL",
        )
    if partial and missing == "refuse":
        raise DataError(
            f"{len(partial)} of {plural(len(cases), 'case lacks', 'cases lack')} a channel: {told}",
            hint="--missing zero puts zeros there, --missing out leaves these cases out, --channels NAMES "
            "keeps the channels that all have",
            code="MISSING_CHANNEL",
            details={"cases": absent},
        )
    if partial and missing == "out":
        draft.notices.append(
            f"left out {plural(len(partial), 'case that lacks', 'cases that lack')} a channel: {told}"
        )
    elif partial:
        usable = {name: files for name, files in partial.items() if set(files) <= set(wanted)}
        lack = plural(len(usable), "case lacks", "cases lack")
        draft.decisions.append(f"{lack} a channel, which is 0 everywhere: {told}")
        complete |= {name: _filled(files, wanted) for name, files in usable.items()}
    return complete


def _filled(files: Files, wanted: Sequence[str | None]) -> Files:
    entry = next(iter(files.values()))
    source = replace(entry.source, steps=(*entry.source.steps, Blank()))
    return {word: files.get(word) or replace(entry, source=source, channel=word) for word in wanted}


@dataclass(frozen=True)
class SomeSlices:
    """A label of which the slices without a class along one axis were never looked at."""

    axis: int

    def __call__(self, volume: Volume) -> Volume:
        """The label with :data:`UNJUDGED` in those slices."""
        array = volume.array.astype(np.int16)
        empty = ~(array != 0).any(axis=_others(self.axis, array.ndim))
        array[(slice(None),) * self.axis + (empty,)] = UNJUDGED
        return replace(volume, array=array)


def judge_slices(draft: Draft, values: dict[str, frozenset[int]], workers: int | None) -> None:
    """Take empty slices of labels for unlabeled ones, in cases where some lie between labeled ones."""
    labels = [(item, item.label) for item in draft.items if item.label and item.label.recode is None]
    axes = in_threads(lambda pair: _gappy_axis(load(pair[1], label=True).array), labels, workers)
    found = 0
    for (item, label), axis in zip(labels, axes, strict=True):
        if axis is not None:
            item.label = replace(label, steps=(*label.steps, SomeSlices(axis)))
            values[item.id] = values[item.id] | {UNJUDGED}
            found += 1
    draft.decisions.append(
        f"labels of {found} of {plural(len(labels), 'case')} are of some slices: slices without a class are "
        "not judged"
    )


def _gappy_axis(array: NDArray[np.generic]) -> int | None:
    """The axis along which most empty slices lie between others; None where there are none, and in 2D."""
    gaps = [0]
    for axis in range(array.ndim if array.ndim == _AXES else 0):
        full = np.flatnonzero((array != 0).any(axis=_others(axis, array.ndim)))
        gaps.append(int(full[-1] - full[0] + 1 - len(full)) if len(full) else 0)
    return int(np.argmax(gaps)) - 1 if max(gaps) else None


def _others(axis: int, axes: int) -> tuple[int, ...]:
    return tuple(other for other in range(axes) if other != axis)


def take_frames(films: Sequence[FoundFile], names: Mapping[str, str], draft: Draft) -> None:
    """Add the frames of 4D files as unlabeled scans of the patient whose folder, or name, they share.

    Frames that are also there as a scan of their own are left out.
    """
    groups = {item.id: item.id for item in draft.items}
    repeated = count = 0
    for entry in films:
        film, own = names[entry.shown], _of_the_same(entry, names[entry.shown], draft.items)
        known = {load(item.images[0]).array.astype(np.float32).tobytes() for item in own}
        groups |= {item.id: film for item in own}
        held = [item.part for item in own if item.part in ("test", "val")]
        for frame in range(entry.seen.frames):
            source = replace(entry.source, frame=frame)
            if load(source).array.astype(np.float32).tobytes() in known:
                repeated += 1
            elif not held and entry.part in ("train", "unlabeled"):
                draft.items.append(Item(f"{film}_t{frame:03d}", "unlabeled", (source,), group=film))
                groups[draft.items[-1].id] = film
                count += 1
    draft.items.sort(key=lambda item: item.id)
    draft.splits["group_by_patient"] = {item.id: groups[item.id] for item in draft.items}
    draft.decisions.append(
        f"{plural(count, 'frame')} of {len(films)} 4D files taken as unlabeled scans, of the patient that "
        "their file is of"
        + (f"; {plural(repeated, 'frame')} left out, there as scans of their own" if repeated else "")
    )


def _of_the_same(entry: FoundFile, film: str, items: Sequence[Item]) -> list[Item]:
    """The cases of a 4D file's folder; in one folder for all, those that begin with its name."""
    if entry.folders:
        return [item for item in items if item.images[0].path.parent == entry.source.path.parent]
    patient = _FILM.sub("", film)
    return [item for item in items if f"{item.id}_".startswith(f"{patient}_")]
