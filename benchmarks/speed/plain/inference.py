"""Sliding-window prediction in the style of the published test scripts: one window after another."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def predict(
    net: nn.Module,
    image: np.ndarray,
    patch: tuple[int, ...],
    stride: tuple[int, ...],
    classes: int,
    *,
    graph: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Label map (X, Y, Z) and mean class probabilities (K, X, Y, Z) of an image (X, Y, Z) float32.

    ``graph`` keeps the maps of each window for a backward pass that never comes: some published scripts (of
    UA-MT, MCF and UPC) do not say that they need no gradient.
    """
    before = [max(p - n, 0) // 2 for n, p in zip(image.shape, patch, strict=True)]
    after = [max(p - n, 0) - b for n, p, b in zip(image.shape, patch, before, strict=True)]
    padded = np.pad(image, list(zip(before, after, strict=True)), mode="constant", constant_values=0)
    counts = [math.ceil((n - p) / s) + 1 for n, p, s in zip(padded.shape, patch, stride, strict=True)]
    device = next(net.parameters()).device
    scores = np.zeros((classes, *padded.shape), dtype=np.float32)
    seen = np.zeros(padded.shape, dtype=np.float32)
    for i in range(counts[0]):
        x = min(stride[0] * i, padded.shape[0] - patch[0])
        for j in range(counts[1]):
            y = min(stride[1] * j, padded.shape[1] - patch[1])
            for k in range(counts[2]):
                z = min(stride[2] * k, padded.shape[2] - patch[2])
                box = (slice(x, x + patch[0]), slice(y, y + patch[1]), slice(z, z + patch[2]))
                window = torch.from_numpy(padded[box][None, None].astype(np.float32)).to(device)
                with torch.set_grad_enabled(graph):
                    probabilities = F.softmax(net(window), dim=1).detach().cpu().numpy()[0]
                scores[(slice(None), *box)] += probabilities
                seen[box] += 1
    scores = scores / seen[None]
    inside = tuple(slice(b, b + n) for b, n in zip(before, image.shape, strict=True))
    scores = scores[(slice(None), *inside)]
    return scores.argmax(axis=0), scores
