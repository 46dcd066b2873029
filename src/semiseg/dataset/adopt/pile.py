"""A pile of scans and masks, flat or nested: who is a case, which mask is whose, what is test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from semiseg.dataset.adopt.channels import Asked, keep_channels, name_channels, settle_channels
from semiseg.dataset.adopt.draft import Draft, Item, Part, Source, some
from semiseg.dataset.adopt.grids import Sized, settle_grids
from semiseg.dataset.adopt.listing import FoundFile, Listing, without_previews
from semiseg.dataset.adopt.looks import (
    Looks,
    has_colors,
    in_threads,
    look,
    look_at_label,
    look_for_labels,
    stack_slices,
)
from semiseg.dataset.adopt.masks import Mask, settle_masks
from semiseg.dataset.adopt.pairing import name_cases, pair
from semiseg.dataset.adopt.partial import complete_channels, take_frames
from semiseg.dataset.adopt.second_masks import is_map, without_second_masks
from semiseg.dataset.adopt.structures import draw_structures
from semiseg.errors import DataError
from semiseg.images import array_files, ending_of


def draft_pile(
    root: Path,
    listing: Listing,
    workers: int | None,
    label_names: Mapping[int, str],
    most_classes: int,
    asked: Asked,
    spacing: tuple[float, ...] = (),
) -> tuple[Draft, dict[str, frozenset[int]]]:
    """Work out the cases of a pile.

    Returns:
        the draft, and the label values of each labeled case id.

    Raises:
        DataError: no images, names that cannot be told apart, labels that fit no image, or channels on
            different grids.
        UsageError: channels that are not there.
    """
    structures = draw_structures(listing)
    draft = Draft([], label_names=structures | dict(label_names), notices=list(listing.notices))
    if listing.broken:
        raise listing.broken[0][2]
    entries, masks = _usable(listing.entries, draft, workers)
    entries += [
        _own_label(entry, seen) for entry, seen in entries if seen.has_label and entry.role == "image"
    ]
    _size(entries, draft, spacing)
    images = [(entry, seen) for entry, seen in entries if entry.role == "image"]
    labels = [entry for entry, _ in entries if entry.role == "label"]
    unread = [entry for entry in labels if entry.shown not in masks]
    counted = in_threads(look_for_labels, _sources(unread), workers)
    masks |= {entry.shown: mask for entry, mask in zip(unread, counted, strict=True)}
    if not labels and listing.unread:
        raise DataError(
            f"{len(listing.unread)} masks are of formats that are not read ({some(listing.unread, 3)}), and "
            "there are no others",
            hint="convert them to NIfTI or PNG; without masks, give the scans alone",
            code="NO_USABLE_LABELS",
        )
    if not labels:
        labels, masks = _labels_by_content(images, workers, draft)
        images = [(entry, seen) for entry, seen in images if entry.shown not in masks]
    found = settle_masks(masks, draft, most_classes)
    labels = [entry for entry in labels if entry.shown in found]
    for entry in labels:
        entry.source = replace(entry.source, recode=draft.recode)
    images, films = _without_series_over_time(images, draft, asked)
    if not images:
        raise _no_scan(root, len(labels), draft)
    scans = [entry for entry, _ in images]
    order = settle_channels(scans, labels)
    draft.colors = any(seen.channels > 1 and has_colors(entry.source) for entry, seen in images)
    draft.channel_names = name_channels(order, scans, draft, root)
    images, order = keep_channels(asked.keep, images, order, draft)
    draft.items = _items(images, labels, order, draft, asked)
    folders = {entry.shown: entry.folders for entry in scans}
    dtypes = {entry.shown: seen.dtype for entry, seen in images}
    draft.items = without_second_masks(draft.items, folders, dtypes, draft, workers)
    if films:
        take_frames(films, name_cases([entry for entry, _ in films]), draft)
    settle_grids(draft, {entry.shown: seen.grid for entry, seen in entries}, asked.resample_to)
    _tell_parts(draft, {entry.shown: entry.part for entry in scans})
    values = {item.id: found[_shown(item.label, labels)] for item in draft.items if item.label}
    return draft, values


def _tell_parts(draft: Draft, said: Mapping[str, Part]) -> None:
    """What a user may not expect of the folders that are named test or validation."""
    scored = [item for item in draft.items if item.part == "test" and item.label]
    if scored:
        draft.notices.append(f"{len(scored)} test cases have labels, which are for scores only: labelsTs")
    moved = [i.id for i in draft.items if i.part == "unlabeled" and said.get(i.images[0].shown) == "val"]
    if moved:
        draft.notices.append(
            f"{len(moved)} scans of a validation folder have no mask and become unlabeled training scans "
            f"(imagesUn): {some(moved)}; move them to imagesTs to keep them out of training"
        )


def _no_scan(root: Path, masks: int, draft: Draft) -> DataError:
    """The error where only masks are left, or nothing that can be read."""
    left_out = [notice for notice in draft.notices if notice.startswith("left out ")]
    if not left_out:
        return DataError(
            f"no scan found in {root}, only {masks} masks",
            hint="give the folder that holds both scans and masks",
            code="NO_IMAGES",
        )
    beside = f", only {masks} masks" if masks else ""
    more = f" (and {len(left_out) - 1} more)" if left_out[1:] else ""
    return DataError(
        f"no scan in {root} can be used{beside}: {left_out[0]}{more}",
        hint="fix what is said about the files, or give another folder",
        code="NO_IMAGES",
        details={"left_out": left_out},
    )


def _sources(entries: Sequence[FoundFile]) -> list[Source]:
    return [entry.source for entry in entries]


def _usable(
    entries: Sequence[FoundFile], draft: Draft, workers: int | None
) -> tuple[list[tuple[FoundFile, Looks]], dict[str, Mask]]:
    """Files whose header can be read, and what those hold that are named like masks, as far as it was read.

    Masks that are all there is are taken for scans.
    """
    if entries and all(entry.role == "label" for entry in entries):
        for entry in entries:  # a folder called "segmentation_data" says nothing
            entry.role = "label" if entry.says_label else "image"
    entries, stacked = stack_slices(entries)
    draft.notices += stacked
    looked = in_threads(_look, entries, workers)
    seen = [looks for looks, _ in looked]
    for entry, looks in zip(entries, seen, strict=True):
        if looks.trouble:
            draft.notices.append(f"left out {entry.shown}: {looks.trouble}")
    usable = [(entry, looks) for entry, looks in zip(entries, seen, strict=True) if not looks.trouble]
    kept, pictures = without_previews([entry for entry, _ in usable])
    if pictures:
        draft.notices.append(f"left out {len(pictures)} pictures beside volumes: {some(pictures)}")
    held = {entry.shown: mask for entry, (_, mask) in zip(entries, looked, strict=True) if mask is not None}
    left = {id(entry) for entry in kept}
    usable = [(entry, looks) for entry, looks in usable if id(entry) in left]
    return usable, {entry.shown: held[entry.shown] for entry, _ in usable if entry.shown in held}


def _look(entry: FoundFile) -> tuple[Looks, Mask | None]:
    return look_at_label(entry.source) if entry.role == "label" else (look(entry.source), None)


def _own_label(entry: FoundFile, seen: Looks) -> tuple[FoundFile, Looks]:
    """The label in the same file as its scan, as an entry of its own."""
    shown = f"{entry.shown}:label"
    source = replace(entry.source, shown=shown)
    return replace(entry, source=source, shown=shown, role="label", channel=None), replace(
        seen, has_label=False
    )


def _size(entries: Sequence[tuple[FoundFile, Looks]], draft: Draft, spacing: tuple[float, ...]) -> None:
    """Give scans of arrays the voxel size that the user knows, or say that nobody does."""
    without = [e for e, seen in entries if e.role == "image" and not seen.has_size and _is_array(e.source)]
    if spacing:
        for entry, _ in entries:
            entry.source = replace(
                entry.source, steps=(*entry.source.steps, Sized(spacing, only_unknown=True))
            )
        draft.decisions.append(f"voxels are {' x '.join(f'{s:g}' for s in spacing)} mm where no file says it")
    elif without:
        draft.notices.append(
            f"{len(without)} scans say no voxel size, so that distances will be in voxels; "
            "--spacing X,Y,Z says it (mm)"
        )


def _is_array(source: Source) -> bool:
    return ending_of(source.path) in array_files.ENDINGS


def _labels_by_content(
    images: Sequence[tuple[FoundFile, Looks]], workers: int | None, draft: Draft
) -> tuple[list[FoundFile], dict[str, Mask]]:
    """No name tells a mask: take files of few whole numbers for masks, if other files are not like that."""
    whole = [e for e, seen in images if not seen.dtype.startswith("float") and not e.source.series]
    found = in_threads(look_for_labels, _sources(whole), workers)
    masks = {e.shown: mask for e, mask in zip(whole, found, strict=True) if is_map(mask)}
    if not masks or len(masks) == len(images):
        return [], {}
    draft.decisions.append(f"{len(masks)} files hold a few whole numbers and are taken for masks")
    labels = [entry for entry in whole if entry.shown in masks]
    for entry in labels:
        entry.role = "label"
    return labels, masks


def _without_series_over_time(
    images: list[tuple[FoundFile, Looks]], draft: Draft, asked: Asked
) -> tuple[list[tuple[FoundFile, Looks]], list[tuple[FoundFile, Looks]]]:
    """Scans, and films (cine, perfusion). 4D files are channels when all scans are 4D and alike."""
    lengths = {seen.frames for _, seen in images}
    if len(lengths) == 1:
        return images, []
    films = [(entry, seen) for entry, seen in images if seen.frames > 1]
    if not asked.frames:
        draft.notices.append(
            f"left out {len(films)} 4D files beside 3D scans: {some([entry.shown for entry, _ in films])}; "
            "--frames makes their frames unlabeled scans"
        )
    return [(entry, seen) for entry, seen in images if seen.frames == 1], films if asked.frames else []


def _items(
    images: Sequence[tuple[FoundFile, Looks]],
    labels: Sequence[FoundFile],
    order: Sequence[str],
    draft: Draft,
    asked: Asked,
) -> list[Item]:
    names = name_cases([*(entry for entry, _ in images), *labels])
    cases: dict[str, dict[str | None, tuple[FoundFile, Looks]]] = defaultdict(dict)
    for entry, seen in images:
        cases[names[entry.shown]][entry.channel] = (entry, seen)
    wanted: list[str | None] = list(order) if len(order) > 1 else [None]
    complete = complete_channels(cases, wanted, asked.missing, draft)
    firsts = {name: files[wanted[0]][0] for name, files in complete.items()}
    label_of = pair(firsts, {names[entry.shown]: entry for entry in labels}, draft)
    items = []
    for name, files in sorted(complete.items()):
        sources = tuple(source for word in wanted for source in _frames(*files[word]))
        label = label_of[name].source if name in label_of else None
        items.append(Item(name, _part(firsts[name].part, label is not None), sources, label))
    _frame_channels(items, draft)
    return items


def _frames(entry: FoundFile, seen: Looks) -> list[Source]:
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


def _shown(source: Source | None, labels: Sequence[FoundFile]) -> str:
    return next(entry.shown for entry in labels if entry.source == source)
