"""The uncertainty map."""

from __future__ import annotations

import pytest
import torch

from semiseg.inference.predictor import entropy


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_certain_is_zero_and_uniform_is_one(classes: int) -> None:
    sure = torch.zeros(classes, 4, 5)
    sure[1] = 1
    assert torch.equal(entropy(sure), torch.zeros(4, 5))
    torch.testing.assert_close(entropy(torch.full((classes, 4, 5), 1 / classes)), torch.ones(4, 5))


def test_a_known_value_along_another_axis() -> None:
    probabilities = torch.tensor([[0.25, 0.75]])
    assert entropy(probabilities, dim=1).item() == pytest.approx(0.8112781, abs=1e-6)  # bits


def test_one_class_is_always_certain() -> None:
    assert entropy(torch.ones(1, 3)).tolist() == [0, 0, 0]
