"""What an item is told of the run: device, sizes, where scans come from; and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Call = Callable[[], Any]


@dataclass(frozen=True)
class Setting:
    """Of one run of the benchmark.

    Attributes:
        device: where networks run; both sides.
        quick: tiny sizes, to see that everything works. The figures mean nothing.
        data: a folder with ``Dataset101_LeftAtrium`` and ``Dataset102_ACDC``; None generates scans.
        work: a folder for files made on the way.
    """

    device: torch.device
    quick: bool
    data: Path | None
    work: Path

    @property
    def patch(self) -> tuple[int, int, int]:
        """Of the left atrium's protocol."""
        return (32, 32, 32) if self.quick else (112, 112, 80)

    @property
    def slices(self) -> tuple[int, int]:
        """Of the protocol of ACDC."""
        return (64, 64) if self.quick else (256, 256)


@dataclass(frozen=True)
class Case:
    """One comparison. Both sides are made only where they are wanted: their memory is measured apart.

    Attributes:
        name: ``item.what``.
        title: for the table.
        plain: makes the plain side; calling that does the work once.
        ours: the same with our path.
        agree: compares the two and says what was compared and how far apart they are; raises if too far.
        flops: floating-point operations of one call, where arithmetic is the limit.
        per: how many units one call does, and what they are.
        target: the ratio of CPU seconds aimed at.
        warm: rounds that are not counted.
        repeats: rounds that are counted, unless the command says so.
    """

    name: str
    title: str
    plain: Callable[[], Call]
    ours: Callable[[], Call]
    agree: Callable[[], str] | None = None
    flops: float | None = None
    per: tuple[int, str] = (1, "call")
    target: float | None = None
    warm: int = 1
    repeats: int = 7
