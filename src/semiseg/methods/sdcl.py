"""SDCL: two different students on images pasted together, corrected where they disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.core import IGNORE, Batch, Clock, NetFactory, Update
from semiseg.losses import masked_mean
from semiseg.methods._bases import Pair, numbered
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.bcp import BCP, BCPOptions, Pasted, RegionDice, Source, paste
from semiseg.methods.parts.mixing import draw_mask
from semiseg.settings.options import Amount


class Corrections(NamedTuple):
    """The two further losses of a student."""

    review: Tensor
    rectify: Tensor


class SDCL(BCP, Pair):
    """BCP with two students that review and unlearn errors.

    ``L_i = BCP_i + sum_x [a mean_D w |p_i - t|^2 / K + b mean_W w CE(p_i, 1/K)]`` for the students i = 1, 2
    over both kinds x of pasted images. t are their labels with the weight w (1, or that of the teacher's). D
    are the voxels where the two students predict different classes, W those of D where student i is wrong.

    Two students of different architecture, a V-Net and ``resvnet`` as published, learn from the same pasted
    images. They have one teacher, the average of the first student; see ``bcp`` for images, stages and the
    options that are the same. The second term is a squared error to the labels. The third is the mean of
    ``-log p`` over all classes, which is smallest where the student finds all equally likely.

    The means divide by the number of voxels and not by the sum of their weights, as released. Both students
    are trained in ``pretrain``, each on the loss of BCP; momentum begins anew after it, where the original
    keeps it. Training continues from the best state of both together, where the original takes the best of
    each.

    The released codes for the left atrium and the pancreas choose their checkpoints by the test scans, three
    times over. The one for ACDC looks at the test list in training; ours does not. Their lists are read in
    one order throughout, so that the same scans are always pasted together; ours are shuffled.

    Args:
        make_net: returns a fresh network, of the first student and the teacher.
        partner: the second student, by name.
        partner_options: options of the partner.
        review_weight: a (0.3 on the pancreas).
        rectify_weight: b (0.1 on the pancreas).
        review_on: the second term is over ``all`` of D (released), or over the ``correct`` voxels of it.
        predict_with: the exported network: the ``first``, the ``second``, or the ``average`` of their
            probabilities, which takes as long as both.
    """

    facts = Facts(
        title="SDCL",
        family="Views and mixing",
        papers=(Paper("SDCL", "Song & Wang", "MICCAI", 2024, "arXiv:2409.16728"),),
        networks=3,
        trained=2,
        work=2.3,
    )

    def __init__(
        self,
        make_net: NetFactory,
        *,
        partner: str = "resvnet",
        partner_options: Mapping[str, Any] | None = None,
        review_weight: Amount = 0.5,
        rectify_weight: Amount = 0.05,
        review_on: Literal["all", "correct"] = "all",
        dice: RegionDice = "la",
        predict_with: Literal["first", "second", "average"] = "average",
        **bcp: Unpack[BCPOptions],
    ) -> None:
        super().__init__(make_net, dice=dice, **bcp)
        self.take(self.net, make_net(network=partner, **(partner_options or {})), predict_with)
        self.review_weight, self.rectify_weight, self.review_on = review_weight, rectify_weight, review_on

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """An update of each student, on the same pasted images."""
        mask = draw_mask(batch.x_l.shape[2:], self.beta, self.region).to(batch.x_l.device, non_blocking=True)
        if t.stage == "pretrain":
            yield from [self.pretrain(batch, mask, on=on) for on in self.trainable]
            return
        images = self.pasted(self.sources(batch.x_l, batch.y_l, batch.x_u["weak"]), mask)
        answers = [self.answers(getattr(self, on), images) for on in self.trainable]
        differ = [(z.argmax(1) != other.argmax(1)) for z, other in zip(*answers, strict=True)]
        yield from [
            self.update(logits, images, differ, mask, on=on)
            for logits, on in zip(answers, self.trainable, strict=True)
        ]

    def pasted(self, sources: Sequence[Source], mask: Tensor) -> list[Pasted]:
        """Labeled images in unlabeled ones, and unlabeled images in labeled ones."""
        a, b, unlabeled_a, unlabeled_b = sources
        return [paste(unlabeled_a, b, mask), paste(a, unlabeled_b, mask)]

    def update(
        self,
        logits: Sequence[Tensor],
        images: Sequence[Pasted],
        differ: Sequence[Tensor],
        mask: Tensor,
        *,
        on: str,
    ) -> Update:
        """Of one student: its loss on both kinds of pasted images, and its corrections."""
        kinds = list(zip(logits, images, strict=True))
        mixed = torch.stack([self.mixed(z, pasted, mask) for z, pasted in kinds]).sum()
        terms = [self.correct(z, pasted, d, mask) for (z, pasted), d in zip(kinds, differ, strict=True)]
        review, rectify = (torch.stack(parts).sum() for parts in zip(*terms, strict=True))
        disagree = torch.stack([d.float().mean() for d in differ]).mean()
        parts = {"pasted": mixed, "review": review, "rectify": rectify, "disagree": disagree}
        loss = mixed + self.review_weight * review + self.rectify_weight * rectify
        return Update(loss, on=on, logs=numbered(on, parts))

    def correct(self, logits: Tensor, pasted: Pasted, differ: Tensor, mask: Tensor) -> Corrections:
        """Both terms of one student on one kind of images, given where (B, *S) the students differ."""
        host, patch = pasted.host, pasted.patch
        target, weight = torch.where(mask, host.y, patch.y), torch.where(mask, host.weight, patch.weight)
        log_p = logits.float().log_softmax(1)
        known = target != IGNORE
        differ, right = differ & known, log_p.argmax(1) == target
        y = F.one_hot(target.where(known, 0), log_p.shape[1]).movedim(-1, 1)
        reviewed = differ & right if self.review_on == "correct" else differ
        review = masked_mean(weight * (log_p.exp() - y).square(), reviewed.unsqueeze(1))
        rectify = masked_mean(weight * -log_p, (differ & ~right).unsqueeze(1))
        return Corrections(review, rectify)
