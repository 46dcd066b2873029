"""What can be written of a predicted scan, one function for each kind of file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semiseg import images
from semiseg.__about__ import __version__
from semiseg.drawing.palette import of_classes
from semiseg.errors import DataError, UsageError, unknown_name
from semiseg.images.dicom_results import Maker, Origin, is_series, origin_of
from semiseg.images.grid import Grid
from semiseg.machine.files import atomic_file
from semiseg.prediction.assembly import Segmentation
from semiseg.prediction.model import Model
from semiseg.prediction.record import Outputs, class_sizes, size_unit
from semiseg.prediction.structures import palette_of, structures_of

FORMS = {
    "nifti": ".nii.gz",
    "dicom-seg": ".seg.dcm",
    "dicom-labelmap": ".labelmap.dcm",
    "rtstruct": ".rtstruct.dcm",
    "png": "_overlay.png",
}
"""What ``--to`` may name -> how such a file ends."""

_DICOM = ("dicom-seg", "dicom-labelmap", "rtstruct")


@dataclass(frozen=True)
class Wanted:
    """Which files are asked for.

    Attributes:
        to: forms of the label map, of :data:`FORMS`; empty for one file in the scan's own format.
        uncertainty: the entropy map.
        probabilities: those of all classes.
        overlay: a picture, beside whatever else.
    """

    to: tuple[str, ...] = ()
    uncertainty: bool = False
    probabilities: bool = False
    overlay: bool = False

    @property
    def dicom(self) -> list[str]:
        """The forms that only a DICOM series can be written as."""
        return [form for form in self.to if form in _DICOM]

    @property
    def picture(self) -> bool:
        """Whether the scan's own gray values are needed in the end."""
        return self.overlay or "png" in self.to

    def place(self, labels: Path, stem: str) -> Outputs:
        """Where the results of a scan go."""
        folder = labels.parent
        flat = labels.suffix.lower() in (".png", ".bmp")
        paths = {} if self.to else {"labels": labels}
        for form in self.to:
            paths[_KINDS.get(form, form)] = folder / f"{stem}{FORMS[form]}"
        if self.overlay:
            paths["overlay"] = folder / f"{stem}{FORMS['png']}"
        if self.uncertainty:
            paths["entropy"] = folder / f"{stem}_entropy{'.png' if flat else '.nii.gz'}"
        if self.probabilities:
            paths["probabilities"] = folder / f"{stem}_probabilities.npz"
        return Outputs(paths, folder / f"{stem}.json")


_KINDS = {"nifti": "labels", "png": "overlay"}


def forms(given: str | Sequence[str]) -> tuple[str, ...]:
    """``--to``: names of :data:`FORMS`, with commas between them or as a list, each once.

    Raises:
        UsageError: an unknown name, or a form whose package is not installed.
    """
    texts = [given] if isinstance(given, str) else list(given)
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FORMS:
            raise unknown_name("form", name, FORMS)
    if {"dicom-seg", "dicom-labelmap"} & set(names):
        from semiseg.images.dicom_results import require_highdicom

        require_highdicom()
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class Finished:
    """A predicted scan, ready to be written.

    Attributes:
        name: of the scan.
        found: its label map and companions.
        grid: where its voxels lie.
        meta: of its file.
        model: that predicted it.
        picture: what an overlay shows: (*S) gray or (*S, 3) colors; None where none is asked for.
    """

    name: str
    found: Segmentation
    grid: Grid
    meta: Mapping[str, Any]
    model: Model
    picture: NDArray[Any] | None = None

    @property
    def sizes(self) -> dict[str, float]:
        """See :func:`semiseg.prediction.record.class_sizes`."""
        return class_sizes(self.found.labels, self.model.structures, self.grid)


def _labels(path: Path, scan: Finished) -> None:
    palette = of_classes(scan.model.label_values, scan.model.plan.colors)
    images.write(path, scan.found.labels, scan.grid, dict(scan.meta) | {"palette": palette})


def _entropy(path: Path, scan: Finished) -> None:
    """16 bits in a PNG, black for certain and white for uniform."""
    if scan.found.entropy is not None:
        values: NDArray[Any] = scan.found.entropy
        if path.suffix == ".png":
            values = (values * 65535).round().astype(np.uint16)
        images.write(path, values, scan.grid, scan.meta)


