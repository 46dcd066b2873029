"""FixMatch as SSL4MIS released it, and our default, which is the paper's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.golden.replay import Answers
from tests.golden.ssl4mis import END, batch_of, said

from semiseg.methods.fixmatch import FixMatch, complementary, concentration, released_pseudo_label


def threshold(v):
    return said(v, "conf_thresh", 0.8)


def test_losses_and_gradients_as_released(golden, caplog):
    v = golden("fixmatch__losses")
    method = FixMatch(
        lambda: Answers(v["logits_weak"], v["logits_strong"]),
        form="released",
        tau=threshold(v),
        weight=float(v["weight"]),
    )
    assert len(caplog.records) == len(method.deviations) == 1
    (update,) = method.step(batch_of(v), END)
    update.loss.backward()
    logs = {name: value.item() for name, value in update.logs.items()}
    assert logs["supervised"] == pytest.approx(float(v["sup"]), rel=1e-5)
    assert logs["complementary"] == pytest.approx(float(v["comp"]), rel=1e-4)
    assert logs["focus"] == pytest.approx(float(v["as_weight"]), rel=1e-4)
    assert logs["consistency"] == pytest.approx(float(v["unsup"]), rel=1e-5)
    assert logs["weight"] == pytest.approx(float(v["weight"]), rel=1e-5)
    assert update.loss.item() == pytest.approx(float(v["loss"]), rel=1e-5)
    weak, strong = method.net.logits
    np.testing.assert_allclose(weak.grad, v["grad_weak"], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(strong.grad, v["grad_strong"], rtol=1e-3, atol=1e-8)


def test_parts_of_the_released_form(golden):
    v = golden("fixmatch__losses")
    n = int(v["labeled_bs"])
    weak, strong = (torch.from_numpy(v[f"logits_{view}"]) for view in ("weak", "strong"))
    np.testing.assert_array_equal(released_pseudo_label(weak[n:], threshold(v)), v["pseudo"])
    kept = torch.from_numpy(v["keep_mask"]).bool().any(1)
    np.testing.assert_array_equal(released_pseudo_label(weak, threshold(v)), weak.argmax(1) * kept)
    focus = concentration(strong.softmax(1))
    assert focus.item() == pytest.approx(float(v["as_weight"]), rel=1e-4)
    assert (focus * complementary(strong, weak)).item() == pytest.approx(float(v["comp"]), rel=1e-4)


def test_our_default_leaves_unsure_voxels_out(golden, caplog):
    v = golden("fixmatch__losses")
    n = int(v["labeled_bs"])
    weak, strong = (torch.from_numpy(v[f"logits_{view}"]) for view in ("weak", "strong"))
    method = FixMatch(lambda: Answers(v["logits_weak"][n:], v["logits_strong"]), tau=0.5)
    (update,) = method.step(batch_of(v), END)
    update.loss.backward()
    assert not caplog.records
    q = weak[n:].softmax(1).amax(1)
    sure = q >= 0.5
    assert 0 < sure.float().mean() < 1
    expected = (F.cross_entropy(strong[n:], weak[n:].argmax(1), reduction="none") * sure).mean()
    assert update.logs["consistency"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert update.logs["sure"].item() == pytest.approx(sure.float().mean().item())
    taught, student = method.net.logits
    assert taught.grad is None
    assert torch.equal(student.grad[n:] != 0, sure[:, None].expand_as(weak[n:]))
