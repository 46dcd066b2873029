"""From a draft to the dataset folder: its JSON files, its place, and a report of what was decided."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.dataset.adopt.draft import Draft
from semiseg.dataset.adopt.names import words
from semiseg.dataset.adopt.write import SOURCES, Target, build, patient_rule, sources_csv
from semiseg.dataset.dataset import roots
from semiseg.dataset.description import FILE
from semiseg.drawing.notebook import Tabular
from semiseg.errors import UsageError, plural
from semiseg.machine.files import plain, write_text, writing

if TYPE_CHECKING:
    from semiseg.drawing.table import Table

_FIRST_NUMBER = 201
"""Numbers below are taken by public data sets more often than not."""


@dataclass
class AdoptResult(Tabular):
    """The dataset folder that :func:`adopt` made."""

    folder: Path
    dataset: dict[str, Any]
    """The content of its ``dataset.json``."""
    counts: dict[str, int]
    """Cases per kind."""
    decisions: list[str] = field(default_factory=list)
    """What was found out and how, one sentence each."""
    notices: list[str] = field(default_factory=list)
    """What was skipped or left out, one sentence each."""
    splits: dict[str, Any] = field(default_factory=dict)
    """The content of its ``splits.json``, empty where there is none."""

    def tables(self) -> Sequence[Table]:
        """What was decided and noticed, a row each."""
        from semiseg.drawing.table import Table, TableCell, heads

        told = [("decided", text) for text in self.decisions] + [("notice", text) for text in self.notices]
        rows = tuple((TableCell(kind), TableCell(text)) for kind, text in told)
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        return [Table(f"{self.folder.name}: {counts}", heads(("", "what"), left=2), rows)]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"ok": True, **plain(self)}


def finish(
    draft: Draft,
    files: Sequence[Target],
    ending: str,
    folder: Path,
    *,
    link: bool = False,
    in_place: bool = False,
    dry_run: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AdoptResult:
    """Write the dataset that a draft describes, whole or not at all.

    Raises:
        UsageError: the folder cannot be written.
    """
    documents = _documents(draft, ending)
    if in_place:
        draft.decisions.append(f"the folder already has the right layout: only {FILE} is written")
    hint = "check permissions and free space, or name another target; nothing was left there"
    with writing(str(folder), hint):
        if in_place:
            for name, text in documents.items():
                write_text(folder / name, text)
        elif not dry_run:
            documents[SOURCES] = sources_csv(files, draft.channel_names)
            draft.notices += build(
                folder, files, documents, draft.colors, link, workers, progress, draft.pictures
            )
    content, splits = (json.loads(documents.get(name, "{}")) for name in (FILE, "splits.json"))
    return AdoptResult(folder, content, _counts(draft), draft.decisions, draft.notices, splits)


def require_empty(target: Path) -> None:
    """Refuse a target in which something lies already."""
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise UsageError(
            f"{target} exists and is not empty",
            hint="choose another name, or remove it first",
            code="TARGET_EXISTS",
        )


def _counts(draft: Draft) -> dict[str, int]:
    parts: list[str] = [item.part for item in draft.items]
    names = {"labeled": "train", "unlabeled": "unlabeled", "val": "val", "test": "test"}
    return {name: parts.count(part) for name, part in names.items()}


def _documents(draft: Draft, ending: str) -> dict[str, str]:
    counts = _counts(draft)
    content = {**draft.said, "numTraining": counts["labeled"] + counts["val"], "file_ending": ending}
    documents = {FILE: json.dumps(content, indent=1, ensure_ascii=False) + "\n"}
    splits: dict[str, Any] = dict(draft.splits)
    if counts["val"] and "val" not in splits:
        splits["val"] = [item.id for item in draft.items if item.part == "val"]
        listed = plural(counts["val"], "case of a validation folder is", "cases of a validation folder are")
        draft.decisions.append(f"{listed} listed in splits.json")
    known = "source" in draft.said or "group_by_patient" in splits
    rule = None if known else patient_rule(draft)
    if rule is not None:
        splits["group_by_patient"] = rule
    if splits:
        documents["splits.json"] = json.dumps(splits, indent=1) + "\n"
    if counts["labeled"] + counts["val"] == 0:
        draft.notices.append(
            "no case to train on: those with a mask are all test cases; --split none keeps what folders say"
            if "source" in draft.said and counts["test"]
            else "no mask was found: move each scan that gets one to imagesTr and put its mask into labelsTr"
        )
    return documents


def free_name(source: Path) -> Path:
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
