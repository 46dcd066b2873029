"""What a method declares of itself: papers, networks, cost; how a list of methods is grouped and sorted."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FAMILIES = {
    "Baselines": "Train these first; every other method must beat them.",
    "Mean teachers": "A moving average of the network supplies targets.",
    "Several networks": "Networks that learn from each other's predictions.",
    "Several heads or decoders": "Parts of one network that must agree.",
    "Adversarial": "A critic compares labeled and unlabeled predictions.",
    "Views and mixing": "Predictions must survive strong changes of the image.",
}
"""Family -> what its methods have in common."""


@dataclass(frozen=True)
class Paper:
    """A publication of a method."""

    name: str
    """That people know it by; empty for a second paper of the same."""
    authors: str
    """``Chi, Pang & Liu`` or ``Yu et al.``; empty where they are those of the paper before."""
    venue: str
    """Conference or journal; empty for a preprint."""
    year: int
    source: str
    """``arXiv:...``, ``doi:...`` or ``https://...``; empty where another paper of the method has one."""
    role: str = ""
    """What it is for, such as ``for segmentation``, where there are several."""

    def __str__(self) -> str:
        parts = (self.name, self.authors, f"{self.venue} {self.year}".strip(), self.source)
        return ": ".join(filter(None, (self.role, ", ".join(filter(None, parts)))))


@dataclass(frozen=True)
class Facts:
    """What is known of a method before it runs: the attribute ``facts`` of its class.

    It is read from the source without importing it, so it is written as literals. Tests hold networks, views
    and work against what the method does.
    """

    title: str = ""
    """The name that people know: the paper's, where it has one."""
    family: str = ""
    """One of :data:`FAMILIES`."""
    papers: tuple[Paper, ...] = ()
    networks: int = 0
    """Whole networks that a step holds; 0 where nothing is known."""
    trained: int = 0
    """Those of them with a gradient."""
    beside: str = ""
    """What is trained beside them, such as ``a critic``."""
    views: tuple[str, ...] = ("weak",)
    """Views of the unlabeled images with the default options; empty for a purely supervised method."""
    views_if: str = ""
    """Further views that an option asks for, in words."""
    work: float | None = None
    """Cost of a step in steps of supervised training, each with the batch that a plan gives it."""

    @property
    def paper(self) -> str:
        """The papers in one line."""
        return "; ".join(map(str, self.papers))

    @property
    def year(self) -> str:
        """Of the first paper."""
        return str(self.papers[0].year) if self.papers else ""

    @property
    def counted(self) -> str:
        """``2 (1 trained), with a critic``."""
        counts = f"{self.networks} ({self.trained} trained)" if self.networks else ""
        return f"{counts}, with {self.beside}" if self.beside else counts

    @property
    def seen(self) -> str:
        """The views in words."""
        views = ", ".join(self.views) or "none"
        return f"{views} (and {self.views_if})" if self.views_if else views

    @property
    def memory(self) -> float:
        """What a training step holds, in trained networks: 1.25 with a teacher, 2 where nothing is known."""
        if not self.networks:
            return 2.0
        idle = FROZEN * (self.networks - self.trained) + BESIDE * bool(self.beside)
        return self.trained + idle + VIEW * max(len(self.views) - 1, 0)

    def problems(self) -> list[str]:
        """What is missing or cannot be."""
        if not self.networks:
            return [
                "the class has no `facts = Facts(title=..., family=..., papers=(Paper(...),), networks=1, "
                "trained=1, work=1.0)` below its docstring, of literals"
            ]
        wrong = []
        if self.family not in FAMILIES:
            wrong.append(f"`family` is one of {', '.join(FAMILIES)}")
        if not any(SOURCE.fullmatch(paper.source) for paper in self.papers):
            wrong.append("one of `papers` has a source: arXiv:..., doi:... or https://...")
        return wrong


FROZEN = 0.25
"""Memory of a network that is not trained, as a share of one that is: weights without gradient and moments,
and no activations."""
BESIDE = 0.25
"""The same of what is trained beside the networks, such as a critic."""
VIEW = 0.25
"""The same of each further view of the unlabeled images."""
SOURCE = re.compile(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d+/\S*[^\s.,;)]|https://\S*[^\s.,;)]")
"""Where a paper is found, also in the middle of a text."""


def address(source: str) -> str:
    """The URL of an ``arXiv:...``, a ``doi:...`` or a URL."""
    return re.sub("^doi:", "https://doi.org/", re.sub("^arXiv:", "https://arxiv.org/abs/", source))


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


def bibtex(name: str, papers: Sequence[Paper]) -> str:
    """One ``@misc`` entry of the first paper, with the others as its note; empty without any.

    Args:
        name: of the method, for the key ``semiseg_NAME``.
        papers: of the method.
    """
    if not papers:
        return ""
    first, *others = papers
    fields = {
        "title": f"{{{first.name}}}",
        "author": _authors(first.authors),
        "year": str(first.year),
        "howpublished": first.venue,
        **_link(first.source),
        "note": "; ".join(map(str, others)),
    }
    body = "".join(f"  {key} = {{{value}}},\n" for key, value in fields.items() if value)
    return f"@misc{{semiseg_{name},\n{body}}}"


def _authors(text: str) -> str:
    """``Chi, Pang & Liu`` -> ``Chi and Pang and Liu``; ``Yu et al.`` -> ``Yu and others``."""
    return " and ".join(re.split(r", | & ", text.replace(" et al.", ", others")))


def _link(source: str) -> dict[str, str]:
    kind, _, value = source.partition(":")
    if kind == "arXiv":
        return {"eprint": value, "archivePrefix": "arXiv"}
    return {"doi" if kind == "doi" else "url": value if kind == "doi" else source}
