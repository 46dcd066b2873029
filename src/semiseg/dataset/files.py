"""Which cases a dataset folder holds, by file name alone: no image and no label is opened here."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semiseg.dataset.case import Case, LabeledCase
from semiseg.dataset.description import Description
from semiseg.dataset.problem import Problem, Severity
from semiseg.errors import plural, some
from semiseg.images import ending_of, picture

PHOTO_ENDINGS = (*picture.ENDINGS, ".tif", ".tiff")
"""Endings whose files may hold three color channels at once."""
_COMPANIONS = (".json", ".raw", ".zraw", ".img")
"""Sidecars and the voxel halves of header files: neither cases nor strangers."""
_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass
class FolderContents:
    """What the folder holds, and everything about it that does not fit."""

    annotated: list[LabeledCase] = field(default_factory=list)
    """imagesTr cases that have a label, sorted by id."""
    unannotated: list[Case] = field(default_factory=list)
    """imagesTr cases without a label, then imagesUn, each sorted by id."""
    test: list[Case] = field(default_factory=list)
    """imagesTs; a :class:`LabeledCase` where labelsTs has its label."""
    in_training_folder: int = 0
    """Cases in imagesTr, with or without a label."""
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """Of all cases."""
        return [case.id for case in (*self.annotated, *self.unannotated, *self.test)]


def scan(root: Path, description: Description) -> FolderContents:
    """List the cases of the dataset at ``root``. Every problem is collected, none is raised."""
    result = FolderContents()
    folders = _Folders(root, description, result)
    if description.mapping is not None:
        training, labels = _mapped(root, description, result)
    else:
        if not (root / "imagesTr").is_dir():
            result.problems.append(_no_training_folder(root))
        training, labels = folders.images("imagesTr"), folders.labels("labelsTr")
    extra, test = folders.images("imagesUn"), folders.images("imagesTs")
    test_labels = folders.labels("labelsTs")
    labels, test_labels = respelled(labels, training), respelled(test_labels, test)
    cases = [_case(i, training[i], labels.get(i)) for i in sorted(training)]
    result.in_training_folder = len(cases)
    result.annotated = [c for c in cases if isinstance(c, LabeledCase)]
    without = [c for c in cases if not isinstance(c, LabeledCase)]
    result.unannotated = [*without, *(Case(i, extra[i]) for i in sorted(extra))]
    result.test = [_case(i, test[i], test_labels.get(i)) for i in sorted(test)]
    if without:
        result.notices.append(
            f"{len(without)} of {plural(len(cases), 'case')} in imagesTr without a label, treated as "
            f"unlabeled: {some(c.id for c in without)}"
        )
    result.problems += _orphans("labelsTr", labels, training, extra, root)
    result.problems += _orphans("labelsTs", test_labels, test, {}, root)
    result.problems += _in_two_folders({"imagesTr": training, "imagesUn": extra, "imagesTs": test})
    return result


def respelled(given: Any, known: Iterable[str]) -> Any:
    """``given`` with its names as in ``known``, where only the way differs in which letters are composed.

    Args:
        given: a name; or a list or object that holds names, at any depth and also as keys.
        known: the ids of cases. File systems of different makers write one name in two ways.
    """
    ids = set(known)
    names = {unicodedata.normalize("NFC", name): name for name in ids}

    def spelled(value: Any) -> Any:
        if isinstance(value, str):
            same = value.isascii() or value in ids
            return value if same else names.get(unicodedata.normalize("NFC", value), value)
        if isinstance(value, list):
            return [spelled(item) for item in value]
        return {spelled(k): spelled(v) for k, v in value.items()} if isinstance(value, dict) else value

    return spelled(given)


def num_training(description: Description, found: FolderContents) -> Problem | None:
    """A ``numTraining`` that fits neither the labeled cases nor all cases of imagesTr."""
    counts = {len(found.annotated), found.in_training_folder}
    if description.num_training is None or description.num_training in counts:
        return None
    return Problem(
        "NUM_TRAINING",
        f"numTraining = {description.num_training}",
        f"{len(found.annotated)}, the number of training cases with a label",
        "copy the missing cases, or correct numTraining in dataset.json",
        file="dataset.json",
    )


def relative(path: Path, root: Path) -> str:
    """``path`` as shown to people: relative to the dataset where it lies inside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _case(name: str, images: tuple[Path, ...], label: Path | None) -> Case:
    return Case(name, images) if label is None else LabeledCase(name, images, label)


