"""Every scan and mask below a folder, with what its path says of it. Nothing is opened but DICOM headers."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semiseg.dataset.adopt.draft import FileFacts, Part, Source, notice
from semiseg.dataset.adopt.names import MODALITIES, folder_case, folder_part, folder_role, take_apart, words
from semiseg.errors import DataError, plural
from semiseg.images import ending_of, picture
from semiseg.images.archive import Unpacked
from semiseg.images.dicom import Series, series_in
from semiseg.images.dicom_slices import is_dicom
from semiseg.images.dicom_structures import StructureSet, read_structure_set
from semiseg.machine.files import printable

_QUIET = (
    ".json", ".raw", ".zraw", ".img", ".txt", ".list", ".csv", ".tsv", ".md", ".cfg", ".xml", ".pdf", ".bval",
    ".bvec",
)  # fmt: skip
_UNREAD = (
    ".mgz", ".mgh", ".mnc", ".npy", ".mat", ".jp2", ".j2k", ".avif", ".heic", ".heif", ".tga", ".pcx", ".pnm",
    ".pbm", ".svg", ".svs", ".ndpi", ".czi", ".lif", ".vtk", ".vti", ".stl", ".gipl", ".psd", ".xcf", ".zst",
)  # fmt: skip
"""Endings of images, and of arrays that may be some, that are not read here."""
_PREDICTED = "prediction_report.json"
"""What ``semiseg predict`` leaves in a folder: what lies beside it is no scan."""
_MADE = "sources.csv"
"""What ``semiseg init`` leaves in a dataset."""
_PREVIEWS = 3
"""Pictures beside a DICOM series, at most, that are previews of it."""


@dataclass
class FoundFile:
    """One file (or DICOM series) and what its path says.

    Attributes:
        source: where the voxels are.
        shown: path relative to the source folder, as it can be printed.
        folders: names of the folders above it that say neither role nor part.
        key: what the file name says of the case; may be empty.
        role: ``label`` or ``image``; empty while only the file name could tell.
        says_label: whether the file name has a word for masks.
        channel: a sequence word at the end of the name, or None.
        modality: of a DICOM series.
        seen: what its header says, once it was read.
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
    seen: FileFacts = field(default_factory=FileFacts)

    @property
    def seems_label(self) -> bool:
        """Whether its folder or its name says that it is a mask."""
        return self.role == "label" or self.says_label


