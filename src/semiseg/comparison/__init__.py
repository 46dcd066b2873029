"""Runs side by side: what they scored, whether the difference is more than chance, and what they cost.

``compare.compare`` makes a comparison; :func:`write`, :func:`tables` and :func:`as_dict` show it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.comparison.result import Comparison
from semiseg.errors import deprecated

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["as_dict", "tables", "write"]


def write(comparison: Comparison, folder: str | Path) -> list[Path]:
    """Write tables, figures and the report, and say which files.

    Raises:
        UsageError: the folder cannot be written.
    """
    from semiseg.comparison.report.write import write as write_files

    return write_files(comparison, Path(folder))


def tables(comparison: Comparison, *, per_class: bool = False) -> list[Table]:
    """What ``semiseg compare`` prints, as rich tables."""
    from semiseg.comparison.report.tables import shown
    from semiseg.drawing.table import terminal

    groups = comparison.groups
    return [terminal(t) for group in groups for t in shown(comparison, group, per_class=per_class)]


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """As ``comparison.json`` has it."""
    from semiseg.comparison.report.write import as_dict as record_of

    return record_of(comparison)


# Methods that these functions were, and an attribute's former name, for one more release.
_FORMER = {
    "save": deprecated(write, "semiseg.comparison.write(comparison, folder)"),
    "as_dict": deprecated(as_dict, "semiseg.comparison.as_dict(comparison)"),
    "boards": property(deprecated(lambda comparison: comparison.groups, "comparison.groups")),
}
for _name, _function in _FORMER.items():
    setattr(Comparison, _name, _function)
