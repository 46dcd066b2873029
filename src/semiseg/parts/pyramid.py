"""Predictions at several resolutions, for training only: what is exported is the network alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import SegOutput
from semiseg.errors import UsageError
from semiseg.parts.branches import Perturbation
from semiseg.parts.facts import fact


class Pyramid(nn.Module):
    """A network with a head on each of its coarser levels, whose logits are brought to full resolution.

    Heads are convolutions of size 3 and their logits repeated in 2D, of size 1 and interpolated in 3D, as in
    the two published networks. The state is ``main.*``, the whole network, and ``coarse.*``, the heads.

    Args:
        main: a network that gives levels.
        scales: how many resolutions predict, the full one included: the finest ones, fewer if there are
            fewer.
        perturbations: of the inputs of the heads, in training mode only; the first for the coarsest. If there
            are fewer than heads they start anew.
        method: who asks, for messages.

    Raises:
        UsageError: a network with a single level or none.
    """

    def __init__(
        self, main: nn.Module, scales: int, perturbations: Sequence[Perturbation], method: str
    ) -> None:
        super().__init__()
        widths = tuple(getattr(main, "widths", ()))[-scales:-1]
        if not widths:
            raise UsageError(
                f"{method} predicts from several levels of the decoder, and {type(main).__name__} does not "
                "give any but the last",
                hint="choose another network (`semiseg networks`), or give yours `widths` and "
                "SegOutput(..., levels=...)",
            )
        dim, classes = fact(main, "dim", method), fact(main, "classes", method)
        conv: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if dim == 2 else nn.Conv3d
        size = 3 if dim == 2 else 1
        self.mode = "nearest" if dim == 2 else "trilinear"
        self.main = main
        self.coarse = nn.ModuleList(conv(width, classes, size, padding=size // 2) for width in widths)
        self.perturbations = tuple(perturbations[i % len(perturbations)] for i in range(len(widths)))

    def forward(self, x: Tensor) -> SegOutput:
        """(B, C, *S) -> the answer of the network, with the coarser logits (B, K, *S) as its heads."""
        answer: SegOutput = self.main(x)
        size = answer.logits.shape[2:]
        heads = {}
        levels = answer.levels[-len(self.coarse) - 1 : -1]
        for i, (head, level, perturb) in enumerate(
            zip(self.coarse, levels, self.perturbations, strict=True), start=1
        ):
            logits = head(perturb(level) if self.training else level)
            heads[f"coarse{i}"] = F.interpolate(logits.float(), list(size), mode=self.mode)
        return answer._replace(heads=heads)
