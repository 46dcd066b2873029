"""Predicting images that are in memory: what comes in as an array or image goes out as one."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import ArrayLike, NDArray

from semiseg.errors import UsageError
from semiseg.images.memory import Held, hold
from semiseg.prediction.assembly import Segmentation
from semiseg.prediction.record import class_sizes, dropped_text, size_unit
from semiseg.prediction.structures import palette_of, picture_of
from semiseg.preparation.plan import Plan
from semiseg.preparation.unlike import unlike


@dataclass(frozen=True, eq=False, repr=False)
class Segmented:
    """A prediction in memory. Label map, probabilities and uncertainty are of the kind that the image was.

    In a notebook it shows itself as a picture with the outlines.

    Attributes:
        labels: (*S), the user's label values.
        probabilities: (K, *S) in [0, 1], where asked for; the fourth axis of a nibabel image, the components
            of a SimpleITK image.
        uncertainty: (*S) in [0, 1], 0 certain, where asked for.
        names: class -> value in ``labels``, background included.
        volumes: class or region -> mL, mm² of a picture, or pixels where no spacing is known.
        unit: of the volumes.
        notices: in what the image is unlike the training scans, and classes that were predicted in several
            large pieces, one sentence each.
    """

    labels: Any
    probabilities: Any = None
    uncertainty: Any = None
    names: dict[str, int] = field(default_factory=dict)
    volumes: dict[str, float] = field(default_factory=dict)
    unit: str = "mL"
    notices: tuple[str, ...] = ()
    _scene: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {size:.4g} {self.unit}" for name, size in self.volumes.items())
        return f"Segmented({sizes})"

    def figure(self) -> Any:
        """A matplotlib figure: the most telling slices with the outlines of what was found."""
        from semiseg.drawing.scan import scan_figure

        image, labels, affine, structures, palette, rows_first = self._scene
        notes = {name: f"{size:.4g} {self.unit}" for name, size in self.volumes.items()}
        return scan_figure(
            image, labels, affine, structures, palette=palette, notes=notes, rows_first=rows_first
        )

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.figure().savefig(stream, format="png", dpi=100, facecolor="black")
        return stream.getvalue()

    def to_frame(self) -> Any:
        """The volumes as a pandas DataFrame: one row for each class or region."""
        from semiseg.drawing.notebook import frame_of

        rows = [{"class": name, "volume": size, "unit": self.unit} for name, size in self.volumes.items()]
        return frame_of(rows)


def hold_for(
    plan: Plan, image: Any, spacing: Sequence[float] | None, affine: ArrayLike | None
) -> tuple[Held, NDArray[Any]]:
    """An image in memory, see :func:`semiseg.images.memory.hold`, and its voxels as (C, *S).

    Raises:
        DataError: an image that does not fit the plan.
        UsageError: spacing is missing, or given twice.
    """
    held = hold(image, spacing=spacing, affine=affine, channels=len(plan.channels))
    if held.grid.unit == "px" and any(plan.spacing):
        size = " x ".join("?" if mm is None else f"{mm:g}" for mm in plan.spacing)
        raise UsageError(
            f"the model works at a voxel size of {size} mm, and the array has none",
            hint="give spacing=(…), mm along each axis of the array",
            code="NO_SPACING",
        )
    return held, held.array[None] if held.array.ndim == len(held.grid.shape) else held.array


def given_back(
    found: Segmentation,
    held: Held,
    array: NDArray[Any],
    plan: Plan,
    names: dict[str, int],
    structures: Mapping[str, Sequence[int]],
) -> Segmented:
    """A prediction in the form of the image in memory that it is of.

    ``held`` and ``array`` are of :func:`hold_for`, ``names`` and ``structures`` have the values in
    predictions.
    """
    return Segmented(
        labels=held.give(found.labels),
        probabilities=None if found.probabilities is None else held.give(found.probabilities),
        uncertainty=None if found.entropy is None else held.give(found.entropy),
        names=names,
        volumes=class_sizes(found.labels, structures, held.grid),
        unit=size_unit(held.grid),
        notices=(
            *(one.text for one in unlike(plan, array, held.grid)),
            *(dropped_text(name, share) for name, share in found.dropped.items()),
        ),
        _scene=(
            picture_of(array, plan),
            found.labels,
            held.grid.affine,
            structures,
            palette_of(plan),
            held.rows_first,
        ),
    )
