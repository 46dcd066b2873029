"""Which mask belongs to which scan, and what the case is called."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from semiseg.data.adopting.draft import Draft, some
from semiseg.data.adopting.listing import Entry
from semiseg.data.adopting.words import clean_id
from semiseg.errors import DataError

Naming = Callable[[Entry], str]


def _plain(entry: Entry) -> str:
    return entry.key or (entry.folders[-1] if entry.folders else entry.stem)


def _by_part(entry: Entry) -> str:
    return f"{entry.part}_{_plain(entry)}"


def _by_folder(entry: Entry) -> str:
    return "_".join([*entry.folders, *([entry.key] if entry.key else [])]) or entry.stem


def _by_both(entry: Entry) -> str:
    return f"{entry.part}_{_by_folder(entry)}"


def name_cases(entries: Sequence[Entry]) -> dict[str, str]:
    """Shown path -> case id: the shortest way of naming under which no two files are the same thing.

    Raises:
        DataError: two files cannot be told apart by any part of their paths.
    """
    for naming in (_plain, _by_part, _by_folder, _by_both):
        names = {entry.shown: clean_id(naming(entry)) for entry in entries}
        things = Counter((names[e.shown].lower(), e.role, e.channel) for e in entries)
        if all(times == 1 for times in things.values()):
            return names
    clash = next(thing for thing, times in things.items() if times > 1)
    same = [e.shown for e in entries if (names[e.shown].lower(), e.role, e.channel) == clash]
    raise DataError(
        f"{some(same)} would all be the {clash[1]} of case {clash[0]!r}",
        hint="give each scan its own name or folder, and merge several masks of a scan into one file",
        code="AMBIGUOUS_NAMES",
        details={"files": same},
    )


def pair(images: Mapping[str, Entry], labels: Mapping[str, Entry], draft: Draft) -> dict[str, Entry]:
    """Image case id -> its label. Equal ids first, then one name beginning with the other.

    Args:
        images: case id -> one of its images.
        labels: id from the label's own name -> label.
        draft: gets a notice for every label left alone.

    Raises:
        DataError: no label fits any image, or several fit one.
    """
    lower = {name.lower(): name for name in images}
    found: dict[str, list[str]] = defaultdict(list)
    alone: list[str] = []
    for name in labels:
        match = lower.get(name.lower()) or _nearest(name, images)
        (found[match] if match else alone).append(name)
    if labels and not found:
        found, alone = _without_common_end(images, labels)
    if labels and not found:
        shown = some([labels[name].shown for name in alone], 3)
        raise DataError(
            f"none of the {len(labels)} labels ({shown}) fits the name of an image",
            hint="give scan and mask the same name, e.g. images/case_1.nii.gz and labels/case_1.nii.gz",
            code="UNPAIRED_LABELS",
        )
    several = {case: masks for case, masks in found.items() if len(masks) > 1}
    for case, masks in several.items():
        shown = some([labels[name].shown for name in masks])
        raise DataError(
            f"{len(several)} cases have several masks, such as {case}: {shown}",
            hint="merge the masks of a scan into one file, one value per class",
            code="SEVERAL_LABELS",
        )
    if alone:
        shown = some([labels[name].shown for name in alone])
        draft.notices.append(f"left out {len(alone)} labels without an image: {shown}")
    return {case: labels[names[0]] for case, names in found.items()}


def _nearest(name: str, images: Mapping[str, Entry]) -> str | None:
    """The longest image name that begins the label's, or the only one that the label's name begins."""
    inside = sorted((case for case in images if _begins(case, name)), key=len)
    around = [case for case in images if _begins(name, case)]
    if inside:
        return inside[-1]
    return around[0] if len(around) == 1 else None


def _begins(short: str, long: str) -> bool:
    return long.lower().startswith(short.lower()) and not long[len(short) : len(short) + 1].isalnum()


def _without_common_end(
    images: Mapping[str, Entry], labels: Mapping[str, Entry]
) -> tuple[dict[str, list[str]], list[str]]:
    """Match ``001_b`` with ``001_a`` when all masks end alike and all scans end alike."""
    short = {_cut_end(name, list(images)): name for name in images}
    found: dict[str, list[str]] = defaultdict(list)
    alone: list[str] = []
    for name in labels:
        case = short.get(_cut_end(name, list(labels)))
        (found[case] if case else alone).append(name)
    return found, alone


def _cut_end(name: str, names: Sequence[str]) -> str:
    ends = {other.rpartition("_")[2] for other in names}
    return name.rpartition("_")[0] if len(ends) == 1 and "_" in name else name
