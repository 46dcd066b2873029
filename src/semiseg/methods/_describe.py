"""What a method says of itself, read from its source text: nothing is imported, torch least of all.

The class docstring has a form: summary line, formula paragraph, ``Paper:``, then one line
``Networks: 2 (1 trained). Views: weak. Work: 1.2.``, prose, ``Args:``. The pages of the documentation and
``semiseg methods NAME`` are made of it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.methods._source import find_class, keyword_only, lineage, targets

FACTS = re.compile(
    r"Paper: (?P<paper>.+?)\.? "
    r"Networks: (?P<networks>\d+) \((?P<trained>\d+) trained\)(?P<more>[^.]*)\. "
    r"Views: (?P<views>.+?)\. "
    r"Work: (?P<work>\d+\.\d)\."
)
SOURCE = re.compile(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d+/\S*[^\s.,;)]|https://\S*[^\s.,;)]")


FROZEN = 0.25
"""Memory of a network that is not trained, as a share of one that is: weights without gradient and moments,
and no activations."""
CRITIC = 0.25
"""The same of what a docstring names beside its networks, such as a critic."""
VIEW = 0.25
"""The same of each further view of the unlabeled images."""


@dataclass(frozen=True)
class Option:
    """A keyword argument of the constructor."""

    name: str
    type: str
    """The annotation as it stands in the source."""
    default: Any
    """The value; where it is no literal, its source text."""
    description: str


@dataclass(frozen=True)
class Description:
    """A method as its docstring and its signature tell it; what they do not tell is empty."""

    name: str
    summary: str = ""
    formula: str = ""
    """The paragraph, with its double backticks."""
    paper: str = ""
    networks: int | None = None
    trained: int | None = None
    more: str = ""
    """What is said of further networks, such as a critic."""
    views: str = ""
    work: float | None = None
    """Cost of a step in steps of supervised training, each with the batch that a plan gives it."""
    targets: tuple[str, ...] = ()
    prose: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()

    @property
    def counted(self) -> str:
        """``2 (1 trained)``."""
        return "" if self.networks is None else f"{self.networks} ({self.trained} trained){self.more}"

    @property
    def memory(self) -> float:
        """What a training step holds, in trained networks: 1.25 with a teacher, 2 where nothing is said."""
        if self.networks is None or self.trained is None:
            return 2.0
        views = max(len(self.default_views) - 1, 0)
        idle = FROZEN * (self.networks - self.trained) + CRITIC * bool(self.more) + VIEW * views
        return self.trained + idle

    @property
    def default_views(self) -> tuple[str, ...]:
        """The views that the defaults ask for: what stands outside the parentheses."""
        named = re.sub(r"\(.*?\)", "", self.views)
        return tuple(name for name in re.findall(r"\w+", named) if name not in ("and", "none"))

    def problems(self) -> list[str]:
        """Where the docstring does not have the form; empty if it does."""
        wrong = []
        if not self.summary.endswith("."):
            wrong.append("the docstring begins with one line that ends in a period")
        if not self.formula.startswith("``"):
            wrong.append("the second paragraph is the formula, in ``double backticks``")
        if self.networks is None:
            wrong.append(
                "one paragraph is `Paper: NAME, AUTHORS, VENUE YEAR, arXiv:... or doi:....`, then on its own "
                "line `Networks: 2 (1 trained). Views: weak. Work: 1.2.`"
            )
        elif not (SOURCE.search(self.paper) and re.search(r"\b(19|20)\d\d\b", SOURCE.sub("", self.paper))):
            wrong.append("`Paper:` has a year, and one of arXiv:..., doi:... and https://...")
        silent = [option.name for option in self.options if not option.description]
        if silent:
            wrong.append(f"`Args:` has a line on each option; none on {', '.join(silent)}")
        return wrong


def read(path: Path, name: str, class_name: str = "") -> Description:
    """The method of a source file: the class called ``class_name``, else the one with ``Paper:``."""
    node = find_class(path, class_name)
    if node is None:
        return Description(name)
    text, _, _ = (ast.get_docstring(node) or "").partition("\nArgs:\n")
    summary, *paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text)]
    formula = paragraphs.pop(0) if paragraphs and paragraphs[0].startswith("``") else ""
    facts: dict[str, str] = {}
    for paragraph in paragraphs:
        if paragraph.startswith("Paper: ") and (match := FACTS.fullmatch(one_line(paragraph))):
            facts = match.groupdict()
    described: dict[str, str] = {}
    for kind in lineage(node, path):
        described = _arguments(kind) | described
    return Description(
        name,
        summary=one_line(summary),
        formula=one_line(formula),
        paper=facts.get("paper", ""),
        networks=int(facts["networks"]) if facts else None,
        trained=int(facts["trained"]) if facts else None,
        more=facts.get("more", ""),
        views=facts.get("views", ""),
        work=float(facts["work"]) if facts else None,
        targets=targets(node),
        prose=tuple(part for part in paragraphs if not part.startswith(("Paper: ", "Raises:"))),
        options=tuple(
            Option(argument, kind, default, described.get(argument, ""))
            for argument, kind, default in keyword_only(node, path)
        ),
    )


def one_line(text: str) -> str:
    """Text of several lines as one."""
    return " ".join(text.split())


def _arguments(node: ast.ClassDef) -> dict[str, str]:
    """Name -> description, of the Google-style ``Args:`` section of a class."""
    _, _, section = (ast.get_docstring(node) or "").partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", section)[0]  # up to the next section
    entries = re.split(r"\n(?=    \w)", "\n" + section)
    pairs = (entry.strip().partition(":") for entry in entries if entry.strip())
    return {name.strip(): one_line(description) for name, _, description in pairs}
