"""Predicting images that are in memory: what comes in as an array or image goes out as one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import ArrayLike, NDArray

from semiseg.errors import UsageError
from semiseg.images.grid import Grid
from semiseg.images.memory import hold
from semiseg.prediction.assembly import Assembly
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


class Predicts(Protocol):
    """What is asked of a model; :class:`semiseg.prediction.model.Model` has it."""

    @property
    def plan(self) -> Plan:
        """How scans become its input."""

    @property
    def label_values(self) -> dict[str, int]:
        """Class -> value in predictions."""

    @property
    def structures(self) -> dict[str, tuple[int, ...]]:
        """Class or region -> its values."""

    def prepare(self, image: NDArray[Any], grid: Grid) -> Any:
        """The first step of a prediction."""

    def infer(self, scan: Any, *, probabilities: bool = False, entropy: bool = False) -> Assembly:
        """The second step."""


def segment(
    model: Predicts,
    image: Any,
    *,
    spacing: Sequence[float] | None = None,
    affine: ArrayLike | None = None,
    probabilities: bool = False,
    uncertainty: bool = False,
) -> Segmented:
    """Predict one image that is in memory.

    Args:
        model: a model.
        image: see :func:`semiseg.images.memory.hold`. An array has its axes as nibabel has them: the first to
            the patient's right, then to the front, then up, unless ``affine`` says otherwise; the array that
            SimpleITK gives counts slices first, so give the image itself.
        spacing: mm along each axis of an array. It may be missing where the model resamples nothing.
        affine: (4, 4) index to RAS+ mm of an array, instead of ``spacing``.
        probabilities: also those of all classes.
        uncertainty: also the entropy of the probabilities over the log of the number of classes.

    Raises:
        DataError: an image that does not fit the model.
        UsageError: spacing is missing, or given twice.
    """
    plan = model.plan
    held = hold(image, spacing=spacing, affine=affine, channels=len(plan.channels))
    if held.grid.unit == "px" and any(plan.spacing):
        size = " x ".join("?" if mm is None else f"{mm:g}" for mm in plan.spacing)
        raise UsageError(
            f"the model works at a voxel size of {size} mm, and the array has none",
            hint="give spacing=(…), mm along each axis of the array",
            code="NO_SPACING",
        )
    array = held.array[None] if held.array.ndim == len(held.grid.shape) else held.array
    found = model.infer(
        model.prepare(array, held.grid), probabilities=probabilities, entropy=uncertainty
    ).result()
    return Segmented(
        labels=held.give(found.labels),
        probabilities=None if found.probabilities is None else held.give(found.probabilities),
        uncertainty=None if found.entropy is None else held.give(found.entropy),
        names=model.label_values,
        volumes=class_sizes(found.labels, model.structures, held.grid),
        unit=size_unit(held.grid),
        notices=(
            *(one.text for one in unlike(plan, array, held.grid)),
            *(dropped_text(name, share) for name, share in found.dropped.items()),
        ),
        _scene=(
            picture_of(array, plan),
            found.labels,
            held.grid.affine,
            model.structures,
            palette_of(plan),
            held.rows_first,
        ),
    )
