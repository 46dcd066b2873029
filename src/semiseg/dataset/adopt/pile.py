"""A pile of scans and masks, flat or nested: who is a case, which mask is whose, what is test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from semiseg.dataset.adopt.channels import name_channels, settle_channels
from semiseg.dataset.adopt.draft import Draft, Item, Part, Source, some
from semiseg.dataset.adopt.listing import Entry, Listing, without_previews
from semiseg.dataset.adopt.looks import MOST_VALUES, Looks, has_colors, in_threads, look, look_for_labels
from semiseg.dataset.adopt.masks import Mask, settle_masks
from semiseg.dataset.adopt.pairing import name_cases, pair
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
        raise _no_scan(root, len(labels), draft)
    scans = [entry for entry, _ in images]
    order = settle_channels(scans, labels)
    draft.colors = any(seen.channels > 1 and has_colors(entry.source) for entry, seen in images)
    draft.channel_names = name_channels(order, scans, draft, root)
    draft.items = _items(images, labels, order, draft)
    values = {item.id: found[_shown(item.label, labels)] for item in draft.items if item.label}
    return draft, values


def _no_scan(root: Path, masks: int, draft: Draft) -> DataError:
    """The error where only masks are left, or nothing that can be read."""
    left_out = [notice for notice in draft.notices if notice.startswith("left out ")]
    if masks or not left_out:
        return DataError(
            f"no scan found in {root}, only {masks} masks",
            hint="give the folder that holds both scans and masks",
            code="NO_IMAGES",
        )
    more = f" (and {len(left_out) - 1} more)" if left_out[1:] else ""
    return DataError(
        f"no scan in {root} can be used: {left_out[0]}{more}",
        hint="fix what is said about the files, or give another folder",
        code="NO_IMAGES",
        details={"left_out": left_out},
    )


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
