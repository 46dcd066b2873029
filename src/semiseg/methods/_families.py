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


_REFERENCE = re.compile(r"(?P<kind>arXiv:|doi:|https://)(?P<value>\S*[^\s.,;)])")


def bibtex(name: str, paper: str) -> str:
    """One ``@misc`` entry.

    Args:
        name: of the method, for the key ``semiseg_NAME``.
        paper: ``TITLE, AUTHORS, VENUE YEAR, arXiv:...``; of several papers the first is the entry, the others
            are its note.
    """
    first = re.split(r"; |, for (?:segmentation|the journal) |; first ", paper)[0]
    title, _, rest = first.partition(", ")
    about = _REFERENCE.sub("", rest).strip(" ,.")
    when = year(first) or year(paper)
    authors, _, venue = about.rpartition(", ")
    if not authors:  # a preprint: nothing but a year after the authors
        authors, venue = about, ""
    fields = {
        "title": f"{{{title}}}",
        "author": _authors(authors),
        "year": when,
        "howpublished": re.sub(rf"\s*{when}$", "", venue) if when else venue,
    }
    if reference := _REFERENCE.search(first):
        fields |= _link(reference["kind"], reference["value"])
    fields["note"] = paper.removeprefix(first).strip(" ,;")
    body = "".join(f"  {key} = {{{value}}},\n" for key, value in fields.items() if value)
    return f"@misc{{semiseg_{name},\n{body}}}"


def _authors(text: str) -> str:
    """``Chi, Pang & Liu`` -> ``Chi and Pang and Liu``; ``Yu et al.`` -> ``Yu and others``."""
    names = re.split(r", | & ", text.replace(" et al.", ", others").replace(" et al", ", others"))
    return " and ".join(name.strip() for name in names if name.strip())


def _link(kind: str, value: str) -> dict[str, str]:
    if kind == "arXiv:":
        return {"eprint": value, "archivePrefix": "arXiv"}
    return {"doi": value} if kind == "doi:" else {"url": f"https://{value}"}
