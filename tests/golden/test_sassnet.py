"""SASSNet against the original script: the discriminator, both sides' losses, totals and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.two_tasks import OneClass, make_batch
from torch import nn

from semiseg.core import Clock
from semiseg.methods.parts.critic import Critic, origin_loss
from semiseg.methods.sassnet import SASSNet
from semiseg.schedules import consistency_ramp

UNIT, LENGTH = 150, 40 * 150
"""One step and all of the scripts' ramp."""


def narrow(v, prefix: str, **options) -> Critic:
    """Our critic with the stored weights of the original's, layer by layer in the same order."""
    stored = [torch.from_numpy(v[f"{prefix}__{name}"]) for name in v["names"]]
    dim = stored[0].ndim - 2
    critic = Critic(dim, stored[0].shape[1], stored[2].shape[1], width=int(v["ndf_small"]), **options)
    critic.load_state_dict(dict(zip(critic.state_dict(), stored, strict=True)))
    return critic.eval()


def inputs(v) -> tuple[torch.Tensor, torch.Tensor]:
    """Map and image by the formula in the vector's description."""
    i, j, k = np.meshgrid(*(np.arange(n) for n in (112, 112, 80)), indexing="ij")
    phase = float(v["phase"])
    sdm = np.tanh(np.sin(0.11 * i + 0.07 * j + 0.05 * k + phase))
    image = np.cos(0.03 * i - 0.09 * j + 0.13 * k + phase)
    return tuple(torch.from_numpy(a.astype(np.float32))[None, None] for a in (sdm, image))


def test_parameters_of_the_discriminator(golden):
    v = golden("sassnet__discriminator")
    counts = [p.numel() for p in Critic(3, 1, 1).state_dict().values()]
    assert counts == v["param_counts"].tolist()
    assert sum(counts) == int(v["param_total"]) == int(v["param_total_nih"])
    assert sum(p.numel() for p in Critic(2, 1, 1).parameters()) == int(v["param_total_2d"])


@torch.no_grad()
def test_answers_of_the_discriminator(golden):
    v = golden("sassnet__discriminator")
    sdm, image = inputs(v)
    critic = narrow(v, "w3")
    np.testing.assert_allclose(critic(sdm, image), v["out"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(critic(sdm, torch.zeros_like(image)), v["out_img0"], rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_answers_of_the_2d_discriminator_which_lacks_an_activation(golden):
    v = golden("sassnet__discriminator")
    sdm, image = (x[..., 0] for x in inputs(v))
    published = narrow(v, "w2", activate_sum=False)(sdm, image)
    np.testing.assert_allclose(published, v["out2d"], rtol=1e-4, atol=1e-6)
    assert (narrow(v, "w2")(sdm, image) - published).abs().max() > 1e-3


@pytest.mark.parametrize("side", ["g", "d"])
def test_losses_of_both_sides(golden, side):
    v = golden("sassnet__losses")
    logits = torch.from_numpy(v[f"{side}_logits"]).requires_grad_()
    labeled = len(logits) if side == "g" else int(v["d_target"].sum())
    loss = origin_loss(logits, labeled)
    loss.backward()
    assert loss.item() == pytest.approx(float(v["loss_adv" if side == "g" else "D_loss"]), rel=1e-5)
    np.testing.assert_allclose(logits.grad, v[f"grad_{side}"], rtol=1e-4, atol=1e-7)


class Answering(nn.Module):
    """Gives the stored answers: to the unlabeled samples, or to all."""

    def __init__(self, v) -> None:
        super().__init__()
        self.answers = {len(v[key]): torch.from_numpy(v[key]) for key in ("g_logits", "d_logits")}

    def forward(self, maps: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        assert len(maps) == len(images)
        return self.answers[len(maps)]


def test_loss_terms_and_totals(golden):
    v = golden("sassnet__losses")
    batch = make_batch(v)
    peak = float(v["weight"][-1]) / consistency_ramp(int(v["iters"][-1]), LENGTH, UNIT)
    for k, weight, total in zip(v["iters"], v["weight"], v["loss"], strict=True):
        method = SASSNet(
            lambda heads=None: OneClass(v), weight=peak, absent="zeros", ramp=LENGTH, ramp_unit=UNIT
        )
        method.critic = Answering(v)
        generator, critic = method.step(batch, Clock(int(k), 10**6))
        logs = generator.logs
        assert logs["dice"].item() == pytest.approx(float(v["loss_dice"]), rel=1e-5)
        assert logs["distance"].item() == pytest.approx(float(v["loss_sdf"]), rel=1e-5)
        supervised = logs["dice"].item() + method.distance_weight * logs["distance"].item()
        assert supervised == pytest.approx(float(v["supervised"]), rel=1e-5)
        assert logs["adversarial"].item() == pytest.approx(float(v["loss_adv"]), rel=1e-5)
        assert logs["weight"].item() == pytest.approx(float(weight), rel=1e-5)
        assert generator.loss.item() == pytest.approx(float(total), rel=1e-5)
        assert critic.loss.item() == pytest.approx(float(v["D_loss"]), rel=1e-5)
        assert critic.on == "critic"
