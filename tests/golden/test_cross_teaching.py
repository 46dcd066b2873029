"""Cross teaching against the original script: losses, gradients; the transformer is not the original's."""

from __future__ import annotations

import math

import pytest
from tests.golden.ssl4mis import require_both, two

from semiseg import networks
from semiseg.methods.cross_teaching import CrossTeaching


def test_losses_and_gradients(golden):
    v = golden("ctct__losses")
    require_both(*two(CrossTeaching, v), v)


@pytest.mark.usefixtures("monai")
def test_the_partner_is_another_transformer_of_about_that_size(golden):
    """Ours is not the Swin-UNet: only the size of the recipe's partner is compared with the published one."""
    v = golden("ctct__swin_params")
    wanted = sum(math.prod(n for n in shape if n > 0) for shape in v["shapes"].tolist())
    assert wanted == int(v["n_params"])
    classes = int(v["n_classes"])
    partner = networks.build("monai:SwinUNETR", dim=2, in_channels=1, classes=classes, feature_size=48)
    assert sum(p.numel() for p in partner.parameters()) == pytest.approx(wanted, rel=0.1)
