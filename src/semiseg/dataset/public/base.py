"""What the adapters of public data sets share: facts, options, the files of a folder, a first draft."""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from semiseg.dataset.adopt.draft import Draft, Item, Source, Step, notice
from semiseg.dataset.adopt.name_lists import part_of
from semiseg.errors import DataError, UsageError, plural, some, unknown_name
from semiseg.images.archive import Unpacked
from semiseg.machine.files import printable

Extra = Literal["out", "unlabeled", "test"]


@dataclass(frozen=True)
class About:
    """What is known of a data set.

    Attributes:
        name: as ``semiseg convert`` takes it.
        title: as people call it.
        license: of the data, as far as published.
        reference: what to cite.
        download: where it is and what to take.
        size: cases, and disk space where known.
        split: the published split taken when none is asked for; ``none`` keeps what the folders say.
        channels: names that ``--channels`` may choose from; empty where there is nothing to choose.
        tasks: task -> what it labels; ``all`` makes a dataset of each.
        options: word of ``--with`` -> what it does.
    """

    name: str
    title: str
    license: str
    reference: str
    download: str
    size: str
    split: str = "none"
    channels: tuple[str, ...] = ()
    tasks: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What was asked for; ``words`` are those of ``--with``, with their values."""

    split: str = ""
    channels: tuple[str, ...] = ()
    task: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    extra: Extra = "out"
    allow_missing: bool = False
    seed: int = 0
    workers: int | None = None

    def settled(self, about: About) -> Options:
        """The same with the data set's defaults.

        Raises:
            UsageError: a channel, task or word that the data set does not have.
        """
        if self.channels and not about.channels:
            raise UsageError(f"{about.name} has one channel", hint="leave --channels out", code="CHANNELS")
        known = {name.lower(): name for name in about.channels}
        for name in self.channels:
            if name.lower() not in known and name.lower() != "all":
                raise unknown_name("channel", name, [*about.channels, "all"])
        if self.task and self.task not in about.tasks:
            raise unknown_name("task", self.task, about.tasks, hint="" if about.tasks else "leave --task out")
        for word in self.words:
            if word not in about.options:
                raise unknown_name("option", word, about.options)
        all_of = {**{name: [name] for name in known}, "all": list(known)}
        named = dict.fromkeys(known[each] for name in self.channels for each in all_of[name.lower()])
        return replace(self, split=self.split or about.split, channels=tuple(named))


@dataclass(frozen=True)
class Tree:
    """The files below a folder and in the zips there.

    Attributes:
        root: the folder.
        files: path relative to it, with ``/``, a zip's name standing for a folder -> the file.
        archives: path of a file from a zip -> the zip's files.
        copies: files that were passed over because they are copies of others.
    """

    root: Path
    files: Mapping[str, Path]
    archives: Mapping[str, Unpacked] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, root: Path, *, unpack: bool = True) -> Tree:
        """List ``root``; hidden files are passed over.

        Raises:
            DataError: a zip that cannot be unpacked.
        """
        files, archives = {}, {}
        for inner, path in _walk(root):
            if unpack and path.suffix.lower() == ".zip":
                opened = Unpacked(path)
                for below, file in _walk(opened.folder):
                    files[f"{inner[:-4]}/{below}"], archives[f"{inner[:-4]}/{below}"] = file, opened
            else:
                files[inner] = path
        return cls(root, dict(sorted(files.items())), archives)

    def find(self, pattern: str) -> Iterator[tuple[re.Match[str], str]]:
        """Each path that ``pattern`` fits to its end (capitals do not count), and the match."""
        compiled = re.compile(rf"(?:^|.*/){pattern}$", re.IGNORECASE)
        return ((match, path) for path in self.files if (match := compiled.match(path)))

    def once(self, pattern: str) -> Iterator[tuple[re.Match[str], str]]:
        """As :meth:`find`, but each case once: of files whose groups agree the first, where all are copies.

        Raises:
            DataError: two files of one case that differ.
        """
        first: dict[tuple[str, ...], str] = {}
        for match, path in self.find(pattern):
            there = first.setdefault(tuple((group or "").lower() for group in match.groups()), path)
            if there == path:
                yield match, path
                continue
            require_copy((there, self.files[there]), (path, self.files[path]))
            if path not in self.copies:
                self.copies.append(path)

    def left_lying(self) -> list[str]:
        """What a person should know of files that nobody can use: archives, unfinished downloads, copies."""
        archives = [path for path in self.files if path.lower().endswith(_ARCHIVES)]
        unfinished = [path for path in self.files if path.lower().endswith(_UNFINISHED)]
        return [
            *notice("passed over {} of others in this folder", self.copies, "copy", "copies"),
            *notice("{} not opened", archives, "archive is", "archives are"),
            *notice("{} not ended", unfinished, "download has", "downloads have"),
        ]

    def has(self, pattern: str) -> bool:
        """Whether there is a path that ``pattern`` fits to its end."""
        return next(self.find(pattern), None) is not None

    def source(self, path: str, *steps: Step) -> Source:
        """The file as a source of voxels."""
        return Source(
            self.files[path], shown=printable(path), archive=self.archives.get(path), steps=tuple(steps)
        )

    def case(self, name: str, image: str, label: str | None, *steps: Step, **about: Any) -> Item:
        """A case of one scan: of the training where it has a label, else unlabeled.

        Args:
            name: its id.
            image: path of the scan.
            label: path of its label; that of the scan where one file holds both.
            steps: what is done to both.
            about: further attributes of :class:`Item`.
        """
        source = self.source(label, *steps) if label else None
        return Item(name, "train" if label else "unlabeled", (self.source(image, *steps),), source, **about)


_ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar", ".zip")
"""What is not opened here; zips that lie in zips are such, too."""
_UNFINISHED = (".crdownload", ".part", ".partial", ".download", ".aria2", ".!ut")


def require_copy(one: tuple[str, Path], other: tuple[str, Path]) -> None:
    """Refuse two files that claim to be the same one of a case.

    Args:
        one: the path that people know, and the file.
        other: the same of the second.

    Raises:
        DataError: they differ.
    """
    pairs = [(one[1], other[1])]
    pairs += [(one[1].with_suffix(end), other[1].with_suffix(end)) for end in (".raw", ".zraw", ".img")]
    if any(a.exists() and not (b.exists() and filecmp.cmp(a, b, shallow=False)) for a, b in pairs):
        raise DataError(
            f"{printable(one[0])} and {printable(other[0])} are two files of one case, and they differ",
            hint="keep one of them: forms and releases of a data set are not mixed",
            code="AMBIGUOUS_NAMES",
        )


def _single(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """Each case once, and the ids of cases that lie there again as copies.

    Raises:
        DataError: two cases of one name that differ.
    """
    first: dict[str, Item] = {}
    again = []
    for item in items:
        there = first.setdefault(item.id, item)
        if there is not item:
            pairs = zip((*there.images, there.label), (*item.images, item.label), strict=True)
            for one, other in pairs:
                if one and other:
                    require_copy((one.shown, one.path), (other.shown, other.path))
            if there.label is None:
                first[item.id] = item
            again.append(item.id)
    return list(first.values()), again


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    for top, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(top) / name
                yield path.relative_to(root).as_posix(), path


def lists_beside(tree: Tree) -> dict[str, Path]:
    """``train``, ``val``, ``test`` -> the list of this name that lies beside the data, if there is one."""
    found: dict[str, Path] = {}
    for path in tree.files:
        if part := part_of(path.rpartition("/")[2]):
            found.setdefault(part, tree.files[path])
    return found


def missing_files(about: About, what: str, names: Sequence[str]) -> DataError:
    """The error for files without which a case cannot be used."""
    return DataError(
        f"{about.name}: {len(names)} {what}: {some(list(names))}",
        hint="unpack the archive again, or take these cases out of the folder",
        code="MISSING_FILE",
        details={"missing": list(names)},
    )


def nothing_of(about: About, tree: Tree, wanted: Sequence[str]) -> DataError:
    """The error for a folder that does not hold the data set."""
    lacks = f"no {' and no '.join(wanted)} in {plural(len(tree.files), 'file')}"
    lying = tree.left_lying()
    unpack = f"{'; '.join(lying)}. Unpack or fetch these first, or give" if lying else "give"
    return DataError(
        f"{tree.root} does not look like {about.title}: {lacks}",
        hint=f"{unpack} the folder as it was unpacked ({about.download}); `semiseg init` takes any layout",
        code="NOT_THIS_DATASET",
    )


def drafted(
    about: About,
    items: Sequence[Item],
    channels: Sequence[str],
    labels: Mapping[str, Any],
    *,
    form: str,
    geometry: str = "file",
    label_map: Mapping[int, int] | None = None,
    **more: Any,
) -> Draft:
    """A draft with what ``dataset.json`` says of a public data set.

    Args:
        about: the data set.
        items: its cases.
        channels: their names.
        labels: class name -> value, or list of values.
        form: which of its forms was found.
        geometry: whether voxel sizes are those of the ``file``, ``published`` elsewhere, or ``unknown``.
        label_map: value in the files -> declared value.
        more: other keys of dataset.json.
    """
    items, again = _single(items)
    draft = Draft(items, tuple(channels))
    draft.notices += notice("passed over copies of {}", again, "case")
    draft.said = {
        "name": about.title,
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": dict(labels),
        **({"label_map": {str(old): new for old, new in label_map.items()}} if label_map else {}),
        **more,
        "licence": about.license,
        "reference": about.reference,
        "source": {"adapter": about.name, "version": 1, "form": form, "geometry": geometry},
    }
    cases = {item.id: dict(item.info) for item in items if item.info}
    if cases:
        draft.said["cases"] = cases
    draft.decisions.append(f"{about.title}, {form}: {plural(len(items), 'case')} found")
    return draft
