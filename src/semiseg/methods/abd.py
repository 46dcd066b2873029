"""ABD: cross teaching on two views, and on images whose patches have changed places between the views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

import torch
from torch import Tensor

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import dice_loss
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.cross_teaching import CrossTeaching, CrossTeachingOptions
from semiseg.methods.parts.displacement import displaced, grid_of, replace_sure, replace_unsure
from semiseg.settings.options import Amount, Length, Share


class ABD(CrossTeaching):
    """Cross teaching; unsure patches are replaced by sure ones.

    ``L_i = S(x_i, y) + c S(x_i^I, y^I) + w(k) [D(p_i(x_i), argmax p_j(x_j)) + D(p_i(x^R), argmax
    p_j(x^R))]`` with i = 1, 2, j = 3 - i and ``S = 0.5 (CE + Dice)``. D is the Dice loss. x_1 is the weak
    and x_2 the strong view, in S of the labeled scans, in D of the unlabeled ones. In x^R the least sure
    patch of each view is replaced by a sure and similar one of the other view. In x^I the surest one is
    replaced by the least sure one, with its labels.

    The first network sees weak views, the second strong ones; both see all displaced images. How sure they
    are of a patch is the mean largest probability; like one another are patches whose mean logits mean the
    same. A labeled image is displaced with probability 1/2, an unlabeled one always. Patches are those of a
    grid, squares in 2D, boxes in 3D. ``abd_bcp`` is the other published form, on top of BCP.

    In the release a part of the strong view is noise and its label there is background, which the second
    network learns and teaches. Here the strong view has its holes, too, but every voxel keeps its label. The
    displaced labeled images are left out as soon as c is 0; the release still shows them to the networks, for
    their batch norm alone. The published partner is a Swin-UNet with weights of ImageNet, see
    ``cross_teaching``.

    With a large background the least sure patch is where the structures are, and the same few patches are
    replaced in every step.

    Args:
        displaced_weight: c (1 on the prostate).
        displaced_until: share of the run after which c is 0 (published on ACDC: 20,000 of 30,000 iterations).
        grid: patches per axis; if that does not divide an edge of the image, the next smaller number that
            does.
        top: of how many of the surest patches the one that is most like is taken.
    """

    facts = Facts(
        title="ABD",
        family="Several networks",
        papers=(Paper("ABD", "Chi, Pang, Zhang & Liu", "CVPR", 2024, "arXiv:2405.00378"),),
        networks=2,
        trained=2,
        views=("weak", "strong"),
        work=6.0,
    )

    views = facts.views
    labeled_views = ("strong",)

    def __init__(
        self,
        make_net: NetFactory,
        *,
        displaced_weight: Amount = 2.0,
        displaced_until: Share = 2 / 3,
        grid: Length = 4,
        top: Length = 4,
        **cross_teaching: Unpack[CrossTeachingOptions],
    ) -> None:
        super().__init__(make_net, **cross_teaching)
        self.displaced_weight, self.displaced_until = displaced_weight, displaced_until
        self.grid, self.top = grid, top

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """Each network on its view, then both on the displaced images, and an update of each."""
        n, networks = len(batch.x_l), (self.net, self.net2)
        views = (
            torch.cat([batch.x_l, batch.x_u["weak"]]),
            torch.cat([batch.views_l["strong"], batch.x_u["strong"]]),
        )
        answers = [network(x).logits for network, x in zip(networks, views, strict=True)]
        grid = grid_of(batch.x_l.shape[2:], self.grid)
        labels = self.labels(batch)
        supervised = [self.supervised(z[:n], y) for z, y in zip(answers, labels, strict=True)]
        first, second = (z.detach() for z in answers)
        if self.displaced_weight and t.step <= self.displaced_until * t.total:
            moves = replace_sure(first[:n], second[:n], grid, self.draw(batch.x_l))
            x = torch.cat(displaced(views[0][:n], views[1][:n], moves, grid))
            y = torch.cat(displaced(labels[0][:, None], labels[1][:, None], moves, grid))[:, 0]
            more = [self.supervised(network(x).logits, y) for network in networks]
            supervised = [a + self.displaced_weight * b for a, b in zip(supervised, more, strict=True)]
        moves = replace_unsure(first[n:], second[n:], grid, top=self.top)
        x = torch.cat(displaced(views[0][n:], views[1][n:], moves, grid))
        again = [network(x).logits for network in networks]
        lessons = [a + b for a, b in zip(crossed([z[n:] for z in answers]), crossed(again), strict=True)]
        yield from [
            self.total(loss, lesson, t, on=on)
            for loss, lesson, on in zip(supervised, lessons, self.trainable, strict=True)
        ]

    def labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of the weak and of the strong view of the labeled images: the same."""
        return batch.y_l, batch.y_l

    def draw(self, x: Tensor) -> Tensor:
        """(B,) bool: which labeled images are displaced."""
        return torch.rand(len(x), device=x.device) < 0.5


def crossed(logits: list[Tensor]) -> list[Tensor]:
    """The Dice loss of each of two networks to the classes that the other one sees in the same images."""
    classes = [z.detach().argmax(1) for z in logits]
    return [dice_loss(z.float().softmax(1), y) for z, y in zip(logits, reversed(classes), strict=True)]
