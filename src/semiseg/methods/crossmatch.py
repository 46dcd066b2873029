"""CrossMatch: weakly and strongly disturbed feature streams of a weak and a strong view teach one another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import cross_entropy, dice_loss
from semiseg.methods._bases import WithMain
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.branches import Streams, require_split
from semiseg.methods.parts.cutmix import Taught, draw_boxes, integer, paste, uniform
from semiseg.methods.parts.mixing import groups, half
from semiseg.methods.parts.prototypes import has_batch_norm
from semiseg.settings.options import Amount, Length, Positive, Share


class CrossMatch(WithMain):
    """The weak view teaches disturbed features and strong views.

    ``L = 1/2 [L_x + a D(s1; q1) + a D(s2; q2) + d K]``, ``K = (1 - e) K_t + e K_s``, ``K_t = 1/4 [D(w'; q) +
    D(w''; q) + D(s2'; q2) + D(s2''; q2)]``, ``K_s = 1/2 [D(s2'; q2') + D(s2''; q2'')]`` with ``L_x = 0.5 (CE
    + D)(x_l, y_l)``, D the Dice loss of sure voxels. ' marks weakly and '' strongly disturbed features. w is
    the weak view, s1 and s2 are the cut-mixed strong ones. q are the classes of w; q1, q2, q2' and q2'' are
    mixed with the partner's.

    UniMatch with two feature streams instead of one: in the weak one a quarter, in the strong one three
    quarters of the channels of each of the encoder's maps are dropped. Everything is in train mode, the
    passes of the partner, from which boxes are pasted, too. They are repeated with labeled images beside them
    as published; without batch norm, where that changes nothing, the partner has one pass and the work is
    3.3.

    The released code for the left atrium multiplies its threshold by ln 2 from the second step on. Nearly
    every voxel of two classes is then sure (``threshold="released"``). It also swaps the axes of its boxes,
    which cuts half of them off (``boxes="released"``). Its figures on ACDC are of the validation scans.
    Strong views are those of the run's augmentation.

    Args:
        make_net: returns a fresh network, which must be split into encoder and decoder.
        tau: confidence from which a voxel counts (0.95 on ACDC).
        strong_weight: a, of each strong view.
        distillation_weight: d (1 on the left atrium).
        eta: e, the share of what the disturbed streams teach.
        gap: the streams drop (1 - gap) / 2 and (1 + gap) / 2 of the channels.
        cutmix: chance of a box in a strong view.
        include_background: count class 0 in the Dice terms (not so on the left atrium).
        smooth: of the Dice terms (1e-4 on ACDC).
        threshold: ``fixed``, or ``released``, see above.
        horizon: iterations over which the released threshold rises.
        boxes: ``fitted``, or ``released``, see above.
    """

    facts = Facts(
        title="CrossMatch",
        family="Views and mixing",
        papers=(
            Paper("CrossMatch", "Zhao, Wang & Ding", "IEEE JBHI", 2024, "doi:10.1109/JBHI.2024.3463711"),
        ),
        networks=1,
        trained=1,
        views=("weak", "strong", "strong2"),
        work=3.7,
    )

    views = facts.views
    partial = True
    unlabeled_per_image = 2

    def __init__(
        self,
        make_net: NetFactory,
        *,
        tau: Share = 0.75,
        strong_weight: Amount = 0.25,
        distillation_weight: Amount = 0.5,
        eta: Share = 0.3,
        gap: Share = 0.5,
        cutmix: Share = 0.5,
        include_background: bool = True,
        smooth: Positive = 1e-5,
        threshold: Literal["fixed", "released"] = "fixed",
        horizon: Length = 17000,
        boxes: Literal["fitted", "released"] = "fitted",
    ) -> None:
        super().__init__()
        net = make_net()
        require_split(net, "crossmatch")
        self.net = Streams(net)
        self.tau, self.threshold, self.horizon = tau, threshold, horizon
        self.strong_weight, self.distillation_weight, self.eta = strong_weight, distillation_weight, eta
        self.rates = ((1 - gap) / 2, (1 + gap) / 2)
        self.cutmix, self.boxes = cutmix, boxes
        self.include_background, self.smooth = include_background, smooth
        if threshold == "released":
            self.deviates(
                "crossmatch: the threshold is multiplied by ln 2 after the first step, as released",
                as_published=True,
            )
        if boxes == "released":
            self.deviates("crossmatch: the axes of pasted boxes are swapped, as released", as_published=True)

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """The partner's classes, a pass of [x_l, weak], one of both strong views, each with its streams."""
        count = half(len(batch.x_u["weak"]))
        views = {name: groups(x, count) for name, x in batch.x_u.items()}
        weak, partner = views["weak"]
        others = self.look(batch.x_l, partner)
        boxes = [self.draw(weak) for _ in range(2)]

        z_x, z_w, *z_streams = self.answers(batch.x_l, weak)
        strong = [paste(*views[name], b) for name, b in zip(("strong", "strong2"), boxes, strict=True)]
        z_1, z_2, *z_strong = self.answers(*strong)
        taught = [Taught.of(z) for z in (z_w, *z_streams)]
        first = taught[0].pasted(others[0], boxes[0])
        mixed, *same = [own.pasted(other, boxes[1]) for own, other in zip(taught, others, strict=True)]

        tau = self.tau_at(t)
        supervised = 0.5 * (cross_entropy(z_x, batch.y_l) + self.dice(z_x, batch.y_l))
        lessons = [self.dice(z_1, first.sure(tau)), self.dice(z_2, mixed.sure(tau))]
        clean = [
            *(self.dice(z, taught[0].sure(tau)) for z in z_streams),
            *(self.dice(z, mixed.sure(tau)) for z in z_strong),
        ]
        cross = [self.dice(z, target.sure(tau)) for z, target in zip(z_strong, same, strict=True)]
        distilled = (1 - self.eta) * torch.stack(clean).mean() + self.eta * torch.stack(cross).mean()
        loss = 0.5 * (
            supervised + self.strong_weight * (lessons[0] + lessons[1]) + self.distillation_weight * distilled
        )
        logs = {"supervised": supervised, "strong": lessons[0], "strong2": lessons[1], "distilled": distilled}
        yield Update(loss, logs={**logs, "sure": (taught[0].confidence >= tau).float().mean()})

    @torch.no_grad()
    def look(self, x_l: Tensor, partner: Tensor) -> list[Taught]:
        """What the clean and both disturbed streams say of the partner."""
        if has_batch_norm(self.net):
            clean = self.net(partner).logits
            streams = self.answers(x_l, partner)[2:]
        else:
            clean, *streams = self.answers(partner[:0], partner)[1:]
        return [Taught.of(z) for z in (clean, *streams)]

    def answers(self, first: Tensor, second: Tensor) -> list[Tensor]:
        """Logits of both groups of images, then those of the streams of the second one."""
        answer = self.net(torch.cat([first, second]), self.rates, len(first))
        clean = torch.split(answer.logits, [len(first), len(second)])
        return [*clean, *answer.heads.values()]

    def draw(self, images: Tensor) -> Tensor:
        """(B, *S) bool, the boxes of a strong view."""
        count, size = len(images), images.shape[2:]
        if self.boxes == "fitted" or len(size) == 2:
            return draw_boxes(count, size, chance=self.cutmix, device=images.device)
        boxes = torch.zeros((count, *size), dtype=torch.bool)
        for mask in boxes:
            if uniform(0.0, 1.0) < self.cutmix:
                mask[swapped_box(size, uniform(0.02, 0.4), uniform(0.3, 1 / 0.3))] = True
        return boxes.to(images.device, non_blocking=True)

    def dice(self, logits: Tensor, target: Tensor) -> Tensor:
        """The Dice loss of known voxels."""
        p = logits.float().softmax(1)
        return dice_loss(p, target, include_background=self.include_background, smooth=self.smooth)

    def tau_at(self, t: Clock) -> float:
        """The threshold of a step."""
        if self.threshold == "fixed" or t.step == 0:
            return self.tau
        ramp = math.exp(-5.0 * (1.0 - (t.step - 1) / self.horizon) ** 2)
        return (self.tau + (1.0 - self.tau) * ramp) * math.log(2.0)


def swapped_box(
    size: Sequence[int], share: float, ratio: float, starts: Sequence[int] | None = None
) -> tuple[slice, ...]:
    """The released box: sides of a cuboid in voxels, laid on the axes in reverse order and cut off there."""
    volume = share * math.prod(size)
    edges = [int(v ** (1 / 3)) for v in (volume / ratio, volume * ratio, volume)]
    if starts is None:
        starts = [integer(0, max(n - edge, 1)) for n, edge in zip(size, edges, strict=True)]
    ranges = [slice(a, a + edge) for a, edge in zip(starts, edges, strict=True)]
    return tuple(reversed(ranges))
