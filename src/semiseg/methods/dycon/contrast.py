"""Embeddings of patches drawn to those of the same class and away from the others: FeCL of DyCON.

Assefa et al., CVPR 2025, arXiv:2504.04566. Let ``s_ij = z_i . z_j / T`` for two patches of one scan, and
``N_i = sum e^(s_ij)`` over the patches of other classes. The loss of a pair of one class is ``-log S_ij``
with ``S_ij = e^(s_ij) / (e^(s_ij) + N_i)``: the softplus of ``log N_i - s_ij``, which needs no exponential
that could overflow and no shift against it. A few rows of the matrix of pairs are computed at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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

    The form that the authors released. ``L_neg`` is the mean of ``-log(1 - z_i . t_j)``, with z the
    embeddings of the student and t those of the teacher. It is over all pairs of other classes that are
    closer than ``threshold``, and 0 if there are none. A patch alone in its class has ``L_i = 0``.

    Args:
        embeddings: (B, D, N), N patches of length 1.
        labels: (B, N) int64; any numbers, :data:`~semiseg.core.IGNORE` where a patch takes no part.
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
    shifts = _column_maxima(embeddings, temperature) if column_max else None

    def positive(z: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        s = rows.of(z).T @ z / temperature
        if shifts is not None:
            s = s - shifts[rows.scan]
        margin = _log_sum(s, rows.different) - s
        loss = F.softplus(margin)
        if gamma > 0 and weights is None:
            loss = loss * (gamma * F.logsigmoid(margin)).exp()
        return rows.sum_of_means(loss, weights)

    def negative(z: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        cosine = rows.of(z).T @ taught[rows.scan].detach().float()  # type: ignore[index]
        hard = rows.different & (cosine > threshold)
        return -(1.0 - cosine).clamp_min(CLOSEST).log().where(hard, 0.0).sum(), hard.sum()

    loss = mean_over_rows(positive, embeddings, labels)
    if taught is not None and cross_weight > 0:
        loss = loss + cross_weight * mean_over_rows(negative, embeddings, labels)
    return loss


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
    """

    def positive(z: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        s = rows.of(z).T @ z / temperature
        margin = (_log_sum(s, rows.different) - s).detach()
        focal = (gamma * F.logsigmoid(margin)).exp()
        negatives = _log_sum(s - gamma * F.softplus(margin), rows.different)
        close = rows.of(z).T @ taught[rows.scan].detach().float() / temperature
        hardest = close.masked_fill(~rows.different, NONE).topk(min(top_k, close.shape[1])).values
        denominator = torch.logaddexp(negatives, hardest.logsumexp(1, keepdim=True))
        return rows.sum_of_means(focal * F.softplus(denominator - s), weights)

    return mean_over_rows(positive, embeddings, labels)


def _log_sum(s: Tensor, mask: Tensor) -> Tensor:
    """(R, 1): logarithm of the sum of ``e^s`` over the columns of the mask."""
    return s.masked_fill(~mask, NONE).logsumexp(1, keepdim=True)


@torch.no_grad()
def _column_maxima(embeddings: Tensor, temperature: float) -> Tensor:
    """(B, 1, N): the largest similarity in each column, that of a patch with itself counted as 0."""
    with torch.autocast(embeddings.device.type, enabled=False):
        s = torch.bmm(embeddings.float().transpose(1, 2), embeddings.float()) / temperature
    s.diagonal(dim1=1, dim2=2).zero_()
    return s.amax(1, keepdim=True)


CPU_PAIRS, GPU_PAIRS = 2**18, 2**24
"""Pairs at a time: on a CPU as many as stay in its cache, which is several times faster than all at once."""


@dataclass(frozen=True)
class Rows:
    """R of the N patches of one scan, and which of all its patches each of them is compared with."""

    scan: int
    part: slice
    same: Tensor
    """(R, N): of the same class; a patch is not compared with itself."""
    different: Tensor
    """(R, N): of another class."""
    known: Tensor
    """(R,): whether the patch takes part."""

    def of(self, z: Tensor) -> Tensor:
        """(D, N) -> (D, R)."""
        return z[:, self.part]

    def sum_of_means(self, loss: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of (R, N): the mean over the patches of the same class, summed over the rows; and their number.

        ``weights`` (B, N) has a factor for each row.
        """
        means = loss.where(self.same, 0.0).sum(1) / self.same.sum(1).clamp_min(1)
        if weights is not None:
            means = means * weights[self.scan, self.part].float()
        return means.sum(), self.known.sum()


Term = Callable[[Tensor, Rows], tuple[Tensor, Tensor]]
"""Embeddings (D, N) of one scan and some of its rows -> a sum over these, and its number of terms."""


def mean_over_rows(term: Term, embeddings: Tensor, labels: Tensor) -> Tensor:
    """The sums of all rows of all scans over their counts, in float32; 0 over nothing.

    The gradient is taken on the way, so that no matrix of N x N has to be kept for the backward pass. The
    result can be differentiated once.
    """
    z = embeddings.float()
    wanted = torch.is_grad_enabled() and z.requires_grad
    total, count, gradient = z.new_zeros(()), z.new_zeros(()), torch.zeros_like(z)
    with torch.autocast(z.device.type, enabled=False), torch.set_grad_enabled(wanted):
        for rows in _rows(labels):
            leaf = z[rows.scan].detach().requires_grad_(wanted)
            part, size = term(leaf, rows)
            if wanted:
                gradient[rows.scan] += torch.autograd.grad(part, leaf)[0]
            total, count = total + part.detach(), count + size
    count = count.clamp_min(1)
    # The second summand is 0; its gradient is the one that was collected.
    return total / count + ((z - z.detach()) * (gradient / count)).sum()


def _rows(labels: Tensor) -> Iterator[Rows]:
    n = labels.shape[1]
    step = max((GPU_PAIRS if labels.is_cuda else CPU_PAIRS) // n, 1)
    columns = torch.arange(n, device=labels.device)
    for scan, label in enumerate(labels):
        known = label != IGNORE
        for start in range(0, n, step):
            part = slice(start, min(start + step, n))
            equal, both = label[part, None] == label, known[part, None] & known
            same = equal & both & (columns[part, None] != columns)
            yield Rows(scan, part, same, both & ~equal, known[part])
