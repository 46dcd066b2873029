"""Writes the files of a dataset folder, all of them or none."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.adopt.draft import Draft, Item, Source, notice
from semiseg.dataset.adopt.looks import load, look, single_channel
from semiseg.dataset.check.case import Voxels
from semiseg.dataset.files import PHOTO_ENDINGS
from semiseg.dataset.patient import rule_from_names
from semiseg.errors import DataError, plural, some
from semiseg.images import ending_of, read, write
from semiseg.images.grid import Grid, Volume
from semiseg.images.picture import ENDINGS as PICTURES
from semiseg.machine.files import printable
from semiseg.machine.folders import whole_folder

_KEPT = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif", ".tiff")
"""Endings of single files that can be copied as they are."""
_PROVEN = (".nii.gz", ".nrrd", ".mha", ".png", ".tif", ".tiff")
"""Those whose voxels may be under a checksum, or packed so that damage shows."""
_FOLDERS = {"train": "Tr", "val": "Tr", "unlabeled": "Un", "test": "Ts"}


def choose_ending(draft: Draft) -> str:
    """The one ending of the new dataset: that of all files if they agree, else PNG or .nii.gz."""
    sources = [
        source for item in draft.items for source in (*item.images, *([item.label] if item.label else []))
    ]
    endings = {_ending(source) for source in sources}
    if len(endings) == 1 and endings <= set(_KEPT):
        return endings.pop()
    ending = ".png" if endings <= set(PICTURES) else ".nii.gz"
    kinds = ", ".join(sorted(kind or "DICOM" for kind in endings))
    draft.decisions.append(f"all files become {ending} (found: {kinds})")
    return ending


def _ending(source: Source) -> str:
    if source.frame is not None:
        return "4D"
    return "" if source.series is not None else ending_of(source.path) or ""


SOURCES = "sources.csv"
"""Which file became which: kept in the dataset, so that a case can be traced to the file it came from."""


@dataclass(frozen=True)
class Target:
    """Where one file of the dataset goes, and from where."""

    source: Source
    place: Path
    is_label: bool
    color: int | None = None
    """Which color channel to take, where colors are split into files."""
    in_color: bool = False
    """Whether all color channels stay in this file."""


def targets(draft: Draft, ending: str) -> list[Target]:
    """All image and label files to be written, with places relative to the dataset folder."""
    split_colors = draft.colors and ending not in PHOTO_ENDINGS
    in_color = draft.colors and not split_colors
    return [target for item in draft.items for target in _targets(item, ending, split_colors, in_color)]


def _targets(item: Item, ending: str, split_colors: bool, in_color: bool) -> list[Target]:
    folder = _FOLDERS[item.part]
    sources: list[tuple[Source, int | None]] = [(source, None) for source in item.images]
    if split_colors:
        sources = [(item.images[0], color) for color in range(3)]
    files = [
        Target(source, Path(f"images{folder}") / f"{item.id}_{number:04d}{ending}", False, color, in_color)
        for number, (source, color) in enumerate(sources)
    ]
    if item.label:
        files.append(Target(item.label, Path(f"labels{folder}") / f"{item.id}{ending}", True))
    return files


def sources_csv(files: Sequence[Target], channels: Sequence[str]) -> str:
    """A line for each file of the dataset: its case and role, and the file (relative to the folder that was
    read), the frame (from 0) or the DICOM series that it was made from.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "case", "role", "channel", "source", "frame", "series_instance_uid"])
    for file in sorted(files, key=lambda file: file.place):
        stem = file.place.name.removesuffix(ending_of(file.place) or "")
        case, number = (stem, "") if file.is_label else (stem[:-5], stem[-4:])
        source, uid = file.source, file.source.series.uid if file.source.series else ""
        channel = "" if file.is_label else " ".join(channels) if file.in_color else channels[int(number)]
        shown = source.shown or printable(source.path.name)
        frame = "" if source.frame is None else source.frame
        writer.writerow(
            [file.place.as_posix(), case, "label" if file.is_label else "image", channel, shown, frame, uid]
        )
    return text.getvalue()


