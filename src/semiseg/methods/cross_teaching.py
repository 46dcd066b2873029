"""Cross teaching: a convolutional network and a transformer, each the other's source of labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from semiseg.core import NetFactory
from semiseg.losses import dice_loss
from semiseg.methods._two_networks import TwoNetworks
from semiseg.option_values import Amount, Length


class CrossTeaching(TwoNetworks):
    """A network and a transformer learn from labels and from each other's classes on unlabeled scans.

    ``L_i = 0.5 (CE + Dice)(p_i(x_l), y_l) + w(k) Dice(p_i(x_u), argmax p_j(x_u))`` for i = 1, 2 and
    j = 3 - i; Dice is that of all classes over the batch.

    Paper: CTCT, Luo, Hu, Song, Wang & Zhang, MIDL 2022, arXiv:2112.04894.
    Networks: 2 (2 trained). Views: weak. Work: 2.0.

    ``cps`` with two kinds of networks, and with Dice. A class that the other network finds nowhere is pushed
    to probability 0 everywhere.

    The published transformer is a 2D Swin-UNet of 27 million parameters for 224 x 224 pixels, which begins
    with weights of ImageNet. Here any network can be the partner, in 2D and 3D. It begins with random
    weights: expect a weaker partner and less than the published figures; a run's manifest says so.

    A patch must fit both networks, or it is refused: ``monai:SwinUNETR`` wants multiples of 32, along one
    axis 64 at least; ``monai:UNETR``, which works at the size of the patch alone, multiples of 16.

    Args:
        make_net: returns a fresh network.
        partner: the second network, by name.
        partner_options: options of the partner, such as ``{feature_size: 48}``.
        weight: w_max, the weight of the cross term at the end of the ramp.
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run, as published (200
            units of 150).
        ramp_unit: the ramp moves in stairs of this many iterations (150 in the published codes).
        predict_with: the exported network: the ``first`` (published), the ``second``, or the ``average`` of
            their probabilities, which takes as long as both.
        include_background: count class 0 in the Dice term of the labeled scans.
    """

    def __init__(
        self,
        make_net: NetFactory,
        *,
        partner: str = "monai:SwinUNETR",
        partner_options: Mapping[str, Any] | None = None,
        weight: Amount = 0.1,
        ramp: Length | None = None,
        ramp_unit: Length = 1,
        predict_with: Literal["first", "second", "average"] = "first",
        include_background: bool = True,
    ) -> None:
        super().__init__(
            make_net,
            predict_with=predict_with,
            weight=weight,
            ramp=ramp,
            ramp_unit=ramp_unit,
            include_background=include_background,
            partner=partner,
            partner_options=partner_options,
        )
        self.deviates(f"cross_teaching: {partner} with random weights, no Swin-UNet with those of ImageNet")

    def lesson(self, logits: Tensor, other: Tensor) -> Tensor:
        """Dice loss to the other network's classes."""
        return dice_loss(logits.float().softmax(1), other.argmax(1))
