"""Cross pseudo supervision against the original script: losses, pseudo-labels, gradients of both networks."""

from __future__ import annotations

import pytest
import torch
from tests.golden.ssl4mis import require_both, two

from semiseg.losses import cross_entropy
from semiseg.methods.cps import CPS


def test_losses_and_gradients(golden):
    v = golden("cps__losses")
    require_both(*two(CPS, v), v)


def test_each_learns_the_classes_of_the_other(golden):
    v = golden("cps__losses")
    n = int(v["labeled_bs"])
    for mine, other in [(1, 2), (2, 1)]:
        z = torch.from_numpy(v[f"logits{mine}"][n:])
        pseudo = torch.from_numpy(v[f"pseudo{other}"]).long()
        assert torch.equal(torch.from_numpy(v[f"logits{other}"][n:]).argmax(1), pseudo)
        assert cross_entropy(z, pseudo).item() == pytest.approx(float(v[f"pse{mine}"]), rel=1e-5)
