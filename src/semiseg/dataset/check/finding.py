"""What was found in one case, before all cases are looked at together."""

from __future__ import annotations

from dataclasses import dataclass, field

from semiseg.dataset.case import Case
from semiseg.dataset.problem import Problem


@dataclass
class Finding:
    """What was found in one case.

    Attributes:
        digest: hash of the decoded images, None when they are constant or unreadable.
        values: label value -> voxels, None without a readable label.
        mask: hash of the cropped label map, None without one that says anything.
        frame: the value that fills the outer frame of the label, None where no single one does.
        dim: axes of the first image, 0 when unreadable.
        lowest: the lowest value of each channel, NaN of one that cannot be read.
        flip: of a labeled CT, the array axes along which its label would fit better, and how much better (see
            :func:`semiseg.dataset.check.modality.best_flip`); None where that was not looked at.
    """

    case: Case
    problems: list[Problem] = field(default_factory=list)
    digest: str | None = None
    values: dict[int, int] | None = None
    mask: str | None = None
    frame: int | None = None
    dim: int = 0
    lowest: tuple[float, ...] = ()
    flip: tuple[tuple[int, ...], float] | None = None
