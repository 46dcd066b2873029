"""What a dataset has otherwise than the one that a recipe was written for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from semiseg.dataset.dataset import Dataset
from semiseg.dataset.public.published import REST, Published, hash_of, splits
from semiseg.settings.config import PublishedConfig

_DECORATION = re.compile(r"^(la_|pancreas_|image|case|img)|(_norm|\.jpg)$")
"""What one data set's lists and copies have before and behind the same name."""
_GENERIC = ("nonorm", "mri", "image")
"""Channel names that say nothing of the sequence; the first stands for values that are normalized already."""
_SHOWN = 10


def departures(dataset: Dataset, recipe: str, published: PublishedConfig) -> list[str]:
    """One sentence per channel, class, form or split in which a dataset differs from that of a recipe."""
    if published.data is None:
        return []
    found = _channels(dataset.channel_names, published.channels, recipe)
    classes = [name for name in dataset.labels if name not in ("background", "no class")]
    classes = list(dataset.regions) or classes
    if published.classes and len(classes) != len(published.classes):
        found.append(
            f"{len(classes)} classes ({', '.join(classes)}), recipe {recipe} is for "
            f"{len(published.classes)} ({', '.join(published.classes)})"
        )
    found += published.forms.get(_form(dataset), ())
    if published.split:
        found += _split(dataset, splits(published.data)[published.split], published)
    return found


def _form(dataset: Dataset) -> str:
    """``raw``, ``h5`` for files that the field passes on and for scans cut like these, ``unknown``."""
    if dataset.source.get("form") != "raw":
        return "h5" if str(dataset.source.get("form", "")).startswith("h5") else "unknown"
    return "h5" if "roi_mm" in dataset.source else "raw"


def _channels(there: Sequence[str], wanted: Sequence[str], recipe: str) -> list[str]:
    if not wanted:
        return []
    if len(there) != len(wanted):
        return [
            f"{len(there)} channels ({', '.join(there)}), recipe {recipe} is for {len(wanted)} "
            f"({', '.join(wanted)})"
        ]
    return [
        f"channel {name}, recipe {recipe} is for {published}"
        for name, published in zip(there, wanted, strict=True)
        if _contradicts(name.lower(), published.lower())
    ]


def _contradicts(name: str, wanted: str) -> bool:
    if name == "nonorm" or name in wanted or wanted in name:
        return False
    return "ct" in (name, wanted) or name not in _GENERIC


def _split(dataset: Dataset, split: Published, published: PublishedConfig) -> list[str]:
    order = (dataset.splits.order if dataset.splits else None) or ()
    val = dataset.splits.folds[0].val if dataset.splits else ()
    listed = dataset.splits.test if dataset.splits else None
    test = [case.id for case in dataset.test] if listed is None else list(listed)
    train = [name for name in split.order if name != REST]
    same = _keys(order)[: len(train)] == _keys(train) and (REST in split.order or len(order) == len(train))
    same = same and set(_keys(val)) == set(_keys(split.val))
    if same and (not split.test or set(_keys(test)) == set(_keys(split.test))):
        return []
    own = f"sha {hash_of(order or sorted(case.id for case in dataset.annotated))[:_SHOWN]}"
    return [f"split is not the published one ({own}; {split.name}: {(published.sha256 or '')[:_SHOWN]})"]


def _keys(ids: Sequence[str]) -> list[str]:
    return [_DECORATION.sub("", name.lower()) for name in ids]
