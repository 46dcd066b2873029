"""4D files: each frame is a scan of its own, and their label maps are put together again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from semiseg import images
from semiseg.dataset.adopt.draft import Source
from semiseg.images import nifti

OverTime = tuple[str, int, int]
"""Name of the 4D file's case, the number of this frame and how many there are."""


def frame_sources(name: str, source: Source, frames: int) -> list[tuple[str, OverTime, Source]]:
    """Name, place in time and source of each frame of a 4D file."""
    wide = max(3, len(str(frames - 1)))
    return [
        (f"{name}_t{frame:0{wide}d}", (name, frame, frames), replace(source, frame=frame))
        for frame in range(frames)
    ]


def join(done: Sequence[tuple[OverTime, Path, Path]]) -> list[Path]:
    """Write a 4D label map of each file of which all frames are predicted; the files written.

    ``done`` has of each frame its place in time, its label map and the 4D file.
    """
    films: dict[tuple[Path, str], dict[int, tuple[OverTime, Path, Path]]] = defaultdict(dict)
    for each in done:
        films[each[1].parent, each[0][0]][each[0][1]] = each
    written = []
    for (folder, name), frames in films.items():
        (_, _, count), first, film = frames[min(frames)]
        if len(frames) < count:
            continue
        volumes = [images.read_label(frames[k][1]) for k in range(count)]
        place = folder / f"{name}{images.ending_of(first) or '.nii.gz'}"
        nifti.write_frames(place, np.stack([v.array for v in volumes], -1), volumes[0], like=film)
        written.append(place)
    return written
