"""Which class has the nearest mean feature in the same scan; batch norm in passes that do not train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Spread:
    """Standard deviation (divisor n - 1) of tensors of one shape, seen one at a time (Welford 1962)."""

    def __init__(self) -> None:
        self.n = 0
        self._mean = self._squares = torch.zeros(())

    def add(self, value: Tensor) -> None:
        """See one more."""
        self.n += 1
        step = value - self._mean
        self._mean = step / self.n + self._mean
        self._squares = step * (value - self._mean) + self._squares

    def std(self) -> Tensor:
        """Of at least two."""
        return (self._squares / (self.n - 1)).sqrt()


def nearest_class(
    features: Tensor, classes: Tensor, probabilities: Tensor, *, absent_at_zero: bool
) -> Tensor:
    """The class (B, *S) of which the prototype is nearest; -1, no class, in a scan without prototypes.

    Arguments as for :func:`scan_prototypes`. With ``absent_at_zero`` a class without voxels has its prototype
    at 0; else it has none.
    """
    prototypes, present = scan_prototypes(features, classes, probabilities)
    distances = squared_distances(features, prototypes)
    if not absent_at_zero:
        along = (*present.shape, *[1] * (features.ndim - 2))
        distances = distances.where(present.view(along), torch.inf)
    return distances.argmin(1).where(distances.isfinite().any(1), -1)


def upsampled(features: Tensor, like: Tensor) -> Tensor:
    """Features (B, D, *s) at the size of ``like`` (B, K, *S), linear, corners not aligned; float32."""
    if features.shape[2:] == like.shape[2:]:
        return features.float()
    mode = "bilinear" if features.ndim == 4 else "trilinear"
    return F.interpolate(features.float(), like.shape[2:], mode=mode, align_corners=False)


def scan_prototypes(features: Tensor, classes: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """The mean feature of each class, per scan, each voxel weighted by its probability of that class.

    ``mu_k = sum_v [class_v = k] q_k(v) f_v / (sum_v [class_v = k] q_k(v) + 1e-5)``.

    Args:
        features: (B, D, *S) float32.
        classes: (B, *S) int64; values outside [0, K) belong to no prototype.
        probabilities: (B, K, *S), of q.

    Returns:
        (B, K, D) prototypes, and (B, K) bool: whether the scan has voxels of that class.
    """
    flat = features.flatten(2)
    means, present = [], []
    for k in range(probabilities.shape[1]):
        member = classes == k
        weight = (probabilities[:, k].float() * member).flatten(1)[:, None]
        means.append((flat * weight).sum(2) / (weight.sum(2) + 1e-5))
        present.append(member.flatten(1).any(1))
    return torch.stack(means, 1), torch.stack(present, 1)


def squared_distances(features: Tensor, prototypes: Tensor) -> Tensor:
    """``|f_v - mu_k|^2``: (B, K, *S) from features (B, D, *S) and prototypes (B, K, D)."""
    along = (*prototypes.shape[::2], *[1] * (features.ndim - 2))
    distances = [(features - mu.reshape(along)).square().sum(1) for mu in prototypes.unbind(1)]
    return torch.stack(distances, 1)


@contextmanager
def frozen_running_statistics(network: nn.Module) -> Iterator[None]:
    """Train-mode passes inside use the statistics of their batch, and leave the running ones alone.

    Prediction uses ``running_mean`` and ``running_var``; passes that only ask for an opinion, such as Monte
    Carlo dropout on noisy copies, would drag them along.
    """
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def has_batch_norm(network: nn.Module) -> bool:
    """Whether an answer in train mode depends on the other samples, so that none may be left out of a
    pass.
    """
    return any(isinstance(m, _BatchNorm) for m in network.modules())
