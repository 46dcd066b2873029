"""Signed distance maps against those of the original codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semiseg.batches.targets import make_targets, signed_distance

VECTORS = ["dtc__sdf_2d", "dtc__sdf_3d", "sassnet__sdf_3d"]


@pytest.fixture(params=["installed", "scipy"])
def transform(request, monkeypatch):
    """Which package computes the distances."""
    if request.param == "installed":
        pytest.importorskip("edt")
    else:
        monkeypatch.setitem(__import__("sys").modules, "edt", None)


@pytest.mark.parametrize("name", VECTORS)
def test_published_form(golden, name, transform):
    v = golden(name)
    ours = make_targets(["sdf_published"], torch.from_numpy(v["mask"]), 2)["sdf_published"]
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours[:, 0], v["sdf"], rtol=1e-6, atol=5e-7)


@pytest.mark.parametrize("name", VECTORS)
def test_only_an_absent_class_differs_in_our_form(golden, name):
    v = golden(name)
    ours = make_targets(["sdf"], torch.from_numpy(v["mask"]), 2)["sdf"][:, 0].numpy()
    for mask, sdf, published in zip(v["mask"], ours, v["sdf"], strict=True):
        if mask.any():
            np.testing.assert_allclose(sdf, published, rtol=1e-6, atol=5e-7)
        else:
            assert (sdf == 1).all()
            assert (published == 0).all()


def test_a_sample_does_not_depend_on_the_others(golden):
    v = golden("sassnet__sdf_3d")
    first = v["sdf_first_only"]
    ours = signed_distance(torch.from_numpy(v["mask"][: len(first)]), 2, absent="zeros")
    np.testing.assert_allclose(ours[:, 0], first, rtol=1e-6, atol=5e-7)
