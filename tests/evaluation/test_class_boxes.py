"""The boxes of classes: one pass or many, the same boxes; and metrics of a class do not see the others."""

from __future__ import annotations

import numpy as np
import pytest

from semiseg.evaluation.case import class_boxes, evaluate
from semiseg.evaluation.surface import joint_box


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16])
@pytest.mark.parametrize("shape", [(20, 16, 12), (30, 25)])
def test_one_pass_finds_the_boxes_of_many(dtype, shape) -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 400, shape) * (rng.random(shape) < 0.05) for _ in range(2))
    first, second = np.asfortranarray(first.astype(dtype)), second.astype(dtype)
    values = [1, 5, 77, 200, 255, 399]
    found = class_boxes(first, second, values)
    assert found == {value: joint_box(first == value, second == value) for value in values}


@pytest.mark.parametrize("values", [[1, 2, 100_000], [-3, 1, 2], [1, 2, 3]])
def test_odd_values_and_empty_maps(values) -> None:
    first = np.zeros((6, 6, 6), np.int64)
    second = first.copy()
    assert class_boxes(first, second, values) == dict.fromkeys(values)
    first[1, 2, 3] = second[4, 4, 4] = values[0]
    found = class_boxes(first, second, values)
    assert found[values[0]] == (slice(1, 5), slice(2, 5), slice(3, 5))
    assert found[values[1]] is None


def test_a_class_scores_the_same_alone_and_among_others() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 6, (12, 14, 9)).astype(np.uint8)
    guess = np.where(rng.random(truth.shape) < 0.7, truth, 0).astype(np.uint8)
    labels = {str(k): k for k in range(1, 8)}
    together = evaluate(guess, truth, (1.0, 1.0, 2.0), labels)
    for name, value in labels.items():
        alone = evaluate(guess, truth, (1.0, 1.0, 2.0), {name: value})[name]
        assert together[name] == pytest.approx(alone, nan_ok=True)
