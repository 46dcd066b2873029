"""CML: two networks that must have different features teach each other on images pasted together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from semiseg.core import Batch, Clock, NetFactory, SegOutput, Stage, Update
from semiseg.errors import UsageError
from semiseg.inference.postprocess import Connectivity, largest_components
from semiseg.methods._bases import Pair, numbered
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.bcp import dice_ce_everywhere
from semiseg.methods.parts.mixing import draw_mask, groups, half
from semiseg.settings.options import Amount, Share

NAMES = ("net", "net2")

Terms = tuple[Tensor, Tensor]
"""Supervision and discrepancy of one network."""


class CML(Pair):
    """Two unlike networks teach each other around pasted boxes.

    ``L_i = v S(z_i(x_l), y_l) + w S(z_i(x_u), Y_i) + d (D(f_i, f_j)(x_l) + D(f_i, f_j)(x_u))`` for i = 1, 2
    and j = 3 - i, with ``x_l = a M + b (1-M)``, y_l likewise, ``x_u = a' M' + b' (1-M')``,
    ``Y_i = q_j(a') M' + q_i(b') (1-M')``, ``S = 0.5 (CE + Dice)`` and ``D(f, g) = 1 + mean cos(f, g)``;
    M is 0 in a random box, f the deepest features, q the largest component of what a network predicts.

    The second network is the first with other up-sampling: interpolation where that has transposed
    convolutions, and these where it interpolates. A network that offers no choice is used twice as it is, and
    the run's manifest says so. The first network gets no gradient of D(f_2, f_1), and the other way round.

    Two stages. ``pretrain`` has labeled images alone, at a constant learning rate. ``selftrain`` goes on from
    its best weights on the validation list (without one, from its last); momentum begins anew, where the
    original keeps it. A step pastes the second half of the labeled images into the first, and likewise the
    unlabeled ones. Of an odd number one image is used twice, and a single one is pasted into itself.

    The released 2D model runs one network twice; its two answers differ by dropout alone, and are equal in
    prediction. ``shared=True`` is that form. The codes average the logits of both for prediction; we average
    probabilities, which the paper is said to do. The code for the left atrium chooses its checkpoint by the
    test list; we never do.

    Args:
        make_net: returns a fresh network that gives levels.
        labeled_weight: v.
        unlabeled_weight: w (1 on the left atrium, 0.5 on ACDC).
        discrepancy_weight: d (0.2 on the left atrium, 0.1 on ACDC).
        ratio: sides of the box relative to the image's, rounded down (2/3 and 1/2).
        largest_component: clean what the networks predict; switch it off where a class has several parts.
        connectivity: of the cleaning.
        pretrain_share: of the run that ``pretrain`` takes (published: 2000 of 17000 iterations on the left
            atrium, 10000 of 40000 on ACDC); 0 leaves it out.
        shared: one network for both roles, see above.
        predict_with: the exported network: the ``first``, the ``second``, or the ``average`` of their
            probabilities, which takes twice as long.
    """

    facts = Facts(
        title="CML",
        family="Several networks",
        papers=(
            Paper("CML", "Wu, Wei, Chen, Ren, He & Pu", "ACM MM", 2024, "https://github.com/SongwuJob/CML"),
        ),
        networks=2,
        trained=2,
        work=2.7,
    )

    samples_per_image = 2

    def __init__(
        self,
        make_net: NetFactory,
        *,
        labeled_weight: Amount = 1.0,
        unlabeled_weight: Amount = 1.0,
        discrepancy_weight: Amount = 0.2,
        ratio: Share = 2 / 3,
        largest_component: bool = True,
        connectivity: Connectivity = "corners",
        pretrain_share: Share = 2 / 17,
        shared: bool = False,
        predict_with: Literal["first", "second", "average"] = "average",
    ) -> None:
        super().__init__()
        first = make_net()
        require_levels(first)
        up = other_upsampling(first)
        second = first if shared else make_net(up=up) if up else make_net()
        self.take(first, second, "first" if shared else predict_with)
        self.shared = shared
        if shared:
            self.trainable = ("net",)
            self.deviates("cml: one network has both roles, as released in 2D", as_published=True)
        elif up is None:
            self.deviates(f"cml: both networks up-sample alike, as {type(first).__name__} has no choice")
        self.labeled_weight, self.unlabeled_weight = labeled_weight, unlabeled_weight
        self.discrepancy_weight, self.ratio = discrepancy_weight, ratio
        self.largest_component, self.connectivity = largest_component, connectivity
        self.stages = (
            Stage("pretrain", pretrain_share, constant_lr=True),
            Stage("selftrain", 1.0 - pretrain_share, start_from="best"),
        )

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """Both networks on pasted labeled images, then on pasted unlabeled ones, and an update of each."""
        n, mask = half(len(batch.x_l)), self.draw(batch.x_l)
        y = torch.where(mask, *groups(batch.y_l, n))
        terms = [self.compare(torch.where(mask, *groups(batch.x_l, n)), (y, y))]
        if t.stage != "pretrain":
            x = batch.x_u["weak"]
            n, labels, mask = half(len(x)), self.pseudo_labels(x), self.draw(x)
            terms.append(self.compare(torch.where(mask, *groups(x, n)), exchange(*labels, mask)))
        updates = [self.update(own, on) for own, on in zip(zip(*terms, strict=True), NAMES, strict=True)]
        if self.shared:
            logs = {**updates[0].logs, **updates[1].logs}
            updates = [Update(updates[0].loss + updates[1].loss, logs=logs)]
        yield from updates

    def draw(self, x: Tensor) -> Tensor:
        """A mask (*S) for images (B, C, *S)."""
        return draw_mask(x.shape[2:], self.ratio).to(x.device, non_blocking=True)

    def answers(self, x: Tensor) -> tuple[SegOutput, SegOutput]:
        """Of both networks."""
        return self.net(x), self.net2(x)

    @torch.no_grad()
    def pseudo_labels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Classes (B, *S) that each network predicts, cleaned."""
        logits = [answer.logits for answer in self.answers(x)]
        labels = torch.cat([z.argmax(1) for z in logits])
        if self.largest_component:
            labels = largest_components(labels, logits[0].shape[1], self.connectivity)
        first, second = labels.chunk(2)
        return first, second

    def compare(self, x: Tensor, targets: Sequence[Tensor]) -> list[Terms]:
        """For each network, how far it is from its target, and how alike its features are to the other's."""
        answers = self.answers(x)
        features = [answer.levels[0] for answer in answers]
        return [
            (dice_ce_everywhere(answer.logits, target), feature_discrepancy(f, g))
            for answer, target, f, g in zip(answers, targets, features, reversed(features), strict=True)
        ]

    def update(self, terms: Sequence[Terms], on: str) -> Update:
        """Of one network: its terms on labeled images, and on unlabeled ones if there are any."""
        apart = torch.stack([discrepancy for _, discrepancy in terms]).sum()
        loss, parts = self.discrepancy_weight * apart, {"discrepancy": apart}
        weights = {"labeled": self.labeled_weight, "unlabeled": self.unlabeled_weight}
        for (name, weight), (supervision, _) in zip(weights.items(), terms, strict=False):
            loss = loss + weight * supervision
            parts[name] = supervision
        return Update(loss, on=on, logs=numbered(on, parts))


def exchange(first: Tensor, second: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What each network is to learn from pasted images: inside the box from itself, else from the other.

    Of the labels (B, *S) that each gives the images before they are pasted. The mask (*S) is False in the
    box. (n, *S) for each, n half of B, rounded up.
    """
    n = half(len(first))
    (p_a, p_b), (q_a, q_b) = groups(first, n), groups(second, n)
    return torch.where(mask, q_a, p_b), torch.where(mask, p_a, q_b)


def other_upsampling(network: nn.Module) -> str | None:
    """Transposed convolutions where it interpolates, else interpolation; None where it has no choice."""
    others = getattr(network, "upsamplings", ())[1:]
    return next((kind for kind in ("transposed", "linear", *others) if kind in others), None)


def require_levels(network: nn.Module) -> None:
    """Refuse a network whose deepest features cannot be seen.

    Raises:
        UsageError: it has no ``widths``.
    """
    if not getattr(network, "widths", ()):
        raise UsageError(
            f"cml compares the deepest features of its networks, and {type(network).__name__} gives none",
            hint="choose another network (`semiseg networks`), or give yours `widths` and `levels`",
        )


def feature_discrepancy(features: Tensor, others: Tensor) -> Tensor:
    """``1 + mean cos(f, g)`` over samples and positions, in float32 (Wu et al., CML, ACM MM 2024).

    A scalar in [0, 2], 2 where both features (B, D, *S) point the same way; a position without length counts
    as a right angle, and g gets no gradient. For features of a ReLU it cannot fall below 1.
    """
    with torch.autocast(features.device.type, enabled=False):
        cosine: Tensor = (_direction(features.float()) * _direction(others.detach().float())).sum(1)
    return 1.0 + cosine.mean()


def _direction(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / length.where(length > 1e-12, 1.0)  # a bound on the length alone would let the gradient explode
