"""Co-Distribution Alignment: pseudo-labels with the class shares of labeled scans, and above expectation."""

from __future__ import annotations

from typing import Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import IGNORE, Batch, Clock, NetFactory
from semiseg.errors import UsageError
from semiseg.methods._bases import RampedOptions, TwoNetworks, fact, sum_over_ranks
from semiseg.methods._facts import Facts, Paper
from semiseg.settings.options import Count, Positive, Share


class CoDA(TwoNetworks):
    """Two networks exchange filtered, aligned pseudo-labels.

    ``L_i = 0.5 (CE + Dice)(p_i(x_l), y_l) + w(k) mean_M CE(p_i(x_u), argmax q_j)``, ``q = r p / sum(r p)`` by
    voxel and ``r_c = A_c / B_c``: A and B are the class shares that the network predicts on labeled and on
    unlabeled scans. ``M = [max q >= mean of max q over the voxels of the same pseudo-label]``.

    There is no public code, and only the abstract was at hand. It fixes three things. Two networks of
    different first weights supervise each other. Predictions are aligned by class to those on labeled data.
    An over-expectation cross-entropy filters unlabeled pixels. Everything else, every number included, is
    our reading; the other readings are options. Its figures say nothing of the paper's.

    Shares are running means, since in crops they differ by chance. The expectation is by class, or the
    background would crowd out all others. Alignment assumes that labeled and unlabeled scans have the same
    class shares: with scans labeled for their pathology it biases the prediction, and ``alignment="none"``
    is right.

    Args:
        make_net: returns a fresh network that says how many classes it has.
        alignment: ``ratio``: one factor per class; ``conditional``: a vector of factors for each class that a
            voxel seems to be of; or ``none``.
        shares: of ``ratio`` on labeled scans: ``predicted``, or the ``true`` ones of the labels.
        momentum: of the shares; 0 is the current batch alone.
        max_ratio: r stays within it and its inverse; at least 1.
        hold_off: iterations before the alignment sets in.
        expectation: by ``class``; one for all (``global``); or of the ``labeled`` voxels of the class.
        at_expectation: ``keep`` or ``drop`` voxels that are exactly as confident as expected.
        confidence: of the ``aligned`` prediction, or of the ``raw`` one.
        target: ``hard`` classes, or the ``soft`` aligned probabilities.
        divide_by: the number of the ``kept`` voxels, or of ``all``.
        predict_with: the exported network: the ``first``, the ``second``, or the ``average`` of their
            probabilities.

    Raises:
        UsageError: ``max_ratio`` below 1, or a network that does not say how many classes it has.
    """

    facts = Facts(
        title="Co-DA",
        family="Several networks",
        papers=(Paper("Co-DA", "Wang et al.", "Bioengineering", 2023, "doi:10.3390/bioengineering10070869"),),
        networks=2,
        trained=2,
        work=2.0,
    )

    def __init__(
        self,
        make_net: NetFactory,
        *,
        alignment: Literal["ratio", "conditional", "none"] = "ratio",
        shares: Literal["predicted", "true"] = "predicted",
        momentum: Share = 0.99,
        max_ratio: Positive = 10.0,
        hold_off: Count = 100,
        expectation: Literal["class", "global", "labeled"] = "class",
        at_expectation: Literal["keep", "drop"] = "keep",
        confidence: Literal["aligned", "raw"] = "aligned",
        target: Literal["hard", "soft"] = "hard",
        divide_by: Literal["kept", "all"] = "kept",
        predict_with: Literal["first", "second", "average"] = "average",
        **ramped: Unpack[RampedOptions],
    ) -> None:
        super().__init__(make_net, predict_with=predict_with, **ramped)
        if max_ratio < 1:
            raise UsageError(f"max_ratio={max_ratio} is below 1", hint="1 is no alignment, 10 the default")
        self.alignment, self.shares, self.max_ratio, self.hold_off = alignment, shares, max_ratio, hold_off
        self.expectation, self.at_expectation, self.confidence = expectation, at_expectation, confidence
        self.target, self.divide_by = target, divide_by
        classes = fact(self.net, "classes", "co_da")
        rows = classes if alignment == "conditional" else 1
        self.labeled, self.labeled2 = Shares(rows, classes, momentum), Shares(rows, classes, momentum)
        self.unlabeled, self.unlabeled2 = Shares(rows, classes, momentum), Shares(rows, classes, momentum)

    @torch.no_grad()
    def teach(self, logits: Tensor, batch: Batch, t: Clock, *, on: str) -> Tensor:
        """(Bu, K, *S): the class shares that a voxel is taught, all 0 where it does not count."""
        p = logits.float().softmax(1)
        p_l, p_u = p[: len(batch.x_l)], p[len(batch.x_l) :]
        q = self.aligned(p_l, batch.y_l, p_u, t, on)
        classes = q.argmax(1)
        confidence = (q if self.confidence == "aligned" else p_u).amax(1)
        expected = self.expected(confidence, classes, p_l, batch.y_l)
        counts = expectation_mask(confidence, classes, expected, strict=self.at_expectation == "drop")
        taught = F.one_hot(classes, q.shape[1]).movedim(-1, 1) if self.target == "hard" else q
        return taught.float() * counts.unsqueeze(1)

    def lesson(self, logits: Tensor, other: Tensor) -> Tensor:
        """Cross-entropy on the voxels that count."""
        loss = weighted_cross_entropy(logits, other)
        return loss if self.divide_by == "kept" else loss * other.sum(1).mean()

    def aligned(self, p_l: Tensor, y_l: Tensor, p_u: Tensor, t: Clock, on: str) -> Tensor:
        """(Bu, K, *S): q, after the network's shares have taken in the batch."""
        if self.alignment == "none":
            return p_u
        number = on.removeprefix("net")
        labeled, unlabeled = getattr(self, f"labeled{number}"), getattr(self, f"unlabeled{number}")
        known = y_l.where(y_l != IGNORE, -1)
        if self.alignment == "conditional":
            rows_l, rows_u = known, p_u.argmax(1)
        else:
            rows_l, rows_u = torch.zeros_like(y_l), torch.zeros_like(p_u[:, 0], dtype=torch.long)
            if self.shares == "true":
                p_l = F.one_hot(known.clamp_min(0), p_l.shape[1]).movedim(-1, 1).float()
                rows_l = known.clamp_max(0)
        labeled.update(p_l, rows_l)
        unlabeled.update(p_u, rows_u)
        if t.step < self.hold_off:
            return p_u
        ratio = share_ratio(labeled.mean, unlabeled.mean, limit=self.max_ratio)
        return align(p_u, torch.where(labeled.seen & unlabeled.seen, ratio, 1.0), rows_u)

    def expected(self, confidence: Tensor, classes: Tensor, p_l: Tensor, y_l: Tensor) -> Tensor:
        """(K,): how confident a pseudo-label of each class must be."""
        if self.expectation == "labeled":
            return known_confidence(p_l, y_l)
        if self.expectation == "global":
            return class_means(confidence, torch.zeros_like(classes), 1).expand(p_l.shape[1])
        return class_means(confidence, classes, p_l.shape[1])


