"""MC-Net and MC-Net+: decoders that up-sample in different ways sharpen each other's predictions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import dice_loss, mutual_consistency
from semiseg.losses.agreement import Sharpening
from semiseg.methods._bases import Ramped, WithMain
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.branches import Branches, all_logits, different_decoders
from semiseg.settings.options import Amount, Length, Positive

DiceForm = Literal["la", "acdc", "acdc_released"]


class MCNet(Ramped, WithMain):
    """Decoders learn from each other's sharpened predictions.

    ``L = a sum_i Dice(p_i(x_l), y_l) + w(k) sum_{i != j} mean (p_i - q_j)^2`` with all scans in the second
    term, p_i the softmax of decoder i and ``q = p^(1/T) / (p^(1/T) + (1 - p)^(1/T))`` its sharpened form.

    The decoders double the resolution in different ways: learned, linear, nearest. Where they disagree the
    network is unsure, and the only way to agree is to be sure. No gradient is stopped. Where a network knows
    fewer ways (`semiseg networks`) the further decoders differ by their first weights. Prediction uses the
    network with its own decoder, as published. The work is that of the V-Net; three decoders make it 3.4.

    Each class is sharpened against the rest, which gives no distribution for more than two classes;
    ``sharpening="classes"`` takes all classes together, which is the same for two. The 2D code's Dice lacks
    its factor of 2, so that a perfect prediction costs 0.5 and every gradient is half as large. Cross-entropy
    has no part in the loss.

    Args:
        make_net: returns a fresh network, which must be split into encoder and decoder.
        weight: w_max, the weight of the mutual term at the end of the ramp (0.1 in 2D).
        dice_weight: a (1.0 in 2D).
        decoders: 2 is MC-Net, 3 MC-Net+; the 2D code has 4, too.
        temperature: T of the sharpening.
        sharpening: of ``elements``, each class against the rest, or over all ``classes``.
        dice: ``la``, foreground and p in the denominator; ``acdc``, all classes and p squared;
            ``acdc_released``, that without the factor 2.
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run (published: 40 units of
            150 of 15,000 in 3D, the whole run in 2D).
    """

    facts = Facts(
        title="MC-Net",
        family="Several heads or decoders",
        papers=(
            Paper("MC-Net", "Wu et al.", "MICCAI", 2021, "doi:10.1007/978-3-030-87196-3_28"),
            Paper("MC-Net+", "", "Medical Image Analysis", 2022, "doi:10.1016/j.media.2022.102530"),
        ),
        networks=1,
        trained=1,
        beside="a decoder",
        work=2.2,
    )

    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 1.0,
        dice_weight: Amount = 0.5,
        decoders: Literal[2, 3, 4] = 2,
        temperature: Positive = 0.1,
        sharpening: Literal["elements", "classes"] = "elements",
        dice: Literal["la", "acdc", "acdc_released"] = "la",
        ramp: Length | None = None,
        ramp_unit: Length = 1,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp, ramp_unit=ramp_unit)
        main = make_net()
        self.net = Branches(main, different_decoders(make_net, main, decoders - 1), "mc_net")
        self.dice_weight, self.temperature = dice_weight, temperature
        self.sharpening: Sharpening = sharpening
        self.dice: DiceForm = dice
        if sharpening == "classes":
            self.deviates("mc_net: predictions are sharpened over all classes together, unlike published")
        if dice == "acdc_released":
            self.deviates("mc_net: Dice without its factor 2, as released", as_published=True)

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One forward of all decoders on [x_l, x_u], one update."""
        n = len(batch.x_l)
        answers = all_logits(self.net(torch.cat([batch.x_l, batch.x_u["weak"]])))
        supervised = torch.stack([self.supervised(z[:n], batch.y_l) for z in answers]).sum()
        consistency = mutual_consistency(answers, temperature=self.temperature, form=self.sharpening)
        yield self.total(self.dice_weight * supervised, consistency, t)

    def supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        """The Dice term of one decoder."""
        p = logits.float().softmax(1)
        if self.dice == "la":
            return dice_loss(p, target, include_background=False, squared=False, smooth=1e-8)
        loss = dice_loss(p, target, smooth=1e-10)
        return 0.5 + 0.5 * loss if self.dice == "acdc_released" else loss
