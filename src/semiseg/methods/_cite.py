"""A method's paper as BibTeX, from the ``Paper:`` line of its docstring."""

from __future__ import annotations

import re

from semiseg.methods._families import year

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
