"""DAN's discriminators: shapes and numbers of parameters in 2D and 3D."""

from __future__ import annotations

import pytest
import torch

from semiseg.methods.dan import critic_of


@pytest.mark.parametrize("dim", [2, 3])
def test_parameters_of_the_discriminator(golden, dim):
    v = golden("dan__params")
    classes, key = int(v["n_classes"]), f"{dim}d"
    wanted = [[n for n in shape if n] for shape in v[f"shapes{key}"].tolist()]
    channels, width = wanted[2][1], wanted[0][0]  # of the layer that sees the image
    with torch.device("meta"):
        critic = critic_of(dim, classes, channels, width)
    assert [list(p.shape) for p in critic.parameters()] == wanted
    assert sum(p.numel() for p in critic.parameters()) == int(v[f"n{key}"])


@pytest.mark.parametrize(("dim", "edge"), [(2, 256), (2, 224), (3, 96)])
def test_it_takes_the_published_sizes(golden, dim, edge):
    classes = int(golden("dan__params")["n_classes"])
    with torch.device("meta"):
        size = (edge,) * dim
        answer = critic_of(dim, classes, 1, 4)(torch.empty(2, classes, *size), torch.empty(2, 1, *size))
    assert answer.shape == (2, 2)
