"""Confident learning: which labels are wrong, judged by the probabilities of another classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

FilterBy = Literal["both", "prune_by_class", "prune_by_noise_rate"]


@torch.no_grad()
def label_issues(labels: Tensor, probabilities: Tensor, filter_by: FilterBy = "both") -> Tensor:
    """The voxels whose label is probably not the true one (Northcutt et al. 2021, arXiv:1911.00068).

    Gives what ``find_label_issues`` of cleanlab 2.0 gives, but for the order of equals in its rounding. A
    class without labels, with which that library stops, takes no part here. All voxels of the batch are
    judged together. On a GPU only counts come back to the host.

    Args:
        labels: (B, *S) int64 in [0, K), to be judged.
        probabilities: (B, K, *S) in [0, 1], finite.
        filter_by: how many voxels are flagged is what the confident joint counts wrong. ``prune_by_class``
            flags the voxels of each class that have its lowest probabilities, ``prune_by_noise_rate`` those
            that another class leads by most; ``both`` is the intersection. For two classes the three are
            equal but for ties.

    Returns:
        (B, *S) bool; only voxels whose most likely class is not their label.
    """
    groups, where = _by_label(labels, probabilities)
    likeliest = [_likeliest(p, range(len(groups))) for p in groups]
    joint = keep_one_right(_joint(groups, likeliest)).tolist()
    flagged = torch.zeros(labels.numel(), dtype=torch.bool, device=labels.device)
    for k, (p, place, guess) in enumerate(zip(groups, where, likeliest, strict=True)):
        if len(place) > 1:
            issues = guess != k
            if filter_by != "prune_by_noise_rate":
                issues &= _least_likely(p[k], len(place) - joint[k][k])
            if filter_by != "prune_by_class":
                issues &= _most_led(p, k, joint[k])
            flagged.scatter_(0, place, issues)
    return flagged.view_as(labels)


def class_thresholds(labels: Tensor, probabilities: Tensor) -> Tensor:
    """(K,): the mean probability of each class over the voxels labeled so; infinite for one without any."""
    return _thresholds(_by_label(labels, probabilities)[0])


def confident_joint(labels: Tensor, probabilities: Tensor) -> Tensor:
    """(K, K) int64 on the CPU: how many voxels of label i (rows) have the true class j, calibrated.

    A voxel's true class is the one whose probability reaches its threshold; the most likely one if several
    do; unknown if none does. Rows are then scaled to the number of labels of each class.
    """
    return _joint(_by_label(labels, probabilities)[0])


def _by_label(labels: Tensor, probabilities: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Of the voxels of each label: their probabilities (K, n), and where they are in the flat batch (n,)."""
    flat = probabilities.float().movedim(1, 0).flatten(1)
    where = [_places(labels.flatten(), k) for k in range(len(flat))]
    return [flat.index_select(1, place) for place in where], where


def _places(labels: Tensor, k: int) -> Tensor:
    """Where k is in ``labels`` (n,)."""
    if labels.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(labels.numpy() == k))  # in a fifth of torch's time
    return (labels == k).nonzero().squeeze(1)


def _thresholds(groups: list[Tensor]) -> Tensor:
    means = torch.stack([p[k].mean() for k, p in enumerate(groups)])
    return means.nan_to_num(nan=torch.inf)  # the mean of nothing


def _joint(groups: list[Tensor], likeliest: list[Tensor] | None = None) -> Tensor:
    """The joint of :func:`confident_joint`; ``likeliest`` are the most likely classes, where known."""
    present = [k for k, p in enumerate(groups) if p.shape[1]] or [0]
    if likeliest is None or len(present) < len(groups):
        likeliest = [_likeliest(p, present) for p in groups]
    thresholds = (_thresholds(groups) - 1e-6).unbind()
    counts = [_count(p, thresholds, guess) for p, guess in zip(groups, likeliest, strict=True)]
    sizes = torch.tensor([p.shape[1] for p in groups])
    return calibrated(torch.stack(counts).cpu(), sizes)


