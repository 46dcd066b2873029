"""Cross Pseudo Supervision: two networks, each the other's source of labels."""

from __future__ import annotations

from torch import Tensor

from semiseg.losses import cross_entropy
from semiseg.methods._bases import TwoNetworks
from semiseg.methods._facts import Facts, Paper


class CPS(TwoNetworks):
    """Two networks learn from each other's hard predictions.

    ``L_i = 0.5 (CE + Dice)(p_i(x_l), y_l) + w(k) CE(p_i(x_u), argmax p_j(x_u))`` for i = 1, 2 and j = 3 - i.

    Nothing but the first weights and the dropout makes the two differ. Every voxel counts, however unsure the
    other network is of it.

    This is the form of SSL4MIS. The paper has the cross term on labeled scans too, a weight of 1.5 without a
    ramp, and CutMix. The 3D script draws the two networks from different distributions; here both are drawn
    from the network's own.
    """

    facts = Facts(
        title="CPS",
        family="Several networks",
        papers=(Paper("CPS", "Chen et al.", "CVPR", 2021, "arXiv:2106.01226"),),
        networks=2,
        trained=2,
        work=2.0,
    )

    partial = True

    def lesson(self, logits: Tensor, other: Tensor) -> Tensor:
        """Cross-entropy to the other network's classes."""
        return cross_entropy(logits, other.argmax(1))
