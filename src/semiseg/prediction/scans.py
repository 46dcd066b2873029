"""What there is to predict: files, piles in any layout that ``semiseg init`` reads, dataset folders, zips."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from semiseg import images
from semiseg.dataset.adopt.draft import Source
from semiseg.dataset.adopt.listing import FoundFile, Listing, list_source, without_previews
from semiseg.dataset.adopt.looks import load, look, stack_slices
from semiseg.dataset.adopt.names import folder_role
from semiseg.dataset.adopt.pairing import without_masks
from semiseg.dataset.case import Case, load_case, stacked
from semiseg.dataset.description import FILE, read_description
from semiseg.errors import DataError, UsageError, plural, some
from semiseg.images import claims, nifti
from semiseg.images.dicom import find_series
from semiseg.images.grid import Grid
from semiseg.machine.files import printable
from semiseg.prediction.grouping import Group, group, same_names

OverTime = tuple[str, int, int]
"""Name of a 4D file's case, the number of this frame and how many there are."""
Loaded = tuple[NDArray[Any], Grid, dict[str, Any]]
"""(C, *S), where its voxels lie, and what a writer needs to give the file back as it came."""

SERIES_WRITTEN_AS = ".nii.gz"
WRITTEN_AS = {
    ".hdr": ".nii.gz", ".nhdr": ".nrrd", ".mhd": ".mha",
    ".jpg": ".png", ".jpeg": ".png", ".bmp": ".png", ".webp": ".png",
    ".gif": ".png", ".pgm": ".png", ".ppm": ".png",
    ".npy.h5": ".nii.gz", ".h5": ".nii.gz", ".hdf5": ".nii.gz", ".npz": ".nii.gz",
}  # fmt: skip
"""Label maps keep the ending of their scan, but are never lossy and never in two files."""

_log = logging.getLogger("semiseg.data")


@dataclass(frozen=True)
class InputScan:
    """One thing to predict.

    Attributes:
        id: names the output.
        files: what it is made of.
        ending: of its label map.
        load: reads it; raises DataError for a scan that cannot be used, such as one without all channels.
        shown: what reports name in place of many files.
        series: SeriesInstanceUID of each DICOM series it is made of.
        over_time: of which 4D file it is a frame.
    """

    id: str
    files: tuple[Path, ...]
    ending: str
    load: Callable[[], Loaded]
    shown: tuple[Path, ...] = ()
    series: tuple[str, ...] = ()
    over_time: OverTime | None = None


def find_scans(inputs: Path, channels: Sequence[str]) -> list[InputScan]:
    """The scans at ``inputs``, sorted by id. Scans that will fail are listed too, so none is lost in silence.

    Piles are understood as by ``semiseg init``: flat or nested; channels told by ``_0000``, by the words of
    the model's channel names or by sequence words, in the names of files, folders or DICOM series. Masks,
    previews and files of other channels are left out with a warning.

    Args:
        inputs: an image; a folder of images; a dataset folder (its ``imagesTs``); a DICOM file, a folder of
            DICOM series, or a zip of any of these.
        channels: names of the model's input channels.

    Raises:
        UsageError: no such path.
        DataError: nothing there that could be a scan, or a dataset with other channels than the model's.
    """
    if not inputs.exists():
        raise UsageError(
            f"no such file or folder: {inputs}", hint="check the path that -i names", code="NO_INPUT"
        )
    folder = inputs if inputs.is_file() else _image_folder(inputs)
    numbers = channel_numbers(folder, channels)
    listing = _listing(folder, channels)
    for notice in listing.notices:
        _log.info("%s: %s", inputs, notice)
    home = (folder.parent if folder.is_file() else folder).resolve().name
    groups = group(_scans_only(folder, listing), channels, numbers, home)
    if inputs.is_file() and images.ending_of(inputs) is not None:
        groups = [found for found in groups if any(e.source.path == inputs for e in found.entries)]
    root = folder.parent if folder.is_file() else folder
    scans = [scan for found in groups for scan in _scans(found, channels, root)]
    fetch = "fetch the file (`git annex get`, `datalad get`), or take the link away"
    broken = list(listing.broken)
    for path in listing.gone:
        gone = claims.broken(path, "is a broken link, or a pipe", code="MISSING_FILE", hint=fetch)
        broken.append((path, stem_of(path), gone))
    if not scans:
        raise broken[0][2] if broken else _nothing(folder)
    return unique([*scans, *(unusable(name, [path], error) for path, name, error in broken)])


def unusable(name: str, files: Sequence[Path], error: DataError) -> InputScan:
    """A scan that is known to fail, listed so that it is told and counted."""

    def fail() -> NoReturn:
        raise error

    return InputScan(name, tuple(files), "", fail)


def unique(scans: Iterable[InputScan]) -> list[InputScan]:
    """Sorted by id. Scans of one name would overwrite each other's output: none of them is predicted."""
    scans = list(scans)
    count = Counter(scan.id for scan in scans)
    for i, scan in enumerate(scans):
        if count[scan.id] > 1:
            scans[i] = unusable(scan.id, scan.files, same_names(scan.id, count[scan.id], scan.files))
    return sorted(scans, key=lambda scan: scan.id)


def stem_of(path: Path) -> str:
    """The file name without a recognized ending."""
    ending = images.ending_of(path)
    return path.name[: -len(ending)] if ending else path.name


