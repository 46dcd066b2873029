"""TCSeg: what two decoders, their features and their moving average agree on, and boxes where they do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from semiseg.core import Average, Batch, Clock, NetFactory, Update
from semiseg.losses import cross_entropy, dice_loss, regional_cross_entropy
from semiseg.methods._bases import Teacher
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.branches import (
    Branches,
    all_features,
    all_logits,
    different_decoders,
    whole_networks,
)
from semiseg.methods.parts.mixing import beta_factors, columns, draw_columns, groups, half
from semiseg.methods.tcseg.prototypes import (
    centers,
    class_thresholds,
    difference,
    draw_element,
    prototype_maps,
    regions,
)
from semiseg.schedules import ema_update, warm_decay
from semiseg.settings.options import Amount, Count, Length, Share


class Said(NamedTuple):
    """What one network says of its images; each entry of the first decoder, then of the second."""

    logits: list[Tensor]
    """(B, K, *S)."""
    probabilities: list[Tensor]
    maps: list[Tensor]
    """(B, K, *S), cosines to the prototypes."""


class TCSeg(Teacher):
    """Two decoders teach each other where all parts agree.

    ``L = S + w(k) [sum_i C(p_i, p_j) + 2 |p_1 - p_2|^2 + |m_1 - m_2|^2 / 2 + |m_1 - p_1|^2 / 2 + |m_2 -
    p_2|^2 / 4] + CE(p(x~), y~)``, with S half the sum of cross-entropy and Dice, the mean of both decoders.
    m_i are the cosines to prototypes of decoder i. C is the cross-entropy to the other decoder where it is
    sure and all agree. In the images x~ a box was exchanged between labeled and unlabeled ones.

    A prototype is the mean of the features of the voxels of a class that are confident, in the image itself.
    All agree where the two decoders, their maps, the teacher's two maps, and prediction and map of the
    decoder that teaches are apart by little. In every other iteration the box lies about the largest region
    in which they do not; else, and where an image has none, it lies anywhere. The first half of the unlabeled
    images gives its boxes to labeled ones, the second half receives labeled ones; the teacher labels them.

    Only the training script was released. Network, Dice, moving average and augmentation are our reading:
    those of ``mc_net`` and ``mean_teacher``. More than two classes and 2D are ours as well; for two classes
    in 3D all is as released, but that random boxes follow the axes that they are cut along:
    ``box_axes="released"`` has the edges of the second and third axis for the first and second one. The terms
    of the two decoders differ as released, by a sum that goes on from one to the other; ``balanced`` shares
    them out. The released learning rate is constant.

    The release evaluates the left atrium and the pancreas on their test scans during training. Which weights
    the figures in the collections are of is not known.

    Args:
        make_net: returns a fresh network, which must be split into encoder and decoder.
        high: probability from which a class is confident.
        low: probability below which a class is excluded; the background is confident from ``1 - low``.
        tolerance: largest difference of predictions that agree; of maps it is twice that.
        mix_after: iterations before boxes are exchanged.
        balanced: the same weight for both decoders' distance to their maps.
        box_axes: of random boxes, see above.
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run (published: 40 units of
            150 of 20,000).
        average: EMA of ``parameters``, or of ``all`` of the state.
        keep_center: regions are dilated by an element that has its middle, so that none is dilated away, as
            every seventh is on average.
        predict_with: the exported network, with its first decoder (published: the ``student``); or ``both``
            decoders of the student, the mean of their probabilities, which takes as long as two networks.
    """

    facts = Facts(
        title="TCSeg",
        family="Several heads or decoders",
        papers=(Paper("TCSeg", "Li & Qin", "ICML", 2026, "arXiv:2605.25561"),),
        networks=2,
        trained=1,
        beside="a further decoder each",
        work=3.7,
    )

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 1.0,
        high: Share = 0.85,
        low: Share = 0.1,
        tolerance: Amount = 0.05,
        mix_after: Count = 100,
        balanced: bool = False,
        box_axes: Literal["own", "released"] = "own",
        decay: Share = 0.99,
        teacher_mode: Literal["train", "eval"] = "train",
        ramp: Length | None = None,
        ramp_unit: Length = 1,
        average: Literal["parameters", "all"] = "parameters",
        keep_center: bool = False,
        predict_with: Literal["student", "teacher", "both"] = "student",
    ) -> None:
        super().__init__(
            partial(two_decoders, make_net),
            weight=weight,
            decay=decay,
            teacher_mode=teacher_mode,
            ramp=ramp,
            ramp_unit=ramp_unit,
        )
        self.predictor = {"student": "main", "teacher": "taught_main", "both": "decoders"}[predict_with]
        self.average, self.keep_center = average, keep_center
        self.high, self.low, self.tolerance, self.mix_after = high, low, tolerance, mix_after
        self.map_weights = (0.375, 0.375) if balanced else (0.5, 0.25)
        self.box_axes = box_axes
        if box_axes == "released":
            self.deviates("tcseg: random boxes have the sides of other axes, as released", as_published=True)

    @property
    def main(self) -> nn.Module:
        """The student for prediction."""
        return cast(nn.Module, self.net.main)

    @property
    def taught_main(self) -> nn.Module:
        """The teacher for prediction."""
        return cast(nn.Module, self.teacher.main)

    @property
    def decoders(self) -> Average:
        """Both decoders of the student, each as a network; their weights are the student's."""
        return Average(whole_networks(cast(Branches, self.net)))

    def after_step(self, t: Clock) -> None:
        """The teacher follows the student."""
        ema_update(self.teacher, self.net, warm_decay(t.step, self.decay), buffers=self.average == "all")

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """The student on all images, the teacher on unlabeled ones, the student on boxes; one update."""
        n, x_u = len(batch.x_l), batch.x_u["weak"]
        said = self.say(self.net, torch.cat([batch.x_l, x_u]))
        with torch.no_grad():
            taught = self.say(self.ready(), x_u)
        own = Said(*([part[n:] for part in parts] for parts in said))
        supervised = torch.stack([self.supervised(z[:n], batch.y_l) for z in said.logits]).mean()
        agree = self.agreement(own, taught)
        lessons = torch.stack([self.lesson(own.logits[i], own.logits[1 - i], agree[1 - i]) for i in (0, 1)])
        consistency = lessons.sum() + self.consistency(said)
        logs = {"lesson": lessons.sum(), "agree": torch.stack(agree).float().mean()}
        if t.step > self.mix_after:
            logs["mixed"] = self.mixed(batch, taught, self.boxes(own, taught, t))
            supervised = supervised + logs["mixed"]
        yield self.total(supervised, consistency, t, on="net", **logs)

    def say(self, network: nn.Module, x: Tensor) -> Said:
        """Logits, probabilities and prototype maps of both decoders."""
        answer = network(x)
        logits = [z.float() for z in all_logits(answer)]
        maps = [
            prototype_maps(z, f, high=self.high, low=self.low)
            for z, f in zip(logits, all_features(answer), strict=True)
        ]
        return Said(logits, [z.softmax(1) for z in logits], maps)

    def supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        """``0.5 (CE + Dice)`` of one decoder; Dice of the foreground."""
        p = logits.softmax(1)
        dice = dice_loss(p, target, include_background=False, squared=False, smooth=1e-8)
        return 0.5 * (cross_entropy(logits, target) + dice)

    def consistency(self, said: Said) -> Tensor:
        """Squared differences of probabilities and maps, both sides with gradient, labeled images too."""
        (p, q), (m, o) = said.probabilities, said.maps
        first, second = self.map_weights
        decoders = 2.0 * distance(p, q) + 0.5 * distance(m, o)
        return decoders + first * distance(m, p) + second * distance(o, q)

    @torch.no_grad()
    def agreement(self, own: Said, taught: Said) -> list[Tensor]:
        """(B, *S) bool, for either decoder as the source of labels: where all agree."""
        near = difference(*own.probabilities) <= self.tolerance
        for maps in (own.maps, taught.maps):
            near = near & (difference(*maps) <= 2 * self.tolerance)
        pairs = zip(own.maps, own.probabilities, strict=True)
        return [near & (difference(m, p) <= 2 * self.tolerance) for m, p in pairs]

    def lesson(self, logits: Tensor, other: Tensor, agree: Tensor) -> Tensor:
        """C: of one decoder, given the logits of the other one and where all agree."""
        return regional_cross_entropy(
            logits, other, threshold=self.high, excluded_below=self.low, where=agree
        )

    @torch.no_grad()
    def unreliable(self, own: Said, taught: Said) -> Tensor:
        """(B, *S) bool: unsure on the whole, or something is apart."""
        mean = torch.stack([*own.probabilities, *taught.probabilities]).mean(0)
        limits = class_thresholds(mean.shape[1], self.high, self.low, mean)
        apart = ~(mean.flatten(2) > limits).any(1).view(len(mean), *mean.shape[2:])
        for said in (own, taught):
            apart = apart | (difference(*said.probabilities) > self.tolerance)
            apart = apart | (difference(*said.maps) > 2 * self.tolerance)
        return apart

    def boxes(self, own: Said, taught: Said, t: Clock) -> Tensor:
        """(2n, 1, *S) bool, True in the box of each pair; n of them for either direction."""
        size = own.logits[0].shape[2:]
        count = 2 * half(len(own.logits[0]))
        places = self.region_centers(own, taught) if t.step % 2 else None
        masks = self.random_boxes(count, size) if places is None else columns(size, *places)
        return masks.to(own.logits[0].device, non_blocking=True)

    def region_centers(self, own: Said, taught: Said) -> tuple[list[list[int]], list[tuple[int, int]]] | None:
        """The middle of the unreliable region of each image and half the sides of a box; None without one."""
        n = half(len(own.logits[0]))
        unreliable = torch.cat(groups(self.unreliable(own, taught), n))
        size = unreliable.shape[1:]
        found = centers(regions(unreliable, [self.draw_element(len(size)) for _ in range(2 * n)]))
        if found is None:
            return None
        shares = [self.draw_share() for _ in found]
        halves = [(int(share * size[0]) // 2, int(share * size[1]) // 2) for share in shares]
        return [center[:2] for center in found], halves

    def random_boxes(self, count: int, size: Sequence[int]) -> Tensor:
        """(count, 1, *S) bool, on the CPU."""
        released = self.box_axes == "released" and len(size) == 3
        return draw_columns(count, size, sides_of=size[1:] if released else None)

    def draw_element(self, dim: int) -> Tensor:
        """Of the dilation."""
        element = draw_element(dim)
        if self.keep_center:
            element[(len(element) // 2,) * dim] = True
        return element

    def draw_share(self) -> float:
        """Of the edges, that the sides of a box take."""
        return float(beta_factors(1, 4.0, torch.empty(1, 1)))

    def mixed(self, batch: Batch, taught: Said, boxes: Tensor) -> Tensor:
        """Cross-entropy of images with exchanged boxes; each decoder learns the teacher's other one."""
        n = len(boxes) // 2
        (x_a, x_b), (u_a, u_b) = groups(batch.x_l, n), groups(batch.x_u["weak"], n)
        y_a, y_b = groups(batch.y_l, n)
        answers = all_logits(self.net(torch.where(boxes, torch.cat([u_a, x_b]), torch.cat([x_a, u_b]))))
        losses = []
        for z, other in zip(answers, reversed(taught.logits), strict=True):
            q_a, q_b = groups(other.argmax(1), n)
            target = torch.where(boxes[:, 0], torch.cat([q_a, y_b]), torch.cat([y_a, q_b]))
            losses.append(cross_entropy(z, target))
        return torch.stack(losses).mean()


def two_decoders(make_net: NetFactory) -> Branches:
    """A network with a second decoder that up-samples in another way."""
    main = make_net()
    return Branches(main, different_decoders(make_net, main, 1), "tcseg", features=True)


def distance(first: Tensor, second: Tensor) -> Tensor:
    """Squared difference, averaged over all elements."""
    return (first - second).square().mean()