def _count(p: Tensor, thresholds: Sequence[Tensor], likeliest: Tensor) -> Tensor:
    """(K,): how many of n voxels, with probabilities (K, n), are of each class, unknown ones left out."""
    confident = [of_class >= threshold for of_class, threshold in zip(p, thresholds, strict=True)]
    one, several = torch.zeros_like(confident[0]), torch.zeros_like(confident[0])
    for reached in confident:
        several |= one & reached
        one |= reached
    found = [
        torch.where(several, likeliest == k, reached).count_nonzero() for k, reached in enumerate(confident)
    ]
    return torch.stack(found)


def calibrated(joint: Tensor, counts: Tensor) -> Tensor:
    """Counts of confident voxels (K, K), one right in each class at least, scaled to all; whole numbers."""
    values = joint.double()
    values.diagonal().clamp_(min=1.0)
    values = values / values.sum(1, keepdim=True) * counts[:, None]
    return round_rows(values / values.sum() * counts.sum())


def keep_one_right(joint: Tensor) -> Tensor:
    """Leave each class a right voxel: what its diagonal lacks of 1 is taken evenly from the other entries."""
    right = joint.diagonal().clamp(min=1)
    # One sharer too few where the diagonal is 0, and fractions dropped: as the library counts.
    sharers = (joint.count_nonzero(1) - 1).clamp(min=1)
    values = joint - ((right - joint.diagonal()) / sharers.double())[:, None]
    values.diagonal().copy_(right)
    return values.clamp(min=0.0).long()


def round_rows(values: Tensor) -> Tensor:
    """Whole numbers (K, K) whose rows keep their sums.

    Each entry is rounded to the nearest. What a row then lacks goes to the entries that lost most by
    rounding. What it has too much is taken from those that gained most.
    """
    rounded = values.round()
    lacking = values.sum(1, keepdim=True).round() - rounded.sum(1, keepdim=True)
    place = (values - rounded).argsort(dim=1, stable=True).argsort(dim=1)
    up, down = place >= values.shape[1] - lacking, place < -lacking
    return (rounded + up.double() - down.double()).long()


def _least_likely(p: Tensor, wrong: int) -> Tensor:
    """Which of the n voxels of a class, with probabilities p (n,) of it, are the ``wrong`` least likely."""
    return p < _smallest(p, wrong + 1)


def _most_led(p: Tensor, k: int, wrong: list[int]) -> Tensor:
    """Which voxels of class k, with probabilities (K, n), are the ``wrong[j]`` that class j leads by most."""
    led = torch.zeros_like(p[k], dtype=torch.bool)
    for j, n in enumerate(wrong):
        if j != k and n > 0:
            ahead = p[k] - p[j]
            led |= ahead <= _smallest(ahead, n)
    return led


def _smallest(values: Tensor, rank: int) -> Tensor:
    """The value of this rank, from 1, among (n,).

    On a CPU a sample tells which values may have it; if it misleads, all are searched.
    """
    if values.device.type != "cpu":
        return values.kthvalue(rank).values
    array = values.numpy()
    sample = array[::31]
    enough = rank // 25 + 32  # a quarter more than the rank among the sampled
    if enough < len(sample) // 4:
        few = array[array <= np.partition(sample, enough)[enough]]
        array = few if len(few) >= rank else array
    return torch.as_tensor(np.partition(array, rank - 1)[rank - 1])


def _likeliest(p: Tensor, classes: Sequence[int]) -> Tensor:
    """(n,) uint8: which of these classes is the most likely, of (K, n), the first of equals.

    Class by class, since argmax over the first axis is slow on a CPU.
    """
    largest = p[classes[0]]
    best = torch.full_like(largest, classes[0], dtype=torch.uint8)
    for k in classes[1:]:
        best.masked_fill_(p[k] > largest, k)
        largest = torch.maximum(largest, p[k])
    return best
