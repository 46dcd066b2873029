"""Every scan and mask below a folder, with what its path says of it. Nothing is opened but DICOM headers.

What the files of a pile hold: sizes and colors from headers, label values from voxels.

The words people use in the names of scans, masks, folders and sequences.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from semiseg.dataset.adopt.draft import Part, Source, some
from semiseg.dataset.check.case import Voxels, value_counts
from semiseg.errors import DataError
from semiseg.images import ending_of, nifti, read, read_header, read_label
from semiseg.images.dicom import Series, find_series, read_series
from semiseg.images.dicom_slices import is_dicom
from semiseg.images.grid import Volume

_QUIET = (
    ".json",
    ".raw",
    ".zraw",
    ".img",
    ".txt",
    ".csv",
    ".tsv",
    ".md",
    ".cfg",
    ".xml",
    ".pdf",
    ".bval",
    ".bvec",
)


@dataclass
class Entry:
    """One file (or DICOM series) and what its path says.

    Attributes:
        source: where the voxels are.
        shown: path relative to the source folder.
        folders: names of the folders above it that say neither role nor part.
        key: what the file name says of the case; may be empty.
        role: ``label`` or ``image``; empty while only the file name could tell.
        says_label: whether the file name has a word for masks.
        channel: a sequence word at the end of the name, or None.
        modality: of a DICOM series.
    """

    source: Source
    shown: str
    stem: str
    folders: tuple[str, ...]
    key: str
    role: str
    part: Part
    says_label: bool = False
    channel: str | None = None
    modality: str | None = None


@dataclass
class Listing:
    """All entries, and what was passed over."""

    entries: list[Entry] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def list_source(source: Path) -> Listing:
    """Walk ``source`` (a folder, or one file); hidden files and macOS leftovers are skipped with a notice."""
    listing = Listing()
    hidden, strange, maybe_dicom = [], [], []
    root = source.parent if source.is_file() else source
    for path in [source] if source.is_file() else _files(source):
        shown = path.relative_to(root).as_posix()
        if any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(shown).parts):
            hidden.append(shown)
        elif ending_of(path):
            listing.entries.append(_entry(root, path))
        elif path.suffix.lower() == ".zip" or is_dicom(path):
            maybe_dicom.append(path)
        elif not path.name.lower().endswith(_QUIET):
            strange.append(shown)
    if hidden:
        listing.notices.append(f"skipped {len(hidden)} hidden files: {some(hidden)}")
    if strange:
        listing.notices.append(f"ignored {len(strange)} files that are no images: {some(strange)}")
    _add_dicom(root, maybe_dicom, listing)
    _decide_roles(listing.entries)
    listing.entries.sort(key=lambda entry: entry.shown)
    return listing


def _files(root: Path) -> list[Path]:
    found = [Path(top) / name for top, _, names in os.walk(root) for name in names]
    return sorted(path for path in found if path.is_file())


def _entry(root: Path, path: Path) -> Entry:
    stem = path.name[: -len(ending_of(path) or "")]
    parts = path.relative_to(root).parent.parts
    return _described(Source(path), path.relative_to(root).as_posix(), stem, parts)


def _described(source: Source, shown: str, stem: str, parts: tuple[str, ...]) -> Entry:
    taken = take_apart(stem)
    roles = [word for name in parts if (word := folder_role(name))]
    role = roles[-1] if roles else ""
    said = {word for name in parts if (word := folder_part(name))}
    # "scan07" says what it holds, but also whose it is.
    folders = tuple(n for n in parts if n[-1].isdigit() or not (folder_role(n) or folder_part(n)))
    settled: tuple[Part, ...] = ("test", "val", "unlabeled")
    part: Part = next((wanted for wanted in settled if wanted in said), "train")
    return Entry(source, shown, stem, folders, taken.key, role, part, taken.is_label, taken.modality)


def _add_dicom(root: Path, files: list[Path], listing: Listing) -> None:
    zips = [path for path in files if path.suffix.lower() == ".zip"]
    loose = [path for path in files if path not in zips]
    places = [*zips, *(loose if len(loose) == 1 else [root] if loose else [])]
    for place in places:
        try:
            found = find_series(place)
        except DataError as error:
            if error.code != "NO_SERIES":
                raise
            listing.notices.append(f"ignored {place.name}: no DICOM series in it")
            continue
        listing.entries += _dicom_entries(root, place, found)


def _dicom_entries(root: Path, place: Path, found: list[Series]) -> list[Entry]:
    """One entry per series, named by its folder (or zip); several in one folder are numbered."""
    homes = [_home(root, place, series) for series in found]
    entries = []
    for number, (series, home) in enumerate(zip(found, homes, strict=True)):
        twins = [i for i, other in enumerate(homes) if other == home]
        parts = PurePosixPath(home).parts
        shown = home or root.name
        stem = f"series{twins.index(number) + 1}" if len(twins) > 1 else ""
        entry = _described(Source(series.where, series=series), shown, stem, parts)
        entry.role, entry.modality = "image", series.modality
        if stem:  # the folder is part of the name, or series of different patients would share it
            entry.key = "_".join([*(parts[-1:] or (root.name,)), stem])
        entries.append(entry)
    return entries


def _home(root: Path, place: Path, series: Series) -> str:
    if place.suffix.lower() == ".zip" and place.is_file():
        return place.relative_to(root).with_suffix("").as_posix()
    common = Path(os.path.commonpath([file.parent for file in series.files]))
    inside = common.relative_to(root).as_posix()
    return "" if inside == "." else inside


def _decide_roles(entries: list[Entry]) -> None:
    """A label folder settles it for all; without one, a mask may lie beside its scan in ``images``."""
    has_label_folder = any(entry.role == "label" for entry in entries)
    for entry in entries:
        if not entry.role or (entry.role == "image" and not has_label_folder):
            entry.role = "label" if entry.says_label else "image"


MOST_VALUES = 64
"""A mask with more different values is no label map."""

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Looks:
    """What a header says.

    Attributes:
        axes: 2 or 3; 0 when the header cannot be read.
        channels: 1, or 3/4 for colors.
        frames: length of a fourth axis, else 1.
        dtype: as stored.
        trouble: why the file cannot be used, empty when it can.
    """

    axes: int = 0
    channels: int = 1
    frames: int = 1
    dtype: str = ""
    trouble: str = ""


def look(source: Source) -> Looks:
    """Read one header."""
    if source.series is not None:
        return Looks(axes=3, dtype="int16")
    try:
        header = read_header(source.path)
    except DataError as error:
        shape = error.details.get("shape", ())
        if error.code == "NOT_3D" and len(shape) == 4 and ending_of(source.path) in nifti.ENDINGS:
            return Looks(axes=3, frames=int(shape[3]))
        return Looks(trouble=error.message.removeprefix(f"{source.path}: "))
    return Looks(len(header.grid.shape), header.channels, 1, header.dtype)


def load(source: Source, *, label: bool = False) -> Volume:
    """The voxels of a file (of a ``label`` its class numbers), a frame of a 4D file, or a DICOM series."""
    if source.series is not None:
        return read_series(source.series)
    if source.frame is not None:
        return nifti.read_frame(source.path, source.frame)
    return read_label(source.path) if label else read(source.path)


@dataclass(frozen=True)
class Mask:
    """Whether a file is a label map, and its values."""

    values: frozenset[int] = frozenset()
    trouble: str = ""


def look_for_labels(source: Source) -> Mask:
    """Read a file and say whether it holds few whole numbers."""
    try:
        array = single_channel(load(source, label=True).array)
    except DataError as error:
        return Mask(trouble=error.message.removeprefix(f"{source.path}: "))
    if array is None:
        return Mask(trouble="it is colored, wanted one gray channel with class numbers")
    counts, odd = value_counts(array)
    if odd:
        return Mask(trouble=f"it holds values that are not whole numbers, such as {odd[0]:g}")
    if len(counts) > MOST_VALUES:
        return Mask(trouble=f"it holds {len(counts)} different values, more than a label map")
    return Mask(frozenset(counts))


def single_channel(array: Voxels) -> Voxels | None:
    """A gray picture saved as RGB as one channel, anything else unchanged; None for real colors."""
    if not (array.ndim == 3 and array.shape[-1] in (3, 4) and array.dtype == np.uint8):
        return array
    gray = array[..., 0]
    same = (array[..., 1] == gray).all() and (array[..., 2] == gray).all()
    return gray if same else None


def has_colors(source: Source) -> bool:
    """Whether a picture with color channels shows colors, and is not gray saved as RGB."""
    volume = load(source)
    array = volume.array
    return array.ndim > len(volume.grid.shape) and not (array == array[..., :1]).all()


def in_threads(work: Callable[[A], B], things: Sequence[A], workers: int | None) -> list[B]:
    """``work`` on each thing, in order."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, things))


