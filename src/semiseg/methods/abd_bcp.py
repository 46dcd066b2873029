"""ABD on BCP: two networks on two views of images pasted together, and on patches moved between the views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Unpack

import torch
from torch import Tensor

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.methods._bases import Pair, numbered
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.abd import crossed
from semiseg.methods.bcp import BCP, BCPOptions, Pasted, RegionDice, Source, paste
from semiseg.methods.parts.displacement import displaced, grid_of, replace_unsure
from semiseg.methods.parts.mixing import draw_mask
from semiseg.settings.options import Length


class ABDBCP(BCP, Pair):
    """BCP of two networks, with patches moved between images.

    ``L_i = BCP(x_i) + D(p_i(x_i), argmax p_j(x_j)) + D(p_i(x^R), argmax p_j(x^R))`` with i = 1, 2 and
    j = 3 - i. D is the Dice loss. x_1 is the weak and x_2 the strong view of both kinds of pasted images.
    In x^R the least sure patch of each view is replaced by a sure one of the other.

    The form of ABD with the published figures on ACDC; ``abd`` is the one on cross teaching, and has the
    words on patches. The teacher, the average of the first network, labels both views of the unlabeled
    images. With probability 1/2 per image the patch that comes is the one most like the patch that goes,
    among the surest ones; else it is the surest one. The terms between the networks have no ramp.

    In ``pretrain`` the first network alone is trained; both start ``selftrain`` from its weights, and then
    differ by their views only. The released code has the fault of BCP that was mended in October 2023
    (``dice=acdc_legacy``), so its figures are of that.

    Args:
        dice: as in ``bcp``.
        grid: patches per axis; if that does not divide an edge of the image, the next smaller number that
            does.
        top: of how many of the surest patches the one that is most like is taken.
        predict_with: the exported network: the ``first`` (published), the ``second``, or the ``average`` of
            their probabilities, which takes as long as both.
    """

    facts = Facts(
        title="ABD BCP",
        family="Views and mixing",
        papers=(Paper("ABD", "Chi, Pang, Zhang & Liu", "CVPR", 2024, "arXiv:2405.00378"),),
        networks=3,
        trained=2,
        views=("weak", "strong"),
        work=6.7,
    )

    labeled_views = ("strong",)

    def __init__(
        self,
        make_net: NetFactory,
        *,
        dice: RegionDice = "acdc",
        grid: Length = 4,
        top: Length = 4,
        predict_with: Literal["first", "second", "average"] = "first",
        **bcp: Unpack[BCPOptions],
    ) -> None:
        super().__init__(make_net, dice=dice, **bcp)
        self.take(self.net, make_net(), predict_with)
        self.views = ("weak", "strong")
        self.grid, self.top = grid, top

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """An update of both networks; in the first stage of the first one."""
        mask = draw_mask(batch.x_l.shape[2:], self.beta, self.region).to(batch.x_l.device, non_blocking=True)
        if t.stage == "pretrain":
            yield self.pretrain(batch, mask)
            return
        labels = self.labels(batch)
        images = [
            self.pasted(self.sources(x, y, batch.x_u[view]), mask)
            for view, x, y in zip(self.views, (batch.x_l, batch.views_l["strong"]), labels, strict=True)
        ]
        networks = (self.net, self.net2)
        answers = [self.answers(network, pasted) for network, pasted in zip(networks, images, strict=True)]
        mixed = [
            torch.stack([self.mixed(z, one, mask) for z, one in zip(logits, pasted, strict=True)]).sum()
            for logits, pasted in zip(answers, images, strict=True)
        ]
        logits = [torch.cat(z) for z in answers]
        weak, strong = (torch.cat([one.x for one in pasted]) for pasted in images)
        grid = grid_of(weak.shape[2:], self.grid)
        moves = replace_unsure(logits[0], logits[1], grid, top=self.top, near=self.draw(weak))
        x = torch.cat(displaced(weak, strong, moves, grid))
        again = crossed([network(x).logits for network in networks])
        parts = zip(mixed, crossed(logits), again, self.trainable, strict=True)
        yield from [update(*part) for part in parts]

    def pasted(self, sources: Sequence[Source], mask: Tensor) -> list[Pasted]:
        """Labeled images in unlabeled ones, and unlabeled images in labeled ones."""
        a, b, unlabeled_a, unlabeled_b = sources
        return [paste(unlabeled_a, a, mask), paste(b, unlabeled_b, mask)]

    def labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of the weak and of the strong view of the labeled images: the same."""
        return batch.y_l, batch.y_l

    def draw(self, x: Tensor) -> Tensor:
        """(B,) bool: for which images the patch that comes is chosen by likeness."""
        return torch.rand(len(x), device=x.device) < 0.5

    def on_stage_start(self, name: str) -> None:
        """Both networks and the teacher begin with what was trained before."""
        super().on_stage_start(name)
        if name == "selftrain" and self.stages[0].share > 0:
            self.net2.load_state_dict(self.net.state_dict())


def update(mixed: Tensor, cross: Tensor, again: Tensor, on: str) -> Update:
    """Of one network, with the parts of its loss in the log."""
    parts = {"pasted": mixed, "cross": cross, "displaced": again}
    return Update(mixed + cross + again, on=on, logs=numbered(on, parts))