@dataclass
class Listing:
    """All entries, and what was passed over.

    Attributes:
        gone: images, by their names, that are links to nothing, or pipes.
        unread: masks by their names or folders, of formats that are not read.
        broken: zips and folders of DICOM files that cannot be read: the path, its name, and why.
        structures: RT structure sets, and the path of each that people know.
    """

    entries: list[FoundFile] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    gone: list[Path] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    broken: list[tuple[Path, str, DataError]] = field(default_factory=list)
    structures: list[tuple[StructureSet, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    """A folder whose files are listed: the source itself, or what a zip holds.

    Attributes:
        root: paths inside count from here.
        shown: stands before them.
        inside: names of folders before theirs.
        archive: the zip's files.
    """

    root: Path
    shown: str = ""
    inside: tuple[str, ...] = ()
    archive: Unpacked | None = None

    def show(self, path: Path) -> str:
        """The path that people know."""
        inner = path.relative_to(self.root).as_posix()
        return printable("/".join(part for part in (self.shown, inner) if part not in ("", ".")))


def list_source(source: Path, *, only: Sequence[Path] | None = None) -> Listing:
    """Walk ``source`` (a folder, or one file) and the zips in it; of a folder, ``only`` these files.

    Hidden files, macOS leftovers and folders of predictions are skipped with a notice.
    """
    listing = Listing()
    alone = source.is_file()
    place = _Place(source.parent if alone else source)
    files = [source] if alone else _files(source) if only is None else list(only)
    zips = _list_place(place, files, listing, alone=alone)
    for path in zips:
        _list_zip(place, path, listing)
    _decide_roles(listing.entries)
    listing.entries.sort(key=lambda entry: entry.shown)
    return listing


def _list_place(place: _Place, files: Sequence[Path], listing: Listing, *, alone: bool = False) -> list[Path]:
    """Add what the files of one place are; returns the zips among them."""
    predicted = {path.parent for path in files if path.name == _PREDICTED} - {place.root}
    made = {path.parent for path in files if path.name == _MADE} - {place.root}
    found: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        found["own" if (predicted | made) & set(path.parents) else _kind(path, place)].append(path)
    listing.entries += [_entry(place, path) for path in found["image"]]
    shown = {kind: [place.show(path) for path in paths] for kind, paths in found.items()}
    gone = [path for path in found["gone"] if ending_of(path)]
    listing.gone += gone
    listing.unread += [place.show(path) for path in found["unread"] if _entry(place, path).seems_label]
    listing.notices += [
        *notice("skipped {}", shown.get("hidden", []), "hidden file"),
        *notice("skipped {} of predictions", sorted(map(place.show, predicted)), "folder"),
        *notice("skipped {} made of scans", sorted(map(place.show, made)), "dataset"),
        *notice(
            "left out {} to nothing, or pipes (`git annex get`, `datalad get`)",
            [place.show(path) for path in gone],
            *("image that is a link", "images that are links"),
        ),
        *notice(
            "ignored {}", shown.get("strange", []), "file that is not an image", "files that are not images"
        ),
        *notice("ignored {} of formats that are not read", shown.get("unread", []), "image"),
    ]
    if found["dicom"]:
        _add_dicom(place, found["dicom"], listing, alone=alone)
    return found["zip"]


def _kind(path: Path, place: _Place) -> str:
    inner = path.relative_to(place.root).parts
    if any(part.startswith(".") or part == "__MACOSX" for part in inner):
        return "hidden"
    if not path.is_file():
        return "gone"
    if ending_of(path):
        return "image"
    if path.suffix.lower() == ".zip":
        return "zip"
    if is_dicom(path):
        return "dicom"
    if path.name.lower().endswith(_UNREAD):
        return "unread"
    return "quiet" if path.name.lower().endswith(_QUIET) else "strange"


def _files(root: Path) -> list[Path]:
    """Every file below, also in linked folders of the first level (no deeper, so that nothing loops)."""
    linked = [p for p in root.iterdir() if p.is_symlink() and p.is_dir()]
    inside = root.resolve()
    tops = [root, *(p for p in linked if not (inside / "x").is_relative_to(p.resolve()))]
    found = [Path(top) / name for start in tops for top, _, names in os.walk(start) for name in names]
    return sorted(found)


def _entry(place: _Place, path: Path) -> FoundFile:
    stem = path.name[: -len(ending_of(path) or "")]
    parts = place.inside + path.relative_to(place.root).parent.parts
    shown = place.show(path)
    return _described(Source(path, shown=shown, archive=place.archive), shown, stem, parts)


def _described(source: Source, shown: str, stem: str, parts: tuple[str, ...]) -> FoundFile:
    taken = take_apart(stem)
    channel = taken.modality
    roles = [word for name in parts if (word := folder_role(name))]
    role = roles[-1] if roles else ""
    found = {word for name in parts if (word := folder_part(name))}
    folders = tuple(said for name in parts if (said := folder_case(name)))
    if channel is None and folders and (above := take_apart(folders[-1])).modality:
        channel = above.modality  # "P1/T1/scan.nii", "P1 T1/scan.nii"
        folders = (*folders[:-1], *([above.key] if above.key else []))
    settled: tuple[Part, ...] = ("test", "val", "unlabeled")
    part: Part = next((wanted for wanted in settled if wanted in found), "train")
    return FoundFile(source, shown, stem, folders, taken.key, role, part, taken.is_label, channel)


def _list_zip(outer: _Place, path: Path, listing: Listing) -> None:
    """What a zip holds, as if it lay in a folder of the zip's name."""
    try:
        unpacked = Unpacked(path)
    except DataError as error:
        listing.broken.append((path, path.stem, error))
        return
    files = [file for file in _files(unpacked.folder) if "__MACOSX" not in file.parts]
    above = path.relative_to(outer.root).with_suffix("").parts
    inner = _inner(unpacked.folder, files)
    shown = "/".join([outer.show(path), *inner.relative_to(unpacked.folder).parts])
    place = _Place(inner, printable(shown), above, unpacked)
    before = len(listing.entries)
    nested = _list_place(place, files, listing)
    if nested:
        listing.notices.append(f"ignored {plural(len(nested), 'zip')} inside {place.shown}")
    if len(listing.entries) == before and not any(where == path for where, _, _ in listing.broken):
        listing.notices.append(f"ignored {place.shown}: no image in it")


def _inner(folder: Path, files: Sequence[Path]) -> Path:
    """The folder inside a zip that holds all, unless its name says something of what it holds."""
    if not files:
        return folder
    common = Path(os.path.commonpath([file.parent for file in files]))
    root = folder
    for part in common.relative_to(folder).parts:
        if folder_role(part) or folder_part(part):
            break
        root /= part
    return root


def _add_dicom(place: _Place, files: list[Path], listing: Listing, *, alone: bool) -> None:
    """The series of one place; where a file is damaged, those of each of its folders by itself."""
    where = place.archive.archive if place.archive else files[0] if alone else place.root
    try:
        found = series_in(files, where, place.archive)
        listing.entries += _dicom_entries(place, found, alone=alone)
        others = set(files) - {file for series in found for file in series.files}
        sets = [read_structure_set(file) for file in sorted(others)]
        listing.structures += [(each, place.show(each.path)) for each in sets if each]
    except DataError as error:
        tops: dict[Path, list[Path]] = {}
        for file in files:
            inner = file.relative_to(place.root).parts
            tops.setdefault(place.root / inner[0] if len(inner) > 1 else place.root, []).append(file)
        if error.code == "NO_SERIES":
            listing.notices.append(f"ignored {printable(where.name)}: no DICOM series in it")
        elif len(tops) == 1:
            home = files[0].stem if alone else next(iter(tops)).resolve().name
            listing.broken.append((where if place.archive or alone else next(iter(tops)), home, error))
        else:
            for part in tops.values():
                _add_dicom(place, part, listing, alone=False)


def _dicom_entries(place: _Place, found: list[Series], *, alone: bool) -> list[FoundFile]:
    """One entry per series, named by its folder (or zip); several in one folder are numbered."""
    homes = [Path(os.path.commonpath([file.parent for file in series.files])) for series in found]
    entries = []
    for number, (series, home) in enumerate(zip(found, homes, strict=True)):
        twins = [i for i, other in enumerate(homes) if other == home]
        parts = place.inside + home.relative_to(place.root).parts
        shown = place.show(series.files[0] if alone else home) or place.root.resolve().name
        if not parts:
            parts = (series.files[0].stem if alone else place.root.resolve().name,)
        stem, single = "", all(len(found[i].files) == 1 for i in twins)
        told = _told(series) if len({_told(found[i]) for i in twins}) == len(twins) > 1 else None
        if len(twins) > 1 and told is None:
            stem = series.files[0].stem if single else f"series{twins.index(number) + 1}"
        source = Source(series.where, series=series, shown=shown, archive=place.archive)
        entry = _described(source, shown, stem, parts)
        entry.role, entry.modality = "image", series.modality
        entry.channel = told or entry.channel
        if (
            stem and not single
        ):  # the folder is part of the name, or series of different patients would share it
            entry.key = "_".join([*entry.folders[-1:], stem])
        if not stem and not entry.folders:
            entry.stem = parts[-1]
        entries.append(entry)
    return entries


def _told(series: Series) -> str | None:
    """The one sequence word of the series' description, which tells the series of one folder apart."""
    found = {word for word in words(series.description) if word in MODALITIES}
    return found.pop() if len(found) == 1 else None


def without_previews(entries: Sequence[FoundFile]) -> tuple[list[FoundFile], list[str]]:
    """The entries without pictures beside volumes or series (previews, screenshots), and their paths."""
    pictures = [entry for entry in entries if ending_of(entry.source.path) in picture.ENDINGS]
    series = sum(entry.source.series is not None for entry in entries)
    few = 2 * len(pictures) < len(entries) or len(pictures) <= _PREVIEWS * series
    if not pictures or not few:
        return list(entries), []
    left = {id(entry) for entry in pictures}
    return [entry for entry in entries if id(entry) not in left], [entry.shown for entry in pictures]


def _decide_roles(entries: list[FoundFile]) -> None:
    """A label folder settles it for all; without one, a mask may lie beside its scan in ``images``."""
    has_label_folder = any(entry.role == "label" for entry in entries)
    for entry in entries:
        if not entry.role or (entry.role == "image" and not has_label_folder):
            entry.role = "label" if entry.says_label else "image"