_LABEL = """
    label labels lbl labeltr labelstr labelsts labelsva seg segs segm segmentation segmentations mask masks
    msk gt groundtruth truth annotation annotations annot manual contour contours dseg roi laendo
"""
_IMAGE = """
    image images img imgs imaging scan scans volume volumes vol vols imagestr imagests imagesva imagesun
    lgemri orig original
"""
_TRAIN = "train training trainset imagestr labelstr labeled labelled data database"

LABEL_WORDS = frozenset(_LABEL.split())
IMAGE_WORDS = frozenset(_IMAGE.split())
TEST_WORDS = frozenset(["test", "tests", "testing", "testset", "imagests", "labelsts"])
VAL_WORDS = frozenset(["val", "valid", "validation", "validate", "imagesva", "labelsva"])
UNLABELED_WORDS = frozenset(["unlabeled", "unlabelled", "imagesun", "unannotated", "nolabel", "nolabels"])
TRAIN_WORDS = frozenset(_TRAIN.split())

MODALITIES = {
    "ct": "CT", "t1": "T1", "t1w": "T1", "t1n": "T1", "t1c": "T1c", "t1ce": "T1c", "t1gd": "T1c", "t2": "T2",
    "t2w": "T2", "t2f": "FLAIR", "flair": "FLAIR", "pd": "PD", "pdw": "PD", "dwi": "DWI", "adc": "ADC",
    "swi": "SWI", "pet": "PET", "pt": "PET", "suv": "PET", "mr": "MRI", "mri": "MRI",
}  # fmt: skip
"""Words that name a sequence or modality -> channel name, in the order channels get."""

