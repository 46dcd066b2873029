"""A pile of scans and masks, flat or nested: who is a case, which mask is whose, what is test.

Which mask belongs to which scan, and what the case is called.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from semiseg.dataset.adopt.channels import name_channels, settle_channels
from semiseg.dataset.adopt.draft import Draft, Item, Part, Source, some
from semiseg.dataset.adopt.listing import Entry, Listing, without_previews
from semiseg.dataset.adopt.looks import MOST_VALUES, Looks, has_colors, in_threads, look, look_for_labels
from semiseg.dataset.adopt.masks import Mask, settle_masks
from semiseg.dataset.adopt.names import clean_id, folder_role, numbered, without_role
from semiseg.errors import DataError


def draft_pile(
    root: Path,
    listing: Listing,
    workers: int | None,
    label_names: Mapping[int, str],
    most_classes: int,
) -> tuple[Draft, dict[str, frozenset[int]]]:
    """Work out the cases of a pile.

    Args:
        root: the folder.
        listing: what lies in it.
        workers: files read at a time.
        label_names: value -> class name, where the user said so.
        most_classes: more are refused.

    Returns:
        the draft, and the label values of each labeled case id.

    Raises:
        DataError: no images, names that cannot be told apart, or labels that fit no image.
    """
    draft = Draft([], label_names=dict(label_names), notices=list(listing.notices))
    if listing.broken:
        raise listing.broken[0][2]
    entries = _usable(listing.entries, draft, workers)
    images = [(entry, seen) for entry, seen in entries if entry.role == "image"]
    labels = [entry for entry, _ in entries if entry.role == "label"]
    masks = dict(
        zip([e.shown for e in labels], in_threads(look_for_labels, _sources(labels), workers), strict=True)
    )
    if not labels:
        labels, masks = _labels_by_content(images, workers, draft)
        images = [(entry, seen) for entry, seen in images if entry.shown not in masks]
    found = settle_masks(masks, draft, most_classes)
    labels = [entry for entry in labels if entry.shown in found]
    for entry in labels:
        entry.source = replace(entry.source, recode=draft.recode)
    images = _without_series_over_time(images, draft)
    if not images:
        raise DataError(
            f"no scan found in {root}, only {len(labels)} masks",
            hint="give the folder that holds both scans and masks",
            code="NO_IMAGES",
        )
    scans = [entry for entry, _ in images]
    order = settle_channels(scans, labels)
    draft.colors = any(seen.channels > 1 and has_colors(entry.source) for entry, seen in images)
    draft.channel_names = name_channels(order, scans, draft, root)
    draft.items = _items(images, labels, order, draft)
    values = {item.id: found[_shown(item.label, labels)] for item in draft.items if item.label}
    return draft, values


def _sources(entries: Sequence[Entry]) -> list[Source]:
    return [entry.source for entry in entries]


def _usable(entries: Sequence[Entry], draft: Draft, workers: int | None) -> list[tuple[Entry, Looks]]:
    """Entries whose header can be read; masks that are all there is are taken for scans."""
    if entries and all(entry.role == "label" for entry in entries):
        for entry in entries:  # a folder called "segmentation_data" says nothing
            entry.role = "label" if entry.says_label else "image"
    seen = in_threads(look, _sources(entries), workers)
    for entry, looks in zip(entries, seen, strict=True):
        if looks.trouble:
            draft.notices.append(f"left out {entry.shown}: {looks.trouble}")
    usable = [(entry, looks) for entry, looks in zip(entries, seen, strict=True) if not looks.trouble]
    kept, pictures = without_previews([entry for entry, _ in usable])
    if pictures:
        draft.notices.append(f"left out {len(pictures)} pictures beside volumes: {some(pictures)}")
    return [(entry, looks) for entry, looks in usable if entry in kept]


def _labels_by_content(
    images: Sequence[tuple[Entry, Looks]], workers: int | None, draft: Draft
) -> tuple[list[Entry], dict[str, Mask]]:
    """No name tells a mask: take files of few whole numbers for masks, if other files are not like that."""
    whole = [e for e, seen in images if not seen.dtype.startswith("float") and not e.source.series]
    found = in_threads(look_for_labels, _sources(whole), workers)
    masks = {e.shown: mask for e, mask in zip(whole, found, strict=True) if _is_map(mask)}
    if not masks or len(masks) == len(images):
        return [], {}
    draft.decisions.append(f"{len(masks)} files hold a few whole numbers and are taken for masks")
    labels = [entry for entry in whole if entry.shown in masks]
    for entry in labels:
        entry.role = "label"
    return labels, masks


def _is_map(mask: Mask) -> bool:
    return not mask.trouble and 0 < len(mask.values) <= MOST_VALUES


def _without_series_over_time(images: list[tuple[Entry, Looks]], draft: Draft) -> list[tuple[Entry, Looks]]:
    """4D files are channels when all scans are 4D and alike; beside 3D scans they are cine and left out."""
    lengths = {seen.frames for _, seen in images}
    if lengths == {1} or len(lengths) == 1:
        return images
    long = [entry.shown for entry, seen in images if seen.frames > 1]
    draft.notices.append(f"left out {len(long)} 4D files, whose frames do not match: {some(long)}")
    return [(entry, seen) for entry, seen in images if seen.frames == 1]


def _items(
    images: Sequence[tuple[Entry, Looks]], labels: Sequence[Entry], order: Sequence[str], draft: Draft
) -> list[Item]:
    names = name_cases([*(entry for entry, _ in images), *labels])
    cases: dict[str, dict[str | None, tuple[Entry, Looks]]] = defaultdict(dict)
    for entry, seen in images:
        cases[names[entry.shown]][entry.channel] = (entry, seen)
    wanted: list[str | None] = list(order) if len(order) > 1 else [None]
    complete = {name: files for name, files in cases.items() if set(files) == set(wanted)}
    partial = [name for name in cases if name not in complete]
    if partial:
        draft.notices.append(f"left out {len(partial)} cases without all of {wanted}: {some(partial)}")
    firsts = {name: files[wanted[0]][0] for name, files in complete.items()}
    label_of = pair(firsts, {names[entry.shown]: entry for entry in labels}, draft)
    items = []
    for name, files in sorted(complete.items()):
        sources = tuple(source for word in wanted for source in _frames(*files[word]))
        label = label_of[name].source if name in label_of else None
        items.append(Item(name, _part(firsts[name].part, label is not None), sources, label))
    _frame_channels(items, draft)
    return items


def _frames(entry: Entry, seen: Looks) -> list[Source]:
    if seen.frames == 1:
        return [entry.source]
    return [replace(entry.source, frame=frame) for frame in range(seen.frames)]


def _frame_channels(items: Sequence[Item], draft: Draft) -> None:
    count = len(items[0].images) if items else 0
    if items and count != len(draft.channel_names) and not draft.colors:
        draft.channel_names = tuple(f"channel {number}" for number in range(count))
        draft.decisions.append(f"{count} channels, the frames of the 4D files; rename them in dataset.json")


def _part(said: Part, has_label: bool) -> Part:
    if said == "test":
        return "test"
    if not has_label:
        return "unlabeled"
    return "val" if said == "val" else "train"


def _shown(source: Source | None, labels: Sequence[Entry]) -> str:
    return next(entry.shown for entry in labels if entry.source == source)


def without_masks(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """(scans, masks): masks lie in a folder of masks, or are named like masks and lie beside their scan."""
    labels = [entry for entry in entries if entry.role == "label"]
    scans = [entry for entry in entries if entry.role != "label"]
    if not scans:
        return list(entries), []
    masks = [entry for entry in labels if _in_label_folder(entry) or any(_beside(entry, s) for s in scans)]
    left = {id(entry) for entry in masks}
    return [entry for entry in entries if id(entry) not in left], masks


def without_scans(entries: Sequence[Entry]) -> list[Entry]:
    """The entries without scans that lie beside their masks; all of them where none is named like a mask."""
    labels = [entry for entry in entries if entry.role == "label"]
    scans = {id(e) for e in entries if e.role != "label" and any(_beside(mask, e) for mask in labels)}
    return [entry for entry in entries if id(entry) not in scans]


def _in_label_folder(entry: Entry) -> bool:
    return any(folder_role(part) == "label" for part in PurePosixPath(entry.shown).parts[:-1])


def _beside(mask: Entry, scan: Entry) -> bool:
    if mask.folders != scan.folders:
        return False
    return not mask.key or begins(mask.key, scan.key) or begins(scan.key, mask.key)


Naming = Callable[[Entry], str]


def _plain(entry: Entry) -> str:
    return entry.key or (entry.folders[-1] if entry.folders else entry.stem)


def _by_part(entry: Entry) -> str:
    return f"{entry.part}_{_plain(entry)}"


def _by_folder(entry: Entry) -> str:
    return "_".join([*entry.folders, *([entry.key] if entry.key else [])]) or entry.stem


def _by_both(entry: Entry) -> str:
    return f"{entry.part}_{_by_folder(entry)}"


def case_ids(entries: Sequence[Entry]) -> tuple[dict[str, str], tuple[str, str, str | None] | None]:
    """Shown path -> case id: the shortest way of naming under which no two files are the same thing.

    Names that are the same only once they are safe file names (``a+b`` and ``a b``) are numbered.

    Returns:
        the ids, and what is there twice (id, role, channel) where no way of naming helps.
    """
    ways = (_plain, _by_part, _by_folder, _by_both)
    cleaned = [{entry.shown: clean_id(naming(entry)) for entry in entries} for naming in ways]
    best: dict[str, str] = {}
    least = Counter({("", "", None): len(entries)})
    for names in (*cleaned, *(_numbered(entries, naming) for naming in ways)):
        surplus = _things(entries, names) - Counter(set(_things(entries, names)))
        if not best or surplus.total() < least.total():
            best, least = names, surplus
        if not surplus:
            break
    return best, next(iter(least), None)


def name_cases(entries: Sequence[Entry]) -> dict[str, str]:
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


def _numbered(entries: Sequence[Entry], naming: Naming) -> dict[str, str]:
    raw = {entry.shown: unicodedata.normalize("NFC", naming(entry)) for entry in entries}
    ids = numbered(raw.values(), {name: clean_id(name) for name in raw.values()})
    return {shown: ids[name] for shown, name in raw.items()}


def _things(entries: Sequence[Entry], names: Mapping[str, str]) -> Counter[tuple[str, str, str | None]]:
    return Counter((names[e.shown].lower(), e.role, e.channel) for e in entries)


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
    for way in (_without_common_end, _without_roles, _by_number):
        if labels and not found:
            found, alone = way(images, labels)
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
    inside = sorted((case for case in images if begins(case, name)), key=len)
    around = [case for case in images if begins(name, case)]
    if inside:
        return inside[-1]
    return around[0] if len(around) == 1 else None


def begins(short: str, long: str) -> bool:
    """Whether one name begins with the other as a whole word."""
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


def _without_roles(
    images: Mapping[str, Entry], labels: Mapping[str, Entry]
) -> tuple[dict[str, list[str]], list[str]]:
    """Match ``label0001`` with ``img0001``."""
    short: dict[str, list[str]] = defaultdict(list)
    for name in images:
        short[without_role(name).lower()].append(name)
    return _matched(labels, lambda name: short.get(without_role(name).lower(), []))


def _by_number(
    images: Mapping[str, Entry], labels: Mapping[str, Entry]
) -> tuple[dict[str, list[str]], list[str]]:
    """Match ``label0001`` with ``PANCREAS_0001``: the last number of each name, where no two scans share one."""
    short: dict[str, list[str]] = defaultdict(list)
    for name in images:
        short[_last_number(name)].append(name)
    return _matched(labels, lambda name: short.get(_last_number(name), []) if _last_number(name) else [])


def _last_number(name: str) -> str:
    found = re.findall(r"[0-9]+", name)
    return found[-1].lstrip("0") or "0" if found else ""


def _matched(
    labels: Iterable[str], fitting: Callable[[str], list[str]]
) -> tuple[dict[str, list[str]], list[str]]:
    """Labels by the one image that fits; those that none or several fit are alone."""
    found: dict[str, list[str]] = defaultdict(list)
    alone: list[str] = []
    for name in labels:
        cases = fitting(name)
        (found[cases[0]] if len(cases) == 1 else alone).append(name)
    return found, alone


def _cut_end(name: str, names: Sequence[str]) -> str:
    ends = {other.rpartition("_")[2] for other in names}
    return name.rpartition("_")[0] if len(ends) == 1 and "_" in name else name
