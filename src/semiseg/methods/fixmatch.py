"""FixMatch: what the network is sure of on a weakly changed scan it must say on a strongly changed one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.errors import UsageError
from semiseg.losses import confidence, confident_pseudo_label, dice_ce
from semiseg.methods._bases import Ramped, RampedOptions
from semiseg.methods._facts import Facts, Paper
from semiseg.settings.options import Share


class FixMatch(Ramped):
    """Confident classes of the weak view label the strong view.

    ``L = 0.5 (CE + Dice)(p(x_l), y_l) + w(k) mean [max q >= tau] CE(p(x_strong), argmax q)`` with
    ``q = p(x_weak)`` without gradient, and the mean over all voxels, sure or not.

    The paper is about classification, with a threshold of 0.95 and a constant weight of 1; here tau is 0.8
    and the weight that of SSL4MIS. A strong view has other intensities on the same voxels. The weak view has
    a pass of its own, in train mode.

    What SSL4MIS released is something else, and ``form="released"`` is that: its threshold is one of
    ``1 - min p / max p``, which with four classes nearly every voxel passes; voxels below it are
    taught to be background instead of being left out; cross-entropy and Dice are not halved; and a term is
    added that pushes the strong view away from the least likely classes of the weak one, on labeled scans
    too. Labeled scans have one view here, which stands for both. Its moving average was never used and is
    left out. A step costs two passes of the whole batch, and regions cannot be trained.

    Args:
        tau: confidence from which a voxel counts.
        form: ``masked``, or ``released``, see above.
    """

    facts = Facts(
        title="FixMatch",
        family="Views and mixing",
        papers=(Paper("FixMatch", "Sohn et al.", "NeurIPS", 2020, "arXiv:2001.07685"),),
        networks=1,
        trained=1,
        views=("weak", "strong"),
        work=1.2,
    )

    views = facts.views
    regions = True
    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        tau: Share = 0.8,
        form: Literal["masked", "released"] = "masked",
        **ramped: Unpack[RampedOptions],
    ) -> None:
        super().__init__(**ramped)
        self.net = make_net()
        self.tau, self.form = tau, form
        if form == "released":
            self.deviates(
                "fixmatch: unsure voxels are taught to be background, as released", as_published=True
            )

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One pass of the weak view, one of the strong view, one update."""
        yield self.masked(batch, t) if self.form == "masked" else self.released(batch, t)

    def masked(self, batch: Batch, t: Clock) -> Update:
        """The student's forward on [x_l, x_strong], taught by one on x_weak without gradient."""
        with torch.no_grad():
            taught = self.net(batch.x_u["weak"]).logits
        n = len(batch.x_l)
        logits = self.net(torch.cat([batch.x_l, batch.x_u["strong"]])).logits
        consistency = confident_pseudo_label(
            logits[n:], taught, threshold=self.tau, activation=self.activation
        )
        sure = (confidence(taught, self.activation) >= self.tau).float().mean()
        return self.total(self.supervised(logits[:n], batch.y_l), consistency, t, sure=sure)

    def released(self, batch: Batch, t: Clock) -> Update:
        """Two forwards of the whole batch; only the supervised term has a gradient into the weak one.

        Raises:
            UsageError: the channels are regions.
        """
        if self.activation == "sigmoid":
            raise UsageError(
                "fixmatch: the released form cannot train regions",
                hint="leave out method.options.form=released",
                code="METHOD_REGIONS",
            )
        n = len(batch.x_l)
        weak = self.net(torch.cat([batch.x_l, batch.x_u["weak"]])).logits
        strong = self.net(torch.cat([batch.x_l, batch.x_u["strong"]])).logits
        pseudo = released_pseudo_label(weak[n:].detach(), self.tau)
        taught = 2.0 * dice_ce(strong[n:], pseudo, include_background=self.include_background)
        focus = concentration(strong.float().softmax(1))
        against = focus * complementary(strong, weak.detach())
        supervised = 2.0 * self.supervised(weak[:n], batch.y_l)
        return self.total(supervised, taught + focus * against, t, complementary=against, focus=focus)


def released_pseudo_label(logits: Tensor, tau: float) -> Tensor:
    """Classes (B, *S): the most likely where ``1 - min p / max p > tau``, else 0, the background."""
    p = logits.float().softmax(1)
    largest, classes = p.max(1)
    return classes * (1.0 - p.amin(1) / largest > tau)


def complementary(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Cross-entropy of ``1 - p`` to the *least* likely class of q, where ``1 - p`` serves as logits.

    Its smallest value is far above 0, since logits in [0, 1] make no class sure.
    """
    return F.cross_entropy(1.0 - logits.float().softmax(1), target_logits.argmin(1))


def concentration(probabilities: Tensor) -> Tensor:
    """One minus the entropy of each class map over its voxels, by the logarithm of their number; a scalar.

    0 where every class is spread evenly over the image, 1 where each is in one voxel; the mean over samples
    and classes.
    """
    maps = probabilities.flatten(2).clamp_min(1e-30)  # 0 log 0 = 0
    log_share = maps.log() - maps.sum(-1, keepdim=True).log()
    entropy = -(log_share.exp() * log_share).sum(-1)
    return 1.0 - entropy.mean() / math.log(maps.shape[-1])
