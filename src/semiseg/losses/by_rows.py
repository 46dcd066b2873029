"""Losses over all pairs of patches of a scan, a few rows of the matrix of pairs at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from semiseg.core import IGNORE

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

        Args:
            loss: (R, N).
            weights: (B, N), a factor for each row.
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

    Args:
        term: see :data:`Term`.
        embeddings: (B, D, N).
        labels: (B, N), :data:`IGNORE` where a patch takes no part.
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
