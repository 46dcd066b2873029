"""Whole slices at a fixed size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from semiseg.inference.predictor import (
    nearest_index,
    predict_probabilities,
    predict_slices,
    resize_nearest,
)
from semiseg.settings.config import InferenceConfig


@pytest.mark.parametrize("old", [1, 5, 37, 128, 217])
@pytest.mark.parametrize("new", [2, 20, 32, 101, 256])
def test_samples_are_those_of_scipy(old: int, new: int) -> None:
    # the last sample aside: SciPy reads 0 there when rounding carries the coordinate past the end
    wanted = ndimage.zoom(np.arange(float(old)), new / old, order=0)
    np.testing.assert_array_equal(nearest_index(old, new).numpy()[:-1], wanted[:-1])
    assert nearest_index(old, new)[-1] == old - 1


def test_resizing_commutes_with_argmax() -> None:
    scores = torch.randn(2, 4, 11, 7)
    back = resize_nearest(scores, (32, 32))
    torch.testing.assert_close(
        back.argmax(1), resize_nearest(scores.argmax(1, keepdim=True), (32, 32)).squeeze(1)
    )


def test_slices_of_the_right_size_are_not_resampled() -> None:
    image = torch.rand(1, 3, 16, 16)
    assert resize_nearest(image, (16, 16)) is image
    parts = list(predict_slices(lambda x: torch.cat([x, 1 - x], 1), image, (16, 16), batch=2))
    assert [slab.start for slab in parts] == [0, 2]
    assert torch.equal(torch.cat([slab.probabilities for slab in parts], 1)[:1], image)


def test_slice_size_is_a_setting_of_the_predictor() -> None:
    network = torch.nn.Conv2d(1, 2, 1)
    seen = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    image = torch.randn(1, 3, 10, 14)
    found = predict_probabilities(
        [network], image, dim=2, patch=(8, 8), config=InferenceConfig(slice_size=(32, 32))
    )
    assert seen == [(3, 1, 32, 32)]
    with torch.no_grad():
        wanted = network(image.transpose(0, 1)).softmax(1)
    torch.testing.assert_close(found.transpose(0, 1), wanted)  # voxel-wise: resizing there and back is exact
