"""UniMatch: two strong views and one disturbed feature stream learn from one weak view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.core import IGNORE, Batch, Clock, NetFactory, Update
from semiseg.losses import dice_ce, dice_loss
from semiseg.methods._bases import WithMain
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.branches import Streams, require_split
from semiseg.methods.parts.critic import without_trace
from semiseg.methods.parts.cutmix import Taught, draw_boxes, paste
from semiseg.methods.parts.mixing import groups, half
from semiseg.methods.parts.prototypes import has_batch_norm
from semiseg.settings.options import Amount, Share


class UniMatch(WithMain):
    """The weak view teaches strong views and dropped features.

    ``L = 1/2 [L_x + a D(p(s1), q1; c1 >= tau) + a D(p(s2), q2; c2 >= tau) + b D(p_drop(w), q; c >= tau)]``
    with ``L_x = 0.5 (CE + Dice)(p(x_l), y_l)`` and D the Dice loss of sure voxels. q and c are class and
    confidence of the weak view w, without gradient. In the strong views s1 and s2 a box of another sample
    was pasted; inside it q1, c1, q2 and c2 are of that sample.

    The medical form of the authors' code, which is for 2D slices: the unlabeled terms are Dice alone, where
    natural images have cross-entropy (``unlabeled_loss="ce"``). In 3D boxes are cut along all three axes.
    Each unlabeled sample has a partner, another one to paste from, so a step reads twice as many as it learns
    from. The partner is asked in eval mode, the weak view in train mode as part of the pass that learns, as
    published (``pseudo_mode``). Half of the encoder's maps' channels are dropped, each map and sample by
    itself, in the same pass of the decoder; without batch norm those of the labeled images, which nobody
    reads, are left out, and the work is 2.4.

    A Dice loss has a gradient of full size however few voxels are sure: watch ``sure``. A class of which the
    network is never sure can vanish; with many or small structures a tau of 0.8 or ``ce`` are safer.

    Strong views are those of the run's augmentation, where the code has color jitter and blur of 8-bit
    images. The published figures are of the epoch that is best on validation and test scans together; ours
    are not chosen so.

    Args:
        make_net: returns a fresh network, which must be split into encoder and decoder.
        tau: confidence from which a voxel counts.
        strong_weight: a, of each strong view.
        feature_weight: b, of the disturbed feature stream; 0 leaves it out, and any network will do.
        feature_dropout: share of channels that are dropped.
        cutmix: chance of a box in a strong view.
        unlabeled_loss: ``dice``, or ``ce``: cross-entropy of sure voxels, averaged over all.
        pseudo_mode: ``train``, or ``eval``: the weak view gets a pass of its own, too.
    """

    facts = Facts(
        title="UniMatch",
        family="Views and mixing",
        papers=(Paper("UniMatch", "Yang, Qi, Feng, Zhang & Shi", "CVPR", 2023, "arXiv:2208.09910"),),
        networks=1,
        trained=1,
        views=("weak", "strong", "strong2"),
        work=2.7,
    )

    views = facts.views
    partial = True
    unlabeled_per_image = 2

    def __init__(
        self,
        make_net: NetFactory,
        *,
        tau: Share = 0.95,
        strong_weight: Amount = 0.25,
        feature_weight: Amount = 0.5,
        feature_dropout: Share = 0.5,
        cutmix: Share = 0.5,
        unlabeled_loss: Literal["dice", "ce"] = "dice",
        pseudo_mode: Literal["train", "eval"] = "train",
    ) -> None:
        super().__init__()
        net = make_net()
        if feature_weight:
            require_split(net, "unimatch")
        self.net = Streams(net)
        self.tau, self.strong_weight, self.feature_weight = tau, strong_weight, feature_weight
        self.rates = (feature_dropout,) if feature_weight else ()
        self.cutmix, self.unlabeled_loss, self.pseudo_mode = cutmix, unlabeled_loss, pseudo_mode

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """The partner's classes, one pass of [x_l, weak], one of both strong views, one update."""
        n, count = len(batch.x_l), half(len(batch.x_u["weak"]))
        views = {name: groups(x, count) for name, x in batch.x_u.items()}
        weak, partner = views["weak"]
        taught = self.look(partner)
        shape, device = weak.shape[2:], weak.device
        boxes = [draw_boxes(count, shape, chance=self.cutmix, device=device) for _ in range(2)]

        first = 0 if has_batch_norm(self.net) else n
        answer = self.net(torch.cat([batch.x_l, weak]), self.rates, first)
        strong = [paste(*views[name], b) for name, b in zip(("strong", "strong2"), boxes, strict=True)]
        learned = self.net(torch.cat(strong)).logits.split(count)
        own = self.look(weak) if self.pseudo_mode == "eval" else Taught.of(answer.logits[n:])

        supervised = dice_ce(answer.logits[:n], batch.y_l)
        lessons = [self.lesson(z, own.pasted(taught, b)) for z, b in zip(learned, boxes, strict=True)]
        logs = {"supervised": supervised, "strong": lessons[0], "strong2": lessons[1]}
        total = supervised + self.strong_weight * (lessons[0] + lessons[1])
        for z in answer.heads.values():
            logs["features"] = self.lesson(z[n - first :], own)
            total = total + self.feature_weight * logs["features"]
        logs["sure"] = (own.confidence >= self.tau).float().mean()
        yield Update(0.5 * total, logs=logs)

    def look(self, x: Tensor) -> Taught:
        """Classes and confidences of images in eval mode."""
        with without_trace(self.net):
            return Taught.of(self.net(x).logits)

    def lesson(self, logits: Tensor, taught: Taught) -> Tensor:
        """The loss of logits (B, K, *S) where the teaching is sure; 0 where it nowhere is."""
        target = taught.sure(self.tau)
        if self.unlabeled_loss == "dice":
            return dice_loss(logits.float().softmax(1), target)
        return F.cross_entropy(logits.float(), target, ignore_index=IGNORE, reduction="none").mean()
