"""Inference settings that contradict a plan, found before any scan is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from semiseg.errors import UsageError, unknown_name


class Settings(Protocol):
    """The part of the ``inference`` section that must fit a plan."""

    @property
    def stride(self) -> tuple[int, ...] | None:
        """Voxels between windows."""

    @property
    def slice_size(self) -> tuple[int, int] | None:
        """Size that slices are resized to, in 2D."""

    @property
    def fill_holes(self) -> bool | tuple[str, ...]:
        """Classes whose holes are filled."""

    @property
    def largest_component(self) -> bool | tuple[str, ...]:
        """Classes of which one component is kept."""


def require_settings_fit(settings: Settings, patch: Sequence[int], classes: Iterable[str]) -> None:
    """Refuse settings that no scan could be predicted with.

    Args:
        settings: the ``inference`` section.
        patch: voxels per axis of the plan's patch, two or three numbers.
        classes: names of the foreground classes.

    Raises:
        UsageError: a stride of other axes or wider than the patch, slices of a 3D plan, an unknown class.
    """
    stride = settings.stride
    if stride is not None:
        if len(stride) != len(patch):
            _refuse(f"stride {list(stride)} has {len(stride)} numbers, the plan's patch {len(patch)}")
        if any(step > edge for step, edge in zip(stride, patch, strict=True)):
            _refuse(f"stride {list(stride)} leaves gaps between windows of {list(patch)} voxels")
    if settings.slice_size and len(patch) != 2:
        raise UsageError(
            "inference.slice_size is for 2D plans; this plan is 3D", hint="leave it out", code="INFERENCE"
        )
    known = list(classes)
    for chosen in (settings.fill_holes, settings.largest_component):
        for name in () if isinstance(chosen, bool) else chosen:
            if name not in known:
                raise unknown_name("class", name, known)


def _refuse(what: str) -> None:
    raise UsageError(
        f"inference.{what}",
        hint="give one number per axis, none above the patch, or leave it out to use inference.overlap",
        code="INFERENCE",
    )
