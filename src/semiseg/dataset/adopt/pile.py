"""A pile of scans and masks, flat or nested: its cases, the mask of each, and which are for the test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from semiseg.dataset.adopt.channels import keep_channels, name_channels, settle_channels
from semiseg.dataset.adopt.draft import Asked, Draft, FileFacts, Item, Part, Source, notice
from semiseg.dataset.adopt.grids import Sized, settle_grids
from semiseg.dataset.adopt.listing import FoundFile, Listing, without_previews
from semiseg.dataset.adopt.looks import (
    MOST_VALUES,
    has_colors,
    in_threads,
    look,
    look_at_label,
    look_for_labels,
    stack_slices,
)
from semiseg.dataset.adopt.masks import Mask, settle_masks
from semiseg.dataset.adopt.pairing import begins, name_cases, pair
from semiseg.dataset.adopt.partial import complete_channels, take_frames
from semiseg.errors import DataError, plural, some
from semiseg.images import array_files, ending_of
from semiseg.images.dicom_structures import Drawn, value_table
from semiseg.images.grid import times


def draft_pile(
    root: Path, listing: Listing, workers: int | None, asked: Asked
) -> tuple[Draft, dict[str, frozenset[int]]]:
    """Work out the cases of a pile.

    Returns:
        the draft, and the label values of each labeled case id.

    Raises:
        DataError: no images, names that cannot be told apart, labels that fit no image, or channels on
            different grids.
        UsageError: channels that are not there.
    """
    structures = _draw_structures(listing)
    draft = Draft([], label_names=structures | dict(asked.label_names), notices=list(listing.notices))
    if listing.broken:
        raise listing.broken[0][2]
    entries, masks = _usable(listing.entries, draft, workers)
    entries += [_own_label(entry) for entry in entries if entry.seen.has_label and entry.role == "image"]
    _size(entries, draft, asked.spacing)
    images = [entry for entry in entries if entry.role == "image"]
    labels = [entry for entry in entries if entry.role == "label"]
    unread = [entry for entry in labels if entry.shown not in masks]
    masks |= _read_masks(unread, workers)
    if not labels and listing.unread:
        unknown = plural(len(listing.unread), "mask is", "masks are")
        raise DataError(
            f"{unknown} of formats that are not read ({some(listing.unread, 3)}), and there are no others",
            hint="convert them to NIfTI or PNG; without masks, give the scans alone",
            code="NO_USABLE_LABELS",
        )
    if not labels:
        labels, masks = _labels_by_content(images, workers, draft)
        images = [entry for entry in images if entry.shown not in masks]
    found = settle_masks(masks, draft, asked.most_classes)
    labels = [entry for entry in labels if entry.shown in found]
    for entry in labels:
        entry.source = replace(entry.source, recode=draft.recode)
    images, films = _without_series_over_time(images, draft, asked)
    if not images:
        raise _no_scan(root, len(labels), draft)
    scans = {entry.shown: entry for entry in images}
    order = settle_channels(images, labels)
    draft.colors = any(entry.seen.channels > 1 and has_colors(entry.source) for entry in images)
    draft.channel_names = name_channels(order, images, draft, root)
    images, order = keep_channels(asked.keep, images, order, draft)
    draft.items = _items(images, labels, order, draft, asked)
    draft.items = _without_second_masks(draft.items, scans, draft, workers)
    if films:
        take_frames(films, name_cases(films), draft)
    settle_grids(draft, {entry.shown: entry.seen.grid for entry in entries}, asked.resample_to)
    _tell_parts(draft, scans)
    of = {entry.source: entry.shown for entry in labels}
    return draft, {item.id: found[of[item.label]] for item in draft.items if item.label}


def _draw_structures(listing: Listing) -> dict[int, str]:
    """Add each RT structure set as the mask of the series that it names; value -> structure in all masks."""
    series = {e.source.series.uid: e for e in listing.entries if e.source.series is not None}
    here = [(each, shown) for each, shown in listing.structures if each.series in series]
    lost = [shown for each, shown in listing.structures if each.series not in series]
    table = value_table([each for each, _ in here])
    lacking = []
    for each, shown in here:
        scan, drawn = series[each.series], Drawn(each.path, tuple(table.items()))
        source = replace(scan.source, path=each.path, shown=shown, steps=(drawn,))
        listing.entries.append(replace(scan, source=source, shown=shown, role="label", channel=None))
        if absent := [name for name in table if name not in each.names]:
            lacking.append(f"{shown} ({', '.join(absent)})")
    listing.notices += [
        *notice("drawn as masks of their series: {}", [shown for _, shown in here], "RT structure set"),
        *notice("left out {} whose series is not here", lost, "RT structure set"),
        *notice(
            "{} structures that others have, which are background there "
            "(labeled_classes in dataset.json says that nobody drew them)",
            lacking,
            *("RT structure set lacks", "RT structure sets lack"),
        ),
    ]
    return {value: name for name, value in table.items()}


def _tell_parts(draft: Draft, scans: Mapping[str, FoundFile]) -> None:
    """What a user may not expect of the folders that are named test or validation."""
    scored = [item for item in draft.items if item.part == "test" and item.label]
    if scored:
        told = plural(len(scored), "test case has a label", "test cases have labels")
        draft.notices.append(f"{told}, for scores only: labelsTs")
    unlabeled = [item for item in draft.items if item.part == "unlabeled"]
    said = [(item.id, scans.get(item.images[0].shown)) for item in unlabeled]
    moved = [name for name, entry in said if entry and entry.part == "val"]
    if moved:
        draft.notices.append(
            f"{plural(len(moved), 'scan')} of a validation folder without a mask, now among the unlabeled "
            f"training scans (imagesUn): {some(moved)}; move them to imagesTs to keep them out of training"
        )


def _no_scan(root: Path, masks: int, draft: Draft) -> DataError:
    """The error where only masks are left, or nothing that can be read."""
    left_out = [notice for notice in draft.notices if notice.startswith("left out ")]
    if not left_out:
        return DataError(
            f"no scan found in {root}, only {plural(masks, 'mask')}",
            hint="give the folder that holds both scans and masks",
            code="NO_IMAGES",
        )
    beside = f", only {plural(masks, 'mask')}" if masks else ""
    more = f" (and {len(left_out) - 1} more)" if left_out[1:] else ""
    return DataError(
        f"no scan in {root} can be used{beside}: {left_out[0]}{more}",
        hint="fix what is said about the files, or give another folder",
        code="NO_IMAGES",
        details={"left_out": left_out},
    )


def _usable(
    entries: Sequence[FoundFile], draft: Draft, workers: int | None
) -> tuple[list[FoundFile], dict[str, Mask]]:
    """Files whose header can be read, and what those hold that are named like masks, as far as it was read.

    Masks that are all there is are taken for scans.
    """
    if entries and all(entry.role == "label" for entry in entries):
        for entry in entries:  # a folder called "segmentation_data" says nothing
            entry.role = "label" if entry.says_label else "image"
    entries, stacked = stack_slices(entries)
    draft.notices += stacked

    def look_at(entry: FoundFile) -> tuple[FileFacts, Mask | None]:
        return look_at_label(entry.source) if entry.role == "label" else (look(entry.source), None)

    masks = {}
    for entry, (seen, mask) in zip(entries, in_threads(look_at, entries, workers), strict=True):
        entry.seen = seen
        if seen.trouble:
            draft.notices.append(f"left out {entry.shown}: {seen.trouble}")
        elif mask is not None:
            masks[entry.shown] = mask
    kept, pictures = without_previews([entry for entry in entries if not entry.seen.trouble])
    draft.notices += notice("left out {} beside volumes", pictures, "picture")
    return kept, {entry.shown: masks[entry.shown] for entry in kept if entry.shown in masks}


def _read_masks(entries: Sequence[FoundFile], workers: int | None) -> dict[str, Mask]:
    found = in_threads(look_for_labels, [entry.source for entry in entries], workers)
    return {entry.shown: mask for entry, mask in zip(entries, found, strict=True)}


def _own_label(entry: FoundFile) -> FoundFile:
    """The label in the same file as its scan, as an entry of its own."""
    shown = f"{entry.shown}:label"
    source, seen = replace(entry.source, shown=shown), replace(entry.seen, has_label=False)
    return replace(entry, source=source, shown=shown, role="label", channel=None, seen=seen)


def _size(entries: Sequence[FoundFile], draft: Draft, spacing: tuple[float, ...]) -> None:
    """Give scans of arrays the voxel size that the user knows, or say that nobody does."""
    images = [entry for entry in entries if entry.role == "image" and not entry.seen.has_size]
    without = [entry for entry in images if ending_of(entry.source.path) in array_files.ENDINGS]
    if spacing:
        for entry in entries:
            step = Sized(spacing, only_unknown=True)
            entry.source = replace(entry.source, steps=(*entry.source.steps, step))
        draft.decisions.append(f"voxels are {times(spacing)} mm where no file says it")
    elif without:
        draft.notices.append(
            f"{plural(len(without), 'scan says', 'scans say')} no voxel size, so that distances will be in "
            "voxels; --spacing X,Y,Z says it (mm)"
        )


def _labels_by_content(
    images: Sequence[FoundFile], workers: int | None, draft: Draft
) -> tuple[list[FoundFile], dict[str, Mask]]:
    """No name tells a mask: take files of few whole numbers for masks, if other files are not like that."""
    whole = [e for e in images if not e.seen.dtype.startswith("float") and not e.source.series]
    masks = {shown: mask for shown, mask in _read_masks(whole, workers).items() if _is_map(mask)}
    if not masks or len(masks) == len(images):
        return [], {}
    told = plural(len(masks), "file holds", "files hold")
    draft.decisions.append(f"taken for masks: {told} a few whole numbers")
    labels = [entry for entry in whole if entry.shown in masks]
    for entry in labels:
        entry.role = "label"
    return labels, masks


def _is_map(mask: Mask) -> bool:
    """Whether a file holds a few whole numbers, as label maps do."""
    return not mask.trouble and 0 < len(mask.values) <= MOST_VALUES


def _without_second_masks(
    items: Sequence[Item], scans: Mapping[str, FoundFile], draft: Draft, workers: int | None
) -> list[Item]:
    """The items without files of a few whole numbers that lie beside a case with a mask and have its name.

    ``lawall.nrrd`` beside ``lgemri.nrrd`` and ``laendo.nrrd``, or ``case_1_wall.nii`` beside ``case_1.nii``:
    masks under names that nobody calls a mask, and never unlabeled scans.
    """
    first = {item.id: scans[item.images[0].shown] for item in items}
    labeled = [(item.id, first[item.id].folders) for item in items if item.label]
    places = {place for _, place in labeled if place}
    names = [name for name, place in labeled if not place]

    def suspect(item: Item) -> bool:
        entry = first[item.id]
        beside = entry.folders in places or (
            not entry.folders and any(begins(name, item.id) for name in names)
        )
        alone = item.label is None and len(item.images) == 1 and item.images[0].series is None
        return beside and alone and not entry.seen.dtype.startswith("float")

    suspects = [first[item.id] for item in items if suspect(item)]
    left = [shown for shown, mask in _read_masks(suspects, workers).items() if _is_map(mask)]
    many = "files of few whole numbers"
    draft.notices += notice(
        "left out {} beside cases with a mask, taken for second masks",
        left,
        "file of few whole numbers",
        many,
    )
    return [item for item in items if first[item.id].shown not in left]


def _without_series_over_time(
    images: list[FoundFile], draft: Draft, asked: Asked
) -> tuple[list[FoundFile], list[FoundFile]]:
    """Scans, and films (cine, perfusion). 4D files are channels when all scans are 4D and alike."""
    if len({entry.seen.frames for entry in images}) == 1:
        return images, []
    films = [entry for entry in images if entry.seen.frames > 1]
    if not asked.frames:
        shown = [entry.shown for entry in films]
        told = notice("left out {} beside 3D scans", shown, "4D file")
        draft.notices += [f"{text}; --frames makes their frames unlabeled scans" for text in told]
    return [entry for entry in images if entry.seen.frames == 1], films if asked.frames else []


def _items(
    images: Sequence[FoundFile], labels: Sequence[FoundFile], order: Sequence[str], draft: Draft, asked: Asked
) -> list[Item]:
    names = name_cases([*images, *labels])
    cases: dict[str, dict[str | None, FoundFile]] = defaultdict(dict)
    for entry in images:
        cases[names[entry.shown]][entry.channel] = entry
    wanted: list[str | None] = list(order) if len(order) > 1 else [None]
    complete = complete_channels(cases, wanted, asked.missing, draft)
    firsts = {name: files[wanted[0]] for name, files in complete.items()}
    label_of = pair(firsts, {names[entry.shown]: entry for entry in labels}, draft)
    items = []
    for name, files in sorted(complete.items()):
        sources = tuple(source for word in wanted for source in _frames(files[word]))
        label = label_of[name].source if name in label_of else None
        items.append(Item(name, _part(firsts[name].part, label is not None), sources, label))
    count = len(items[0].images) if items else 0
    if items and count != len(draft.channel_names) and not draft.colors:
        draft.channel_names = tuple(f"channel {number}" for number in range(count))
        draft.decisions.append(f"{count} channels, the frames of the 4D files; rename them in dataset.json")
    return items


def _frames(entry: FoundFile) -> list[Source]:
    if entry.seen.frames == 1:
        return [entry.source]
    return [replace(entry.source, frame=frame) for frame in range(entry.seen.frames)]


def _part(said: Part, has_label: bool) -> Part:
    if said == "test":
        return "test"
    if not has_label:
        return "unlabeled"
    return "val" if said == "val" else "train"
