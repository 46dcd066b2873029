"""DICOM segmentation objects, written with highdicom.

BINARY: one bit plane for each slice and structure (every viewer). LABELMAP: one plane of numbers for each
slice (PS3.3 A.51.2, since 2024), smaller, for structures that do not overlap, and known to few viewers.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError, UsageError, missing_extra
from semiseg.images.claims import hushed
from semiseg.images.dicom_results import Code, Maker, Origin, Structure, save, short

if TYPE_CHECKING:
    from pydicom import Dataset

_log = logging.getLogger("semiseg.data")

_SERIES_NUMBER = 900
"""Viewers sort by it: results come after the scans."""


def require_highdicom() -> None:
    """Say early that the package is missing.

    Raises:
        UsageError: with the install that brings it.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise missing_extra("dicom", "highdicom", "a DICOM segmentation object")


def write_segmentation(
    path: Path,
    masks: NDArray[Any],
    origin: Origin,
    structures: Sequence[Structure],
    maker: Maker,
    kind: Literal["BINARY", "LABELMAP"] = "BINARY",
) -> None:
    """Write one DICOM SEG file, whole or not at all. Slices without any structure have no frame in it.

    Args:
        path: the file.
        masks: (columns, rows, slices) with 0 for background and n for the n-th structure from 1; or
            (columns, rows, slices, structures) bool, where structures overlap.
        origin: of the scan; patient and study are taken from it.
        structures: in the order of their numbers.
        maker: of the masks.
        kind: of object.

    Raises:
        UsageError: highdicom is not installed, or structures that overlap as LABELMAP.
        DataError: the source lacks what a segmentation refers to.
    """
    require_highdicom()
    import highdicom
    from pydicom.uid import generate_uid

    if kind == "LABELMAP" and masks.ndim == 4:
        raise UsageError(
            "structures that overlap cannot be one DICOM label map", hint="use --to dicom-seg", code="OVERLAP"
        )
    stored = np.swapaxes(masks, 0, 2)  # slices, rows, columns
    sources: list[Dataset] = list(origin.headers)
    if origin.multi_frame:
        sources = [origin.first]
        frames = np.zeros((int(origin.first.NumberOfFrames), *stored.shape[1:]), stored.dtype)
        frames[np.array(origin.frames) - 1] = stored
        stored = frames
    try:
        with warnings.catch_warnings(), hushed("highdicom.image"), hushed("pydicom"):
            warnings.simplefilter("ignore")
            made = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=np.ascontiguousarray(stored),
                segmentation_type=kind,
                segment_descriptions=[_described(n, one, maker) for n, one in enumerate(structures, start=1)],
                series_instance_uid=generate_uid(),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer="semiseg",
                manufacturer_model_name=short(maker.model),
                software_versions=maker.version,
                device_serial_number=maker.serial,
                series_description=short(f"semiseg {maker.model}"),
                content_label="SEGMENTATION",
            )
    except (AttributeError, ValueError, TypeError, KeyError, IndexError) as error:  # quotes header values
        _log.debug("highdicom", exc_info=True)
        raise DataError(
            f"the DICOM headers are not sufficient for a segmentation object ({type(error).__name__})",
            hint="--to nifti writes this scan's label map; -v shows what highdicom misses",
            code="DICOM_RESULT",
        ) from None
    save(made, path)


def _described(number: int, structure: Structure, maker: Maker) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=short(structure.name),
        segmented_property_category=_coded(structure.category),
        segmented_property_type=_coded(structure.kind),
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=short(f"semiseg {maker.model}"),
            family=codes.cid7162.ArtificialIntelligence,
            version=maker.version,
        ),
        display_color=highdicom.color.CIELabColor.from_rgb(*structure.color),
    )


def _coded(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    value, scheme, meaning = code
    return CodedConcept(value, scheme, short(meaning))