def _probabilities(path: Path, scan: Finished) -> None:
    """``probabilities`` (K, *S) float16, ``names`` (K,) and ``affine`` (4, 4) index to RAS+ mm; no pickle."""
    if scan.found.probabilities is not None:
        plan = scan.model.plan
        names = np.array(list(plan.regions or plan.labels), dtype=np.str_)
        half = scan.found.probabilities.astype(np.float16)
        with atomic_file(path) as stream:
            np.savez_compressed(stream, probabilities=half, names=names, affine=scan.grid.affine)


def _overlay(path: Path, scan: Finished) -> None:
    from semiseg.drawing.scan import save_png, scan_figure

    if scan.picture is not None:
        unit = size_unit(scan.grid)
        figure = scan_figure(
            scan.picture,
            scan.found.labels,
            scan.grid.affine,
            scan.model.structures,
            palette=palette_of(scan.model.plan),
            notes={name: f"{size:.4g} {unit}" for name, size in scan.sizes.items()},
            title=scan.name,
            rows_first=scan.meta.get("format") in ("picture", "tiff"),
        )
        save_png(figure, path)


def _segmentation(path: Path, scan: Finished) -> None:
    from semiseg.images.dicom_results import write_segmentation

    masks = _masks(scan)
    volume = np.stack(masks, -1) if scan.model.plan.regions else _numbered(masks)
    packed = path.name.endswith(FORMS["dicom-labelmap"])
    kind: Literal["BINARY", "LABELMAP"] = "LABELMAP" if packed else "BINARY"
    write_segmentation(path, volume, _origin(scan), structures_of(scan.model.plan), _maker(scan.model), kind)


def _contours(path: Path, scan: Finished) -> None:
    from semiseg.images.dicom_contours import write_contours

    named = structures_of(scan.model.plan)
    write_contours(path, _masks(scan), scan.grid, _origin(scan), named, _maker(scan.model))


WRITERS: dict[str, Callable[[Path, Finished], None]] = {
    "labels": _labels,
    "entropy": _entropy,
    "probabilities": _probabilities,
    "dicom-seg": _segmentation,
    "dicom-labelmap": _segmentation,
    "rtstruct": _contours,
    "overlay": _overlay,
}
"""Kind of result -> what writes it."""


def require_dicom(name: str, wanted: Wanted, meta: Mapping[str, Any]) -> None:
    """Refuse DICOM results of a scan that is no DICOM series (DataError)."""
    if wanted.dicom and not is_series(meta):
        raise DataError(
            f"{name}: {', '.join(wanted.dicom)} need a DICOM series, and this scan is not one",
            hint="leave out --to: the label map then has the scan's own format",
            code="NOT_DICOM",
            details={"case": name},
        )


def require_forms(wanted: Wanted, model: Model) -> None:
    """Refuse what no scan could be written as: one label map of regions that overlap (UsageError)."""
    if "dicom-labelmap" in wanted.to and model.plan.regions:
        raise UsageError(
            "the regions of this model overlap, and a DICOM label map has one number per voxel",
            hint="use --to dicom-seg",
            code="OVERLAP",
        )


def _masks(scan: Finished) -> list[NDArray[np.bool_]]:
    """(columns, rows, slices) of each structure."""
    labels = scan.found.labels
    labels = labels if labels.ndim == 3 else labels[..., None]
    return [np.isin(labels, values) for values in scan.model.structures.values()]


def _numbered(masks: Sequence[NDArray[np.bool_]]) -> NDArray[Any]:
    numbers = np.zeros(masks[0].shape, np.min_scalar_type(len(masks)))
    for number, mask in enumerate(masks, start=1):
        numbers[mask] = number
    return numbers


def _origin(scan: Finished) -> Origin:
    require_dicom(scan.name, Wanted(to=_DICOM), scan.meta)
    return origin_of(scan.meta)


def _maker(model: Model) -> Maker:
    source = model.members[0].source
    names = " ".join(str(source[key]) for key in ("method", "network") if source.get(key))
    many = f" (mean of {len(model.members)})" if len(model.members) > 1 else ""
    return Maker(f"{names or 'network'}{many}", __version__, model.id)
