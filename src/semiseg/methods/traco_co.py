"""TraCoCo: two networks that teach each other, and each says of two overlapping crops the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import SHIFTED, Batch, Clock, NetFactory, Update
from semiseg.inference.postprocess import largest_components
from semiseg.losses import dice_loss, regional_cross_entropy
from semiseg.losses.agreement import softmax_kl
from semiseg.methods._bases import CommonOptions, TwoNetworks
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.mixing import draw_columns, overlap
from semiseg.schedules import consistency_ramp
from semiseg.settings.options import Amount, Length, Share

Form = Literal["classes", "released"]

Pair = tuple[Tensor, Tensor]
"""Logits (K, *O) of the overlap in the first crop and in the second one."""


def translation_consistency(pairs: Sequence[Pair], *, form: Form = "classes") -> Tensor:
    """The mean over images of ``KL(p' || p)``, averaged over the overlap; both sides get a gradient.

    The release clamps the logits to [1e-6, 1] and takes the distributions along the first spatial axis
    instead of the classes. It averages over all elements and sums over images. 0 without a pair.
    """
    if not pairs:
        return torch.zeros(())
    if form == "classes":
        return torch.stack([softmax_kl(z[None], other[None]) for z, other in pairs]).mean()
    clamped = [(_clamped(z)[None].movedim(2, 1), _clamped(other)[None].movedim(2, 1)) for z, other in pairs]
    return torch.stack([softmax_kl(z, other, reduction="none").mean() for z, other in clamped]).sum()


def saddle_entropy(pairs: Sequence[Pair]) -> Tensor:
    """The mean over crops of ``sum_k s_k ln s_k`` on the overlap, s the softmax of the clamped logits.

    Least, -ln K, where all classes are equally likely: it keeps the agreement of two crops from collapsing.
    Since logits are clamped to [1e-6, 1], it can only rise by so much.
    """
    if not pairs:
        return torch.zeros(())
    log_s = [_clamped(z).log_softmax(0) for pair in pairs for z in pair]
    return torch.stack([(s.exp() * s).sum(0).mean() for s in log_s]).mean()


def _clamped(logits: Tensor) -> Tensor:
    return logits.float().clamp(1e-6, 1.0)


class TraCoCo(TwoNetworks):
    """Two networks; overlapping crops must agree.

    ``L_i = S(p_i(x_l), y_l) + w(k) [C(p_i(x_u), p_j(x_u)) + m KL(p_i(x') || p_i(x)) + e R(p_i(x),
    p_i(x'))]`` with i = 1, 2 and j = 3 - i. x and x' are two crops of all scans; KL and R are over the
    voxels that both show, and R is the negative entropy. ``C = mean_(q >= t) q (-log p_y) + mean_(q_c < 0.1)
    q_c (-log(1 - p_c))`` with q = max p_j at the class y. All inputs but those of p_j have uniform noise,
    and the second network CutMix.

    The crops overlap by half an edge at least, on either side of one another; the published second one lies
    before the first in every axis. CutMix has boxes of full depth and takes labeled scans as partners, too,
    with their pseudo-labels. Noise is relative to the range of gray values of the patch.

    The release takes the distributions of KL along the first axis of the crop instead of the classes, of
    clamped logits, and sums over scans: ``translation="released"``, with m of 0.1 to 1. R is of clamped
    logits in both. For more than two classes its negative term, by a slip of bits, teaches against the label:
    ``negative="released"``. With two classes C is as released. The last iteration of the release has the
    learning rate 0.

    The released code for the left atrium chooses its checkpoint by the test scans, and that for ACDC by
    validation and test scans together; both drop, or score, other lists than they name. With few labels and a
    weight of 1 both networks may agree on an empty foreground; the release takes 0.3 there.

    Args:
        make_net: returns a fresh network, with other first weights each time.
        weight: w_max (0.3 with the fewest labels).
        threshold: t, the confidence from which a voxel is taught.
        translation_weight: m.
        entropy_weight: e (0.05 and 0.01 on other data than the left atrium).
        translation: KL over the ``classes``, or as ``released``, see above.
        negative: the second mean of C over the excluded ``classes``, or as ``released``, see above.
        noise: largest, of the range of gray values (0.2 on the left atrium).
        clamp: keep noisy gray values in their range (published on the pancreas and the brain).
        cut: CutMix for the ``second`` network or for ``both`` (published on ACDC).
        clean: keep the largest component of each class in what is taught, and no logit but that of the class
            (published on ACDC).
        dice: average C with the Dice loss to the taught classes (published on ACDC).
        ramp: length of the sigmoid ramp of w(k), in iterations; None is a twentieth of the run.
    """

    facts = Facts(
        title="TraCoCo",
        family="Several networks",
        papers=(
            Paper(
                "TraCoCo", "Liu, Tian, Wang, Chen, Liu, Belagiannis & Carneiro", "", 2022, "arXiv:2203.14523"
            ),
        ),
        networks=2,
        trained=2,
        views=("weak", "shifted"),
        work=6.7,
    )

    partial = True
    views = ("weak", SHIFTED)
    labeled_views = (SHIFTED,)

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 1.0,
        threshold: Share = 0.65,
        translation_weight: Amount = 0.1,
        entropy_weight: Amount = 0.1,
        translation: Literal["classes", "released"] = "classes",
        negative: Literal["classes", "released"] = "classes",
        noise: Amount = 0.05,
        clamp: bool = False,
        cut: Literal["second", "both"] = "second",
        clean: bool = False,
        dice: bool = False,
        ramp: Length | None = None,
        predict_with: Literal["first", "second", "average"] = "first",
        **ramped: Unpack[CommonOptions],
    ) -> None:
        super().__init__(make_net, predict_with=predict_with, weight=weight, ramp=ramp, **ramped)
        self.threshold, self.noise, self.clamp = threshold, noise, clamp
        self.translation_weight, self.entropy_weight = translation_weight, entropy_weight
        self.translation: Form = translation
        self.negative: Literal["classes", "released"] = negative
        self.cut, self.clean, self.dice = cut, clean, dice
        if translation == "released":
            self.deviates(
                "traco_co: crops are compared along their first axis, of clamped logits, as released",
                as_published=True,
            )
        if negative == "released":
            self.deviates(
                "traco_co: with three classes and more the label is taught against, as released",
                as_published=True,
            )

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """Four passes of each network, then an update of each."""
        yield from [
            self.learn(self.net, self.net2, batch, t, cut=self.cut == "both", on="net"),
            self.learn(self.net2, self.net, batch, t, cut=True, on="net2"),
        ]

    def learn(
        self, network: nn.Module, other: nn.Module, batch: Batch, t: Clock, *, cut: bool, on: str
    ) -> Update:
        """The update of one network: both crops, what the other one says, and the taught pass."""
        n = len(batch.x_l)
        x = torch.cat([batch.x_l, batch.x_u["weak"]])
        shifted = torch.cat([batch.views_l[SHIFTED], batch.x_u[SHIFTED]])
        logits = network(self.noisy(x)).logits
        pairs = overlaps(logits, network(self.noisy(shifted)).logits, shifts(batch))
        translation = translation_consistency(pairs, form=self.translation)
        entropy = saddle_entropy(pairs)
        with torch.no_grad():
            taught = other(x).logits.float()
            taught = cleaned(taught) if self.clean else taught
        if cut:
            x, taught = self.cut_mix(x, taught)
        lesson = self.lesson(network(self.noisy(x)).logits[n:], taught[n:])
        consistency = lesson + self.translation_weight * translation + self.entropy_weight * entropy
        parts = {"lesson": lesson, "translation": translation, "entropy": entropy}
        return self.total(self.supervised(logits[:n], batch.y_l), consistency, t, on=on, **parts)

    def lesson(self, logits: Tensor, other: Tensor) -> Tensor:
        """Regional cross-entropy to what is taught, and the Dice loss if it takes part."""
        loss = regional_cross_entropy(logits, other, threshold=self.threshold, negative=self.negative)
        if not self.dice:
            return loss
        return 0.5 * (loss + dice_loss(logits.float().softmax(1), other.argmax(1)))

    def noisy(self, x: Tensor) -> Tensor:
        """Plus uniform noise, of the range of each image and channel."""
        space = list(range(2, x.ndim))
        low, high = x.amin(space, keepdim=True), x.amax(space, keepdim=True)
        noisy = x + self.noise * (2 * torch.rand_like(x) - 1) * (high - low)
        return torch.minimum(torch.maximum(noisy, low), high) if self.clamp else noisy

    def cut_mix(self, x: Tensor, taught: Tensor) -> tuple[Tensor, Tensor]:
        """A box of each image from another one, with what is taught of it."""
        boxes = draw_columns(len(x), x.shape[2:]).to(x.device, non_blocking=True)
        partner = torch.randperm(len(x)).to(x.device, non_blocking=True)
        return torch.where(boxes, x[partner], x), torch.where(boxes, taught[partner], taught)

    def consistency_weight(self, t: Clock) -> float:
        """``w(k)``."""
        ramp = self.ramp or max(round(0.05 * t.total), 1)
        return self.weight * consistency_ramp(t.step, ramp, self.ramp_unit)


def shifts(batch: Batch) -> list[tuple[int, ...]]:
    """Of the second crops of labeled and unlabeled scans."""
    return [*batch.shifts["labeled"], *batch.shifts["unlabeled"]]


def overlaps(logits: Tensor, others: Tensor, moved: Sequence[tuple[int, ...]]) -> list[Pair]:
    """Of each image, where its two crops (B, K, *S) overlap, what is said in the first and in the second."""
    pairs = []
    for z, other, shift in zip(logits, others, moved, strict=True):
        if (boxes := overlap(shift, z.shape[1:])) is not None:
            pairs.append((z[(slice(None), *boxes[0])], other[(slice(None), *boxes[1])]))
    return pairs


def cleaned(logits: Tensor) -> Tensor:
    """Logits (B, K, *S) of each voxel's class alone, 0 for all others; of a class its largest component.

    What is left of a batch in which only one class would be found is given back as it is.
    """
    classes = logits.shape[1]
    labels = largest_components(logits.argmax(1), classes)
    kept = logits * F.one_hot(labels, classes).movedim(-1, 1)
    return torch.where((labels == labels.flatten()[0]).all(), logits, kept)