def build(
    target: Path,
    files: Sequence[Target],
    documents: dict[str, str],
    colors: bool,
    link: bool,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
    pictures: Mapping[str, NDArray[np.uint8]] | None = None,
) -> list[str]:
    """Write everything or nothing; returns what a user should be told."""
    copied = 0
    with whole_folder(target) as work:
        for folder in {"imagesTr", "labelsTr", "imagesUn", *(str(file.place.parent) for file in files)}:
            (work / folder).mkdir(parents=True)
        with ThreadPoolExecutor(None if workers is None else max(1, workers)) as pool:
            jobs = [pool.submit(_make, file, work, colors, link) for file in files]
            faults = []
            try:
                for done, job in enumerate(as_completed(jobs), start=1):
                    try:
                        copied += job.result()
                    except DataError as error:
                        faults.append(error)
                    if progress:
                        progress(done, len(jobs))
            finally:
                for job in jobs:
                    job.cancel()
        if faults:
            raise _together(faults)
        _write_documents(work, documents, pictures or {})
    if not copied:
        return []
    told = plural(copied, "file is a copy", "files are copies")
    return [f"{told}: this place cannot have hard links to theirs (another disk?)"]


def _together(faults: Sequence[DataError]) -> DataError:
    """One error for all files that cannot be used."""
    if len(faults) == 1:
        return faults[0]
    return DataError(
        f"{len(faults)} files cannot be used: {some([fault.message for fault in faults], 3)}",
        hint="copy them again from their source, or leave their cases out",
        code="UNREADABLE",
        details={"files": sorted(str(fault.details.get("file", "")) for fault in faults)},
    )


def _write_documents(
    work: Path, documents: Mapping[str, str], pictures: Mapping[str, NDArray[np.uint8]]
) -> None:
    for name, array in pictures.items():
        write(work / name, array, Grid(array.shape[:2], np.eye(4)))
    for name, text in documents.items():
        (work / name).write_text(text, encoding="utf-8")


def _make(file: Target, root: Path, colors: bool, link: bool) -> bool:
    """Write one file; True where it was to be a link and had to be a copy."""
    place = root / file.place
    if _can_copy(file, colors):
        if ending_of(file.place) in _PROVEN:
            read(file.source.path)  # to its end: what is damaged is told here, and not when it is trained on
        if link:
            with suppress(OSError):
                os.link(file.source.path.resolve(), place)
                return False
        shutil.copyfile(file.source.path, place)
        return link
    volume = load(file.source, label=file.is_label)
    array = (
        _label_array(volume, file.source)
        if file.is_label
        else _image_array(volume.array, volume.grid.shape, file, colors)
    )
    meta = {k: v for k, v in volume.meta.items() if k != "format"}
    if file.is_label and file.source.recode is not None:
        meta["palette"] = {number: color for color, number in file.source.recode.colors.items()}
    write(place, array, volume.grid, meta)
    return False


def _can_copy(file: Target, colors: bool) -> bool:
    source, ending = file.source, ending_of(file.source.path)
    sidecar = source.path.with_name(source.path.name.rsplit(".", 1)[0] + ".json")
    if not source.is_plain or file.color is not None or ending != ending_of(file.place) or sidecar.is_file():
        return False
    return ending not in PHOTO_ENDINGS or look(source).channels == (3 if colors and not file.is_label else 1)


def _label_array(volume: Volume, source: Source) -> Voxels:
    if source.recode is not None:
        return source.recode(volume)
    array = volume.array
    gray = single_channel(array)
    whole = np.rint(array if gray is None else gray).astype(np.int64)
    signed: np.dtype[Any] = np.dtype(np.int16)
    small = np.min_scalar_type(int(whole.max(initial=0))) if whole.min(initial=0) >= 0 else signed
    found: Voxels = whole.astype(small)
    return found


def _image_array(array: Voxels, shape: tuple[int, ...], file: Target, colors: bool) -> Voxels:
    has_colors = array.ndim > len(shape)
    if file.color is not None:
        return array[..., file.color] if has_colors else array
    if colors:
        return array[..., :3] if has_colors else np.stack([array] * 3, axis=-1)
    return array[..., 0] if has_colors else array


def patient_rule(draft: Draft) -> str | None:
    """The regular expression for ``group_by_patient``, when names tell patients and some have several scans.

    Where a patient already has scans with and without a mask, or in training and test, nothing is written
    (every split would be refused) and a notice names them.
    """
    rule = rule_from_names(item.id for item in draft.items)
    if rule is None:
        return None
    lists: dict[str, set[str]] = defaultdict(set)
    for item in draft.items:
        lists[rule.patient(item.id) or ""].add(item.part)
    torn = sorted(patient for patient, parts in lists.items() if len(parts) > 1)
    if torn:
        draft.notices += notice("{} scans in more than one list", torn, "patient has", "patients have")
        return None
    draft.decisions.append("cases of one patient, told by the beginning of their names, are kept together")
    return rule.text
