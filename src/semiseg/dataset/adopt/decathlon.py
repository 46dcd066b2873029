"""Medical Segmentation Decathlon folders (and nnU-Net v1, AMOS): their dataset.json lists the cases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from semiseg.dataset.adopt.channels import chosen
from semiseg.dataset.adopt.draft import Asked, Draft, Item, Part, Source
from semiseg.dataset.adopt.grids import settle_grids
from semiseg.dataset.adopt.looks import in_threads, look, look_for_labels
from semiseg.dataset.adopt.masks import settle_masks
from semiseg.dataset.adopt.names import clean_id
from semiseg.errors import DataError, plural, some
from semiseg.images import ending_of
from semiseg.machine.files import printable, read_json

_PARTS: dict[str, Part] = {"training": "train", "validation": "val", "test": "test", "testing": "test"}


def read_lists(root: Path) -> dict[str, Any] | None:
    """The content of a Decathlon-style ``dataset.json``, or None when it is absent or of another kind."""
    path = root / "dataset.json"
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None
    listed = isinstance(content, dict) and isinstance(content.get("training"), list)
    return content if listed and "channel_names" not in content else None


def draft_decathlon(
    root: Path, content: Mapping[str, Any], workers: int | None, asked: Asked
) -> tuple[Draft, dict[str, frozenset[int]]]:
    """The cases that the lists name; 4D images become one channel per frame, those that are ``asked`` for.

    Raises:
        DataError: files that are named but absent, or images with different numbers of channels.
    """
    draft = Draft([], label_names=_label_names(content))
    draft.decisions.append("dataset.json is in the style of the Medical Segmentation Decathlon")
    missing: list[str] = []
    for key, part in _PARTS.items():
        for entry in content.get(key) or []:
            item = _item(root, entry, part, missing)
            if item is not None:
                draft.items.append(item)
    if missing or not draft.items:
        lost = plural(len(missing), "file that is not", "files that are not")
        raise DataError(
            f"{root / 'dataset.json'} names {f'{lost} there: {some(missing)}' if missing else 'no case'}",
            hint="copy the missing files, or take them out of the lists",
            code="MISSING_FILE",
        )
    _split_frames(draft, content, workers)
    numbers = chosen(asked.keep, draft.channel_names)
    draft.channel_names = tuple(draft.channel_names[number] for number in numbers)
    for item in draft.items:
        item.images = tuple(item.images[number] for number in numbers)
    settle_grids(draft, {}, asked.resample_to)
    labeled = [item for item in draft.items if item.label]
    masks = in_threads(look_for_labels, [item.label for item in labeled if item.label], workers)
    of = {item.id: mask for item, mask in zip(labeled, masks, strict=True)}
    found = settle_masks(of, draft, asked.most_classes)
    for item in labeled:
        if item.label and item.id in found:
            item.label = replace(item.label, recode=draft.recode)
        else:
            item.label, item.part = None, "unlabeled"
    return draft, found


def _label_names(content: Mapping[str, Any]) -> dict[int, str]:
    given = content.get("labels")
    if not isinstance(given, dict):
        return {}
    return {int(value): str(name) for value, name in given.items() if str(value).lstrip("-").isdigit()}


def _item(root: Path, entry: Any, part: Part, missing: list[str]) -> Item | None:
    files = entry if isinstance(entry, dict) else {"image": entry}
    images = files.get("image", [])
    paths = [root / str(image) for image in (images if isinstance(images, list) else [images])]
    found = [path for given in paths for path in _present(given)]
    if not found:
        missing += [str(path.relative_to(root)) for path in paths]
        return None
    name = paths[0].name
    label = root / str(files["label"]) if files.get("label") else None
    if label is not None and not label.is_file():
        missing.append(str(files["label"]))
        return None
    case = clean_id(name[: -len(ending_of(paths[0]) or "")])
    settled: Part = part if label is not None or part == "test" else "unlabeled"
    sources = tuple(_source(root, path) for path in found)
    return Item(case, settled, sources, _source(root, label) if label else None)


def _source(root: Path, path: Path) -> Source:
    return Source(path, shown=printable(os.path.relpath(path, root)))


def _present(path: Path) -> list[Path]:
    """The file, or its channel files: nnU-Net v1 lists ``CASE.nii.gz`` for ``CASE_0000.nii.gz``."""
    if path.is_file():
        return [path]
    ending = ending_of(path) or ""
    stem = path.name[: -len(ending)] if ending else path.name
    return sorted(path.parent.glob(f"{stem}_[0-9][0-9][0-9][0-9]{ending}"))


def _split_frames(draft: Draft, content: Mapping[str, Any], workers: int | None) -> None:
    seen = in_threads(lambda item: look(item.images[0]), draft.items, workers)
    for item, looks in zip(draft.items, seen, strict=True):
        if looks.trouble:
            draft.notices.append(f"left out {item.id}: {looks.trouble}")
        elif looks.frames > 1:
            item.images = tuple(replace(item.images[0], frame=frame) for frame in range(looks.frames))
    draft.items = [item for item, looks in zip(draft.items, seen, strict=True) if not looks.trouble]
    counts = {len(item.images) for item in draft.items}
    if len(counts) > 1:
        raise DataError(
            f"images with {' and '.join(map(str, sorted(counts)))} channels in one dataset",
            hint="give every case the same channels",
            code="MISSING_CHANNEL",
        )
    draft.channel_names = _channel_names(content, counts.pop() if counts else 1)


def _channel_names(content: Mapping[str, Any], count: int) -> tuple[str, ...]:
    given = content.get("modality")
    given = given if isinstance(given, dict) else {"0": given or "image"}
    names = tuple(str(given[key]) for key in sorted(given, key=str))
    return names if len(names) == count else tuple(f"channel {number}" for number in range(count))