class _Folders:
    """Lists image and label folders by the naming rule ``CASE_0000.ending`` / ``CASE.ending``."""

    def __init__(self, root: Path, description: Description, result: FolderContents) -> None:
        self.root, self.result = root, result
        self.ending, self.channels = description.file_ending, len(description.channel_names)

    def images(self, folder: str) -> dict[str, tuple[Path, ...]]:
        grouped: dict[str, dict[int, Path]] = defaultdict(dict)
        for path, stem in self._stems(folder):
            match = _CHANNEL.fullmatch(stem)
            if match:
                grouped[match[1]][int(match[2])] = path
            else:
                wanted = f"{stem}_0000{self.ending}"
                self._problem("EXTRA_FILE", path, "a name without channel number", wanted)
        for name, files in grouped.items():
            self._check_channels(folder, name, sorted(files))
        return {name: tuple(files[i] for i in sorted(files)) for name, files in grouped.items()}

    def labels(self, folder: str) -> dict[str, Path]:
        return {stem: path for path, stem in self._stems(folder)}

    def _stems(self, folder: str) -> list[tuple[Path, str]]:
        place = self.root / folder
        if not self.ending or not place.is_dir():
            return []
        entries = sorted(place.iterdir())
        hidden = [p.name for p in entries if p.name.startswith(".")]
        if hidden:
            self.result.notices.append(
                f"skipped {plural(len(hidden), 'hidden file')} in {folder}: {some(hidden)}"
            )
        stems = []
        for path in entries:
            if path.name.startswith("."):
                continue
            if path.name.endswith(self.ending) and not path.exists():
                fix = "copy the file there, or fetch it (`git annex get`, `datalad get`)"
                self._problem("MISSING_FILE", path, "a link to a file that is not there", "a file", fix)
            elif path.name.endswith(self.ending) and path.is_file():
                stems.append((path, path.name.removesuffix(self.ending)))
            elif path.is_dir() or not path.name.endswith(_COMPANIONS):
                self._stranger(path)
        return stems

    def _stranger(self, path: Path) -> None:
        if path.is_file() and ending_of(path):
            fix = "convert it, or run `semiseg init` on this folder, which converts all to one ending"
            ending = path.name[-len(ending_of(path) or "") :]
            self._problem("MIXED_ENDINGS", path, f"ending {ending}", self.ending, fix)
            return
        kind = "a folder" if path.is_dir() else "a file that is not an image"
        self._problem("EXTRA_FILE", path, kind, f"only {self.ending} files", "move it elsewhere", "warning")

    def _check_channels(self, folder: str, name: str, got: list[int]) -> None:
        wanted = list(range(self.channels))
        rgb = self.channels == 3 and got == [0] and self.ending in PHOTO_ENDINGS
        if not self.channels or got == wanted or rgb:
            return
        missing = sorted(set(wanted) - set(got))
        code, fix = "EXTRA_FILE", "remove the extra channel files, or name the channels in channel_names"
        if missing:
            files = some([f"{name}_{i:04d}{self.ending}" for i in missing])
            code, fix = "MISSING_CHANNEL", f"add {files}, or take the case out of {folder}"
        self.result.problems.append(
            Problem(
                code,
                f"channels {some([f'{i:04d}' for i in got])}",
                f"{some([f'{i:04d}' for i in wanted])} as channel_names says",
                fix,
                case=name,
                file=f"{folder}/{name}_*{self.ending}",
            )
        )

    def _problem(
        self,
        code: str,
        path: Path,
        got: str,
        wanted: str,
        fix: str = "rename or remove it",
        severity: Severity = "error",
    ) -> None:
        file = relative(path, self.root)
        self.result.problems.append(Problem(code, got, wanted, fix, file=file, severity=severity))


def _no_training_folder(root: Path) -> Problem:
    return Problem(
        "MISSING_FOLDER",
        "nothing",
        "imagesTr with CASE_0000 files",
        f"run `semiseg init {shlex.quote(str(root))}` to make a dataset from loose files",
        file="imagesTr",
        text=f"the folder imagesTr is missing in {root}",
    )


def _orphans(
    folder: str, labels: dict[str, Path], images: dict[str, Any], other: dict[str, Any], root: Path
) -> list[Problem]:
    return [
        Problem(
            "MISSING_IMAGE",
            "a label without its image",
            f"{folder.replace('labels', 'images')}/{name}_0000 beside it",
            "move the image from imagesUn to imagesTr"
            if name in other
            else "add the image or remove the label",
            case=name,
            file=relative(path, root),
        )
        for name, path in sorted(labels.items())
        if name not in images
    ]


def _in_two_folders(folders: dict[str, dict[str, tuple[Path, ...]]]) -> list[Problem]:
    where: dict[str, list[str]] = defaultdict(list)
    for folder, cases in folders.items():
        for name in cases:
            where[name].append(folder)
    return [
        Problem(
            "CASE_IN_TWO_LISTS",
            f"the same case in {' and '.join(places)}",
            "each case in one folder",
            "remove it from all but one, or rename it if it is another scan",
            case=name,
        )
        for name, places in sorted(where.items())
        if len(places) > 1
    ]


def _mapped(
    root: Path, description: Description, result: FolderContents
) -> tuple[dict[str, tuple[Path, ...]], dict[str, Path]]:
    """The cases of the ``dataset`` key: paths relative to the folder, environment variables expanded."""
    images: dict[str, tuple[Path, ...]] = {}
    labels: dict[str, Path] = {}
    for name, files in (description.mapping or {}).items():
        images[name] = tuple(_expanded(root, text) for text in files["images"])
        if files.get("label") is not None:
            labels[name] = _expanded(root, files["label"])
        result.problems += [_lost(name, p, root) for p in images[name] if not p.is_file()]
        wanted = len(description.channel_names)
        rgb = wanted == 3 and len(images[name]) == 1 and images[name][0].name.endswith(PHOTO_ENDINGS)
        if wanted and len(images[name]) != wanted and not rgb:
            got = plural(len(images[name]), "image file")
            fix = "list one file per channel under the key 'dataset'"
            result.problems.append(Problem("MISSING_CHANNEL", got, f"{wanted}", fix, name, "dataset.json"))
    gone = [name for name, path in labels.items() if not path.is_file()]
    result.problems += [_lost(name, labels[name], root, "a label", "warning") for name in gone]
    return images, {name: path for name, path in labels.items() if name not in gone}


def _expanded(root: Path, text: str) -> Path:
    return root / Path(os.path.expandvars(text)).expanduser()


def _lost(name: str, path: Path, root: Path, what: str = "an image", severity: Severity = "error") -> Problem:
    fix = "correct the path under the key 'dataset' of dataset.json"
    return Problem("MISSING_FILE", "no such file", what, fix, name, relative(path, root), severity)
