"""How the field counts, by name: one table entry for each habit of reporting distances and empty masks.

The same pair of masks scores differently in different code bases. ``semiseg`` is our rule; the others are
there to compare with published numbers, flattering habits included, and are always named in the results.
Whatever the convention, ``HD95Max`` is the larger of the two directed 95th percentiles beside its ``HD95``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from semiseg.errors import unknown_name

NAN = math.nan
INF = math.inf

Diagonal = Literal["diagonal"]
DIAGONAL: Diagonal = "diagonal"
"""A distance that stands for the diagonal of the whole volume, in the convention's unit."""


@dataclass(frozen=True)
class Empty:
    """What is reported where a mask is empty. NaN means: excluded from every mean, and counted."""

    overlap: float
    """Dice and Jaccard."""
    nsd: float
    hd95: float | Diagonal
    asd: float | Diagonal
    """ASD, its reverse, and ASSD."""


EXCLUDED = Empty(overlap=NAN, nsd=NAN, hd95=NAN, asd=NAN)
WORST = Empty(overlap=0.0, nsd=0.0, hd95=DIAGONAL, asd=DIAGONAL)
ZEROS = Empty(overlap=0.0, nsd=0.0, hd95=0.0, asd=0.0)
PERFECT = Empty(overlap=1.0, nsd=1.0, hd95=0.0, asd=0.0)
NO_DISTANCE = Empty(overlap=0.0, nsd=0.0, hd95=NAN, asd=NAN)


@dataclass(frozen=True)
class Convention:
    """One way of counting; what an entry leaves out is as in ``semiseg``.

    Attributes:
        unit: ``mm`` uses the spacing; ``voxel`` takes every spacing as 1.
        hd95: ``pooled`` is the 95th percentile of both directed sets together (MedPy); ``max`` is the larger
            of the two directed percentiles; ``max-rank`` is the same with the element at 0.95 n of the sorted
            set instead of a linear interpolation.
        asd: ``directed`` is prediction to reference; ``symmetric`` is ASSD.
        assd: ``pooled`` is the mean of all distances of both directions; ``halves`` is the mean of the two
            directed means (MedPy).
        distances: whether the convention has surface distances at all.
        undefined_class: what a class that no case defines does to the mean over classes: ``excluded`` leaves
            it out, ``nan`` makes the mean undefined.
        both_empty: neither mask has the class.
        empty_prediction: only the reference has it.
        empty_reference: only the prediction has it.
        source: whose habit it is.
    """

    name: str
    both_empty: Empty
    empty_prediction: Empty
    empty_reference: Empty
    source: str
    unit: Literal["mm", "voxel"] = "mm"
    hd95: Literal["pooled", "max", "max-rank"] = "pooled"
    asd: Literal["directed", "symmetric"] = "directed"
    assd: Literal["pooled", "halves"] = "pooled"
    distances: bool = True
    undefined_class: Literal["excluded", "nan"] = "excluded"


CONVENTIONS: dict[str, Convention] = {
    c.name: c
    for c in (
        Convention(
            name="semiseg",
            both_empty=EXCLUDED,
            empty_prediction=WORST,
            empty_reference=WORST,
            source="the default: empty masks are excluded and counted, or get the worst value; HD95 as MedPy",
        ),
        Convention(
            name="uamt",
            unit="voxel",
            assd="halves",
            both_empty=ZEROS,
            empty_prediction=ZEROS,  # an empty prediction gets the best possible distance
            empty_reference=NO_DISTANCE,  # MedPy raises here
            source="UA-MT, MC-Net, BCP, CML, AC-MT, DTC, DyCON on LA and Pancreas (MedPy, in voxels)",
        ),
        Convention(
            name="ssl4mis",
            unit="voxel",
            assd="halves",
            both_empty=ZEROS,
            empty_prediction=ZEROS,  # an empty prediction gets HD95 0
            empty_reference=ZEROS,
            source="the ACDC and BraTS scripts of SSL4MIS (MedPy, in voxels)",
        ),
        Convention(
            name="pymic",
            hd95="max-rank",
            asd="symmetric",
            both_empty=PERFECT,
            empty_prediction=Empty(overlap=0.0, nsd=0.0, hd95=100.0, asd=20.0),
            empty_reference=Empty(overlap=0.0, nsd=0.0, hd95=100.0, asd=20.0),
            source="PyMIC's evaluation (with exact distances; PyMIC's own are a raster-scan approximation)",
        ),
        Convention(
            name="monai",
            hd95="max",
            both_empty=EXCLUDED,
            empty_prediction=Empty(overlap=0.0, nsd=0.0, hd95=INF, asd=INF),
            empty_reference=Empty(overlap=NAN, nsd=0.0, hd95=INF, asd=INF),
            source="monai.metrics with its default arguments and the spacing given",
        ),
        Convention(
            name="reloaded",
            hd95="max",
            both_empty=PERFECT,
            empty_prediction=WORST,
            empty_reference=WORST,
            source="Metrics Reloaded (Maier-Hein et al. 2024, doi:10.1038/s41592-023-02151-z): a class that "
            "both masks lack is right, one that a single mask has gets the worst value",
        ),
        Convention(
            name="nnunet",
            both_empty=EXCLUDED,
            empty_prediction=NO_DISTANCE,
            empty_reference=NO_DISTANCE,
            distances=False,
            undefined_class="nan",
            source="nnU-Net v2's summary.json: overlap only; NaN is left out of the mean of a class, and a "
            "class that is NaN in every case makes the mean over classes NaN",
        ),
        Convention(
            name="brats",
            both_empty=PERFECT,
            empty_prediction=Empty(overlap=0.0, nsd=0.0, hd95=373.13, asd=373.13),
            empty_reference=Empty(overlap=0.0, nsd=0.0, hd95=373.13, asd=373.13),
            source="the BraTS challenges: 373.13 mm is the diagonal of a 240x240x155 volume",
        ),
    )
}


def find(name: str, *, distances: bool = True) -> Convention:
    """The convention of that name, with its surface distances or, where these are not wanted, without.

    Raises:
        UsageError: there is none; the message suggests the nearest and lists them all.
    """
    if name not in CONVENTIONS:
        raise unknown_name("metric convention", name, CONVENTIONS)
    found = CONVENTIONS[name]
    return found if distances else replace(found, distances=False)
