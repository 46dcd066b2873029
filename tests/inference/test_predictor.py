"""The predictor: ensembles, mirroring, slices, modes restored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from semiseg.core import SegOutput
from semiseg.errors import UsageError
from semiseg.inference.predictor import evaluating, mirrored_views, predict_probabilities
from semiseg.settings.config import InferenceConfig


class Net(nn.Module):
    """A convolution, or one that also depends on its batch while training."""

    def __init__(self, dim: int, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        layers = (nn.Conv2d, nn.BatchNorm2d) if dim == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.conv = layers[0](1, 3, 3, padding=1)
        self.norm = layers[1](3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> SegOutput:
        return SegOutput(self.drop(self.norm(self.conv(x))))


def expected(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return network.eval()(x).logits.softmax(1)


def test_an_ensemble_is_the_mean_of_probabilities() -> None:
    networks, image = [Net(3, 0), Net(3, 1)], torch.randn(1, 8, 8, 8)
    found = predict_probabilities(networks, image, dim=3, patch=(8, 8, 8))
    wanted = (expected(networks[0], image[None]) + expected(networks[1], image[None]))[0] / 2
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("axes", "flips"),
    [
        ((), [()]),
        ((0,), [(), (2,)]),
        ((0, 2), [(), (2,), (4,), (2, 4)]),
        ((0, 1, 2), [(), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4)]),
    ],
)
def test_mirroring_is_the_mean_over_the_flips_of_the_named_axes_flipped_back(axes, flips) -> None:
    network, image = Net(3), torch.randn(1, 6, 8, 4)
    found = predict_probabilities([network], image, dim=3, patch=(6, 8, 4), mirrored=axes)
    assert mirrored_views(axes) == flips
    views = [expected(network, image[None].flip(f) if f else image[None]) for f in flips]
    wanted = sum(v.flip(f) if f else v for v, f in zip(views, flips, strict=True)) / len(flips)
    torch.testing.assert_close(found, wanted[0])


def test_2d_predicts_every_slice_along_the_first_axis() -> None:
    network, image = Net(2), torch.randn(1, 5, 8, 8)
    found = predict_probabilities([network], image, dim=2, patch=(8, 8))
    assert found.shape == (3, 5, 8, 8)
    torch.testing.assert_close(found.transpose(0, 1), expected(network, image.transpose(0, 1)))


def test_a_network_in_training_is_given_back_as_it_came() -> None:
    network = Net(3)
    network.norm.eval()  # frozen on purpose
    before = {k: v.clone() for k, v in network.state_dict().items()}
    predict_probabilities([network], torch.randn(1, 8, 8, 8), dim=3, patch=(8, 8, 8))
    assert network.training
    assert network.drop.training
    assert not network.norm.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_modes_come_back_after_an_error_too() -> None:
    network = Net(2)
    network.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), evaluating([network]):
        network(torch.zeros(2, 1, 4, 4))
    assert network.drop.training


def test_bf16_is_close_and_comes_out_as_float32() -> None:
    network, image = Net(3), torch.randn(1, 8, 8, 8)
    exact = predict_probabilities([network], image, dim=3, patch=(8, 8, 8))
    found = predict_probabilities([network], image, dim=3, patch=(8, 8, 8), precision="bf16")
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)


def test_window_batch_is_obeyed_and_changes_nothing() -> None:
    network, image = Net(3), torch.randn(1, 13, 9, 8)
    one, many = (
        predict_probabilities(
            [network], image, dim=3, patch=(4, 4, 4), config=InferenceConfig(window_batch=n)
        )
        for n in (1, 16)
    )
    torch.testing.assert_close(one, many)


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((9, 8, 8), InferenceConfig()),  # a little longer than the patch
        ((5, 20, 8), InferenceConfig()),  # shorter along one axis, longer along another
        ((9, 9, 9), InferenceConfig(stride=(1, 1, 1))),
        ((9, 8, 8), InferenceConfig(overlap=0.25, window_batch=1)),
    ],
)
def test_every_window_has_the_size_of_the_training_patch(size, settings) -> None:
    network, seen = Net(3), []
    network.divisor = (1, 1, 1)
    network.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    predict_probabilities([network], torch.randn(1, *size), dim=3, patch=(8, 8, 8), config=settings)
    assert set(seen) == {(8, 8, 8)}


@pytest.mark.parametrize(
    ("networks", "shape", "config", "precision", "word"),
    [
        ([], (1, 8, 8, 8), None, "32", "at least one network"),
        ([Net(3)], (8, 8, 8), None, "32", "wants an image"),
        ([Net(3)], (1, 8, 8, 8), InferenceConfig(slice_size=(8, 8)), "32", "2D plans"),
        ([Net(3)], (1, 8, 8, 8), None, "half", "precision"),
    ],
)
def test_wrong_use_is_told(networks, shape, config, precision: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        predict_probabilities(
            networks, torch.zeros(shape), dim=3, patch=(8, 8, 8), config=config, precision=precision
        )
