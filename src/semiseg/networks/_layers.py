"""The 2D and the 3D form of each layer, so that a network is written once."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from semiseg.errors import UsageError
from semiseg.networks._conv import Conv2d, Conv3d


@dataclass(frozen=True)
class Layers:
    """The layer classes for one number of spatial axes."""

    conv: type[nn.Conv2d] | type[nn.Conv3d]
    up_conv: type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]
    batch_norm: type[nn.BatchNorm2d] | type[nn.BatchNorm3d]
    instance_norm: type[nn.InstanceNorm2d] | type[nn.InstanceNorm3d]
    dropout: type[nn.Dropout2d] | type[nn.Dropout3d]
    max_pool: type[nn.MaxPool2d] | type[nn.MaxPool3d]
    linear_mode: str
    """The ``mode`` of linear interpolation."""


_LAYERS = {
    2: Layers(
        Conv2d,
        nn.ConvTranspose2d,
        nn.BatchNorm2d,
        nn.InstanceNorm2d,
        nn.Dropout2d,
        nn.MaxPool2d,
        "bilinear",
    ),
    3: Layers(
        Conv3d,
        nn.ConvTranspose3d,
        nn.BatchNorm3d,
        nn.InstanceNorm3d,
        nn.Dropout3d,
        nn.MaxPool3d,
        "trilinear",
    ),
}


def layers(dim: int) -> Layers:
    """The layers for ``dim`` (2 or 3) spatial axes.

    Raises:
        UsageError: any other number of axes.
    """
    if dim not in _LAYERS:
        raise UsageError(f"a network has 2 or 3 spatial axes, got dim={dim}", hint="set dim to 2 or 3")
    return _LAYERS[dim]
