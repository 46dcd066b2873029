"""``semiseg init``: a dataset folder from a folder of scans and masks in any layout, without questions."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

from semiseg.dataset.adopt.decathlon import draft_decathlon, read_lists
from semiseg.dataset.adopt.draft import Asked, Draft, Missing, classes
from semiseg.dataset.adopt.finish import AdoptResult, finish, free_name, require_empty
from semiseg.dataset.adopt.listing import list_source
from semiseg.dataset.adopt.name_lists import take_lists
from semiseg.dataset.adopt.partial import judge_slices
from semiseg.dataset.adopt.pile import draft_pile
from semiseg.dataset.adopt.write import Target, choose_ending, targets
from semiseg.dataset.check.case import MOST_CLASSES
from semiseg.dataset.description import FILE, read_description
from semiseg.drawing.notebook import notebook_bar
from semiseg.errors import DataError, UsageError, plural, unknown_name
from semiseg.machine.claim import held
from semiseg.machine.files import read_json

__all__ = ["AdoptResult", "adopt"]


def adopt(
    source: str | Path,
    target: str | Path | None = None,
    *,
    link: bool = False,
    channel_names: Mapping[int, str] | None = None,
    label_names: Mapping[int, str] | None = None,
    max_classes: int = MOST_CLASSES,
    channels: Sequence[str] = (),
    resample_to: str = "",
    spacing: Sequence[float] | None = None,
    missing: Missing = "refuse",
    frames: bool = False,
    some_slices: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AdoptResult:
    """Make a dataset folder from a pile of scans and masks.

    Understands NIfTI, NRRD, MetaImage, pictures, TIFF and DICOM; flat or nested; masks told by name, or by
    holding few whole numbers; channels told by ``_0000`` or sequence words; Medical Segmentation Decathlon
    folders; zips. Folders named test go to ``imagesTs``, scans without a mask to ``imagesUn``, a validation
    folder to ``splits.json``. ``sources.csv`` says which file became which. The source is never changed.

    Args:
        source: the folder (or a zip, or a DICOM file) to adopt.
        target: the dataset folder to make; absent or empty. By default ``DatasetNNN_Name`` beside the
            source. When the source already has the right layout, only its ``dataset.json`` is written.
        link: hard-link files that need no conversion instead of copying them.
        channel_names: channel index -> name, where you know better.
        label_names: value in the masks -> class name, where you know better.
        max_classes: masks with more values are refused, unless each has a name.
        channels: names of the channels to keep, in this order; all of them where none is named.
        resample_to: the channel whose grid the others are resampled onto, or ``label`` for that of the masks,
            where they lie on different ones. Linear, masks by the nearest voxel; nothing is registered.
        spacing: mm along the axes of scans whose files do not say it (HDF5, npz, pictures).
        missing: what is done where some cases lack a channel: ``refuse``, ``zero`` puts zeros there, ``out``
            leaves these cases out.
        frames: take the frames of 4D files beside 3D scans (cine, perfusion) as unlabeled scans of the same
            patient.
        some_slices: labels are of some slices alone (every tenth): voxels of slices without a class are
            ``ignore``, which no loss and no metric counts.
        workers: files read or written at a time.
        progress: called with (files done, files in all).

    Raises:
        UsageError: no such source, a target that is not empty or cannot be written, or a source that is a
            dataset already.
        DataError: nothing usable in it, names that cannot be told apart, channels on different grids; says
            which.
    """
    progress = progress or notebook_bar("init")
    root = _existing(Path(source).expanduser())
    goal = Path(target).expanduser() if target is not None else None
    with ExitStack() as stack:
        if goal is not None:
            stack.enter_context(held(goal, "-o", beside=True))
            require_empty(goal)
        if missing not in get_args(Missing):
            raise unknown_name("--missing", missing, get_args(Missing))
        asked = Asked(
            keep=tuple(channels),
            resample_to=resample_to,
            missing=missing,
            frames=frames,
            some_slices=some_slices,
            channel_names=channel_names or {},
            label_names=label_names or {},
            most_classes=max_classes,
            spacing=_spacing(spacing or ()),
        )
        return _adopt(root, goal, stack, asked, link=link, workers=workers, progress=progress)


def _adopt(
    root: Path,
    goal: Path | None,
    stack: ExitStack,
    asked: Asked,
    *,
    link: bool,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> AdoptResult:
    """:func:`adopt`; ``stack`` gets the hold on a target that is chosen here."""
    workers = workers or min(8, os.cpu_count() or 1)
    lists = read_lists(root) if root.is_dir() else None
    if goal is None and lists is None and (root / FILE).is_file():
        raise _already_described(root)
    if lists is not None:
        draft, values = draft_decathlon(root, lists, workers, asked)
    else:
        listing = list_source(root)
        if not listing.entries:
            raise _nothing(root, listing.notices)
        draft, values = draft_pile(root, listing, workers, asked)
        take_lists(draft, root)
    if asked.some_slices:
        judge_slices(draft, values, workers)
    draft.label_names |= dict(asked.label_names)
    _rename_channels(draft, asked.channel_names)
    said = {} if asked.label_names or asked.channel_names else _said(root, draft)
    draft.said = said or _found(draft, *classes(values.values(), draft.label_names, draft))
    ending = choose_ending(draft)
    files = targets(draft, ending)
    in_place = goal is None and lists is None and _fits_already(root, files)
    folder = root if in_place else goal or free_name(root)
    if goal is None:
        stack.enter_context(held(folder, "-o", beside=not in_place))
    return finish(
        draft, files, ending, folder, link=link, in_place=in_place, workers=workers, progress=progress
    )


def _existing(source: Path) -> Path:
    if source.is_dir() or source.is_file():
        return source
    raise UsageError(f"no folder {str(source)!r}", hint="check the path", code="NO_SOURCE")


def _spacing(given: Sequence[float]) -> tuple[float, ...]:
    if given and (len(given) not in (2, 3) or not all(0 < value < float("inf") for value in given)):
        raise UsageError(
            f"a spacing of {', '.join(f'{value:g}' for value in given)}",
            hint="give two or three numbers above 0, in mm: --spacing 0.625,0.625,0.625",
            code="SPACING",
        )
    return tuple(given)


def _already_described(root: Path) -> UsageError:
    _, faults = read_description(root)
    if faults:
        return UsageError(
            f"{root} has a {FILE} that does not fit: {faults[0].sentence(with_fix=False)}",
            hint=f"fix or remove {FILE}, or name a target folder; `semiseg check` lists every fault",
            code="ALREADY_A_DATASET",
        )
    return UsageError(
        f"{root} is a dataset already",
        hint=f"look at it with `semiseg check {shlex.quote(str(root))}`",
        code="ALREADY_A_DATASET",
    )


_READ = "NIfTI, NRRD, MetaImage, HDF5, PNG, TIFF and DICOM are read; convert other files to NIfTI first"


def _nothing(root: Path, notices: list[str]) -> DataError:
    text = f"no scan found in {root}" + (f" ({'; '.join(notices)})" if notices else "")
    packed = re.search(r"\.(tar|tgz|tar\.\w+|7z|rar)\b|zips? inside", text)
    return DataError(
        text,
        hint="unpack it first: zips are opened, other archives and zips in zips are not" if packed else _READ,
        code="NO_IMAGES",
    )


def _rename_channels(draft: Draft, given: Mapping[int, str]) -> None:
    wrong = [index for index in given if not 0 <= index < len(draft.channel_names)]
    if wrong:
        raise UsageError(
            f"channel {wrong[0]} was named, out of {plural(len(draft.channel_names), 'channel')}",
            hint=f"found: {', '.join(draft.channel_names)}",
            code="CHANNELS",
        )
    draft.channel_names = tuple(given.get(i, name) for i, name in enumerate(draft.channel_names))


def _said(root: Path, draft: Draft) -> dict[str, Any]:
    """Channels, classes and regions of a ``dataset.json`` without fault that the source has already."""
    description, faults = read_description(root)
    if faults or len(description.channel_names) != len(draft.channel_names):
        return {}
    draft.decisions = [text for text in draft.decisions if not text.endswith(f"rename them in {FILE}")]
    draft.decisions.append(f"channels and classes are those of the {FILE} that is there")
    content = read_json(root / FILE)
    kept = ("channel_names", "labels", "regions_class_order", "label_map")
    return {key: content[key] for key in kept if key in content}


def _found(draft: Draft, labels: Mapping[str, int], label_map: Mapping[int, int]) -> dict[str, Any]:
    """The same from what is in the files."""
    content: dict[str, Any] = {
        "channel_names": {str(index): name for index, name in enumerate(draft.channel_names)},
        "labels": dict(labels),
    }
    if label_map:
        content["label_map"] = {str(value): number for value, number in label_map.items()}
    raw = {number: value for value, number in label_map.items()}
    shown = {name: draft.palette.get(raw.get(number, number)) for name, number in labels.items()}
    if any(shown.values()):
        content["colors"] = {
            name: "#{:02x}{:02x}{:02x}".format(*color) for name, color in shown.items() if color
        }
    return content


def _fits_already(root: Path, files: list[Target]) -> bool:
    """Whether every file lies where it would be put (scans without a mask may stay in imagesTr)."""
    return all(
        file.source.is_plain
        and file.source.path in (root / file.place, root / _in_training_folder(file.place))
        for file in files
    )


def _in_training_folder(place: Path) -> Path:
    return Path("imagesTr") / place.name if place.parent.name == "imagesUn" else place
