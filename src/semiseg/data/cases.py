"""A case: one scan, with or without a label. The type says which, so nothing can read a label by accident."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A scan without a label field.

    Attributes:
        id: the file name without channel suffix and ending.
        images: one file per channel, in channel order (a single file for RGB).
    """

    id: str
    images: tuple[Path, ...]


@dataclass(frozen=True)
class LabeledCase(Case):
    """A scan whose label may be opened."""

    label: Path

    def without_label(self) -> Case:
        """The same scan with its label path dropped."""
        return Case(self.id, self.images)


def plain(case: Case) -> Case:
    """``case`` as a :class:`Case` that has no label field."""
    return case.without_label() if isinstance(case, LabeledCase) else case
