"""Augmentations by name, in three parts: cut a sample, warp the batch, make its views.

``default`` is for own data; ``la``, ``acdc`` and ``crop`` are those of the published protocols; ``none`` only
cuts. Random numbers belong to samples, not to batches: sample n of a stream is the same whatever the batch,
the number of workers or the number of processes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from semiseg.batches.augment.draws import Draws
from semiseg.errors import unknown_name
from semiseg.preparation.plan import Plan
from semiseg.preparation.resident import Patch, Resident
from semiseg.settings.options import checked


class Augmentation(Protocol):
    """What a named augmentation does."""

    mirrored: tuple[int, ...]
    """Patch axes along which training sees mirrored images, so that prediction may mirror them, too."""

    def cut(
        self, case: Resident, slice_index: int | None, draws: Draws, *, foreground: float
    ) -> tuple[Patch, Patch | None]:
        """One sample: image (C, *P) and label (*P) uint8 if the case has one; P may have a margin.

        Views where possible: they are copied into the batch, once.
        """

    def widened(self, reach: Sequence[int]) -> Augmentation:
        """The same with a patch that has ``reach`` more voxels per axis: room for two crops."""

    def starts(self, case: Resident, draws: Draws) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Where two crops begin in a widened patch of a case, along each axis in [0, reach]."""

    def warp(self, images: Tensor, labels: Tensor | None, draws: Draws) -> tuple[Tensor, Tensor | None]:
        """Geometry of a batch: (B, C, *P) -> (B, C, *patch), labels along."""

    def view(self, name: str, images: Tensor, draws: Draws) -> Tensor:
        """Intensities of the view ``name`` (weak, strong, strong2); voxels stay where they are."""


def names() -> list[str]:
    """The augmentations that :func:`build` knows."""
    return ["acdc", "crop", "default", "la", "none"]


def build(name: str, plan: Plan, options: dict[str, Any] | None = None) -> Augmentation:
    """Make an augmentation for a plan.

    Raises:
        UsageError: unknown name, an option it does not have, or a plan it does not fit.
    """
    kind = find(name, options or {})
    return kind(plan, **checked(f"augmentation {name!r}", kind, options or {}))


def find(name: str, options: Mapping[str, Any]) -> Callable[..., Augmentation]:
    """What makes the augmentation of that name, which has these options.

    Raises:
        UsageError: unknown name, or an option that it does not have.
    """
    from semiseg.batches.augment import acdc, default, la, plain

    kinds: dict[str, Callable[..., Augmentation]] = {
        "default": default.Default,
        "la": la.LeftAtrium,
        "acdc": acdc.Acdc,
        "crop": plain.Crop,
        "none": plain.Crop,
    }
    if name not in kinds:
        raise unknown_name("augmentation", name, names())
    known = list(inspect.signature(kinds[name]).parameters)[1:]
    for option in options:
        if option not in known:
            raise unknown_name("option of augmentation", option, known, of=name)
    return kinds[name]
