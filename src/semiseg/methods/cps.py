"""Cross Pseudo Supervision: two networks, each the other's source of labels."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from semiseg.core import NetFactory
from semiseg.losses import cross_entropy
from semiseg.methods._two_networks import TwoNetworks
from semiseg.option_values import Amount, Length


class CPS(TwoNetworks):
    """Two networks learn from labels and from each other's hard predictions on unlabeled scans.

    ``L_i = 0.5 (CE + Dice)(p_i(x_l), y_l) + w(k) CE(p_i(x_u), argmax p_j(x_u))`` for i = 1, 2 and j = 3 - i.

    Paper: CPS, Chen et al., CVPR 2021, arXiv:2106.01226.
    Networks: 2 (2 trained). Views: weak. Work: 2.0.

    Nothing but the first weights and the dropout makes the two differ. Every voxel counts, however unsure the
    other network is of it.

    This is the form of SSL4MIS. The paper has the cross term on labeled scans too, a weight of 1.5 without a
    ramp, and CutMix. The 3D script draws the two networks from different distributions; here both are drawn
    from the network's own.

    Args:
        make_net: returns a fresh network.
        weight: w_max, the weight of the cross term at the end of the ramp.
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run, as published (200
            units of 150).
        ramp_unit: the ramp moves in stairs of this many iterations (150 in the published codes).
        predict_with: the exported network: the ``first`` (published), the ``second``, or the ``average`` of
            their probabilities, which takes twice as long.
        include_background: count class 0 in the Dice term.
    """

    def __init__(
        self,
        make_net: NetFactory,
        *,
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
        )

    def lesson(self, logits: Tensor, other: Tensor) -> Tensor:
        """Cross-entropy to the other network's classes."""
        return cross_entropy(logits, other.argmax(1))