_WORD = re.compile(r"[A-Za-z0-9]+")


def words(text: str) -> list[str]:
    """The letters-and-digits words of a name, lower case."""
    return [word.lower() for word in _WORD.findall(text)]


def plain_word(word: str) -> str:
    """A word without a number at its end, so that ``label248`` counts as ``label``."""
    return word.rstrip("0123456789") or word


@dataclass(frozen=True)
class Stem:
    """A file name taken apart.

    Attributes:
        key: what is left once role and sequence words are gone; tells the case. May be empty.
        is_label: whether a word says that this is a mask.
        modality: the last word, when it names a sequence (``t1``, ``flair``), else None.
    """

    key: str
    is_label: bool
    modality: str | None


def take_apart(stem: str) -> Stem:
    """Separate case, role and sequence in a file name without its ending."""
    spans = [(match.start(), match.end(), match[0].lower()) for match in _WORD.finditer(stem)]
    said = [word for _, _, word in spans]
    is_label = any(word in LABEL_WORDS for word in said)
    kept = [span for span in spans if span[2] not in LABEL_WORDS and span[2] not in IMAGE_WORDS]
    modality = None
    if kept and kept[-1][2] in MODALITIES:
        modality = kept.pop()[2]
    key = "".join(
        (stem[kept[i - 1][1] : start][-1:] if i else "") + stem[start:end]
        for i, (start, end, _) in enumerate(kept)
    )
    return Stem(key, is_label, modality)


def folder_role(name: str) -> str | None:
    """``label`` or ``image`` when a folder's last word says so (``manual_masks``, ``imagesTr``)."""
    said = [plain_word(word) for word in words(name)]
    if not said:
        return None
    if said[-1] in LABEL_WORDS or said[0] in LABEL_WORDS:
        return "label"
    return "image" if said[-1] in IMAGE_WORDS or said[0] in IMAGE_WORDS else None


def folder_part(name: str) -> str | None:
    """``test``, ``val``, ``unlabeled`` or ``train`` when a word of a folder's name says so."""
    said = set(words(name))
    for part, known in (
        ("test", TEST_WORDS),
        ("val", VAL_WORDS),
        ("unlabeled", UNLABELED_WORDS),
        ("train", TRAIN_WORDS),
    ):
        if said & known:
            return part
    return None


def clean_id(text: str) -> str:
    """A case id that is a safe file name everywhere."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-") or "case"
