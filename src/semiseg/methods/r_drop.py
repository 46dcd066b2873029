"""R-Drop with two networks: their distributions are drawn together in both directions."""

from __future__ import annotations

from typing import Literal, Unpack

from torch import Tensor

from semiseg.core import NetFactory
from semiseg.losses import softmax_kl
from semiseg.methods._bases import CommonOptions, TwoNetworks
from semiseg.methods._facts import Facts, Paper
from semiseg.settings.options import Amount, Length


class RDrop(TwoNetworks):
    """Two networks must give the same class probabilities.

    ``L_i = 0.5 (CE + Dice)(p_i(x_l), y_l) + w(k) 0.5 (KL(p_1 || p_2) + KL(p_2 || p_1))(x_u)`` for i = 1, 2.
    KL is averaged over voxels and classes; each network has its own gradient of the term that they share.

    The paper compares two dropout passes of one network. This is the form of SSL4MIS, which has two networks
    instead and a weight of 4.

    Its code takes the softmax along the last axis of the image instead of the classes. So it compares the
    normalized rows of each class map. ``softmax_axis="width"`` is that form.

    Args:
        softmax_axis: of the divergence, ``classes``, or ``width`` (released).
    """

    facts = Facts(
        title="R-Drop",
        family="Several networks",
        papers=(Paper("R-Drop", "Wu et al.", "NeurIPS", 2021, "arXiv:2106.14448"),),
        networks=2,
        trained=2,
        work=2.0,
    )

    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 4.0,
        softmax_axis: Literal["classes", "width"] = "classes",
        ramp: Length | None = None,
        predict_with: Literal["first", "second", "average"] = "first",
        **ramped: Unpack[CommonOptions],
    ) -> None:
        super().__init__(make_net, predict_with=predict_with, weight=weight, ramp=ramp, **ramped)
        self.softmax_axis = softmax_axis
        if softmax_axis == "width":
            self.deviates(
                "r_drop: rows of the image are compared, not class probabilities, as released",
                as_published=True,
            )

    def lesson(self, logits: Tensor, other: Tensor) -> Tensor:
        """Half the sum of the divergences in both directions, averaged over all elements."""
        if self.softmax_axis == "width":
            logits, other = logits.movedim(-1, 1), other.movedim(-1, 1)
        there = softmax_kl(logits, other, reduction="mean")
        back = softmax_kl(other, logits, reduction="mean")
        return 0.5 * (there + back)
