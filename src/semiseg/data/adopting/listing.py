"""Every scan and mask below a folder, with what its path says of it. Nothing is opened but DICOM headers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from semiseg.data.adopting.draft import Part, Source, some
from semiseg.data.adopting.words import folder_part, folder_role, take_apart
from semiseg.data.formats import ending_of
from semiseg.data.formats.dicom import Series, find_series
from semiseg.data.formats.dicom_slices import is_dicom
from semiseg.errors import DataError

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
