"""A critic, which tells samples of labeled scans from samples of unlabeled ones; its optimizer and loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Critic(nn.Module):
    """Tells from a map, such as class probabilities or distances, and its image which of two it is.

    Four convolutions of 4 voxels per axis, each of which halves the edges, mean over what is left, one
    linear layer; leaky ReLU and channel dropout between them, no normalization. The discriminator of SASSNet
    (Li et al. 2020, arXiv:2007.10732), which DAN (Zhang et al. 2017) has in the published 2D and 3D codes,
    too. They fix the size of the last pooling and with it that of the input; the mean is the same there. An
    edge that has come down to 1 voxel gets a 0 beside it and stays 1. So patches below 16 voxels work as
    well.

    Args:
        dim: 2 or 3.
        maps: channels of the map.
        images: channels of the image.
        width: channels of the first layer; each further one has twice as many.
        dropout: chance of a channel to be dropped.
        activate_sum: leaky ReLU and dropout after the sum of the two first layers; the published 2D code has
            none there.
        cells: means per axis that the linear layer sees; the 2D code of DAN has 2.
    """

    def __init__(
        self,
        dim: int,
        maps: int,
        images: int,
        *,
        width: int = 64,
        dropout: float = 0.5,
        activate_sum: bool = True,
        cells: int = 1,
    ) -> None:
        super().__init__()
        conv = nn.Conv2d if dim == 2 else nn.Conv3d
        self.of_map = conv(maps, width, 4, 2, 1)
        self.of_image = conv(images, width, 4, 2, 1)
        self.deeper = nn.ModuleList(conv(width * n, 2 * width * n, 4, 2, 1) for n in (1, 2, 4))
        self.classify = nn.Linear(8 * width * cells**dim, 2)
        self.dropout = nn.Dropout2d(dropout) if dim == 2 else nn.Dropout3d(dropout)
        self.activate_sum, self.cells = activate_sum, cells

    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        """(B, maps, *S) and (B, images, *S) -> logits (B, 2)."""
        x = self.of_map(at_least_two(maps)) + self.of_image(at_least_two(images))
        if self.activate_sum:
            x = self.dropout(F.leaky_relu(x, 0.2))
        for i, layer in enumerate(self.deeper):
            x = F.leaky_relu(layer(at_least_two(x)), 0.2)
            if i < len(self.deeper) - 1:
                x = self.dropout(x)
        logits: Tensor = self.classify(self._pool(x).flatten(1))
        return logits

    def _pool(self, x: Tensor) -> Tensor:
        if self.cells == 1:
            return x.flatten(2).mean(2)
        pool = F.adaptive_avg_pool2d if x.ndim == 4 else F.adaptive_avg_pool3d
        return pool(x, self.cells)


def adam(critic: nn.Module) -> torch.optim.Optimizer:
    """Adam at the published rate, which stays the same to the end of the run."""
    groups = [{"params": list(critic.parameters()), "scheduled": False}]
    return torch.optim.Adam(groups, lr=1e-4, betas=(0.9, 0.99))


def at_least_two(x: Tensor) -> Tensor:
    """A 0 after the only voxel of an axis, as a convolution of 4 voxels with a margin of 1 needs."""
    missing = [max(2 - edge, 0) for edge in reversed(x.shape[2:])]
    return F.pad(x, [n for amount in missing for n in (0, amount)]) if any(missing) else x


@contextmanager
def only_judging(critic: nn.Module) -> Iterator[None]:
    """Forward passes in here are without dropout, and their backward passes leave the critic's weights alone.

    The gradient still reaches what the critic is shown.
    """
    training = critic.training
    asked = [p for p in critic.parameters() if p.requires_grad]
    critic.eval().requires_grad_(False)
    try:
        yield
    finally:
        critic.train(training)
        for p in asked:
            p.requires_grad_(True)


@contextmanager
def without_trace(network: nn.Module) -> Iterator[None]:
    """Forward passes in here are in eval mode and without gradient: no dropout, running statistics stay."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)


def origin_loss(logits: Tensor, labeled: int) -> Tensor:
    """Cross-entropy of the critic's answers when the first ``labeled`` samples are to be called labeled.

    For the critic that is the truth; a network that wants to fool it asks for all of them (the form of the
    generator's loss that does not saturate, Goodfellow et al. 2014, arXiv:1406.2661). The plain mean over
    samples, also where there are more of one kind; of logits (B, 2), channel 1 is for labeled.
    """
    truth = (torch.arange(len(logits), device=logits.device) < labeled).long()
    return F.cross_entropy(logits.float(), truth)
