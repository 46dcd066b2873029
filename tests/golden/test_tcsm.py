"""TCSM against the original functions and the original trainer with its gradient restored."""

from __future__ import annotations

import numpy as np
import torch

from semiseg.parts.symmetries import Symmetries, flip, turns
from semiseg.parts.zoom import Zoom


def turned(rot, flipped):
    """The vectors' symmetries: a flip of the rows, then quarter turns."""
    rows = flip(2, 0)
    return Symmetries(
        [
            rows.then(turns(2, r)) if b else turns(2, r)
            for r, b in zip(rot.tolist(), flipped.tolist(), strict=True)
        ]
    )


def zoomed(sides):
    return Zoom([(n, n) for n in sides.tolist()])


def test_turns_and_flips(golden):
    v = golden("tcsm__rot_flip")
    symmetries = turned(v["rot"], v["flip"])
    forward = symmetries.apply(torch.from_numpy(v["x"]))
    np.testing.assert_array_equal(forward, v["forward"])
    np.testing.assert_array_equal(symmetries.invert(forward), v["back_of_forward"])
    np.testing.assert_array_equal(symmetries.invert(torch.from_numpy(v["logits"])), v["logits_back"])


def test_scaling(golden):
    v = golden("tcsm__scale")
    zoom = zoomed(v["scale"])
    forward = zoom.apply(torch.from_numpy(v["x"]))
    np.testing.assert_allclose(forward, v["forward"], rtol=1e-3, atol=1e-4)
    back = zoom.invert(torch.from_numpy(v["logits"]))
    np.testing.assert_allclose(back, v["logits_back"], rtol=1e-3, atol=1e-4)


def test_the_border_is_masked_sample_by_sample(golden):
    v = golden("tcsm__scale")
    student = torch.from_numpy(v["student_logits"])
    small = student[: len(v["scale_small"])]
    masked = small.where(zoomed(v["scale_small"]).valid(small), 0.0)
    np.testing.assert_array_equal(masked, v["masked_small_only"])

    ours = student.where(zoomed(v["scale"]).valid(student), 0.0)
    np.testing.assert_array_equal(student, v["masked"])  # the original: one large sample unmasks all
    edge = int(v["S"])
    for sample, given, side in zip(ours, student, v["scale"].tolist(), strict=True):
        border = max(edge - side, 0) // 2
        outside = torch.ones(edge, edge, dtype=torch.bool)
        outside[border : edge - border, border : edge - border] = False
        assert torch.equal(sample, given.where(~outside, 0.0))
