"""Overlap, surface distances and volume, by the field's conventions."""

from __future__ import annotations

from semiseg.metrics.case import COUNTS, DISTANCES, METRICS, OVERLAP, VOLUME, evaluate
from semiseg.metrics.conventions import CONVENTIONS, Convention, Empty
from semiseg.metrics.results import CaseResult, Evaluation, evaluate_pairs
from semiseg.metrics.surface import SurfaceDistances, border, surface_distances

__all__ = [
    "CONVENTIONS",
    "COUNTS",
    "DISTANCES",
    "METRICS",
    "OVERLAP",
    "VOLUME",
    "CaseResult",
    "Convention",
    "Empty",
    "Evaluation",
    "SurfaceDistances",
    "border",
    "evaluate",
    "evaluate_pairs",
    "surface_distances",
]
