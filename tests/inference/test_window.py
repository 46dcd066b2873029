"""Sliding windows: exact where theory says exact, whole where it says whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from semiseg.errors import UsageError
from semiseg.inference.window import axis_weight, slabs, sliding_window, window_starts


def conv(dim: int, kernel: int, channels: int = 2, classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    layer = (nn.Conv2d, nn.Conv3d)[dim - 2](channels, classes, kernel, padding=kernel // 2)
    return layer.requires_grad_(False)


@settings(max_examples=15, deadline=None)
@given(
    size=st.lists(st.integers(1, 14), min_size=2, max_size=3),
    data=st.data(),
    weighting=st.sampled_from(["gaussian", "uniform"]),
    batch=st.integers(1, 5),
)
def test_a_voxelwise_network_gives_the_full_softmax_whatever_the_windows(
    size, data, weighting, batch
) -> None:
    patch = tuple(data.draw(st.integers(1, 8)) for _ in size)
    stride = data.draw(st.none() | st.tuples(*(st.integers(1, p) for p in patch)))
    image = torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    network = conv(len(size), 1)
    found = sliding_window(network, image, patch, stride=stride, weighting=weighting, batch=batch)
    torch.testing.assert_close(found, network(image[None]).softmax(1)[0], atol=1e-5, rtol=1e-5)


def test_an_overlap_that_takes_days_is_refused() -> None:
    with pytest.raises(UsageError, match=r"takes 1,030,301 windows of 4x4x4") as caught:
        sliding_window(conv(3, 3), torch.zeros(2, 104, 104, 104), (4, 4, 4), overlap=0.99)
    assert "inference.overlap" in caught.value.hint


def test_stride_equal_to_patch_on_a_multiple_is_tiling() -> None:
    network, image = conv(3, 3), torch.randn(2, 8, 12, 4)
    found = sliding_window(network, image, (4, 6, 4), stride=(4, 6, 4), weighting="uniform", batch=3)
    for i in (0, 4):
        for j in (0, 6):
            tile = network(image[None, :, i : i + 4, j : j + 6]).softmax(1)[0]
            torch.testing.assert_close(found[:, i : i + 4, j : j + 6], tile, atol=1e-6, rtol=0)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_windows_cover_every_voxel_and_stay_inside(overlap: float) -> None:
    size, patch = (37, 20, 8), (16, 11, 8)
    count = torch.zeros(size, dtype=torch.int64)
    starts = window_starts(size, patch, overlap, None)
    for i, j, k in starts:
        assert i + 16 <= 37
        assert j + 11 <= 20
        count[i : i + 16, j : j + 11, k : k + 8] += 1
    assert count.min() >= 1
    assert len(set(starts)) == len(starts)


def test_explicit_strides_start_where_the_published_scripts_start() -> None:
    starts = [s[0] for s in window_starts((175,), (112,), 0.5, (18,))]
    assert starts == [0, 18, 36, 54, 63]


def test_a_volume_smaller_than_the_patch_is_one_centered_window_padded_with_zeros() -> None:
    windows: list[Tensor] = []

    def spy(x: Tensor) -> Tensor:
        windows.append(x)
        return torch.cat([x, -x], 1)

    image = torch.ones(1, 3, 5, 8)
    found = sliding_window(spy, image, (8, 8, 8))
    assert found.shape == (2, 3, 5, 8)
    assert len(windows) == 1
    assert windows[0].sum() == image.sum()
    assert windows[0][0, 0, 2:5, 1:6].eq(1).all()
    assert found[0].allclose(torch.sigmoid(torch.tensor(2.0)))


def test_windows_are_batched_and_the_last_batch_is_partial() -> None:
    sizes = []

    def spy(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return torch.cat([x, -x], 1)

    sliding_window(spy, torch.randn(1, 20, 8, 8), (8, 8, 8), stride=(4, 8, 8), batch=3)
    assert sizes == [3, 1]


def test_slices_share_batches() -> None:
    sizes = []

    def spy(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return torch.cat([x, 1 - x], 1)

    image = torch.rand(1, 7, 6, 6)
    parts = list(slabs(spy, image, (6, 6), batch=4))
    assert sizes == [4, 3]
    assert [slab.start for slab in parts] == [0, 4]
    assert torch.equal(torch.cat([slab.probabilities for slab in parts], 1)[:1], image)


def test_no_gradient_is_kept() -> None:
    network = conv(3, 1).requires_grad_(True)
    assert not sliding_window(network, torch.randn(2, 9, 9, 9), (4, 4, 4)).requires_grad


def test_gaussian_weight_peaks_in_the_middle_and_is_never_zero() -> None:
    weight = axis_weight(33, "gaussian")
    assert weight.argmax() == 16
    assert weight.min() > 0
    # a standard deviation of one eighth of the patch
    assert weight[16 + 4] == pytest.approx(float(torch.exp(torch.tensor(-0.5 * (4 / (33 / 8)) ** 2))))


@pytest.mark.parametrize(
    ("patch", "options", "word"),
    [
        ((4, 4), {}, "spatial axes"),
        ((4, 0, 4), {}, "at least 1"),
        ((4, 4, 4), {"overlap": 1.0}, "overlap"),
        ((4, 4, 4), {"stride": (5, 4, 4)}, "gaps"),
        ((4, 4, 4), {"stride": (4, 4)}, "stride must be 3"),
    ],
)
def test_sizes_that_do_not_fit_are_told(patch, options, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        sliding_window(conv(3, 1), torch.zeros(2, 8, 8, 8), patch, **options)
