"""A split while it is being decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from semiseg.data.problem import Problem


@dataclass
class Draft:
    """Ids per list while they are being decided, and what is wrong so far."""

    order: list[str] = field(default_factory=list)
    labeled: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    others_listed: bool = False
    val: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def unlabeled(self) -> list[str]:
        """Sorted unless the file lists them: whether a case beyond the budget has a label changes nothing."""
        chosen = set(self.labeled)
        cases = [*self.others, *(case for case in self.order if case not in chosen)]
        return cases if self.others_listed else sorted(cases)

    @property
    def lists(self) -> dict[str, list[str]]:
        """The four lists of a split."""
        return {"labeled": self.labeled, "unlabeled": self.unlabeled, "val": self.val, "test": self.test}

    def report(self, code: str, got: str, wanted: str, fix: str = "mend the split file") -> None:
        """Note a problem; all of them are told together."""
        self.problems.append(Problem(code, got, wanted, fix))


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
