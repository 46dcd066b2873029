"""Inference against recorded results of the published test scripts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from semiseg.inference.predictor import predict_probabilities
from semiseg.inference.window import sliding_window
from semiseg.settings.config import InferenceConfig


def stub(layer: type[nn.Module], recorded: dict[str, np.ndarray]) -> nn.Module:
    classes, channels, kernel = recorded["weight"].shape[:3]
    network = layer(channels, classes, kernel, padding=kernel // 2)
    network.load_state_dict({k: torch.from_numpy(recorded[k]) for k in ("weight", "bias")})
    return network


@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("batch", [1, 4])
def test_sliding_window(golden, case: int, batch: int) -> None:
    recorded = golden("vnet__sliding_window")
    in_plane, along = (int(s) for s in recorded[f"case{case}__stride_xy_z"])
    found = sliding_window(
        stub(nn.Conv3d, recorded),
        torch.from_numpy(recorded[f"case{case}__image"])[None],
        tuple(int(p) for p in recorded[f"case{case}__patch"]),
        stride=(in_plane, in_plane, along),
        weighting="uniform",
        batch=batch,
    )
    np.testing.assert_allclose(found.numpy(), recorded[f"case{case}__score_map"], atol=1e-6, rtol=0)
    np.testing.assert_array_equal(found.argmax(0).numpy(), recorded[f"case{case}__label_map"])


def test_slice_inference(golden) -> None:
    recorded = golden("unet2d__slice_inference")
    height, width = (int(n) for n in recorded["patch_size"])
    found = predict_probabilities(
        [stub(nn.Conv2d, recorded)],
        torch.from_numpy(recorded["volume"])[None],
        dim=2,
        patch=(height, width),
        config=InferenceConfig(slice_size=(height, width)),
    )
    np.testing.assert_array_equal(found.argmax(0).numpy(), recorded["prediction"])
