"""What cases are called, which mask belongs to which scan, and which files are masks beside scans."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from semiseg.dataset.adopt.draft import Draft, notice
from semiseg.dataset.adopt.listing import FoundFile
from semiseg.dataset.adopt.names import clean_id, folder_role, numbered, without_role
from semiseg.errors import DataError, plural, some


def without_masks(entries: Sequence[FoundFile]) -> tuple[list[FoundFile], list[FoundFile]]:
    """(scans, masks): masks lie in a folder of masks, or are named like masks and lie beside their scan."""
    labels = [entry for entry in entries if entry.role == "label"]
    scans = [entry for entry in entries if entry.role != "label"]
    if not scans:
        return list(entries), []
    masks = [
        entry
        for entry in labels
        if any(folder_role(part) == "label" for part in PurePosixPath(entry.shown).parts[:-1])
        or any(_beside(entry, scan) for scan in scans)
    ]
    left = {id(entry) for entry in masks}
    return [entry for entry in entries if id(entry) not in left], masks


def without_scans(entries: Sequence[FoundFile]) -> list[FoundFile]:
    """The entries without scans that lie beside their masks; all of them where none is named like a mask."""
    labels = [entry for entry in entries if entry.role == "label"]
    scans = {id(e) for e in entries if e.role != "label" and any(_beside(mask, e) for mask in labels)}
    return [entry for entry in entries if id(entry) not in scans]


def _beside(mask: FoundFile, scan: FoundFile) -> bool:
    if mask.folders != scan.folders:
        return False
    return not mask.key or begins(mask.key, scan.key) or begins(scan.key, mask.key)


Naming = Callable[[FoundFile], str]


def _plain(entry: FoundFile) -> str:
    return entry.key or (entry.folders[-1] if entry.folders else entry.stem)


def _by_part(entry: FoundFile) -> str:
    return f"{entry.part}_{_plain(entry)}"


def _by_one_folder(level: int) -> Naming:
    """By the folder so many levels down, which is enough where each case has one of its own there."""

    def naming(entry: FoundFile) -> str:
        return entry.folders[level] if not entry.key and len(entry.folders) > level else _plain(entry)

    return naming


def _by_folder(entry: FoundFile) -> str:
    return "_".join([*entry.folders, *([entry.key] if entry.key else [])]) or entry.stem


def _by_both(entry: FoundFile) -> str:
    return f"{entry.part}_{_by_folder(entry)}"


def case_ids(entries: Sequence[FoundFile]) -> tuple[dict[str, str], tuple[str, str, str | None] | None]:
    """Shown path -> case id: the shortest way of naming under which no two files are the same thing.

    Names that are the same only once they are safe file names (``a+b`` and ``a b``) are numbered.

    Returns:
        the ids, and what is there twice (id, role, channel) where no way of naming helps.
    """
    deepest = max((len(entry.folders) for entry in entries), default=0)
    ways = (_plain, _by_part, *map(_by_one_folder, range(deepest)), _by_folder, _by_both)
    cleaned = [{entry.shown: clean_id(naming(entry)) for entry in entries} for naming in ways]
    best: dict[str, str] = {}
    least: Counter[tuple[str, str, str | None]] = Counter()
    for names in (*cleaned, *(_numbered(entries, naming) for naming in ways)):
        surplus = _things(entries, names) - Counter(set(_things(entries, names)))
        if not best or surplus.total() < least.total():
            best, least = names, surplus
        if not surplus:
            break
    return best, next(iter(least), None)


def name_cases(entries: Sequence[FoundFile]) -> dict[str, str]:
    """As :func:`case_ids`.

    Raises:
        DataError: two files cannot be told apart by any part of their paths.
    """
    names, clash = case_ids(entries)
    if clash is None:
        return names
    same = [e.shown for e in entries if (names[e.shown].lower(), e.role, e.channel) == clash]
    raise DataError(
        f"{some(same)} would all be the {clash[1]} of case {clash[0]!r}",
        hint="give each scan its own name or folder, and merge several masks of a scan into one file",
        code="AMBIGUOUS_NAMES",
        details={"files": same},
    )


def _numbered(entries: Sequence[FoundFile], naming: Naming) -> dict[str, str]:
    raw = {entry.shown: unicodedata.normalize("NFC", naming(entry)) for entry in entries}
    ids = numbered(raw.values(), {name: clean_id(name) for name in raw.values()})
    return {shown: ids[name] for shown, name in raw.items()}


def _things(entries: Sequence[FoundFile], names: Mapping[str, str]) -> Counter[tuple[str, str, str | None]]:
    return Counter((names[e.shown].lower(), e.role, e.channel) for e in entries)


Files = Mapping[str, FoundFile]
Pairs = tuple[dict[str, list[str]], list[str]]
"""Case id -> the ids of its labels; and the labels of no case."""


def pair(images: Files, labels: Files, draft: Draft) -> dict[str, FoundFile]:
    """Image case id -> its label. Equal ids first, then one name beginning with the other.

    Args:
        images: case id -> one of its images.
        labels: id from the label's own name -> label.
        draft: gets a notice for every label left alone.

    Raises:
        DataError: no label fits any image, or several fit one.
    """
    lower = {name.lower(): [name] for name in images}
    found, alone = _matched(labels, lambda name: lower.get(name.lower()) or _nearest(name, images))
    for way in (_without_common_end, _without_roles, _by_number, _by_path):
        if labels and not found:
            found, alone = way(images, labels)
    if labels and not found:
        shown = some([labels[name].shown for name in alone], 3)
        raise DataError(
            f"none of the {plural(len(labels), 'label')} ({shown}) fits the name of an image "
            f"(images make the cases {some(sorted(images), 3)})",
            hint="give scan and mask the same name, e.g. images/case_1.nii.gz and labels/case_1.nii.gz",
            code="UNPAIRED_LABELS",
        )
    several = {case: masks for case, masks in found.items() if len(masks) > 1}
    for case, masks in several.items():
        shown = some([labels[name].shown for name in masks])
        raise DataError(
            f"{plural(len(several), 'case has', 'cases have')} several masks, such as {case}: {shown}",
            hint="merge the masks of a scan into one file, one value per class",
            code="SEVERAL_LABELS",
        )
    left = [labels[name].shown for name in alone]
    draft.notices += notice("left out {} without an image", left, "label")
    return {case: labels[names[0]] for case, names in found.items()}


def _nearest(name: str, images: Files) -> list[str]:
    """The longest image name that begins the label's, or those that the label's name begins."""
    inside = sorted((case for case in images if begins(case, name)), key=len)
    return inside[-1:] or [case for case in images if begins(name, case)]


def begins(short: str, long: str) -> bool:
    """Whether one name begins with the other as a whole word."""
    return long.lower().startswith(short.lower()) and not long[len(short) : len(short) + 1].isalnum()


def _without_common_end(images: Files, labels: Files) -> Pairs:
    """Match ``001_b`` with ``001_a`` when all masks end alike and all scans end alike."""
    short = {_cut_end(name, images): name for name in images}
    return _matched(labels, lambda name: [short[end]] if (end := _cut_end(name, labels)) in short else [])


def _without_roles(images: Files, labels: Files) -> Pairs:
    """Match ``label0001`` with ``img0001``."""
    return _by_key(images, labels, lambda name: without_role(name).lower())


def _by_number(images: Files, labels: Files) -> Pairs:
    """Match ``label0001`` with ``PANCREAS_0001``: by the last number, where no two scans share one."""
    return _by_key(images, labels, _last_number)


def _by_key(images: Files, labels: Files, key: Callable[[str], str]) -> Pairs:
    short: dict[str, list[str]] = defaultdict(list)
    for name in images:
        short[key(name)].append(name)
    return _matched(labels, lambda name: short.get(key(name), []) if key(name) else [])


def _by_path(images: Files, labels: Files) -> Pairs:
    """Match ``label0001`` with ``PANCREAS_0001/portal_77``: by the one number in the paths of the scans,
    behind the same word in each, that no two scans share and that most labels end with.
    """
    each = {name: _numbers(entry.shown) for name, entry in images.items()}
    best: dict[str, str] = {}
    for word in set.intersection(*map(set, each.values())) if each else ():
        cases = {numbers[word]: name for name, numbers in each.items()}
        found = sum(_last_number(label) in cases for label in labels)
        if len(cases) == len(images) and 2 * found > min(len(labels), len(images)) and len(best) < found:
            best = {label: cases[n] for label in labels if (n := _last_number(label)) in cases}
    return _matched(labels, lambda name: [best[name]] if name in best else [])


def _numbers(path: str) -> dict[str, str]:
    """Word -> the number that follows it, the first time that it stands in a path."""
    found: dict[str, str] = {}
    for word, number in re.findall(r"([A-Za-z]+)[^A-Za-z0-9]*([0-9]+)", path):
        found.setdefault(word.lower(), number.lstrip("0") or "0")
    return found


def _last_number(name: str) -> str:
    found = re.findall(r"[0-9]+", name)
    return found[-1].lstrip("0") or "0" if found else ""


def _matched(labels: Iterable[str], fitting: Callable[[str], list[str]]) -> Pairs:
    """Labels by the one image that fits; those that none or several fit are alone."""
    found: dict[str, list[str]] = defaultdict(list)
    alone: list[str] = []
    for name in labels:
        cases = fitting(name)
        (found[cases[0]] if len(cases) == 1 else alone).append(name)
    return found, alone


def _cut_end(name: str, names: Iterable[str]) -> str:
    ends = {other.rpartition("_")[2] for other in names}
    return name.rpartition("_")[0] if len(ends) == 1 and "_" in name else name
