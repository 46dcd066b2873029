"""BCP: labeled and unlabeled images pasted into one another, with their labels, and its losses by region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import IGNORE, Batch, Clock, NetFactory, Stage, Update
from semiseg.inference.postprocess import Connectivity, largest_components
from semiseg.methods._bases import Teacher, numbered, one_pass_pays
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.mixing import Region, draw_mask, groups, half
from semiseg.schedules import ema_update
from semiseg.settings.options import Amount, Share


class Source(NamedTuple):
    """Images that are pasted together with others."""

    x: Tensor
    """(B, C, *S)."""
    y: Tensor
    """(B, *S) int64, true labels or those of the teacher."""
    weight: float
    """Of their voxels in the loss."""


class Pasted(NamedTuple):
    """A patch in a host."""

    x: Tensor
    """(B, C, *S), the host where the mask is True."""
    host: Source
    patch: Source


class BCPOptions(TypedDict, total=False):
    """Options of :class:`BCP` in the signatures of methods that pass them on: all but Dice and predictor."""

    alpha: Amount
    beta: Share
    region: Region
    largest_component: bool
    connectivity: Connectivity
    pretrain_share: Share
    decay: Share
    average: Literal["all", "parameters"]
    teacher_mode: Literal["train", "eval"]


class BCP(Teacher):
    """Paste boxes between labeled and unlabeled scans.

    ``L = mix(S(a M + a' (1-M)); y_a, q_a'; 1, alpha) + mix(S(b' M + b (1-M)); q_b', y_b; alpha, 1)`` with
    ``mix(z; h, q; v, w) = 0.5 [v (Dice + CE)(z, h) on M + w (Dice + CE)(z, q) on 1-M]``, S the student, and
    M 0 in a random box. a and b are labeled, a' and b' unlabeled. q is the largest component of what the
    teacher predicts.

    Two stages. ``pretrain`` trains the student on labeled images pasted into one another, at a constant
    learning rate. ``selftrain`` goes on from its best weights on the validation list (without one, from its
    last), in student and teacher, with the loss above; the teacher is the student's moving average without
    warm-up. Scores of the two are not compared: what is exported comes from ``selftrain``.

    A step needs as many a as a', and as many b as b'. Each is n = max(Bl, Bu) / 2 images, rounded up: a the
    first n of the labeled ones, b the next n, beginning again where they end; a' and b' alike. So every image
    is used, and some of them twice if the numbers are odd or unequal. A single labeled image is a and b at
    once; in ``pretrain`` it is then pasted into itself and stays as it is.

    Of the published forms of Dice ``la`` is for two classes and ``acdc`` for four; both work for any number.
    The published figures on ACDC come from a faulty loss, mended in October 2023: that is ``acdc_legacy``.
    The codes for the left atrium and the pancreas choose their checkpoints by the test list; we never do.

    Args:
        alpha: weight of the voxels whose label is the teacher's.
        beta: sides of the box relative to the image's, rounded down.
        region: ``box``, or the ablations ``boxes`` (a small one in each cell of a grid) and ``strip``.
        dice: ``la`` (per sample), ``acdc`` (over the batch, squared), or ``acdc_legacy``, see above.
        largest_component: clean the teacher's prediction; switch it off where a class has several parts.
        connectivity: of the cleaning (published: ``corners``; on the pancreas ``edges``).
        pretrain_share: of the run that ``pretrain`` takes (published: 2000 of 17000 iterations on the left
            atrium, 10000 of 40000 on ACDC); 0 leaves it out.
        average: ``all``, or ``parameters`` without batch-norm statistics (published on the left atrium).
    """

    facts = Facts(
        title="BCP",
        family="Views and mixing",
        papers=(Paper("BCP", "Bai, Chen, Li, Shen & Wang", "CVPR", 2023, "arXiv:2305.00673"),),
        networks=2,
        trained=1,
        work=1.3,
    )

    samples_per_image = 2

    def __init__(
        self,
        make_net: NetFactory,
        *,
        alpha: Amount = 0.5,
        beta: Share = 2 / 3,
        region: Region = "box",
        dice: RegionDice = "la",
        largest_component: bool = True,
        connectivity: Connectivity = "corners",
        pretrain_share: Share = 2 / 17,
        decay: Share = 0.99,
        average: Literal["all", "parameters"] = "all",
        teacher_mode: Literal["train", "eval"] = "train",
        predict_with: Literal["student", "teacher"] = "student",
    ) -> None:
        super().__init__(make_net, decay=decay, teacher_mode=teacher_mode, predict_with=predict_with)
        self.alpha, self.beta, self.region, self.dice = alpha, beta, region, dice
        self.largest_component, self.connectivity, self.average = largest_component, connectivity, average
        self.stages = (
            Stage("pretrain", pretrain_share, constant_lr=True),
            Stage("selftrain", 1.0 - pretrain_share, start_from="best"),
        )
        if dice == "acdc_legacy":
            self.deviates(
                "bcp: the Dice loss of the background counts voxels outside of its region", as_published=True
            )

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One update of the student, on pasted images alone."""
        mask = draw_mask(batch.x_l.shape[2:], self.beta, self.region).to(batch.x_l.device, non_blocking=True)
        yield self.pretrain(batch, mask) if t.stage == "pretrain" else self.selftrain(batch, mask)

    def pretrain(self, batch: Batch, mask: Tensor, *, on: str = "net") -> Update:
        """Labeled images in labeled images."""
        n = half(len(batch.x_l))
        x_a, x_b = groups(batch.x_l, n)
        y_a, y_b = groups(batch.y_l, n)
        logits = getattr(self, on)(torch.where(mask, x_a, x_b)).logits
        if self.dice == "la":
            loss = dice_ce_everywhere(logits, torch.where(mask, y_a, y_b))
        else:
            loss = mixed_dice_ce(logits, y_a, y_b, mask, dice=self.dice)
        return Update(loss, on=on, logs=numbered(on, {"supervised": loss}))

    def selftrain(self, batch: Batch, mask: Tensor) -> Update:
        """Unlabeled images in labeled ones, and labeled ones in unlabeled ones."""
        a, b, unlabeled_a, unlabeled_b = self.sources(batch.x_l, batch.y_l, batch.x_u["weak"])
        images = [paste(a, unlabeled_a, mask), paste(unlabeled_b, b, mask)]
        inward, outward = (
            self.mixed(z, pasted, mask)
            for z, pasted in zip(self.answers(self.net, images), images, strict=True)
        )
        found = torch.cat([unlabeled_a.y, unlabeled_b.y]).ne(0).float().mean()
        logs = {"inward": inward, "outward": outward, "pseudo_foreground": found}
        return Update(inward + outward, logs=logs)

    def sources(self, x_l: Tensor, y_l: Tensor, x_u: Tensor) -> list[Source]:
        """The labeled images a and b, then the unlabeled ones a' and b' with the teacher's labels."""
        n = half(max(len(x_l), len(x_u)))
        unlabeled = groups(x_u, n)
        labeled = zip(groups(x_l, n), groups(y_l, n), strict=True)
        taught = zip(unlabeled, self.pseudo_labels(*unlabeled), strict=True)
        return [Source(x, y, 1.0) for x, y in labeled] + [Source(x, y, self.alpha) for x, y in taught]

    def mixed(self, logits: Tensor, pasted: Pasted, mask: Tensor) -> Tensor:
        """The loss of the logits (B, K, *S) of pasted images."""
        host, patch = pasted.host, pasted.patch
        return mixed_dice_ce(
            logits, host.y, patch.y, mask, host_weight=host.weight, patch_weight=patch.weight, dice=self.dice
        )

    def pseudo_labels(self, *images: Tensor) -> list[Tensor]:
        """The teacher's classes (B, *S) of each group of images, cleaned."""
        logits = list(self.ask(images))
        labels = torch.cat([z.argmax(1) for z in logits])
        if self.largest_component:
            labels = largest_components(labels, logits[0].shape[1], self.connectivity)
        return list(torch.split(labels, [len(x) for x in images]))

    def answers(self, network: nn.Module, images: Sequence[Pasted]) -> list[Tensor]:
        """A network's logits of each, one pass each as published; one for all where that is the same."""
        inputs = [pasted.x for pasted in images]
        if one_pass_pays(network, inputs[0]):
            return list(network(torch.cat(inputs)).logits.chunk(len(inputs)))
        return [network(x).logits for x in inputs]

    def after_step(self, t: Clock) -> None:
        """The teacher follows the student; until there is something to teach it is the student."""
        follows = t.stage == "selftrain"
        buffers = self.average == "all" or not follows
        ema_update(self.teacher, self.net, self.decay if follows else 0.0, buffers=buffers)

    def on_stage_start(self, name: str) -> None:
        """Both networks begin alike."""
        self.teacher.load_state_dict(self.net.state_dict())


def paste(host: Source, patch: Source, mask: Tensor) -> Pasted:
    """The patch in the host where the mask (*S) is False."""
    return Pasted(torch.where(mask, host.x, patch.x), host, patch)


def dice_ce_everywhere(logits: Tensor, target: Tensor) -> Tensor:
    """The mean of Dice, in the form of ``la``, and cross-entropy over the whole image."""
    whole = torch.ones(logits.shape[2:], dtype=torch.bool, device=logits.device)
    dice = region_dice(logits.float().softmax(1), target, whole)
    return 0.5 * (dice + region_cross_entropy(logits, target, whole))


RegionDice = Literal["la", "acdc", "acdc_legacy"]


def region_dice(probabilities: Tensor, target: Tensor, region: Tensor, *, form: RegionDice = "la") -> Tensor:
    """One minus soft Dice inside a region, averaged over all classes, background included.

    ``la``: ``1 - (2 sum(p y) + e) / (sum(p) + sum(y) + e)`` per sample and class, e = 1e-5.
    ``acdc``: one sum per class over the batch, p squared in the denominator, e = 1e-10.
    ``acdc_legacy``: ``acdc`` with the region applied to the foreground alone: class 0 is compared everywhere.
    A class that is not in the region costs close to 1, with almost no gradient
    (Bai et al. 2023, arXiv:2305.00673).

    Args:
        probabilities: (B, K, *S) in [0, 1].
        target: (B, *S) int64 in [0, K), or :data:`IGNORE`.
        region: (*S) or (B, *S) bool, True where voxels count.
        form: see above.

    Returns:
        A scalar in [0, 1].
    """
    classes = probabilities.shape[1]
    p = probabilities.float()
    known = target != IGNORE
    counted = (known & region).unsqueeze(1)
    if form == "acdc_legacy":
        counted = counted.expand_as(p).clone()
        counted[:, 0] = known
    y = F.one_hot(target.where(known, 0), classes).movedim(-1, 1) * counted
    axes = list(range(2, p.ndim)) if form == "la" else [0, *range(2, p.ndim)]
    eps = 1e-5 if form == "la" else 1e-10
    size = (p if form == "la" else p.square()) * counted
    return 1.0 - ((2.0 * (p * y).sum(axes) + eps) / (size.sum(axes) + y.sum(axes) + eps)).mean()


def region_cross_entropy(logits: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """``sum(M (-log p_y)) / sum(M)`` over the region M, in float32, 0 where it is empty; see region_dice."""
    counted = region & (target != IGNORE)
    loss = F.cross_entropy(logits.float(), target, ignore_index=IGNORE, reduction="none")
    return (loss * counted).sum() / counted.sum().clamp_min(1)


def mixed_dice_ce(
    logits: Tensor,
    host: Tensor,
    patch: Tensor,
    mask: Tensor,
    *,
    host_weight: float = 1.0,
    patch_weight: float = 1.0,
    dice: RegionDice = "la",
) -> Tensor:
    """``0.5 [v (Dice + CE)(z, h) on M + w (Dice + CE)(z, q) on 1-M]``: a host h with a patch q in it.

    Args:
        logits: (B, K, *S), of the pasted images.
        host: (B, *S) int64, the labels that count where the mask, (*S) or (B, *S) bool, is True.
        patch: (B, *S) int64, those that count where it is False.
        mask: M.
        host_weight: v.
        patch_weight: w; with 0 the voxels of the patch get exactly no gradient.
        dice: see :func:`region_dice`.
    """
    logits = logits.float()
    p = logits.softmax(1)

    def one(target: Tensor, region: Tensor) -> Tensor:
        return 0.5 * (
            region_dice(p, target, region, form=dice) + region_cross_entropy(logits, target, region)
        )

    return host_weight * one(host, mask) + patch_weight * one(patch, ~mask)
