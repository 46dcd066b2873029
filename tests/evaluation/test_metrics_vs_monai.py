"""MONAI's own metrics agree with the ``monai`` convention, and with ours where both mean the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.evaluation.masks import pairs

from semiseg.evaluation.case import evaluate

PAIRS = pairs()
pytestmark = pytest.mark.usefixtures("monai")


def theirs(prediction, reference, spacing, tolerance=1.0) -> dict[str, float]:
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_iou,
        compute_surface_dice,
    )

    p, r = (torch.from_numpy(np.stack([~m, m])[None].astype(np.float32)) for m in (prediction, reference))
    spacing = list(spacing)
    found = {
        "Dice": compute_dice(p, r, include_background=False),
        "Jaccard": compute_iou(p, r, include_background=False),
        "HD95": compute_hausdorff_distance(p, r, percentile=95, spacing=spacing),
        "ASD": compute_average_surface_distance(p, r, spacing=spacing),
        "ASDReverse": compute_average_surface_distance(r, p, spacing=spacing),
        "ASSD": compute_average_surface_distance(p, r, symmetric=True, spacing=spacing),
        "NSD": compute_surface_dice(p, r, [tolerance], spacing=spacing),
    }
    return {name: float(value) for name, value in found.items()}


def ours(prediction, reference, spacing, convention="monai", tolerance=1.0) -> dict[str, float]:
    return evaluate(
        prediction.astype(np.uint8), reference.astype(np.uint8), spacing, {"x": 1}, convention, tolerance
    )["x"]


@pytest.mark.parametrize("name", PAIRS)
def test_equal_to_monai(name):
    prediction, reference, spacing = PAIRS[name]
    got, want = ours(prediction, reference, spacing), theirs(prediction, reference, spacing)
    for metric, value in want.items():
        assert got[metric] == pytest.approx(value, rel=2e-6, abs=1e-6), metric


@pytest.mark.parametrize("tolerance", [0.5, 2.0, 4.0])
def test_nsd_at_other_tolerances(tolerance):
    prediction, reference, spacing = PAIRS["noise"]
    want = theirs(prediction, reference, spacing, tolerance)["NSD"]
    assert ours(prediction, reference, spacing, "semiseg", tolerance)["NSD"] == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("empty", ["prediction", "reference", "both"])
@pytest.mark.filterwarnings("ignore:the ground truth", "ignore:the prediction")
def test_empty_masks_as_in_monai(empty):
    reference = PAIRS["shifted"][1]
    nothing = np.zeros_like(reference)
    pair = {"prediction": (nothing, reference), "reference": (reference, nothing), "both": (nothing, nothing)}
    got, want = ours(*pair[empty], (1, 1, 2)), theirs(*pair[empty], (1, 1, 2))
    for metric in ("Dice", "Jaccard", "ASD", "ASSD", "NSD"):
        assert got[metric] == pytest.approx(want[metric], nan_ok=True), metric


def test_overlap_and_symmetric_distance_are_convention_free():
    prediction, reference, spacing = PAIRS["anisotropic"]
    want = theirs(prediction, reference, spacing)
    got = ours(prediction, reference, spacing, "semiseg")
    for metric in ("Dice", "Jaccard", "ASD", "ASSD", "NSD"):
        assert got[metric] == pytest.approx(want[metric], rel=2e-6), metric
