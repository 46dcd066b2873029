"""What a dataset is going to be, before anything is written: its cases, channels and classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.check.case import MOST_CLASSES
from semiseg.dataset.description import IGNORE_NAME
from semiseg.errors import DataError, plural, some
from semiseg.images.archive import Unpacked
from semiseg.images.dicom import Series
from semiseg.images.grid import Grid, Volume

Part = Literal["train", "unlabeled", "val", "test"]
Missing = Literal["refuse", "zero", "out"]

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


@dataclass(frozen=True)
class Asked:
    """What a user says of a pile.

    Attributes:
        keep: channels, in this order; all where none is named.
        resample_to: the channel onto whose grid the others are brought.
        missing: what is done with cases that lack a channel.
        frames: take the frames of 4D files beside 3D scans as unlabeled scans.
        some_slices: labels are of some slices alone.
        channel_names: channel index -> name.
        label_names: value in the masks -> class name.
        most_classes: masks with more values are refused, unless each has a name.
        spacing: mm along the axes of scans whose files do not say it.
    """

    keep: tuple[str, ...] = ()
    resample_to: str = ""
    missing: Missing = "refuse"
    frames: bool = False
    some_slices: bool = False
    channel_names: Mapping[int, str] = field(default_factory=dict)
    label_names: Mapping[int, str] = field(default_factory=dict)
    most_classes: int = MOST_CLASSES
    spacing: tuple[float, ...] = ()


@dataclass(frozen=True)
class FileFacts:
    """What the header of a file says.

    Attributes:
        axes: 2 or 3; 0 when the header cannot be read.
        channels: 1, or 3/4 for colors.
        frames: length of a fourth axis, else 1.
        dtype: as stored.
        trouble: why the file cannot be used, empty when it can.
        grid: where its voxels lie, as far as the header was read.
        has_label: whether the file holds its own label, too.
        has_size: whether it says how large its voxels are.
    """

    axes: int = 0
    channels: int = 1
    frames: int = 1
    dtype: str = ""
    trouble: str = ""
    grid: Grid | None = None
    has_label: bool = False
    has_size: bool = True


def notice(text: str, names: Sequence[object], one: str, many: str = "") -> list[str]:
    """A sentence with how many names there are and the first of them; none where there are none.

    ``notice("left out {}", ["a", "b"], "label")`` is ``["left out 2 labels: a, b"]``.
    """
    return [f"{text.format(plural(len(names), one, many))}: {some(names)}"] if names else []


@dataclass(frozen=True)
class Recode:
    """How the pixels of masks become class numbers: at a gray value, or color by color.

    Attributes:
        threshold: this gray value and brighter ones are class 1; 0 where colors count.
        colors: color -> class number.
    """

    threshold: int = 0
    colors: Mapping[Color, int] = field(default_factory=dict)

    def __call__(self, volume: Volume) -> NDArray[np.uint8]:
        """Class numbers (*S) of gray values (*S), of indices with their palette, or of colors (*S, 3)."""
        array, palette = volume.array, volume.meta.get("palette")
        if self.threshold:
            return (array >= self.threshold).astype(np.uint8)
        if palette and array.ndim == len(volume.grid.shape):
            table = np.array([palette.get(value, (value,) * 3) for value in range(256)], np.uint8)
            array = table[array]
        if array.shape[-1] != 3 or array.ndim < 3:
            array = np.stack([array] * 3, axis=-1)
        packed = pack(array)
        classes = np.zeros(packed.shape, np.uint8)
        for color, number in self.colors.items():
            classes[packed == pack(np.array(color))] = number
        return classes


def pack(colors: NDArray[Any]) -> NDArray[np.int64]:
    """(*S, 3) colors as one number each."""
    red, green, blue = np.moveaxis(colors.astype(np.int64), -1, 0)
    return red << 16 | green << 8 | blue  # type: ignore[no-any-return]


Step = Callable[[Volume], Volume]


@dataclass(frozen=True)
class Source:
    """Where the voxels of one channel or label come from.

    Attributes:
        path: the file, or the folder or zip of a DICOM series.
        frame: index along the fourth axis of a 4D file.
        series: the DICOM series, when it is one.
        shown: the path that people know, relative to what was read, and on inside zips.
        recode: how a mask becomes class numbers, where it does not hold them.
        slices: the files of a volume that lies in single slices, in order.
        steps: what is done to the volume once it is read.
        archive: the zip that the file was unpacked from, with the folder that lives as long as this.
    """

    path: Path
    frame: int | None = None
    series: Series | None = field(default=None, compare=False, repr=False)
    shown: str = field(default="", compare=False)
    archive: Unpacked | None = field(default=None, compare=False, repr=False)
    recode: Recode | None = field(default=None, compare=False, repr=False)
    slices: tuple[Path, ...] = field(default=(), compare=False, repr=False)
    steps: tuple[Step, ...] = field(default=(), compare=False, repr=False)

    @property
    def is_plain(self) -> bool:
        """Whether it is a file as it lies there: no series, frame or slices, and nothing is done to it."""
        made = (self.series, self.frame, self.recode)
        return all(part is None for part in made) and not self.slices and not self.steps


@dataclass
class Item:
    """One case to be written.

    Attributes:
        group: the patient or video it is of, where that is known.
        extra: whether it lies outside of what the data set's lists are about.
        info: what else is known of it, for ``dataset.json``.
    """

    id: str
    part: Part
    images: tuple[Source, ...]
    label: Source | None = None
    group: str = ""
    extra: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Draft:
    """All cases to be written, and what was decided on the way.

    Attributes:
        channel_names: one per channel.
        label_names: raw value -> class name, where the source says so.
        colors: whether images are RGB pictures, three channels in one file.
        recode: how all masks become class numbers, where they do not hold them.
        palette: class number -> the color that masks show it in.
        said: keys of ``dataset.json`` that are known already: channels, classes and what is free.
        splits: keys of ``splits.json`` that are known already.
        pictures: place in the dataset folder -> picture (rows, columns, 3) to be looked at.
        group_rule: regular expression that takes the group of a case from its id.
        decisions: what was found out, one sentence each.
        notices: what was left out, one sentence each.
    """

    items: list[Item]
    channel_names: tuple[str, ...] = ()
    label_names: dict[int, str] = field(default_factory=dict)
    colors: bool = False
    recode: Recode | None = None
    palette: dict[int, Color] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    group_rule: str = ""
    decisions: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


UNJUDGED = -1
"""In label files: voxels that nobody judged. They become the class ``ignore``."""
_VOID = 255
"""Marks pixels that nobody judged, in data sets whose classes are numbered 0, 1, 2, ..."""


def classes(
    values: Iterable[frozenset[int]], names: Mapping[int, str], draft: Draft
) -> tuple[dict[str, int], dict[int, int]]:
    """Declare the classes.

    Returns:
        ``labels`` for dataset.json (background 0, consecutive, maybe ``ignore``) and ``label_map``.

    Raises:
        DataError: values below 0 that nobody named; -1, too, where nothing is 0 and it may be the background.
    """
    found = set().union(*values) | set(names)
    void = _unjudged(found, names)
    empty = {value for value, name in names.items() if value and name.lower() == "background"}
    raw = sorted(found - {0} - void - empty)
    _require_named(raw, names)
    if not raw:
        draft.notices.append("no mask with a class in it: rename the class 'foreground' in dataset.json")
        return {"background": 0, "foreground": 1}, {}
    labels = {names.get(0, "background"): 0}
    for number, value in enumerate(raw, start=1):
        usual = "foreground" if len(raw) == 1 else f"structure {number}"
        name = names.get(value, usual)
        labels[name if name not in labels else f"{name} {value}"] = number
    label_map = {value: number for number, value in enumerate(raw, start=1) if value != number}
    label_map |= dict.fromkeys(sorted(empty), 0)
    for value in sorted(void):
        labels["ignore"] = len(raw) + 1
        if value != len(raw) + 1:
            label_map[value] = len(raw) + 1
        draft.decisions.append(f"value {value} marks voxels to ignore")
    pairs = zip([0, *raw], labels, strict=False)
    draft.decisions.append(f"classes: {', '.join(f'{value} = {name}' for value, name in pairs)}")
    if label_map:
        draft.decisions.append(f"label_map {label_map} (value in the files: declared value)")
    return labels, label_map


def _require_named(raw: list[int], names: Mapping[int, str]) -> None:
    """No format and no other tool has classes below 0: what they mean has to be said."""
    odd = [value for value in raw if value < 0 and value not in names]
    if odd:
        raise DataError(
            f"the masks hold values below 0 ({some(odd)}): no class numbers",
            hint=f"say what they are: --label {odd[0]}=background, --label {odd[0]}=ignore for voxels that "
            f"nobody judged, or --label {odd[0]}=NAME for a class",
            code="NEGATIVE_LABELS",
            details={"values": odd[:500]},
        )


def _unjudged(found: set[int], names: Mapping[int, str]) -> set[int]:
    """What is named so; else -1 beside 0, and 255 when the other values count 1, 2, ... without a gap."""
    other = {UNJUDGED} - set(names) if 0 in found else set()
    named = {value for value, name in names.items() if value and name.lower() == IGNORE_NAME}
    if named:
        return named | found & other
    void = found & other
    rest = found - void - {0, _VOID}
    if _VOID in found and _VOID not in names and rest and rest == set(range(1, len(rest) + 1)):
        void.add(_VOID)
    return void if len(void) < 2 else {UNJUDGED}
