"""What runs on the processor beside the network: metrics, components, confident learning, distance maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.speed import scans
from benchmarks.speed.plain import components, confident_learning, distance_maps, metrics
from benchmarks.speed.setting import Case, Setting
from scipy import ndimage
from torch import Tensor

from semiseg.batches.targets import signed_distance
from semiseg.evaluation.case import evaluate
from semiseg.inference.postprocess import largest_components
from semiseg.methods.ac_mt.confident_learning import label_issues

Compare = Callable[[Any, Any], str]


def _case(
    name: str,
    title: str,
    plain: Callable[[], Any],
    ours: Callable[[], Any],
    compare: Compare,
    per: tuple[int, str],
    target: float | None = None,
) -> Case:
    """Both sides are the same every time, so that the comparison is of what is timed."""
    return Case(name, title, lambda: plain, lambda: ours, lambda: compare(plain(), ours()), None, per, target)


# Metrics


def metric_cases(setting: Setting) -> list[Case]:
    """Predictions that are close, close with far false positives, and poor."""
    labels = [label > 0 for _, label in scans.cases(setting, scans.LEFT_ATRIUM)[:4]]
    return [_metric_case(labels, kind) for kind in PREDICTIONS]


def _metric_case(labels: list[np.ndarray], kind: str) -> Case:
    rng = np.random.default_rng(0)
    # int64, as the scripts hold label maps
    pairs = [(PREDICTIONS[kind](r, rng).astype(np.int64), r.astype(np.int64)) for r in labels]

    def ours() -> list[list[float]]:
        found = [evaluate(p, r, (1.0,) * r.ndim, {"atrium": 1}, "uamt")["atrium"] for p, r in pairs]
        return [[one[m] for m in ("Dice", "Jaccard", "HD95", "ASD")] for one in found]

    return _case(
        f"metrics.{kind.split()[0]}",
        f"Dice, Jaccard, HD95 and ASD of a scan, prediction: {kind}",
        lambda: [metrics.evaluate(p, r) for p, r in pairs],
        ours,
        same_values,
        (len(pairs), "scan"),
        10.0,
    )


def same_values(plain: Any, ours: Any) -> str:
    """The last bits are those of other orders of summation."""
    if not np.allclose(plain, ours, rtol=1e-12, atol=0):
        raise SystemExit(f"metrics differ: plain {plain}, ours {ours}")
    return f"equal values, relative differences at most {np.max(np.abs(np.divide(ours, plain) - 1)):.0e}"


def close(reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return ndimage.binary_erosion(np.roll(reference, (2, -1, 1), (0, 1, 2)))


def blobs(reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    prediction = close(reference, rng)
    for _ in range(3):
        low = [int(rng.integers(0, n - 10)) for n in reference.shape]
        prediction[tuple(slice(i, i + int(rng.integers(6, 10))) for i in low)] = True
    return prediction


def poor(reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return ndimage.binary_dilation(np.roll(reference, (15, 8, -6), (0, 1, 2)), iterations=3)


PREDICTIONS = {"close": close, "far blobs beside it": blobs, "poor": poor}


# What methods do with labels and pseudo-labels


def component_cases(setting: Setting) -> list[Case]:
    """Pseudo-labels of BCP: four patches, a left atrium with false positives around it."""
    labels = torch.from_numpy(np.stack([blobs(y > 0, np.random.default_rng(0)) for y in patches(setting, 4)]))
    labels = labels.long()
    return [
        _case(
            "components.left_atrium",
            f"largest component of {_times(labels.shape)} pseudo-labels",
            lambda: components.largest(labels, 2),
            lambda: largest_components(labels, 2),
            same_tensors,
            (1, "batch"),
        )
    ]


def confident_cases(setting: Setting) -> list[Case]:
    return [_confident_case(setting, classes) for classes in (2, 4)]


def _confident_case(setting: Setting, classes: int) -> Case:
    labels, p = noisy_labels((2, *setting.patch), classes)

    def plain() -> Tensor:
        flat = p.movedim(1, -1).reshape(-1, classes)
        issues = confident_learning.label_issues(labels.numpy().ravel(), flat.numpy())
        return torch.from_numpy(issues).view_as(labels)

    return _case(
        f"confident.{classes}_classes",
        f"confident learning on {_times(labels.shape)} voxels, {classes} classes",
        plain,
        lambda: label_issues(labels, p),
        same_tensors,
        (1, "batch"),
    )


def noisy_labels(shape: tuple[int, ...], classes: int) -> tuple[Tensor, Tensor]:
    """Labels (B, *S) that disagree here and there with smooth probabilities (B, K, *S)."""
    generator = torch.Generator().manual_seed(0)
    coarse = 4 * torch.randn((shape[0], classes, *(n // 8 for n in shape[1:])), generator=generator)
    z = F.interpolate(coarse, shape[1:], mode="trilinear")
    labels = (z + 0.5 * torch.randn(z.shape, generator=generator)).argmax(1)
    return labels, z.softmax(1)


def distance_cases(setting: Setting) -> list[Case]:
    """The targets of DTC and SASSNet: two labeled patches."""
    labels = np.stack(patches(setting, 2)) > 0
    tensor = torch.from_numpy(labels).long()
    return [
        _case(
            "distance.left_atrium",
            f"signed distance maps of {_times(labels.shape)} labels",
            lambda: distance_maps.signed_distance(labels),
            lambda: signed_distance(tensor, 2),
            near_maps,
            (1, "batch"),
        )
    ]


def patches(setting: Setting, count: int) -> list[np.ndarray]:
    """The middle patches of labels."""
    found = []
    for _, label in scans.cases(setting, scans.LEFT_ATRIUM)[:count]:
        first = [max((n - p) // 2, 0) for n, p in zip(label.shape, setting.patch, strict=True)]
        found.append(label[tuple(slice(f, f + p) for f, p in zip(first, setting.patch, strict=True))])
    return found


def same_tensors(plain: Tensor, ours: Tensor) -> str:
    if not torch.equal(plain, ours):
        raise SystemExit(f"{int((plain != ours).sum())} voxels differ")
    return f"identical, {int(ours.sum())} voxels set"


def near_maps(plain: np.ndarray, ours: Tensor) -> str:
    apart = float(np.abs(ours.numpy()[:, 0] - plain).max())
    if apart > 1e-6:
        raise SystemExit(f"distance maps differ by up to {apart:.1e}")
    return f"largest difference {apart:.0e}"


def _times(shape: Any) -> str:
    return "x".join(map(str, shape))