def _listing(path: Path, channels: Sequence[str]) -> Listing:
    """What lies at ``path``; beside one file of several channels, its whole folder (not what is below)."""
    if path.is_dir():
        return list_source(path)
    if images.ending_of(path) is None:
        listing = list_source(path)
        if not listing.entries and not listing.broken and path.suffix.lower() != ".zip":
            find_series(path)  # says what is wrong with it
        return listing
    beside = [path] if len(channels) == 1 else sorted(p for p in path.parent.iterdir() if p.is_file())
    return list_source(path.parent, only=[p for p in beside if images.ending_of(p) is not None])


def _scans_only(folder: Path, listing: Listing) -> list[FoundFile]:
    """The entries that are scans: no masks beside scans, no previews."""
    entries = listing.entries
    if folder_role(folder.name) == "image" or folder.is_file():
        masks: list[FoundFile] = []
    else:
        entries, masks = without_masks(entries)
    entries, stacked = stack_slices(entries)
    for text in stacked:
        _log.info("%s: %s", folder, text)
    entries, previews = without_previews(entries)
    for what, left in (("masks", [mask.shown for mask in masks]), ("pictures beside volumes", previews)):
        if left:
            _log.warning("%s: left out %d %s: %s", folder, len(left), what, some(left))
    return entries


def _image_folder(folder: Path) -> Path:
    if not (folder / FILE).is_file():
        return folder
    if (folder / "imagesTs").is_dir():
        return folder / "imagesTs"
    raise DataError(
        f"dataset {folder} has no folder imagesTs to predict",
        hint=f"name another of its folders, such as {folder / 'imagesUn'}",
        code="NO_SCANS",
    )


def channel_numbers(folder: Path, channels: Sequence[str]) -> tuple[int, ...] | None:
    """Which channel number of a dataset's files each channel of the model is; None outside of datasets.

    Raises:
        DataError: the dataset has other channels than the model.
    """
    root = folder.parent
    if folder.is_file() or not folder.name.startswith("images") or not (root / FILE).is_file():
        return None
    names = [name.casefold() for name in read_description(root)[0].channel_names]
    wanted = [name.casefold() for name in channels]
    if not names or names == wanted:
        return None
    if len(set(names)) == len(names) and sorted(names) == sorted(wanted):
        return tuple(names.index(name) for name in wanted)
    there = ", ".join(read_description(root)[0].channel_names)
    raise DataError(
        f"dataset {root} has the channels {there}; the model wants {', '.join(channels)}",
        hint=f"use a model of these channels; if only the names differ, change them in {root / FILE}",
        code="CHANNELS",
        details={"dataset": there.split(", "), "model": list(channels)},
    )


def _nothing(path: Path) -> DataError:
    return DataError(
        f"no images and no DICOM series in {path}",
        hint="give a folder (or zip) of images (.nii.gz, .nrrd, .mha, .png, ...) or of DICOM series",
        code="NO_SCANS",
    )


def _scans(found: Group, channels: Sequence[str], root: Path) -> list[InputScan]:
    """The scan of a group; the frames of a 4D file, where the model has one channel."""
    source = found.entries[0].source
    is_nifti = source.series is None and images.ending_of(source.path) in nifti.ENDINGS
    count = look(source).frames if is_nifti and len(channels) == 1 and found.error is None else 1
    if count == 1:
        return [_scan(found, channels, root)]
    if nifti.has_vectors(source.path):
        error = DataError(
            f"{found.name}: {count} values per voxel, the model wants one channel ({channels[0]})",
            hint="split it into one file per channel, and give the one of that channel",
            code="CHANNELS",
        )
        return [unusable(found.name, _files(source), error)]
    frames, wide = [], max(3, len(str(count - 1)))
    for number in range(count):
        entry = replace(found.entries[0], source=replace(source, frame=number))
        scan = _scan(Group(f"{found.name}_t{number:0{wide}d}", (entry,)), channels, root)
        frames.append(replace(scan, over_time=(found.name, number, count)))
    return frames


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


def _scan(found: Group, channels: Sequence[str], root: Path) -> InputScan:
    sources = [entry.source for entry in found.entries]
    files = tuple(file for source in sources for file in _files(source))
    if found.error is not None:
        return unusable(found.name, files, found.error)
    ending = SERIES_WRITTEN_AS if sources[0].series else images.ending_of(sources[0].path) or ""
    uids = tuple(source.series.uid for source in sources if source.series)
    folders = any(source.series or source.archive for source in sources)
    return InputScan(
        found.name,
        files,
        WRITTEN_AS.get(ending, ending),
        lambda: _load(found.name, sources, channels),
        tuple(_shown(source, root) for source in sources) if folders else (),
        uids,
    )


def _files(source: Source) -> tuple[Path, ...]:
    if source.archive is not None:
        return (source.archive.archive,)
    return source.series.files if source.series is not None else source.slices or (source.path,)


def _shown(source: Source, root: Path) -> Path:
    if source.archive is None and source.series is not None and len(source.series.files) > 1:
        return Path(os.path.commonpath([file.parent for file in source.series.files]))
    return root / source.shown


def _load(name: str, sources: Sequence[Source], channels: Sequence[str]) -> Loaded:
    if len(sources) == 1 and len(channels) > 1 and sources[0].series is None:
        count = look(sources[0]).frames
        if count == len(channels):
            sources = [replace(sources[0], frame=frame) for frame in range(count)]
        elif count > 1:
            raise DataError(
                f"{name}: one file with {count} frames, the model wants {plural(len(channels), 'channel')} "
                f"({', '.join(channels)})",
                hint="give one file per channel",
                code="CHANNELS",
                details={"case": name, "files": [printable(str(sources[0].path))]},
            )
    if all(source.series is None and source.frame is None and not source.slices for source in sources):
        return load_case(Case(name, tuple(source.path for source in sources)), len(channels))
    return stacked(name, [(source.path, load(source)) for source in sources], len(channels))
