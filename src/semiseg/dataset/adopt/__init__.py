"""``semiseg init``: a dataset folder from whatever lies there, without a question asked."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semiseg.dataset.adopt.decathlon import draft_decathlon, read_lists
from semiseg.dataset.adopt.draft import Draft, classes
from semiseg.dataset.adopt.listing import list_source
from semiseg.dataset.adopt.names import words
from semiseg.dataset.adopt.pile import draft_pile
from semiseg.dataset.adopt.write import (
    SOURCES,
    Target,
    build,
    choose_ending,
    patient_rule,
    sources_csv,
    targets,
)
from semiseg.dataset.check.case import MOST_CLASSES
from semiseg.dataset.dataset import roots
from semiseg.dataset.description import FILE, read_description
from semiseg.errors import DataError, UsageError
from semiseg.machine.files import held, read_json

__all__ = [
    "AdoptResult",
    "adopt",
]

_FIRST_NUMBER = 201
"""Numbers below are taken by public data sets more often than not."""


@dataclass
class AdoptResult:
    """What :func:`adopt` made.

    Attributes:
        folder: the dataset folder.
        dataset: the content of its ``dataset.json``.
        counts: cases per kind.
        decisions: what was found out and how, one sentence each.
        notices: what was skipped or left out, one sentence each.
    """

    folder: Path
    dataset: dict[str, Any]
    counts: dict[str, int]
    decisions: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "ok": True,
            "folder": str(self.folder),
            "dataset": self.dataset,
            "counts": self.counts,
            "decisions": self.decisions,
            "notices": self.notices,
        }


def adopt(
    source: str | Path,
    target: str | Path | None = None,
    *,
    link: bool = False,
    channel_names: Mapping[int, str] | None = None,
    label_names: Mapping[int, str] | None = None,
    max_classes: int = MOST_CLASSES,
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
        workers: files read or written at a time.
        progress: called with (files done, files in all).

    Raises:
        UsageError: no such source, a target that is not empty or cannot be written, or a source that is a
            dataset already.
        DataError: nothing usable in it, or names that cannot be told apart; says which.
    """
    root = _existing(Path(source).expanduser())
    goal = Path(target).expanduser() if target is not None else None
    with ExitStack() as stack:
        if goal is not None:
            stack.enter_context(held(goal, "-o", beside=True))
            _require_empty(goal)
        names = (channel_names or {}, label_names or {})
        return _adopt(root, goal, stack, names, max_classes, link=link, workers=workers, progress=progress)