class Shares(nn.Module):
    """Running means of class shares, in rows, bias-corrected so that the first batch counts in full.

    A row stands for all voxels (one row), or for the voxels of one class each (K rows).
    """

    total: Tensor
    weight: Tensor

    def __init__(self, rows: int, classes: int, momentum: float = 0.99) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("total", torch.zeros(rows, classes))
        self.register_buffer("weight", torch.zeros(rows, 1))

    @property
    def mean(self) -> Tensor:
        """(R, K) float32, rows that sum to 1, or to 0 before anything was seen."""
        return self.total / self.weight.clamp_min(1e-12)

    @property
    def seen(self) -> Tensor:
        """(R, 1) bool: which rows have had a voxel."""
        return self.weight > 0

    @torch.no_grad()
    def update(self, probabilities: Tensor, rows: Tensor) -> None:
        """Take in probabilities (B, K, *S), over all ranks; a row without a voxel stays as it is.

        ``rows`` (B, *S) has the row of each voxel, outside of [0, R) where it counts for none.
        """
        here = rows.flatten() == torch.arange(len(self.total), device=rows.device)[:, None]
        p = probabilities.movedim(1, 0).flatten(1)
        sums = torch.stack([torch.where(row, p, 0.0).sum(1) for row in here])
        sums = sum_over_ranks(torch.cat([sums, here.sum(1, keepdim=True)], dim=1))
        voxels = sums[:, -1:]
        new = sums[:, :-1] / voxels.clamp_min(1.0)
        seen = (voxels > 0) & new.isfinite().all(1, keepdim=True)  # a bad batch must not spoil the memory
        kept = 1.0 - self.momentum
        self.total.copy_(torch.where(seen, self.momentum * self.total + kept * new, self.total))
        self.weight.copy_(torch.where(seen, self.momentum * self.weight + kept, self.weight))


def share_ratio(wanted: Tensor, found: Tensor, *, limit: float = 10.0, eps: float = 1e-6) -> Tensor:
    """``(wanted + eps) / (found + eps)`` within [1 / limit, limit] (Berthelot et al. 2020, arXiv:1911.09785).

    Of class shares (R, K) on labeled scans and on unlabeled ones.
    """
    return ((wanted + eps) / (found + eps)).clamp(1.0 / limit, limit)


def align(probabilities: Tensor, ratio: Tensor, rows: Tensor) -> Tensor:
    """``r_c p_c / sum_j r_j p_j`` of p (B, K, *S), with r the ratio (R, K) of the voxel's row (B, *S)."""
    scaled = probabilities * ratio[rows].movedim(-1, 1)
    return scaled / scaled.sum(1, keepdim=True)


def class_means(values: Tensor, classes: Tensor, k: int) -> Tensor:
    """(K,) float32: the mean value (B, *S) of the voxels of each class (B, *S), 0 for a class without voxels.

    Never above the largest of a class, as rounding would have it: at least one voxel reaches the mean.
    """
    here = classes.flatten() == torch.arange(k, device=classes.device)[:, None]
    members = torch.where(here, values.float().flatten(), 0.0)
    return torch.minimum(members.sum(1) / here.sum(1).clamp_min(1), members.amax(1))


def expectation_mask(confidence: Tensor, classes: Tensor, expectation: Tensor, *, strict: bool) -> Tensor:
    """(B, *S) bool: where the confidence (B, *S) reaches what is expected (K,) of the voxel's class (B, *S).

    ``strict`` is more than expected, not just as much; then a class of equal confidences is lost.
    """
    expected = expectation[classes]
    return confidence > expected if strict else confidence >= expected


def weighted_cross_entropy(logits: Tensor, target: Tensor, *, eps: float = 1e-8) -> Tensor:
    """``sum(target * -log p) / (sum(target) + eps)`` of logits (B, K, *S), in float32; 0 for an empty target.

    The target (B, K, *S), class shares times the weight of the voxel, gets no gradient.
    """
    target = target.detach()
    return -(target * logits.float().log_softmax(1)).sum() / (target.sum() + eps)


def known_confidence(probabilities: Tensor, labels: Tensor) -> Tensor:
    """(K,): the mean largest probability (B, K, *S) of the voxels of each true class (B, *S)."""
    return class_means(probabilities.amax(1), labels.where(labels != IGNORE, -1), probabilities.shape[1])
