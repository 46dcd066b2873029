"""Label maps to numbers: overlap, surface distances and volume, by the field's conventions."""

from __future__ import annotations

from semiseg.errors import deprecated
from semiseg.evaluation.case import COUNTS, DISTANCES, METRICS, OVERLAP, VOLUME
from semiseg.evaluation.conventions import CONVENTIONS, Convention, Empty
from semiseg.evaluation.evaluate import evaluate_folders
from semiseg.evaluation.results import CaseScores, Evaluation, evaluate_pairs
from semiseg.evaluation.surface import SurfaceDistances, border, surface_distances
from semiseg.evaluation.tables import rich_table, summary, write

__all__ = [
    "CONVENTIONS",
    "COUNTS",
    "DISTANCES",
    "METRICS",
    "OVERLAP",
    "VOLUME",
    "CaseScores",
    "Convention",
    "Empty",
    "Evaluation",
    "SurfaceDistances",
    "border",
    "evaluate_folders",
    "evaluate_pairs",
    "rich_table",
    "summary",
    "surface_distances",
    "write",
]

# The methods that these functions were, for one more release.
_FORMER = {
    "save": deprecated(write, "semiseg.evaluation.write(evaluation, folder)"),
    "table": deprecated(rich_table, "semiseg.evaluation.rich_table(evaluation)"),
    "summary": property(deprecated(summary, "semiseg.evaluation.summary(evaluation)")),
}
for _name, _function in _FORMER.items():
    setattr(Evaluation, _name, _function)
