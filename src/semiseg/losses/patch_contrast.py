"""Embeddings of patches drawn to those of the same class and away from the others: FeCL of DyCON.

Assefa et al., CVPR 2025, arXiv:2504.04566. With ``s_ij = z_i . z_j / T`` for two patches of one scan,
``N_i = sum e^(s_ij)`` over the patches of other classes and ``S_ij = e^(s_ij) / (e^(s_ij) + N_i)``, the loss
of a pair of one class is ``-log S_ij``: the softplus of ``log N_i - s_ij``, which needs no exponential that
could overflow and no shift against it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.core import IGNORE

NONE = -1e30
"""The logarithm of a sum over nothing; finite, so that its gradient is 0."""
CLOSEST = 1e-6
"""Smallest ``1 - cosine``: rounding may take the cosine above 1."""


def fecl(
    embeddings: Tensor,
    labels: Tensor,
    *,
    taught: Tensor | None = None,
    temperature: float = 0.6,
    gamma: float = 2.0,
    weights: Tensor | None = None,
    threshold: float = 0.5,
    cross_weight: float = 1.0,
    column_max: bool = False,
) -> Tensor:
    """``mean_i L_i + c L_neg`` with ``L_i = mean_j (1 - S_ij)^g (-log S_ij)`` over the others of i's class.

    The form that the authors released. ``L_neg`` is the mean of ``-log(1 - z_i . t_j)`` over all pairs of
    other classes whose embeddings z of the student and t of the teacher are closer than ``threshold``; 0 if
    there are none. A patch alone in its class has ``L_i = 0``.

    Args:
        embeddings: (B, D, N), N patches of length 1.
        labels: (B, N) int64; any numbers, :data:`IGNORE` where a patch takes no part.
        taught: (B, D, N), of length 1, without gradient; None leaves L_neg out.
        temperature: T.
        gamma: g; 0 turns the focal weight off.
        weights: (B, N), a factor for each L_i; takes the place of the focal weight, as released.
        threshold: smallest cosine of a pair in L_neg.
        cross_weight: c.
        column_max: subtract from each s_ij the largest of its *column*, as released. It cancels in no row,
            so that the loss is another one.

    Returns:
        A scalar >= 0 in float32.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        pairs = _pairs(labels)
        s = _similarity(embeddings, embeddings, temperature, own=False)
        if column_max:
            s = s - s.amax(1, keepdim=True).detach()
        margin = _log_sum(s, pairs.different) - s
        loss = F.softplus(margin)
        if gamma > 0 and weights is None:
            loss = loss * (-gamma * F.softplus(-margin)).exp()
        positive = _mean_of_rows(loss, pairs, weights)
        if taught is None:
            return positive
        cosine = _similarity(embeddings, taught.detach())
        return positive + cross_weight * _hard_negatives(cosine, pairs.different, threshold)


def fecl_paper(
    embeddings: Tensor,
    labels: Tensor,
    *,
    taught: Tensor,
    temperature: float = 0.6,
    gamma: float = 2.0,
    weights: Tensor | None = None,
    top_k: int = 5,
) -> Tensor:
    """The paper's form, as we read it: hard negatives of the teacher stand in the denominator.

    ``l_ij = -(1 - S_ij)^g log(e^(s_ij) / (e^(s_ij) + sum_q S_iq^g e^(s_iq) + sum_t e^(z_i . t / T)))``, q
    over the patches of other classes, t over the ``top_k`` teacher embeddings of them closest to i. The
    focal weights get no gradient. The rest is as in :func:`fecl`, without L_neg.

    Args:
        embeddings: (B, D, N), N patches of length 1.
        labels: (B, N) int64; any numbers, :data:`IGNORE` where a patch takes no part.
        taught: (B, D, N), of length 1, without gradient.
        temperature: T.
        gamma: g.
        weights: (B, N), a factor for each row.
        top_k: how many teacher negatives; fewer where a scan has fewer.

    Returns:
        A scalar >= 0 in float32.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        pairs = _pairs(labels)
        s = _similarity(embeddings, embeddings, temperature, own=False)
        margin = (_log_sum(s, pairs.different) - s).detach()
        focal = (-gamma * F.softplus(-margin)).exp()
        negatives = _log_sum(s - gamma * F.softplus(margin), pairs.different)
        close = _similarity(embeddings, taught.detach(), temperature).masked_fill(~pairs.different, NONE)
        hardest = close.topk(min(top_k, close.shape[2]), dim=2).values.logsumexp(2, keepdim=True)
        loss = focal * F.softplus(torch.logaddexp(negatives, hardest) - s)
        return _mean_of_rows(loss, pairs, weights)


class _Pairs(NamedTuple):
    """Which pairs of patches of a scan count, (B, N, N), and which patches, (B, N)."""

    same: Tensor
    """Of one class, a patch with itself left out."""
    different: Tensor
    known: Tensor


def _pairs(labels: Tensor) -> _Pairs:
    known = labels != IGNORE
    equal = labels[:, :, None] == labels[:, None, :]
    both = known[:, :, None] & known[:, None, :]
    itself = torch.eye(labels.shape[1], dtype=torch.bool, device=labels.device)
    return _Pairs(equal & both & ~itself, ~equal & both, known)


def _similarity(rows: Tensor, columns: Tensor, temperature: float = 1.0, *, own: bool = True) -> Tensor:
    """(B, N, N) products of embeddings over the temperature; 0 for a patch with itself unless ``own``."""
    s = torch.bmm(rows.float().transpose(1, 2), columns.float()) / temperature
    return s if own else s - torch.diag_embed(s.diagonal(dim1=1, dim2=2))


def _log_sum(s: Tensor, mask: Tensor) -> Tensor:
    """(B, N, 1): logarithm of the sum of ``e^s`` over the columns of the mask."""
    return s.masked_fill(~mask, NONE).logsumexp(2, keepdim=True)


def _mean_of_rows(loss: Tensor, pairs: _Pairs, weights: Tensor | None) -> Tensor:
    """Mean over the positives of each row, then over all rows that count."""
    rows = (loss * pairs.same).sum(2) / pairs.same.sum(2).clamp_min(1)
    if weights is not None:
        rows = rows * weights.float()
    return rows.sum() / pairs.known.sum().clamp_min(1)


def _hard_negatives(cosine: Tensor, different: Tensor, threshold: float) -> Tensor:
    """Mean of ``-log(1 - c)`` over the pairs of other classes with c above the threshold; 0 over none."""
    hard = different & (cosine > threshold)
    return -((1.0 - cosine).clamp_min(CLOSEST).log() * hard).sum() / hard.sum().clamp_min(1)
