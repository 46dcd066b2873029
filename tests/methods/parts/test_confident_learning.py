"""What confident learning must do for any labels and probabilities."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.methods.ac_mt.confident_learning import (
    _smallest,
    class_thresholds,
    confident_joint,
    keep_one_right,
    label_issues,
    round_rows,
)

few = settings(max_examples=25, deadline=None)
seeds, classes = st.integers(0, 10**6), st.integers(2, 5)
filters = st.sampled_from(["both", "prune_by_class", "prune_by_noise_rate"])


def random(seed: int, k: int, shape: tuple[int, ...] = (2, 9, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels that mostly follow the probabilities."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn((shape[0], k, *shape[1:]), generator=generator) * 2
    labels = (z + torch.randn(z.shape, generator=generator)).argmax(1)
    return labels, z.softmax(1)


@few
@given(seeds, classes, filters)
def test_flags_only_where_the_other_classifier_disagrees(seed, k, by):
    labels, p = random(seed, k)
    flagged = label_issues(labels, p, by)
    assert flagged.shape == labels.shape
    assert not (flagged & (labels == p.argmax(1))).any()


@few
@given(seeds, classes, filters)
def test_permuting_voxels_permutes_the_flags(seed, k, by):
    labels, p = random(seed, k, (150,))
    order = torch.randperm(150, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(label_issues(labels[order], p[order], by), label_issues(labels, p, by)[order])


@few
@given(seeds, st.integers(2, 4), filters)
def test_renaming_classes_changes_nothing_else(seed, k, by):
    labels, p = random(seed, k, (400,))
    names = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    renamed = torch.empty_like(p)
    renamed[:, names] = p
    joint, other = confident_joint(labels, p), confident_joint(names[labels], renamed)
    if not torch.equal(joint, other[names][:, names]):
        return  # equal fractions were rounded in the order of the classes
    assert torch.equal(label_issues(names[labels], renamed, by), label_issues(labels, p, by))


@few
@given(seeds, classes)
def test_both_is_the_intersection(seed, k):
    labels, p = random(seed, k)
    by_class, by_rate = (label_issues(labels, p, f) for f in ("prune_by_class", "prune_by_noise_rate"))
    assert torch.equal(label_issues(labels, p), by_class & by_rate)
    if k == 2:
        assert torch.equal(by_class, by_rate)


@few
@given(seeds, classes)
def test_the_joint_counts_every_voxel_once(seed, k):
    labels, p = random(seed, k)
    joint = confident_joint(labels, p)
    assert joint.dtype == torch.int64
    assert torch.equal(joint.sum(1), torch.bincount(labels.flatten(), minlength=k))
    thresholds = class_thresholds(labels, p)
    for c in range(k):
        member = labels == c
        expected = p[:, c][member].mean() if member.any() else torch.tensor(torch.inf)
        torch.testing.assert_close(thresholds[c], expected)


@few
@given(seeds, st.integers(3, 5), filters)
def test_a_class_without_labels_takes_no_part(seed, k, by):
    labels, p = random(seed, k)
    labels = labels.where(labels != 1, 0)
    assert class_thresholds(labels, p)[1] == torch.inf
    joint = confident_joint(labels, p)
    assert joint[:, 1].sum() == 0
    assert joint[1].sum() == 0
    assert not (label_issues(labels, p, by) & (labels == p.argmax(1))).any()


@few
@given(classes, filters)
def test_a_single_class_has_no_issues(k, by):
    p = torch.randn(2, k, 30).softmax(1)
    assert not label_issues(torch.full((2, 30), k - 1), p, by).any()


@few
@given(seeds)
def test_half_precision_is_computed_in_float32(seed):
    labels, p = random(seed, 3)
    assert torch.equal(label_issues(labels, p.bfloat16()), label_issues(labels, p.bfloat16().float()))


@pytest.mark.parametrize("rank", [1, 2, 300, 999, 5000, 15_000, 20_000])
@pytest.mark.parametrize("kind", ["random", "rising", "equals", "sample misleads"])
def test_a_cut_is_the_value_of_its_rank(kind, rank):
    n = 20_000
    values = {
        "random": torch.randn(n, generator=torch.Generator().manual_seed(0)),
        "rising": torch.linspace(-1, 1, n),
        "equals": (torch.arange(n) * 7919 % n % 5).float(),
        "sample misleads": (torch.arange(n) % 31 > 0).float() + torch.linspace(0, 0.5, n),
    }[kind]
    assert _smallest(values, rank) == values.sort().values[rank - 1]
    assert _smallest(-values, rank) == (-values).sort().values[rank - 1]


@pytest.mark.parametrize(
    ("row", "rounded"),
    [
        ([1.4, 1.4, 1.2], [1, 2, 1]),  # one is lacking: the last of those that lost most
        ([1.6, 1.6, 0.8], [1, 2, 1]),  # one too many: the first of those that gained most
        ([2.5, 0.5, 0.0], [2, 1, 0]),
        ([3.0, 0.0, 1.0], [3, 0, 1]),
    ],
)
def test_rounding_keeps_the_sum_of_a_row(row, rounded):
    values = torch.tensor([row] * 3, dtype=torch.float64)
    assert round_rows(values).tolist() == [rounded] * 3


def test_a_class_keeps_one_right_voxel():
    joint = torch.tensor([[0, 4, 4], [0, 5, 0], [2, 1, 9]])
    assert keep_one_right(joint).tolist() == [[1, 3, 3], [0, 5, 0], [2, 1, 9]]


def test_a_worked_example():
    """Nine of ten voxels of class 0 are sure; the tenth looks like class 1, and is flagged."""
    p = torch.tensor([[0.9, 0.1]] * 9 + [[0.05, 0.95]] + [[0.2, 0.8]] * 5)
    labels = torch.tensor([0] * 10 + [1] * 5)
    torch.testing.assert_close(class_thresholds(labels, p), torch.tensor([0.815, 0.8]))
    assert confident_joint(labels, p).tolist() == [[9, 1], [0, 5]]
    assert label_issues(labels, p).nonzero().flatten().tolist() == [9]