def _adopt(
    root: Path,
    goal: Path | None,
    stack: ExitStack,
    names: tuple[Mapping[int, str], Mapping[int, str]],
    max_classes: int,
    *,
    link: bool,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> AdoptResult:
    """:func:`adopt`; ``stack`` gets the hold on a target that is chosen here."""
    channel_names, label_names = names
    workers = workers or min(8, os.cpu_count() or 1)
    lists = read_lists(root) if root.is_dir() else None
    if goal is None and lists is None and (root / FILE).is_file():
        raise _already_described(root)
    if lists is not None:
        draft, values = draft_decathlon(root, lists, workers, max_classes)
    else:
        listing = list_source(root)
        if not listing.entries:
            raise _nothing(root, listing.notices)
        draft, values = draft_pile(root, listing, workers, label_names, max_classes)
    draft.label_names |= dict(label_names)
    _rename_channels(draft, channel_names)
    said = {} if label_names or channel_names else _said(root, draft)
    said = said or _found(draft, *classes(values.values(), draft.label_names, draft))
    ending = choose_ending(draft)
    files = targets(draft, ending)
    in_place = goal is None and lists is None and _fits_already(root, files)
    folder = root if in_place else goal or _free_name(root)
    if goal is None:
        stack.enter_context(held(folder, "-o", beside=not in_place))
    documents = _documents(draft, said, ending)
    if in_place:
        draft.decisions.append(f"the folder already has the right layout: only {FILE} is written")
    try:
        if in_place:
            _write_beside(root, documents)
        else:
            documents[SOURCES] = sources_csv(files, draft.channel_names)
            build(folder, files, documents, draft.colors, link, workers, progress)
    except OSError as error:
        raise UsageError(
            f"cannot write {folder}: {error.strerror or error}",
            hint="check permissions and free space, or name another target; nothing was left there",
            code="CANNOT_WRITE",
        ) from error
    return AdoptResult(folder, json.loads(documents[FILE]), _counts(draft), draft.decisions, draft.notices)


def _existing(source: Path) -> Path:
    if source.is_dir() or source.is_file():
        return source
    raise UsageError(f"no folder {str(source)!r}", hint="check the path", code="NO_SOURCE")


def _require_empty(target: Path) -> None:
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise UsageError(
            f"{target} exists and is not empty",
            hint="choose another name, or remove it first",
            code="TARGET_EXISTS",
        )


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


_READ = "NIfTI, NRRD, MetaImage, PNG, TIFF and DICOM are read; convert other files to NIfTI first"
_HDF5 = (
    "HDF5 has no voxel sizes and is not read; docs/coming-from-ssl4mis.md has a script that makes NIfTI of "
    "the files of SSL4MIS and its kin"
)


def _nothing(root: Path, notices: list[str]) -> DataError:
    text = f"no scan found in {root}" + (f" ({'; '.join(notices)})" if notices else "")
    return DataError(
        text,
        hint=_HDF5 if ".h5" in text or ".hdf5" in text else _READ,
        code="NO_IMAGES",
    )


def _rename_channels(draft: Draft, given: Mapping[int, str]) -> None:
    wrong = [index for index in given if not 0 <= index < len(draft.channel_names)]
    if wrong:
        raise UsageError(
            f"channel {wrong[0]} was named, but there are {len(draft.channel_names)} channels",
            hint=f"found: {', '.join(draft.channel_names)}",
            code="CHANNELS",
        )
    draft.channel_names = tuple(given.get(i, name) for i, name in enumerate(draft.channel_names))


def _counts(draft: Draft) -> dict[str, int]:
    parts = [item.part for item in draft.items]
    return {
        "labeled": parts.count("train"),
        "unlabeled": parts.count("unlabeled"),
        "val": parts.count("val"),
        "test": parts.count("test"),
    }


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


def _documents(draft: Draft, said: Mapping[str, Any], ending: str) -> dict[str, str]:
    counts = _counts(draft)
    content = {**said, "numTraining": counts["labeled"] + counts["val"], "file_ending": ending}
    documents = {FILE: json.dumps(content, indent=1, ensure_ascii=False) + "\n"}
    splits: dict[str, Any] = {}
    if counts["val"]:
        splits["val"] = [item.id for item in draft.items if item.part == "val"]
        draft.decisions.append(f"{counts['val']} cases of a validation folder are listed in splits.json")
    rule = patient_rule(draft)
    if rule is not None:
        splits["group_by_patient"] = rule
    if splits:
        documents["splits.json"] = json.dumps(splits, indent=1) + "\n"
    if counts["labeled"] + counts["val"] == 0:
        draft.notices.append(
            "no mask was found: move each scan that gets one to imagesTr and put its mask into labelsTr"
        )
    return documents


def _fits_already(root: Path, files: list[Target]) -> bool:
    """Whether every file lies where it would be put (scans without a mask may stay in imagesTr)."""
    return all(
        file.source.series is None
        and file.source.recode is None
        and file.source.frame is None
        and file.source.path in (root / file.place, root / _in_training_folder(file.place))
        for file in files
    )


def _in_training_folder(place: Path) -> Path:
    return Path("imagesTr") / place.name if place.parent.name == "imagesUn" else place


def _write_beside(root: Path, documents: Mapping[str, str]) -> None:
    for name, text in documents.items():
        partial = root / f".{name}.{os.getpid()}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(root / name)


def _free_name(source: Path) -> Path:
    """``DatasetNNN_Name`` beside the source, with the first number that no dataset around has."""
    parent = source.resolve().parent
    taken = {
        int(match[1])
        for place in (parent, *roots())
        for folder in place.iterdir()
        if (match := re.match(r"\.?Dataset(\d+)", folder.name))  # with a dot: being made
    }
    number = next(n for n in range(_FIRST_NUMBER, 100_000) if n not in taken)
    parts = words(source.resolve().name.split(".")[0], keep_case=True)
    name = "".join(part[:1].upper() + part[1:] for part in parts) or "Mine"
    return parent / f"Dataset{number:03d}_{name}"
