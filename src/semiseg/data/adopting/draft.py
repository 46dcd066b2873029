"""What a dataset is going to be, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from semiseg.data.formats.dicom import Series

Part = Literal["train", "unlabeled", "val", "test"]


@dataclass(frozen=True)
class Source:
    """Where the voxels of one channel or label come from.

    Attributes:
        path: the file, or the folder or zip of a DICOM series.
        frame: index along the fourth axis of a 4D file.
        series: the DICOM series, when it is one.
    """

    path: Path
    frame: int | None = None
    series: Series | None = field(default=None, compare=False, repr=False)


@dataclass
class Item:
    """One case to be written."""

    id: str
    part: Part
    images: tuple[Source, ...]
    label: Source | None = None


@dataclass
class Draft:
    """All cases to be written, and what was decided on the way.

    Attributes:
        channel_names: one per channel.
        label_names: raw value -> class name, where the source says so.
        colors: whether images are RGB pictures, three channels in one file.
        decisions: what was found out, one sentence each.
        notices: what was left out, one sentence each.
    """

    items: list[Item]
    channel_names: tuple[str, ...] = ()
    label_names: dict[int, str] = field(default_factory=dict)
    colors: bool = False
    decisions: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def some(names: list[str], most: int = 5) -> str:
    """A list of names, shortened."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
