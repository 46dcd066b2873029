"""Masks beside the one that a case has, under names that nobody calls a mask: never unlabeled scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semiseg.dataset.adopt.draft import Draft, Item, Source, some
from semiseg.dataset.adopt.looks import MOST_VALUES, in_threads, look_for_labels
from semiseg.dataset.adopt.masks import Mask
from semiseg.dataset.adopt.pairing import begins


def is_map(mask: Mask) -> bool:
    """Whether a file holds a few whole numbers, as label maps do."""
    return not mask.trouble and 0 < len(mask.values) <= MOST_VALUES


def without_second_masks(
    items: Sequence[Item],
    folders: Mapping[str, tuple[str, ...]],
    dtypes: Mapping[str, str],
    draft: Draft,
    workers: int | None,
) -> list[Item]:
    """The items without files of a few whole numbers that lie beside a case with a mask and have its name.

    ``lawall.nrrd`` beside ``lgemri.nrrd`` and ``laendo.nrrd``, or ``case_1_wall.nii`` beside ``case_1.nii``.
    """
    labeled = [(item.id, folders.get(item.images[0].shown, ())) for item in items if item.label]
    places = {place for _, place in labeled if place}
    names = [name for name, place in labeled if not place]

    def beside(item: Item) -> bool:
        place = folders.get(item.images[0].shown, ())
        return place in places or (not place and any(begins(name, item.id) for name in names))

    suspects = [
        item
        for item in items
        if item.label is None
        and len(item.images) == 1
        and item.images[0].series is None
        and not dtypes.get(item.images[0].shown, "float").startswith("float")
        and beside(item)
    ]
    sources: list[Source] = [item.images[0] for item in suspects]
    found = in_threads(look_for_labels, sources, workers)
    left = {item.id for item, mask in zip(suspects, found, strict=True) if is_map(mask)}
    if left:
        shown = [item.images[0].shown for item in suspects if item.id in left]
        draft.notices.append(
            f"left out {len(left)} files of few whole numbers beside cases with a mask, taken for second "
            f"masks: {some(shown)}"
        )
    return [item for item in items if item.id not in left]
