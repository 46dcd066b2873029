"""Published splits by name, and what a dataset has otherwise than the one that a recipe was written for.

``lists/NAME.json`` has, for each list, where it was published, its ids as they are written there, and the
SHA-256 of the ids joined by line ends. A split is made of lists: ``"*"`` stands for all other labeled cases.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.errors import plural, unknown_name

if TYPE_CHECKING:
    from semiseg.dataset.dataset import Dataset
    from semiseg.settings.config import PublishedConfig

FOLDER = Path(__file__).parent / "lists"
REST = "*"


@dataclass(frozen=True)
class List:
    """A published list of cases (or of patients, or videos).

    Attributes:
        source: repository, commit and file.
        ids: in the published order and spelling.
        sha256: of the ids, joined by line ends.
    """

    source: str
    ids: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Published:
    """A published split.

    Attributes:
        name: as ``--split`` takes it.
        about: one line.
        order: ids of the training cases, those first that are labeled first; may end with :data:`REST`.
        val: ids of the validation cases.
        test: ids of the test cases; empty where the folders of the data set say it.
        sizes: published share -> number of labeled cases (or of what ``of`` says).
        of: what ``sizes`` counts.
        sources: list -> where it was published.
        sha256: list -> hash of its ids.
        strangers: ids of the labeled list that the training list does not have.
    """

    name: str
    about: str
    order: tuple[str, ...]
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    of: str = "cases"
    sources: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    strangers: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For ``splits.json``."""
        said = {"name": self.name, "source": dict(self.sources), "sha256": dict(self.sha256)}
        return {**said, "sizes": dict(self.sizes), "sizes_count": self.of}


@cache
def lists(dataset: str) -> dict[str, List]:
    """The published lists of a data set by name; none where nobody published one."""
    return {
        name: List(told["source"], tuple(told["ids"]), told["sha256"])
        for name, told in _content(dataset).get("lists", {}).items()
    }


@cache
def splits(dataset: str) -> dict[str, Published]:
    """The published splits of a data set by name."""
    found, known = {}, lists(dataset)
    for name, told in _content(dataset).get("splits", {}).items():
        parts = {part: [known[each] for each in told.get(part, []) if each != REST] for part in _PARTS}
        used = {each: known[each] for part in _PARTS for each in told.get(part, []) if each != REST}
        within = set(known[told["within"]].ids) if "within" in told else None
        order = list(dict.fromkeys(id for part in parts["order"] for id in part.ids))
        found[name] = Published(
            name,
            told.get("about", ""),
            (*order, *([REST] if REST in told["order"] else [])),
            tuple(id for part in parts["val"] for id in part.ids),
            tuple(id for part in parts["test"] for id in part.ids),
            told.get("sizes", {}),
            told.get("of", "cases"),
            {each: one.source for each, one in used.items()},
            {each: one.sha256 for each, one in used.items()},
            () if within is None else tuple(id for id in order if id not in within),
        )
    return found


_PARTS = ("order", "val", "test")


def find_split(dataset: str, name: str) -> Published:
    """A published split by name.

    Raises:
        UsageError: there is none of this name; says the nearest.
    """
    known = splits(dataset)
    if name not in known:
        raise unknown_name("split", name, [*known, "none", "random", "files"])
    return known[name]


def hash_of(ids: Sequence[str]) -> str:
    """The SHA-256 of ids, joined by line ends."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _content(dataset: str) -> dict[str, Any]:
    path = FOLDER / f"{dataset}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


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
        own = f"{plural(len(classes), 'class', 'classes')} ({', '.join(classes)})"
        wanted = f"{len(published.classes)} ({', '.join(published.classes)})"
        found.append(f"{own}, recipe {recipe} is for {wanted}")
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
        own = f"{plural(len(there), 'channel')} ({', '.join(there)})"
        return [f"{own}, recipe {recipe} is for {len(wanted)} ({', '.join(wanted)})"]
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
