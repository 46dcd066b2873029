"""Cross teaching: a convolutional network and a transformer, each the other's source of labels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Unpack

from torch import Tensor

from semiseg.core import NetFactory
from semiseg.losses import dice_loss
from semiseg.methods._bases import TwoNetworks, TwoOptions
from semiseg.methods._facts import Facts, Paper


class CrossTeachingOptions(TwoOptions, total=False):
    """Options of :class:`CrossTeaching`, in the signatures of methods that pass them on."""

    partner: str
    partner_options: Mapping[str, Any] | None


class CrossTeaching(TwoNetworks):
    """A CNN and a transformer teach each other.

    ``L_i = 0.5 (CE + Dice)(p_i(x_l), y_l) + w(k) Dice(p_i(x_u), argmax p_j(x_u))`` for i = 1, 2 and
    j = 3 - i; Dice is that of all classes over the batch.

    ``cps`` with two kinds of networks, and with Dice. A class that the other network finds nowhere is pushed
    to probability 0 everywhere.

    The published transformer is a 2D Swin-UNet of 27 million parameters for 224 x 224 pixels, which begins
    with weights of ImageNet. Here any network can be the partner, in 2D and 3D. It begins with random
    weights: expect a weaker partner and less than the published figures; a run's manifest says so.

    A patch must fit both networks, or it is refused: ``monai:SwinUNETR`` wants multiples of 32, along one
    axis 64 at least; ``monai:UNETR``, which works at the size of the patch alone, multiples of 16.

    Args:
        partner: the second network, by name.
        partner_options: options of the partner, such as ``{feature_size: 48}``.
    """

    facts = Facts(
        title="Cross teaching",
        family="Several networks",
        papers=(Paper("CTCT", "Luo, Hu, Song, Wang & Zhang", "MIDL", 2022, "arXiv:2112.04894"),),
        networks=2,
        trained=2,
        work=2.0,
    )

    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        partner: str = "monai:SwinUNETR",
        partner_options: Mapping[str, Any] | None = None,
        **two: Unpack[TwoOptions],
    ) -> None:
        super().__init__(make_net, partial(make_net, network=partner, **(partner_options or {})), **two)
        name = type(self).__module__.rpartition(".")[2]
        self.deviates(f"{name}: {partner} with random weights, no Swin-UNet with those of ImageNet")

    def lesson(self, logits: Tensor, other: Tensor) -> Tensor:
        """Dice loss to the other network's classes."""
        return dice_loss(logits.float().softmax(1), other.argmax(1))
