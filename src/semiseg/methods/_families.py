"""The families of methods, and how a list of methods is ordered and titled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

FAMILIES = {
    "Baselines": "Train these first; every other method must beat them.",
    "Mean teachers": "A moving average of the network supplies targets.",
    "Several networks": "Networks that learn from each other's predictions.",
    "Several heads or decoders": "Parts of one network that must agree.",
    "Adversarial": "A critic compares labeled and unlabeled predictions.",
    "Views and mixing": "Predictions must survive strong changes of the image.",
}
"""Family, as ``Family:`` in a method's docstring names it -> what its methods have in common."""

FIRST = ("supervised", "mean_teacher")
"""Lead their families: they are where to begin."""

Entry = dict[str, str]
"""An entry of :func:`semiseg.methods.describe`."""

SORTS: dict[str, Callable[[Entry], tuple[object, ...]]] = {
    "year": lambda entry: (entry["name"] not in FIRST, entry["year"], entry["name"]),
    "cost": lambda entry: (float(entry["work"] or "inf"), entry["name"]),
    "name": lambda entry: (entry["name"],),
}
"""Orders of ``semiseg methods --sort``."""


def by_family(entries: Sequence[Entry], sort: str = "year") -> dict[str, list[Entry]]:
    """The entries of each family that has any, families and entries in their order."""
    groups = {family: [e for e in entries if e["family"] == family] for family in FAMILIES}
    return {family: sorted(group, key=SORTS[sort]) for family, group in groups.items() if group}


def year(paper: str) -> str:
    """The year of a ``Paper:`` line, the first one where there are several; nothing where there is none."""
    without = re.sub(r"arXiv:\S+|doi:\S+|https://\S+", "", paper)
    found = re.search(r"\b(?:19|20)\d\d\b", without)
    return found[0] if found else ""


def title(name: str, paper: str, others: Iterable[tuple[str, str]] = ()) -> str:
    """The name that people know: the paper's where it is the method's (``UA-MT``), else the method's own.

    Args:
        name: of the method.
        paper: its ``Paper:`` line.
        others: names and papers of methods whose names may be words of this one (``abd`` of ``abd_bcp``).
    """
    known = paper.partition(",")[0]
    if _bare(known).startswith(_bare(name)):
        return known
    words = {other: title(other, its) for other, its in others if "_" not in other and other != name}
    text = " ".join(words.get(word, word) for word in name.split("_"))
    return text[:1].upper() + text[1:]


def _bare(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
